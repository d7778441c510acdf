"""From a request to answers for ARC tasks: opens the files, loads the model, votes, writes the submission."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hrm_cli.errors import PuzzleError
from hrm_cli.files import refuse_unwritable, whole_file
from hrm_cli.json_text import LARGEST_DOCUMENT, parse_json
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.tasks import Task, parse_tasks, read_tasks
from hrm_cli.solving.files import FEW, Draw, answer_files
from hrm_cli.solving.request import STDIN, SolveRequest, Watcher, standard_input

if TYPE_CHECKING:
    import torch

    FindDevice = Callable[[str], torch.device]


def solve_tasks(
    request: SolveRequest,
    watcher: Watcher,
    stdin: IO[bytes] | None,
    draw: Draw | None,
    find_device: FindDevice | None,
) -> None:
    """Solves the tasks of a file. Raises PuzzleError, ConfigError or CheckpointError."""
    tasks = [task for source in request.sources for task in _open_tasks(source, stdin)]
    with (
        answer_files(
            request.files, request.output, request.picture, draw=draw, with_trace=request.trace
        ) as write,
        _submission_file(request.submission) as attempts,
    ):
        from hrm_cli.checkpoints.model_files import load_model
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
            request.trace or request.picture is not None,
        )
        solver = ArcSolver(model, card, effort)
        watcher.begin(are_few=len(tasks) <= FEW, are_tasks=True)
        for solution in solver.solve(tasks):
            write(domain, solution)
            watcher.show(domain, solution)
        attempts.update(solver.submission)


def _open_tasks(source: str, stdin: IO[bytes] | None) -> list[Task]:
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
