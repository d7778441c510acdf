"""Answers own puzzles, from files, standard input, text or Python; the user's own rule may judge the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.printable import shortened
from hrm_cli.puzzles.domain import Grid, Puzzle, Unreadable
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.own_code import load_function, reason_of
from hrm_cli.puzzles.grids.reading import ENDINGS, Columns, Pair, pair_of_line, read_pairs
from hrm_cli.puzzles.grids.symbols import cells_of_json
from hrm_cli.puzzles.text_lines import lines as lines_of
from hrm_cli.solving.files import MOST_DRAWN, answer_files
from hrm_cli.solving.request import STDIN, SolveRequest, Watcher, standard_input
from hrm_cli.solving.solution import Solution

if TYPE_CHECKING:
    import torch

    FindDevice = Callable[[str], torch.device]

Item = Puzzle | Unreadable
_NO_RULES = (
    "not for own puzzles: there are no rules that show whether an answer is right, so each gets one pass"
)


def solve_own(
    request: SolveRequest, watcher: Watcher, stdin: IO[bytes] | None, find_device: FindDevice | None
) -> None:
    """Answers own puzzles with a checkpoint trained on own puzzles.

    Raises PuzzleError, ConfigError or CheckpointError.
    """
    from hrm_cli.models.device import resolve_device
    from hrm_cli.solving.choosing import LoadedModel, SolveOptions

    refuse_options(request)
    request.check(has_tasks=False)
    judge = None if request.check_with is None else OwnCheck.load(request.check_with)
    assert request.checkpoint is not None
    loaded = LoadedModel.load(request.checkpoint, (find_device or resolve_device)(request.device))
    domain = loaded.domain
    assert isinstance(domain, GridsDomain)
    items, are_few = counted_ahead(own_puzzles(request.sources, domain, stdin), MOST_DRAWN)
    watcher.begin(are_few=are_few, are_tasks=False)
    asked = SolveOptions(request.max_steps, request.halt, seed=request.seed, batch_size=request.batch_size)
    with answer_files(request.files, request.output) as write:
        for answered in loaded.solve(items, asked):
            solution = answered if judge is None else judge.judged(answered, domain)
            write(domain, solution)
            watcher.show(domain, solution)


def refuse_options(request: SolveRequest) -> None:
    """Raises ConfigError for options that need rules or drawings, which own puzzles do not have."""
    needing_rules = {
        "--attempts": request.attempts is not None and request.attempts > 1,
        "--effort": request.effort is not None,
        "--search": request.search,
        "--search-steps": request.search_steps,
        "--search-rules": request.search_rules,
        "--restarts": request.restarts,
        "--noise-init": request.noise_init is not None,
        "--noise": request.noise is not None,
        "--max-seconds": request.seconds is not None,
    }
    others = {
        "--trace": request.trace,
        "--picture": request.picture,
        "--save-carry": request.save_carry,
        "--resume-carry": request.resume_carry,
    }
    for name, value in {**needing_rules, **others}.items():
        if value:
            raise ConfigError(f"{name}: {_NO_RULES if name in needing_rules else 'not for own puzzles yet'}")


def own_puzzles(
    sources: Sequence[str], domain: GridsDomain, stdin: IO[bytes] | None = None
) -> Iterator[Item]:
    """The inputs of files, of texts, or of standard input (`-`), in order; an Unreadable for each invalid input.

    Files have the formats of dataset sources (an output in them is compared with the answer), or are text files with
    one input per line. Raises PuzzleError for a missing file.
    """
    for source in sources:
        yield from _of_source(source, domain, stdin)


def _of_source(source: str, domain: GridsDomain, stdin: IO[bytes] | None) -> Iterator[Item]:
    path = Path(source)
    if source == STDIN:
        pairs = _lines(standard_input(stdin), "standard input")
    elif path.suffix.lower() in ENDINGS:
        pairs = read_pairs(path, Columns())
    elif "\n" not in source and len(source) < 256 and path.is_file():
        pairs = _text_file(path)
    elif path.suffix[1:].isalpha() and "\n" not in source and path.suffix.lower() == ".txt":
        raise PuzzleError(f"{source}: no such file")
    else:
        yield _puzzle(Pair("the given text", source), domain)
        return
    found = False
    try:
        for pair in pairs:
            found = True
            yield _puzzle(pair, domain)
    except PuzzleError as error:
        if not found:
            raise
        # Inputs read before the error are answered; the rest of the file is lost.
        yield Unreadable("", f"{error}; the file was read up to there", domain.name)
        return
    if not found:
        raise PuzzleError(f"{source}: holds no puzzle")


def _text_file(path: Path) -> Iterator[Pair]:
    with path.open("rb") as stream:
        yield from _lines(stream, str(path))


def _lines(stream: IO[bytes], name: str) -> Iterator[Pair]:
    """One puzzle per line: JSON, or text with / between rows."""
    for number, line in enumerate(lines_of(stream, name), start=1):
        where = f"{name}:{number}"
        if not isinstance(line, str):
            raise PuzzleError(f"{where}: {line}")
        if line.lstrip().startswith("{"):
            yield pair_of_line(line, where)
        elif line.strip():
            yield Pair(where, line)


def _puzzle(pair: Pair, domain: GridsDomain) -> Item:
    try:
        cells = cells_of_json(pair.given, words=bool(domain.words))
        puzzle = domain.checked(cells, pair.where)
    except PuzzleError as error:
        return Unreadable(pair.where, shortened(str(error), 400), domain.name)
    return Puzzle(puzzle.grid, _expected(pair, domain), where=pair.where, domain=domain.name)


def _expected(pair: Pair, domain: GridsDomain) -> Grid | None:
    """The expected output of an input, if the file has one and the model could produce it."""
    if pair.wanted is None or (isinstance(pair.wanted, str) and not pair.wanted.strip()):
        return None
    try:
        return domain.grid_of(cells_of_json(pair.wanted, words=bool(domain.words)))
    except PuzzleError:
        return None


def given_puzzles(puzzles: Any, domain: GridsDomain) -> Iterator[Item]:
    """The inputs given from Python: a path, a text, a grid as lists or an array, or several of these."""
    if isinstance(puzzles, str | Path):
        yield from own_puzzles([str(puzzles)], domain)
    elif isinstance(puzzles, np.ndarray) and puzzles.ndim <= 2:
        yield _puzzle(Pair("the given grid", puzzles.tolist()), domain)
    elif _is_grid(puzzles):
        yield _puzzle(Pair("the given grid", puzzles), domain)
    else:
        for one in puzzles:
            yield from given_puzzles(one, domain)


def _is_grid(value: Any) -> bool:
    """Whether a value is a list of rows, which are lists of symbols."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, list) and all(isinstance(cell, int | str) for cell in row) for row in value)
    )


