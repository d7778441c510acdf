"""The interface of a puzzle domain. All other code handles Sudoku, ARC, mazes and own puzzles through it.

A domain defines tokens, text formats, rules and symmetries of its puzzles. It does not depend on models. Tokens are
uint8 arrays of length `seq_len`, and 0 is always padding. Symmetries map solvable puzzles to solvable puzzles.
Augmentation, test-time augmentation and evaluation all apply them through `TokenSymmetries`.

Letters in shapes: n puzzles, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError
from hrm_cli.printable import quoted
from hrm_cli.puzzles.relations import Neighborhood, Relations

Tokens = NDArray[np.uint8]
Grid = NDArray[np.uint8]

PAD = 0


@dataclass(frozen=True)
class Puzzle:
    """One puzzle as read from its source."""

    grid: Grid
    """The domain's own cells, `[rows, columns]` (Sudoku: 0 for blank, else the digit)."""
    solution: Grid | None = None
    """The solution given by the source, if any. It is not verified."""
    where: str = ""
    """File and line for messages: `file.txt:3`."""
    source: str = ""
    """The collection it came from (the `source` column of a CSV file), for results grouped by source."""
    rating: float | None = None
    """The difficulty rating given by the source, if any."""
    domain: str = ""
    """Name of the domain whose reader read it."""
    characters: Mapping[int, int] = field(default_factory=dict)
    """Translates the domain's text to the characters of its source (for `str.translate`), where they differ."""


@dataclass(frozen=True)
class Unreadable:
    """A piece of a puzzle file that could not be read as a puzzle. Reading continues after it."""

    where: str
    reason: str
    domain: str = ""
    """Name of the domain whose reader could not read it."""


@dataclass(frozen=True)
class Skipped:
    """A line of a puzzle file that is not part of a puzzle, such as a title. Such lines are counted and reported."""

    where: str


@dataclass(frozen=True)
class Verdict:
    """Whether an answer obeys the rules. `reason` describes the first rule violation (empty if `ok`)."""

    ok: bool
    reason: str = ""
    note: str = ""
    """A remark on a valid answer, for example that its path is not the shortest."""


@dataclass(frozen=True)
class Diagnosis:
    """The exact solver's result for a puzzle."""

    solutions: int | None
    """0, 1, or 2 for more than one; None if the solver gave up before it knew."""
    reason: str = ""
    """The reason why there is not exactly one solution, such as the first contradiction among the givens."""
    difficulty: int = 0
    """The domain's own measure of difficulty (Sudoku: branches explored; mazes: moves of the shortest path)."""
    solution: Grid | None = field(default=None, compare=False)
    """The solution, if there is exactly one."""


@dataclass(frozen=True)
class TokenSymmetries:
    """n symmetries of a domain with a fixed grid size, as arrays: out[i, s] = tokens[i, in[i, cells[i, s]]].

    They can be inverted and composed. Row i applies to both the input and the solution of puzzle i.
    """

    cells: NDArray[np.int32]
    """Source cell of each output cell, `[n, S]`. Each row is a permutation."""
    tokens: NDArray[np.uint8]
    """New token of each old token, `[n, V]`. Each row is a permutation that keeps padding and blanks."""

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> TokenSymmetries:
        rows = slice(index, index + 1) if isinstance(index, int) else index
        return TokenSymmetries(self.cells[rows], self.tokens[rows])

    def apply(self, tokens: Tokens) -> Tokens:
        """The augmented copies of `tokens` `[n, S]` (or `[S]`, for one puzzle under n symmetries) as `[n, S]`."""
        # Dataset building spends most of its time here. Flat indices are several times faster than take_along_axis.
        rows = np.arange(len(self))[:, None]
        source = np.broadcast_to(tokens, self.cells.shape).reshape(-1)
        moved = np.take(source, self.cells + rows * self.cells.shape[1])
        vocabulary = self.tokens.shape[1]
        if moved.size and moved.max() >= vocabulary:
            raise ValueError(f"token {moved.max()} in a vocabulary of {vocabulary}")
        return np.take(self.tokens.reshape(-1), moved + rows * vocabulary)

    def sources(self, tokens: Tokens) -> NDArray[np.integer[Any]]:
        """The cell that each cell of `apply(tokens)` comes from, `[n, S]`."""
        return self.cells

    def apply_both(self, inputs: Tokens, labels: Tokens) -> tuple[Tokens, Tokens]:
        """Applies the symmetries to puzzles and answers `[n, S]` in one pass, much faster than two `apply` calls."""
        from hrm_cli.puzzles.compiled import apply_both

        moved = np.empty(self.cells.shape, np.uint8), np.empty(self.cells.shape, np.uint8)
        plain = np.ascontiguousarray(inputs, np.uint8), np.ascontiguousarray(labels, np.uint8)
        if wrong := apply_both(self.cells, self.tokens, *plain, *moved):
            raise ValueError(f"token {wrong} in a vocabulary of {self.tokens.shape[1]}")
        return moved

    def identity(self) -> TokenSymmetries:
        """The identity of the same group."""
        cells = np.arange(self.cells.shape[1], dtype=np.int32)[None]
        return TokenSymmetries(cells, np.arange(self.tokens.shape[1], dtype=np.uint8)[None])

    def joined(self, others: Sequence[TokenSymmetries]) -> TokenSymmetries:
        """These symmetries, followed by others."""
        every = (self, *others)
        return TokenSymmetries(
            np.concatenate([one.cells for one in every]), np.concatenate([one.tokens for one in every])
        )

    def names(self) -> list[bytes]:
        """A key for each symmetry; equal keys mean equal symmetries."""
        cells = self.cells.astype(np.int32)
        return [cell.tobytes() + token.tobytes() for cell, token in zip(cells, self.tokens, strict=True)]

    def inverse(self) -> TokenSymmetries:
        """The inverse symmetries."""
        return TokenSymmetries(
            np.argsort(self.cells, axis=1).astype(np.int32), np.argsort(self.tokens, axis=1).astype(np.uint8)
        )

    def after(self, first: TokenSymmetries) -> TokenSymmetries:
        """The composition: `first` is applied before these."""
        return TokenSymmetries(
            np.take_along_axis(first.cells, self.cells, axis=1),
            np.take_along_axis(self.tokens, first.tokens.astype(np.intp), axis=1),
        )


