"""What a puzzle domain is: the one interface through which hrm sees Sudoku, ARC and mazes.

A domain knows everything about its puzzles and nothing about models. Tokens are uint8 arrays of `seq_len`
cells, 0 is always padding. Symmetries map solvable puzzles to solvable puzzles; augmentation, test-time
attempts and evaluation all use them through `TokenSymmetries`.

Letters in shapes: n puzzles, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, closest
from hrm_cli.puzzles.relations import Relations

Tokens = NDArray[np.uint8]
Grid = NDArray[np.uint8]

PAD = 0


@dataclass(frozen=True)
class Puzzle:
    """One puzzle as its source states it."""

    grid: Grid
    """The domain's own cells, `[rows, columns]` (Sudoku: 0 for blank, else the digit)."""
    solution: Grid | None = None
    """The answer that the source gives, if any; not verified."""
    where: str = ""
    """Where it is, for messages: `file.txt:3`."""
    source: str = ""
    """The collection it came from (a CSV's `source` column), for figures by source."""
    rating: float | None = None
    """The source's own difficulty figure, if any."""
    domain: str = ""
    """Name of the domain whose reader made it: a 9×9 maze is not a Sudoku."""


@dataclass(frozen=True)
class Unreadable:
    """A piece of a puzzle file that is not a puzzle: reading continues after it."""

    where: str
    reason: str
    domain: str = ""
    """Name of the domain whose reader could not read it."""


@dataclass(frozen=True)
class Skipped:
    """A line of a puzzle file that belongs to no puzzle, such as a title: counted, and named at the end."""

    where: str


@dataclass(frozen=True)
class Verdict:
    """Whether an answer obeys the rules; `reason` names the first violated one (empty when ok)."""

    ok: bool
    reason: str = ""
    note: str = ""
    """A remark on an answer that is ok, such as that its path is not the shortest."""


@dataclass(frozen=True)
class Diagnosis:
    """The exact solver's result for a puzzle."""

    solutions: int
    """0, 1, or 2 for several."""
    reason: str = ""
    """Why there is not exactly one solution, as text (the first contradiction among the givens, …)."""
    difficulty: int = 0
    """How hard it is, in the domain's own figure (Sudoku: branches explored; mazes: moves of the shortest path)."""
    solution: Grid | None = field(default=None, compare=False)
    """The solution, where there is exactly one."""


@dataclass(frozen=True)
class TokenSymmetries:
    """n symmetries of a domain with a fixed field, as arrays: out[i, s] = tokens[i, in[i, cells[i, s]]].

    Invertible and composable; row i applies to puzzle i (input and solution alike).
    """

    cells: NDArray[np.int32]
    """Where each output cell comes from, `[n, S]`, each row a permutation."""
    tokens: NDArray[np.uint8]
    """New token of each old token, `[n, V]`, each row a permutation that keeps padding and blanks."""

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> TokenSymmetries:
        rows = slice(index, index + 1) if isinstance(index, int) else index
        return TokenSymmetries(self.cells[rows], self.tokens[rows])

    def apply(self, tokens: Tokens) -> Tokens:
        """The augmented copies of `tokens` `[n, S]` (or `[S]`, for one puzzle under n symmetries) as `[n, S]`."""
        # Flat indices: several times faster than take_along_axis, and datasets are made of this.
        rows = np.arange(len(self))[:, None]
        source = np.broadcast_to(tokens, self.cells.shape).reshape(-1)
        moved = np.take(source, self.cells + rows * self.cells.shape[1])
        vocabulary = self.tokens.shape[1]
        if moved.size and moved.max() >= vocabulary:
            raise ValueError(f"token {moved.max()} in a vocabulary of {vocabulary}")
        return np.take(self.tokens.reshape(-1), moved + rows * vocabulary)

    def apply_both(self, inputs: Tokens, labels: Tokens) -> tuple[Tokens, Tokens]:
        """`apply` to puzzles and their answers, `[n, S]` each, at once and several times as fast."""
        from hrm_cli.puzzles.symmetry_kernels import apply_both

        moved = np.empty(self.cells.shape, np.uint8), np.empty(self.cells.shape, np.uint8)
        plain = np.ascontiguousarray(inputs, np.uint8), np.ascontiguousarray(labels, np.uint8)
        wrong = apply_both(self.cells, self.tokens, *plain, *moved)
        if wrong:
            raise ValueError(f"token {wrong} in a vocabulary of {self.tokens.shape[1]}")
        return moved

    def inverse(self) -> TokenSymmetries:
        """The symmetries that undo these."""
        return TokenSymmetries(
            np.argsort(self.cells, axis=1).astype(np.int32), np.argsort(self.tokens, axis=1).astype(np.uint8)
        )

    def after(self, first: TokenSymmetries) -> TokenSymmetries:
        """The composition: `first`, then these."""
        return TokenSymmetries(
            np.take_along_axis(first.cells, self.cells, axis=1),
            np.take_along_axis(self.tokens, first.tokens.astype(np.intp), axis=1),
        )