def counted_ahead(items: Iterator[Item], most: int) -> tuple[Iterable[Item], bool]:
    """The same items, and whether there are at most `most` of them."""
    first = list(islice(items, most + 1))
    return chain(first, items), len(first) <= most


@dataclass(frozen=True)
class OwnCheck:
    """`--check FILE.py:FUNCTION`: a function of input and output, as lists of rows of symbols: is the output right?

    The code runs with the rights of the command, and only because the user named it on the command line: nothing in a
    dataset or a checkpoint can name it.
    """

    name: str
    function: Callable[[list[list[Any]], list[list[Any]]], Any]

    @classmethod
    def load(cls, text: str) -> OwnCheck:
        """The function that `FILE.py:FUNCTION` names. Raises ConfigError."""
        return cls(text, load_function(text, "--check"))

    def judged(self, solution: Solution, domain: GridsDomain) -> Solution:
        """Marks an answered puzzle as solved or unsolved. Raises ConfigError if the function fails."""
        if solution.status != "answered" or solution.puzzle is None or solution.answer is None:
            return solution
        try:
            is_right = self.function(domain.record(solution.puzzle.grid), domain.record(solution.answer))
        except Exception as error:
            raise ConfigError(
                f"--check {self.name}: failed on {solution.where}: {reason_of(error)}"
            ) from error
        if not isinstance(is_right, bool):
            raise ConfigError(f"--check {self.name}: returned {is_right!r:.40}; True or False is expected")
        if is_right:
            return replace(solution, status="solved", verified=True, one_pass=True)
        return replace(solution, status="unsolved", reason=f"refused by {self.name}")
