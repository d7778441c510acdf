"""The Python API: the commands as functions. `import hrm_cli as hrm` exports all of these names.

Names and defaults match the commands. Nothing is printed. Pass a `hrm_cli.reporting.Reporter` to follow a long job.
Errors that the user can fix are raised as `hrm.HRMError`, with the command's message. Importing this module imports
only the standard library and numpy; torch is imported by the first call that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hrm_cli.errors import PuzzleError
from hrm_cli.printable import cut, quoted
from hrm_cli.puzzles.domain import DOMAINS, OWN_PUZZLES, Domain, Grid, Puzzle, Unreadable
from hrm_cli.puzzles.plain_text import PlainText
from hrm_cli.puzzles.reading import TextReader
from hrm_cli.solving.files import open_puzzles, open_text
from hrm_cli.solving.solution import Solution

if TYPE_CHECKING:
    from hrm_cli.data.format import Dataset
    from hrm_cli.data.summary import BuildSummary
    from hrm_cli.evaluation.results import Measurement
    from hrm_cli.reporting import Reporter
    from hrm_cli.runs.execution import RunOutcome
    from hrm_cli.solving.choosing import LoadedModel

Rows = Sequence[Sequence[int]]
Puzzles = str | Path | Grid | Rows | Puzzle | Iterable["str | Path | Grid | Rows | Puzzle"]
"""A puzzle file, puzzles as text, an integer grid `[rows, columns]` or its rows, or an iterable of these."""


@dataclass(frozen=True)
class PuzzleSolution(Solution):
    """A `Solution` with its domain. Notebooks display it: as SVG, or with a slider if its steps were traced."""

    domain: Domain | None = field(default=None, repr=False)

    @property
    def text(self) -> str | None:
        """The answer on one line, as `hrm solve` prints it; None if there is no answer."""
        return None if self.answer is None or self.domain is None else self.written(self.domain, self.answer)

    def svg(self) -> str:
        """The picture that `hrm solve --picture` writes: the puzzle, the traced steps if any, and the answer.

        Raises ValueError if there is no answer to draw.
        """
        from hrm_cli.views.pictures import solve_picture

        if self.answer is None or self.domain is None:
            raise ValueError(f"{self.where}: {self.reason or self.status}: there is no answer to draw")
        return solve_picture(self.domain, self)

    def _repr_svg_(self) -> str | None:
        # Own puzzles have no SVG drawing.
        has_none = self.answer is None or (self.domain is not None and self.domain.name == OWN_PUZZLES)
        return None if has_none else self.svg()

    def _repr_html_(self) -> str | None:
        # A still picture is enough for a solution without steps.
        if self.domain is None or self.puzzle is None or not self.trace:
            return None
        from hrm_cli.views.notebooks import solution_html

        return solution_html(self.domain, self)


class Model:
    """A model that solves puzzles. Created by `load`."""

    def __init__(self, name: str | None, device: str) -> None:
        self.name = name
        """The checkpoint name as given; None to use the bundled model for each puzzle's size."""
        self._device = device
        self._loaded: LoadedModel | None = None

    def __repr__(self) -> str:
        return f"hrm_cli.load({self.name!r})" if self.name else "hrm_cli.load()"

    @property
    def loaded(self) -> LoadedModel:
        """The weights (`loaded.model`, a `torch.nn.Module`), their metadata (`loaded.card`) and their domain.

        Raises CheckpointError if no name was given, because the model then depends on the puzzle.
        """
        from hrm_cli.errors import CheckpointError
        from hrm_cli.models.device import resolve_device
        from hrm_cli.solving.choosing import LoadedModel

        if self.name is None:
            raise CheckpointError(
                "the bundled model depends on the puzzle; choose one: load('bundled:sudoku')"
            )
        if self._loaded is None:
            self._loaded = LoadedModel.load(Path(self.name), resolve_device(self._device))
        return self._loaded

    def solve(
        self,
        puzzles: Puzzles,
        *,
        max_steps: int | None = None,
        effort: Literal["low", "medium", "high"] | None = None,
        attempts: int | None = None,
        search: int | None = None,
        restarts: int | None = None,
        select: Literal["verify", "confidence", "q_halt", "residual", "agreement"] | None = None,
        seconds: float | None = None,
        halt: Literal["adaptive", "full"] | None = None,
        trace: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> Iterator[PuzzleSolution]:
        """Yields every puzzle's solution, in order, checked against the rules. The options are those of `hrm solve`.

        Raises PuzzleError if the input contains no puzzle. If one of several puzzles is invalid, its solution has a
        `reason`.
        """
        from hrm_cli.config.mixers import serves_every_size
        from hrm_cli.evaluation.effort import EffortRequest
        from hrm_cli.models.device import resolve_device
        from hrm_cli.solving.choosing import SolveOptions, solve_each_size

        further = EffortRequest(effort, attempts, search, restarts=restarts, seconds=seconds, select=select)
        asked = SolveOptions(max_steps, halt, further, seed, batch_size, trace, chances=trace)
        own = None if self.name is None else self.loaded.domain
        reader = None if own is None or own.name in DOMAINS else PlainText(own)
        items = _items(puzzles, "sudoku" if own is None else own.name, reader)
        if own is not None and own.name == OWN_PUZZLES:
            from hrm_cli.puzzles.grids.domain import GridsDomain
            from hrm_cli.solving.own_puzzles import given_puzzles

            assert isinstance(own, GridsDomain)
            items = given_puzzles(puzzles, own)
        if self.name is None or serves_every_size(self.loaded.model.arch.mixer):
            checkpoint = None if self.name is None else Path(self.name)
            device = resolve_device(self._device)
            found = solve_each_size(items, asked, device, checkpoint=checkpoint)
        else:
            loaded = self.loaded
            found = ((loaded.domain, solution) for solution in loaded.solve(items, asked))
        for domain, solution in found:
            given = {entry.name: getattr(solution, entry.name) for entry in fields(Solution)}
            yield PuzzleSolution(**given, domain=domain)


def load(name: str | Path | None = None, *, device: str = "auto") -> Model:
    """Loads a model: a run folder, a checkpoint folder, a .safetensors file, `bundled:NAME` or `hf:OWNER/NAME`.

    `bundled:DOMAIN`, such as `bundled:sudoku`, is the bundled model for that domain's default size. Without a name,
    each puzzle is solved by the bundled model for its size. Raises CheckpointError if there is no such model.
    """
    model = Model(None if name is None else str(name), device)
    if name is not None:
        _ = model.loaded
    return model


def evaluate(
    model: Model | str | Path,
    data: str | Path | None = None,
    *,
    split: str = "test",
    max_steps: int | Sequence[int] | None = None,
    halt: Literal["adaptive", "full"] | None = None,
    batch_size: int | None = None,
    max_puzzles: int | None = None,
    sample: int | None = None,
    select: Literal["verify", "confidence", "q_halt", "residual", "agreement"] | None = None,
    effort: Literal["low", "medium", "high"] | None = None,
    attempts: int | None = None,
    search: int | None = None,
    restarts: int | None = None,
    seconds: float | None = None,
    ablate_puzzle_id: bool = False,
    device: str = "auto",
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Evaluates a model on a dataset folder and returns the document of `hrm eval --json`.

    Without `data`, the dataset of the checkpoint's training run is used. `max_steps=[4, 16, 64]` also measures the
    accuracy at fewer steps. `max_puzzles` takes the first puzzles; `sample` takes that many chosen at random by `seed`.
    `effort`, `attempts`, `search`, `restarts` and `seconds` are those of `Model.solve`. `ablate_puzzle_id` replaces
    every puzzle identifier with the blank one.

    Raises CheckpointError, ConfigError or DatasetError.
    """
    from hrm_cli.errors import CheckpointError
    from hrm_cli.evaluation.measuring import measure
    from hrm_cli.evaluation.request import EvalRequest, parse_depths

    if max_steps is None:
        depths: tuple[int, ...] = ()
    else:
        given = [max_steps] if isinstance(max_steps, int) else max_steps
        depths = parse_depths(given if isinstance(given, str) else ",".join(map(str, given)))
    name = model.name if isinstance(model, Model) else str(model)
    if name is None:
        raise CheckpointError("choose the model to evaluate: load('bundled:sudoku')")
    measured: Measurement = measure(
        EvalRequest(
            name,
            None if data is None else str(data),
            split,
            max_steps=depths[-1] if depths else None,
            depths=depths if len(depths) > 1 else (),
            halt=halt,
            batch_size=batch_size,
            max_puzzles=max_puzzles,
            effort=effort,
            attempts=attempts,
            search=search,
            restarts=restarts,
            seconds=seconds,
            device=device,
            seed=seed,
            ablate_puzzle_id=ablate_puzzle_id,
            sample=sample,
            select=select,
        ),
        reporter,
    )
    return measured.document()


def train(
    preset: str | Path | None = None,
    *,
    data: str | Path | None = None,
    pairs: str | Path | None = None,
    overrides: str | Sequence[str] = (),
    output_dir: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    seed: int | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> RunOutcome:
    """Trains as `hrm train` does and returns the run. Its `folder` contains checkpoints that `load` accepts.

    `pairs` is a source of your own pairs, as in `hrm train mine.csv`. Raises ConfigError, DatasetError, PuzzleError,
    CheckpointError or TrainingDiverged.
    """
    from hrm_cli.runs.execution import train_run
    from hrm_cli.runs.own_file import own_request
    from hrm_cli.runs.request import TrainRequest
    from hrm_cli.views.run_in_notebook import NotebookRun

    request = TrainRequest(
        None if preset is None else str(preset),
        _settings(overrides),
        _path(data),
        _path(output_dir),
        _path(checkpoint),
        None if resume is None else str(resume),
        seed,
        force,
    )
    if pairs is not None:
        request = own_request(str(pairs), request, reporter)
    return NotebookRun.of(train_run(request, reporter))


def build_dataset(
    domain: str,
    *,
    output_dir: str | Path,
    force: bool = False,
    reporter: Reporter | None = None,
    **settings: Any,
) -> BuildSummary:
    """Builds a dataset as `hrm build-dataset DOMAIN` does. `settings` are its options, such as `num_train=1000`.

    A range can be given as a pair: `clues=(22, 46)`. Raises ConfigError, PuzzleError or DatasetError.
    """
    from hrm_cli.data.request import BuildRequest, build_request

    pairs = {
        name: f"{value[0]}-{value[1]}" if isinstance(value, tuple) and len(value) == 2 else value
        for name, value in settings.items()
    }
    return build_request(BuildRequest(domain, Path(output_dir), pairs, force=force), reporter)


def open_dataset(folder: str | Path, *, split: str = "train") -> Dataset:
    """Opens a split of a dataset on disk, memory-mapped. Raises DatasetError."""
    from hrm_cli.views.notebooks import NotebookDataset

    return NotebookDataset.open(Path(folder), split)


def inspect_dataset(
    source: str | Path,
    *,
    split: str | None = None,
    examples: int = 1,
    copies: int = 2,
    symmetries: Sequence[str] | None = None,
    domain: str | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Returns the document of `hrm inspect --json`: what a dataset folder or a file of puzzles or pairs holds.

    `symmetries` are claims about own pairs to apply when looking for leaks, such as `["rotations"]`. `domain` says what
    a file holds, where that is not clear. Raises ConfigError, DatasetError or PuzzleError.
    """
    from hrm_cli.inspection.report import InspectRequest, inspect_source
    from hrm_cli.inspection.sources import SourceOptions

    claims = None if symmetries is None else tuple(symmetries)
    options = SourceOptions(domain, seed=seed)
    request = InspectRequest(str(source), split, examples, copies, seed, claims, options)
    return inspect_source(request, reporter).document()


def count_parameters(
    name: str | Path,
    overrides: str | Sequence[str] = (),
    *,
    vocab_size: int | None = None,
    puzzle_identifiers: int | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Returns the document of `hrm params --json`: exact counts, both published formulas, FLOPs and memory.

    `name` is a preset, a YAML file or a checkpoint. Raises ConfigError, CheckpointError or DatasetError.
    """
    from hrm_cli.runs.subjects import AssumedSizes, report_of

    return report_of(
        str(name), _settings(overrides), AssumedSizes(vocab_size, puzzle_identifiers, batch_size)
    ).document()


def _settings(overrides: str | Sequence[str]) -> tuple[str, ...]:
    """One setting need not be in a list."""
    return (overrides,) if isinstance(overrides, str) else tuple(overrides)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _items(puzzles: Any, domain: str, reader: TextReader | None = None) -> Iterator[Puzzle | Unreadable]:
    """The puzzles given from Python. `reader` reads puzzles of a plugin's domain."""
    if isinstance(puzzles, Puzzle):
        yield puzzles
    elif isinstance(puzzles, Path):
        yield from open_puzzles(puzzles, reader)
    elif isinstance(puzzles, str):
        yield from open_text(puzzles, reader)
    elif isinstance(puzzles, np.ndarray):
        yield _grid(puzzles, domain)
    elif (rows := _rows(puzzles)) is not None:
        yield _grid(rows, domain)
    elif not isinstance(puzzles, Iterable):
        raise PuzzleError(
            f"found {quoted(puzzles, 80)}; expected a file, text, a grid of whole numbers, or a list of these"
        )
    else:
        for one in puzzles:
            try:
                yield from _items(one, domain, reader)
            except PuzzleError as error:
                yield Unreadable(cut(str(one), 80), str(error), domain)


def _rows(puzzles: Any) -> Grid | None:
    """A list of rows of numbers as an array; None for other input. Raises PuzzleError for unequal rows."""
    if not isinstance(puzzles, list | tuple) or not puzzles:
        return None
    if not all(isinstance(row, list | tuple) and row for row in puzzles):
        return None
    if not all(isinstance(cell, int | np.integer) for row in puzzles for cell in row):
        return None
    lengths = sorted({len(row) for row in puzzles})
    if len(lengths) > 1:
        raise PuzzleError(
            f"a grid has rows of {lengths[0]} and {lengths[-1]} cells; rows must be equally long"
        )
    return np.array(puzzles)


def _grid(grid: Any, domain: str) -> Puzzle | Unreadable:
    where = "the given grid"
    if grid.ndim != 2 or not np.issubdtype(grid.dtype, np.integer) or not grid.size:
        found = f"{grid.dtype} of shape {list(grid.shape)}"
        return Unreadable(where, f"found {found}; expected whole numbers [rows, columns]", domain)
    if grid.min() < 0 or grid.max() > 255:
        return Unreadable(where, f"found {int(grid.min())} to {int(grid.max())}; expected 0 to 255", domain)
    return Puzzle(grid.astype(np.uint8), where=where, domain=domain)
