"""Answers own puzzles, from files, standard input, text or Python; the user's own rule may judge the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.printable import shortened
from hrm_cli.puzzles.domain import Grid, Puzzle, Tokens, Unreadable, Verdict
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.own_code import OwnCheck
from hrm_cli.puzzles.grids.reading import ENDINGS, Columns, Pair, pair_of_line, read_pairs
from hrm_cli.puzzles.grids.symbols import cells_of_json
from hrm_cli.puzzles.text_lines import lines as lines_of
from hrm_cli.solving.files import MOST_DRAWN, Draw, answer_files
from hrm_cli.solving.request import STDIN, SolveRequest, Watcher, standard_input

if TYPE_CHECKING:
    import torch

    FindDevice = Callable[[str], torch.device]

Item = Puzzle | Unreadable
_MOST_KNOWN = 10_000


def solve_own(
    request: SolveRequest,
    watcher: Watcher,
    stdin: IO[bytes] | None,
    draw: Draw | None,
    find_device: FindDevice | None,
) -> None:
    """Answers own puzzles with a checkpoint trained on own puzzles.

    Raises PuzzleError, ConfigError or CheckpointError.
    """
    from hrm_cli.evaluation.effort import EffortRequest
    from hrm_cli.models.device import resolve_device
    from hrm_cli.solving.choosing import LoadedModel, SolveOptions

    refuse_options(request)
    request.check(has_tasks=False)
    check = None if request.check_with is None else OwnCheck.load(request.check_with)
    assert request.checkpoint is not None
    loaded = LoadedModel.load(request.checkpoint, (find_device or resolve_device)(request.device))
    domain = loaded.domain
    assert isinstance(domain, GridsDomain)
    if check is not None:
        domain = CheckedGrids.of(domain, check)
        loaded = replace(loaded, domain=domain)
    effort = EffortRequest(
        request.effort, request.attempts, restarts=request.restarts, noise_init=request.noise_init,
        noise=request.noise, seconds=request.seconds, select=request.select,
    )  # fmt: skip
    asked = SolveOptions(
        request.max_steps,
        request.halt,
        effort,
        request.seed,
        request.batch_size,
        request.needs_trace,
        request.needs_chances,
    )
    loaded.effort(asked)  # options that do not fit the model are refused before the files are read
    items, are_few = counted_ahead(own_puzzles(request.sources, domain, stdin), MOST_DRAWN)
    watcher.begin(are_few=are_few, are_tasks=False)
    with answer_files(
        request.files,
        request.output,
        request.pictures,
        draw=draw,
        with_trace=request.trace,
        note=watcher.note,
    ) as write:
        for solution in loaded.solve(items, asked, progress=watcher.on_stage):
            write(domain, solution)
            watcher.show(domain, solution)


def refuse_options(request: SolveRequest) -> None:
    """Raises ConfigError for options that own puzzles do not support."""
    no_pins = "not for own puzzles: they have no blank cells that a search could fill in"
    no_rules = (
        "own puzzles have no rules that verify an answer; name a function that does, with --check, or choose among "
        "--restarts K by agreement"
    )
    not_yet = "not for own puzzles yet"
    refused = {
        "--search": (request.search, no_pins),
        "--search-steps": (request.search_steps, no_pins),
        "--search-rules": (request.search_rules, no_pins),
        "--effort": (request.effort is not None and request.check_with is None, no_rules),
        "--max-seconds": (request.seconds is not None and request.check_with is None, no_rules),
        "--picture": (request.picture, "not for own puzzles; --png, --gif and --html draw them"),
        "--save-carry": (request.save_carry, not_yet),
        "--resume-carry": (request.resume_carry, not_yet),
    }
    for name, (value, reason) in refused.items():
        if value:
            raise ConfigError(f"{name}: {reason}")


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
        yield Unreadable("", f"{error}; the file was read up to that point", domain.name)
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


class CheckedGrids(GridsDomain):
    """Own puzzles with the user's function as their rules: it verifies answers, as rules verify those of Sudoku."""

    check: OwnCheck

    @classmethod
    def of(cls, domain: GridsDomain, check: OwnCheck) -> CheckedGrids:
        """The same puzzles, with rules."""
        made = cls(**domain.facts())
        made.check = check
        made._known = {}
        return made

    _known: dict[bytes, bool]
    """What the function returned for the latest puzzles and answers: attempts often give the same answer."""

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Whether the function accepts an answer, which must be a grid. Raises ConfigError if the function fails."""
        if fault := self.fault(answer):
            return Verdict(False, fault)
        key = bytes(str((puzzle.shape, answer.shape)), "ascii") + puzzle.tobytes() + answer.tobytes()
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self.check.accepts(self.record(puzzle), self.record(answer))
        is_right = self._known[key]
        return Verdict(is_right, "" if is_right else f"refused by {self.check.name}")

    def violations(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.int64]:
        """How wrong answers `[n, S]` are: 0 if the function accepts them, 2 if it refuses them, 3 without a grid."""
        found = []
        for puzzle, answer in zip(puzzles, answers, strict=True):
            grid = self.decode(answer)
            is_right = not self.fault(grid) and self.verify(self.decode_input(puzzle), grid).ok
            found.append(0 if is_right else 3 if self.fault(grid) else 2)
        return np.array(found, np.int64)
