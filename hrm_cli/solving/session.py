"""Executes a solve request: opens the files, loads the model, solves, and writes the requested outputs."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hrm_cli.errors import CheckpointError, ConfigError, PuzzleError
from hrm_cli.files import refuse_unwritable, whole_file
from hrm_cli.puzzles.domain import DOMAINS, OWN_PUZZLES, Domain, parse_domain
from hrm_cli.puzzles.text_lines import SkippedLines
from hrm_cli.solving.files import (
    MOST_DRAWN,
    Draw,
    OpenedPuzzles,
    answer_files,
    first_puzzle,
    open_sources,
)
from hrm_cli.solving.request import STDIN, SolveRequest, Watcher, standard_input
from hrm_cli.solving.solution import Solution

if TYPE_CHECKING:
    import torch

    from hrm_cli.puzzles.arc.tasks import Task
    from hrm_cli.puzzles.reading import TextReader

    FindDevice = Callable[[str], torch.device]

_PEEKED = 4096
"""Number of bytes examined to distinguish tasks from grids."""


def solve_request(
    request: SolveRequest,
    watcher: Watcher,
    *,
    stdin: IO[bytes] | None = None,
    draw: Draw | None = None,
    find_device: FindDevice | None = None,
) -> SkippedLines | None:
    """Executes a request. For files of grids, returns the lines that are not part of a puzzle.

    `stdin` is read if the source is `-`; `draw` makes the picture. Errors in files or options are raised before torch
    is loaded: PuzzleError, ConfigError, CheckpointError.
    """
    request.check_sources()
    trained_on = None
    if request.checkpoint is not None:
        from hrm_cli.checkpoints.dataset_facts import checkpoint_domain

        trained_on = checkpoint_domain(request.checkpoint)
    is_own = trained_on is not None and trained_on["name"] == OWN_PUZZLES
    if request.check_with is not None and not is_own:
        raise ConfigError(
            "--check: only for own puzzles, with a --checkpoint that was trained on own puzzles"
        )
    if is_own:
        from hrm_cli.solving.own_puzzles import solve_own

        solve_own(request, watcher, stdin, draw, find_device)
        return None
    plugin = _reader_of_plugin(request, trained_on)
    has_tasks = plugin is None and _hold_tasks(request.sources, stdin)
    request.check(has_tasks=has_tasks)
    if has_tasks:
        solve_tasks(request, watcher, stdin, draw, find_device)
        return None
    puzzles = None
    if request.resume_carry is None:
        puzzles = open_sources(request.sources, stdin, plugin)
    if request.checkpoint is None and puzzles is not None and request.save_carry is not None:
        from hrm_cli.checkpoints.bundled import SCHEME, model_for

        name = model_for(first_puzzle(puzzles.first)).name
        request = replace(request, checkpoint=Path(f"{SCHEME}{name}"))
    watcher.begin(are_few=puzzles is None or puzzles.are_few, are_tasks=False)
    with answer_files(
        request.files,
        request.output,
        request.pictures,
        draw=draw,
        with_trace=request.trace,
        note=watcher.note,
    ) as write:

        def found(domain: Domain, solution: Solution) -> None:
            # Write the answer before showing it, so that an interrupt between the two loses no printed answer.
            write(domain, solution)
            watcher.show(domain, solution)

        _solve_grids(request, puzzles, found, watcher, find_device)
    return None if puzzles is None else puzzles.skipped


def _reader_of_plugin(request: SolveRequest, trained_on: Mapping[str, Any] | None) -> TextReader | None:
    """The reader of puzzles if a plugin adds the checkpoint's domain, else None.

    Raises CheckpointError if the plugin is not installed.
    """
    if trained_on is None or trained_on["name"] in DOMAINS:
        return None
    from hrm_cli.puzzles.plain_text import PlainText

    try:
        domain = parse_domain(trained_on)
        return None if domain is None else PlainText(domain)
    except ConfigError as error:
        raise CheckpointError(f"{request.checkpoint}: {error}") from None


def _solve_grids(
    request: SolveRequest,
    puzzles: OpenedPuzzles | None,
    found: Callable[[Domain, Solution], None],
    watcher: Watcher,
    find_device: FindDevice | None,
) -> None:
    from hrm_cli.checkpoints.model_files import serves_every_size
    from hrm_cli.evaluation.effort import EffortRequest
    from hrm_cli.models.device import resolve_device
    from hrm_cli.solving.choosing import LoadedModel, SolveOptions, solve_each_size

    effort = EffortRequest(
        request.effort, request.attempts, request.search, request.search_steps, request.search_rules,
        request.restarts, request.noise_init, request.noise, request.seconds, request.select,
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
    device = (find_device or resolve_device)(request.device)
    keeps_carry = request.save_carry is not None or request.resume_carry is not None
    if request.checkpoint is None or (not keeps_carry and serves_every_size(request.checkpoint)):
        solved = solve_each_size(
            puzzles or (), asked, device, checkpoint=request.checkpoint, progress=watcher.on_stage
        )
        for domain, solution in solved:
            found(domain, solution)
        return
    loaded = LoadedModel.load(request.checkpoint, device)
    steps = loaded.steps(asked)
    if request.save_carry is None and request.resume_carry is None:
        for solution in loaded.solve(puzzles or (), asked, progress=watcher.on_stage):
            found(loaded.domain, solution)
        return
    from hrm_cli.solving import pausing

    batches: list[pausing.PausedBatch] = []
    solutions: Iterable[Solution]
    if request.resume_carry is not None:
        paused = pausing.load_carry(request.resume_carry, loaded.card, loaded.domain)
        solutions = pausing.resume_puzzles(
            loaded.model, loaded.domain, paused, max_steps=steps,
            adaptive=loaded.adaptive(asked), trace=asked.trace, chances=asked.chances, paused_again=batches,
        )  # fmt: skip
    else:
        reasoner = pausing.PausingModel(loaded.model, batches)
        solutions = loaded.solve(
            puzzles or (), replace(asked, effort=EffortRequest(copies=1)), reasoner=reasoner
        )
    out_of_steps = []
    for solution in solutions:
        found(loaded.domain, solution)
        if request.save_carry is not None and solution.steps == steps:
            out_of_steps.append(solution)
    if request.save_carry is not None:
        count = pausing.save_carry(
            request.save_carry, loaded.card, loaded.domain, steps, batches, out_of_steps
        )
        watcher.note(f"{count:,} puzzles ran out of steps; their state is in {request.save_carry}.")


def _hold_tasks(sources: Sequence[str], stdin: IO[bytes] | None) -> bool:
    kinds = {holds_tasks(source, stdin): source for source in sources}
    if len(kinds) > 1:
        raise ConfigError(
            f"{kinds[True]} holds ARC tasks and {kinds[False]} puzzles of one grid; solve them in separate commands"
        )
    return True in kinds


def holds_tasks(source: str, stdin: IO[bytes] | None = None) -> bool:
    """Whether the source is a JSON object, that is, ARC tasks. JSON lists are grids of digits."""
    if source != STDIN:
        if not source.lower().endswith(".json"):
            return False
        try:
            with Path(source).open("rb") as stream:
                return _begins_as_object(stream.read(_PEEKED), default=True)
        except OSError:
            # The task reader will report what is wrong with the file.
            return True
    return isinstance(stdin, io.BufferedReader) and _begins_as_object(stdin.peek(_PEEKED), default=False)


def _begins_as_object(beginning: bytes, *, default: bool) -> bool:
    text = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    return text[:1] == b"{" if text else default


def solve_tasks(
    request: SolveRequest,
    watcher: Watcher,
    stdin: IO[bytes] | None,
    draw: Draw | None,
    find_device: FindDevice | None,
) -> None:
    """Solves ARC tasks: each is voted on. Raises PuzzleError, ConfigError or CheckpointError."""
    from hrm_cli.puzzles.arc.domain import ArcDomain

    tasks = [task for source in request.sources for task in _open_tasks(source, stdin)]
    with (
        answer_files(
            request.files,
            request.output,
            request.pictures,
            draw=draw,
            with_trace=request.trace,
            note=watcher.note,
        ) as write,
        _submission_file(request.submission) as attempts,
    ):
        from hrm_cli.checkpoints.model_files import load_model
        from hrm_cli.evaluation.selection import default_select
        from hrm_cli.models.device import resolve_device
        from hrm_cli.solving.arc_adapting import Adaptation
        from hrm_cli.solving.arc_solver import ArcSolver, Effort

        adaptation = None
        if request.adapt is not None:
            copies = {} if request.votes is None else {"copies": request.votes}
            adaptation = Adaptation(request.adapt, request.adapt_weights, seed=request.seed, **copies)
        assert request.checkpoint is not None
        model, card = load_model(request.checkpoint, (find_device or resolve_device)(request.device))
        config, domain = card.preset.eval, ArcDomain()
        effort = Effort(
            request.max_steps or config.max_steps or model.arch.halt_max_steps,
            (request.halt or config.halt) == "adaptive",
            request.votes,
            request.batch_size,
            adaptation,
            request.needs_trace,
            request.select or default_select(has_rules=False),
            request.needs_chances,
        )
        solver = ArcSolver(model, card, effort, watcher.on_stage)
        watcher.begin(are_few=len(tasks) <= MOST_DRAWN, are_tasks=True)
        for solution in solver.solve(tasks):
            write(domain, solution)
            watcher.show(domain, solution)
        attempts.update(solver.submission)


def _open_tasks(source: str, stdin: IO[bytes] | None) -> list[Task]:
    from hrm_cli.json_text import LARGEST_DOCUMENT, parse_json
    from hrm_cli.puzzles.arc.tasks import parse_tasks, read_tasks

    if source != STDIN:
        return read_tasks(Path(source))
    try:
        document = parse_json(standard_input(stdin).read(LARGEST_DOCUMENT))
    except ValueError as error:
        raise PuzzleError(f"standard input: cannot be read as JSON ({error})") from None
    return list(parse_tasks(document, "standard input", "task"))


@contextmanager
def _submission_file(path: Path | None) -> Iterator[dict[str, Any]]:
    """Yields a document that is written to `path` if the block ends without an error."""
    if path is not None:
        refuse_unwritable(path)
    document: dict[str, Any] = {}
    yield document
    if path is not None:
        with whole_file(path) as stream:
            json.dump(document, stream)