class Domain(Protocol):
    """What every puzzle domain offers. Registered in `DOMAINS`; made by `make_domain`."""

    name: str
    vocab_size: int
    seq_len: int

    @property
    def blank_token(self) -> int | None:
        """Token of a cell to be filled in, where an input is its answer with cells left blank; None elsewhere."""

    def facts(self) -> dict[str, Any]:
        """The options that make this domain again (Sudoku: `{"size": 9}`), kept with datasets."""

    def describe(self) -> str:
        """The domain as text for messages: `9×9 Sudoku`."""

    def parse(self, text: str, where: str = "") -> Puzzle:
        """One puzzle from its one-line text. Raises PuzzleError naming `where`."""

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[S]` of a grid. Raises PuzzleError when the grid is not this domain's."""

    def decode(self, tokens: Tokens) -> Grid:
        """The grid of tokens `[S]`; tokens that mean no cell become blanks."""

    def text(self, grid: Grid) -> str:
        """The grid as one line, the form in which answers are written."""

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """`count` symmetries drawn uniformly from the domain's whole group."""

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Whether `answer` solves `puzzle` by the rules, independent of a stored solution."""

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """How many solutions a puzzle has, by exact search."""

    def lines(self, grid: Grid) -> Sequence[str]:
        """The grid drawn in plain characters, one string a line."""


@dataclass(frozen=True)
class Solved:
    """The exact solver's results for n puzzles at once."""

    counts: NDArray[np.int32]
    """Solutions of each: 0, 1, or 2 for several, `[n]`."""
    difficulties: NDArray[np.int64]
    """As in `Diagnosis`, `[n]`."""
    answers: Tokens
    """A solution of each that has one, `[n, S]`."""


class BulkDomain(Domain, Protocol):
    """A domain for which datasets are built: the same operations for n puzzles at once."""

    solver_is_fast: bool
    """Whether solving every puzzle of a source costs no more than reading it."""

    def encode_all(self, cells: Grid) -> Tokens:
        """Tokens `[n, S]` of the cells `[n, S]` of grids that were parsed or generated."""

    def solve_all(self, tokens: Tokens) -> Solved:
        """Solves puzzles `[n, S]`; releases the interpreter lock, so that threads can share them."""

    def verify_all(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.bool_]:
        """Which answers `[n, S]` a model should learn: correct, and optimal if some answers are better than others."""

    def violations(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.int64]:
        """How far answers `[n, S]`, of any tokens, are from right: 0 where `verify_all` holds, 1 where `verify` is ok
        but there is a better answer, and one more than the broken rules elsewhere, `[n]`."""

    def canonical(self, tokens: Tokens) -> list[bytes]:
        """A name for each puzzle `[n, S]`, equal for two exactly when a symmetry maps one to the other."""


class PinningDomain(BulkDomain, Protocol):
    """A domain whose open cells can be filled in one by one: what search at inference needs in addition."""

    def pin(self, tokens: Tokens, cell: int, token: int) -> Tokens:
        """The puzzle `[S]` with one more given; `tokens` stays as it is."""

    def refuted(self, puzzles: Tokens) -> NDArray[np.bool_]:
        """Which puzzles `[n, S]` plain propagation shows to have no solution, without any search, `[n]`."""


def can_pin(domain: Domain) -> bool:
    """Whether search works on a domain: answers are puzzles with their open cells filled in, and rules check them."""
    return domain.blank_token is not None and hasattr(domain, "pin") and hasattr(domain, "violations")


@dataclass(frozen=True)
class DomainEntry:
    """How a domain is found without importing it: `module:function` names its factory."""

    factory: str
    purpose: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    """Options that are lists of texts; the others are whole numbers."""


OWN_PUZZLES = "grids"
"""The domain of puzzles without rules: answers are given, not verified."""

DOMAINS: dict[str, DomainEntry] = {
    "sudoku": DomainEntry(
        "hrm_cli.puzzles.sudoku.domain:SudokuDomain", "Sudoku of 4×4, 6×6 and 9×9 cells", {"size": 9}
    ),
    "arc": DomainEntry("hrm_cli.puzzles.arc.domain:ArcDomain", "ARC tasks, grids up to 30×30"),
    "maze": DomainEntry("hrm_cli.puzzles.maze.domain:MazeDomain", "mazes of any rectangle, 30×30 by default"),
    OWN_PUZZLES: DomainEntry(
        "hrm_cli.puzzles.grids.domain:GridsDomain",
        "own puzzles: pairs of grids up to 64×64 over any symbols",
        lists=("symbols", "symmetries"),
    ),
}


def make_domain(name: str, **facts: Any) -> Domain:
    """The domain called `name` with its options. Raises ConfigError for an unknown name or option."""
    entry = DOMAINS.get(name) if isinstance(name, str) else None
    if entry is None:
        raise ConfigError(
            f"unknown domain {name!r:.80}{closest(name, list(DOMAINS))} Known: {', '.join(DOMAINS)}."
        )
    module, _, attribute = entry.factory.partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    accepted = list(inspect.signature(factory).parameters)
    for option, value in facts.items():
        if option not in accepted:
            raise ConfigError(f"domain {name}: unknown option {option!r:.80}; it takes {', '.join(accepted)}")
        if option in entry.lists:
            if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
                raise ConfigError(f"domain {name}: {option} is {value!r:.40}; a list of texts is expected")
        elif value is not None and type(value) is not int:
            raise ConfigError(f"domain {name}: {option} is {value!r:.40}; a whole number is expected")
    domain: Domain = factory(**{**entry.defaults, **facts})
    return domain


def stated_domain(stated: Any) -> Domain | None:
    """The domain that a file states as `{"name": "sudoku", "size": 9}`; None where it states none.

    Raises ConfigError for anything else.
    """
    if not stated and (stated is None or isinstance(stated, Mapping)):
        return None
    if not isinstance(stated, Mapping) or not all(isinstance(key, str) for key in stated):
        raise ConfigError(f"domain {stated!r:.80}: an object with a name is expected")
    options = dict(stated)
    return make_domain(options.pop("name", None), **options)


def infer_domain(vocab_size: int, seq_len: int) -> Domain | None:
    """The first registered domain with this vocabulary and length: for datasets that do not state theirs."""
    for entry in DOMAINS.values():
        module = importlib.import_module(entry.factory.partition(":")[0])
        found: Domain | None = module.from_shape(vocab_size, seq_len)
        if found is not None:
            return found
    return None


def infer_relations(vocab_size: int, seq_len: int) -> Relations:
    """The relations of the domain with this vocabulary and length. Raises ConfigError where none declares any."""
    relations: Relations | None = getattr(infer_domain(vocab_size, seq_len), "relations", None)
    if relations is None:
        raise ConfigError(
            f"arch.mixer units needs a domain that declares relations between its cells, such as Sudoku; none with "
            f"{vocab_size} tokens and {seq_len} cells does. Take arch.mixer=attention"
        )
    return relations