class Domain(Protocol):
    """The operations of every puzzle domain. Domains are registered in `DOMAINS` and created by `make_domain`."""

    name: str
    vocab_size: int
    seq_len: int

    @property
    def blank_token(self) -> int | None:
        """Token of a cell to fill in, if inputs are answers with blank cells; None for other domains."""

    def facts(self) -> dict[str, Any]:
        """The options that recreate this domain (Sudoku: `{"size": 9}`), stored with datasets."""

    def describe(self) -> str:
        """The domain as text for messages: `9×9 Sudoku`."""

    def parse(self, text: str, where: str = "") -> Puzzle:
        """Parses a puzzle from one line of text. Raises PuzzleError, with `where`."""

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[S]` of a grid. Raises PuzzleError if the grid does not fit this domain."""

    def decode(self, tokens: Tokens) -> Grid:
        """The grid of tokens `[S]`. Tokens that do not represent a cell become blanks."""

    def text(self, grid: Grid) -> str:
        """The grid as one line of text, the format of written answers."""

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """Samples `count` symmetries uniformly from the domain's whole group."""

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Whether `answer` solves `puzzle` according to the rules, independent of any stored solution."""

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """The number of solutions of a puzzle, found by exact search."""

    def lines(self, grid: Grid) -> Sequence[str]:
        """The grid drawn in plain characters, one string per line."""


@dataclass(frozen=True)
class Solved:
    """The exact solver's results for n puzzles at once."""

    counts: NDArray[np.int32]
    """Number of solutions of each puzzle: 0, 1, 2 for more than one, or -1 if the solver gave up, `[n]`."""
    difficulties: NDArray[np.int64]
    """As in `Diagnosis`, `[n]`."""
    answers: Tokens
    """A solution of each solvable puzzle, `[n, S]`."""


class BulkDomain(Domain, Protocol):
    """A domain for which datasets can be built: it has batched versions of the same operations."""

    solver_is_fast: bool
    """Whether solving a puzzle takes no longer than reading it."""

    def encode_all(self, cells: Grid) -> Tokens:
        """Tokens `[n, S]` of cells `[n, S]`. The grids must come from the parser or the generator."""

    def solve_all(self, tokens: Tokens) -> Solved:
        """Solves puzzles `[n, S]`. Releases the GIL, so that several threads can work at once."""

    def verify_all(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.bool_]:
        """Which answers `[n, S]` are correct and, where quality is measured, optimal. Models learn only these."""

    def violations(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.int64]:
        """The number of rule violations in answers `[n, S]` with any tokens, as `[n]`.

        0: `verify_all` accepts the answer. 1: `verify` accepts it, but a better answer exists. Otherwise 1 + the number
        of rule violations.
        """

    def canonical(self, tokens: Tokens) -> list[bytes]:
        """A key for each puzzle `[n, S]`. Two keys are equal exactly if a symmetry maps one puzzle to the other."""


class PinningDomain(BulkDomain, Protocol):
    """A domain whose puzzles can be given further cells, one by one. Search at inference needs these operations.

    A domain without blank cells also has `next_pins` (tokens `[S]` and the model's probabilities `[S, V]` → cell,
    token and probability of each pin to try) and `without_pins` (puzzles, pinned puzzles and answers to them, all
    `[n, S]` → answers to the puzzles).
    """

    def pin(self, tokens: Tokens, cell: int, token: int) -> Tokens:
        """Returns the puzzle `[S]` with one more given. Does not modify `tokens`."""

    def refuted(self, puzzles: Tokens) -> NDArray[np.bool_]:
        """Which puzzles `[n, S]` constraint propagation alone proves unsolvable, without search, `[n]`."""


def can_pin(domain: Domain) -> bool:
    """Whether a domain supports search: cells can be given one by one, and rules can check answers."""
    pins = domain.blank_token is not None or hasattr(domain, "next_pins")
    return pins and hasattr(domain, "pin") and hasattr(domain, "violations")


@dataclass(frozen=True)
class DomainEntry:
    """Registers a domain without importing it: `factory` is `module:function`."""

    factory: str
    purpose: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    """Names of the options that are lists of strings; all other options are integers."""


OWN_PUZZLES = "grids"
"""The domain of puzzles without rules. Their answers cannot be verified."""

DOMAINS: dict[str, DomainEntry] = {
    "sudoku": DomainEntry(
        "hrm_cli.puzzles.sudoku.domain:SudokuDomain", "Sudoku of every size from 4×4 to 25×25", {"size": 9}
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
    """Creates a domain, built in or of a plugin, with its options. Raises ConfigError for an unknown name or option."""
    entry = DOMAINS.get(name) if isinstance(name, str) else None
    if entry is None:
        from hrm_cli.puzzles.plugin_domains import make_plugin_domain

        return make_plugin_domain(name, facts, list(DOMAINS))
    module, _, attribute = entry.factory.partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    accepted = list(inspect.signature(factory).parameters)
    for option, value in facts.items():
        if option not in accepted:
            raise ConfigError(
                f"domain {name}: unknown option {quoted(option, 80)}; accepted: {', '.join(accepted)}"
            )
        found = f"domain {name}: {option}: found {quoted(value, 40)}"
        if option in entry.lists:
            if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
                raise ConfigError(f"{found}; expected a list of strings")
        elif value is not None and type(value) is not int:
            raise ConfigError(f"{found}; expected a whole number")
    return cast(Domain, factory(**{**entry.defaults, **facts}))


def domain_of_puzzle(puzzle: Puzzle) -> Domain:
    """The domain of a puzzle's kind and size. Raises ConfigError for a size that the domain does not have."""
    rows, columns = puzzle.grid.shape
    entry = DOMAINS.get(puzzle.domain)
    module, _, attribute = (entry or DOMAINS["sudoku"]).factory.partition(":")
    accepted = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    sides = {"rows": rows, "columns": columns} if "rows" in accepted else {"size": rows}
    return make_domain(puzzle.domain, **sides)


def parse_domain(stored: Any) -> Domain | None:
    """Creates the domain that a file stores as `{"name": "sudoku", "size": 9}`; None if the file stores none.

    Raises ConfigError for anything else.
    """
    if not stored and (stored is None or isinstance(stored, Mapping)):
        return None
    if not isinstance(stored, Mapping) or not all(isinstance(key, str) for key in stored):
        raise ConfigError(f"domain {quoted(stored, 80)}: expected an object with a name")
    options = dict(stored)
    return make_domain(options.pop("name", None), **options)


def infer_domain(vocab_size: int, seq_len: int) -> Domain | None:
    """The first registered domain with this vocabulary and length, for datasets that do not store their domain."""
    for entry in DOMAINS.values():
        module = importlib.import_module(entry.factory.partition(":")[0])
        if (found := module.from_shape(vocab_size, seq_len)) is not None:
            return cast(Domain, found)
    from hrm_cli.puzzles.plugin_domains import used_domain  # created earlier; no plugin is imported here

    return used_domain(vocab_size, seq_len)


def domain_of(stated: Mapping[str, Any] | None, vocab_size: int, seq_len: int) -> Domain:
    """The domain that a file states, or else the one with this vocabulary and length.

    Raises ConfigError if there is none, or if the stated one has another shape.
    """
    domain = parse_domain(stated)
    if domain is None or (domain.vocab_size, domain.seq_len) != (vocab_size, seq_len):
        domain = infer_domain(vocab_size, seq_len)
    if domain is None:
        raise ConfigError(
            f"no known domain has {vocab_size} tokens and {seq_len} cells, and the mixer needs to know how the "
            "cells are related. Use arch.mixer=attention"
        )
    return domain


def relations_of(domain: Domain) -> Relations:
    """The relations that a domain declares. Raises ConfigError if it declares none."""
    relations: Relations | None = getattr(domain, "relations", None)
    if relations is None:
        raise ConfigError(
            "arch.mixer units needs a domain that declares relations between its cells, such as Sudoku; "
            f"{domain.describe()} declares none. Use arch.mixer=attention"
        )
    return relations


def neighborhood_of(domain: Domain, mixer: str = "neighbors") -> Neighborhood:
    """The grid that a domain declares its cells to be, for a mixer. Raises ConfigError if it declares none."""
    neighborhood: Neighborhood | None = getattr(domain, "neighborhood", None)
    if neighborhood is None:
        raise ConfigError(
            f"arch.mixer {mixer} needs a domain whose cells are a grid, such as mazes; "
            f"{domain.describe()} is not. Use arch.mixer=attention"
        )
    return neighborhood
