"""Builds ARC datasets: every task with its named augmented copies, streamed to disk in bounded memory on all CPU cores.

The layout is that of the reference implementation: each task is a group, each copy is a puzzle with its own identifier,
and each pair is an example. With `augment: online` the identifiers are the same, but only the original tasks are
stored. `hrm_cli.data.arc.online` makes the copies from the names of the identifiers.

Letters in shapes: n copies of a task, e examples of a puzzle.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hrm_cli.config.data import DataConfig
from hrm_cli.config.user_settings import NO_USER_SETTINGS, UserSettings
from hrm_cli.data.arc.augmentation import Examples, distinct_symmetries, task_rng
from hrm_cli.data.arc.leaks import find_leaks
from hrm_cli.data.arc.sources import ArcTasks, load_tasks
from hrm_cli.data.augmentation import check_hints
from hrm_cli.data.metadata import TEST_PUZZLES_FILE
from hrm_cli.data.sources import Report
from hrm_cli.data.summary import BuildSummary, SplitSize
from hrm_cli.data.writer import DatasetWriter, SplitWriter, check_target
from hrm_cli.errors import ConfigError
from hrm_cli.files import peak_memory_mb
from hrm_cli.machine import granted_cores
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.symmetry import ArcSymmetries
from hrm_cli.puzzles.arc.tasks import Task
from hrm_cli.puzzles.domain import PAD, Tokens
from hrm_cli.puzzles.sharing import Threads

_PIECE = 512
"""Number of copies of a task made at once. They take about ten megabytes."""

_CHOOSE, _PLACE = 0, 1
"""Purposes of a task's random numbers. Each purpose has its own generator."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Job:
    """A task that is ready to be written."""

    task: Task
    train: Examples
    test: Examples | None
    symmetries: ArcSymmetries
    first_identifier: int = 0


@dataclass(frozen=True)
class _Piece:
    """Some copies of a task."""

    job: _Job
    start: int
    train: tuple[Tokens, Tokens]
    test: tuple[Tokens, Tokens] | None
    is_last: bool


def build_arc_dataset(
    config: DataConfig,
    output_dir: Path,
    *,
    force: bool,
    report: Report,
    user_settings: UserSettings = NO_USER_SETTINGS,
) -> BuildSummary:
    """Builds the dataset of `config`, whose domain is arc, in `output_dir` and returns a summary.

    Raises ConfigError, PuzzleError or DatasetError, and then leaves no files.
    """
    started = time.perf_counter()
    check_target(output_dir, force=force)
    check_hints(ArcDomain(), config.hints)
    if config.also or config.num_validation:
        raise ConfigError(
            f"data.{'also' if config.also else 'num_validation'}: does not work for ARC, whose tasks come from one "
            "source and are held out by subset"
        )
    with DatasetWriter(output_dir, force=force) as writer, Threads(granted_cores()) as threads:
        tasks = load_tasks(config)
        tasks.notes.extend(find_leaks(tasks.train, tasks.test, report).notes())
        writing = time.perf_counter()
        train, test, names = _write(writer, threads, tasks, config, report)
        writer.set_identifiers(names)
        document = {task.name: task.document() for task in tasks.test}
        writer.add_file(TEST_PUZZLES_FILE, json.dumps(document))
        size = writer.commit(_facts(config))
    ended = time.perf_counter()
    examples = train.examples + test.examples
    return BuildSummary(
        output_dir=str(output_dir),
        domain={"name": ArcDomain.name},
        source=config.source,
        augment=config.augment,
        seed=config.seed,
        train=train,
        test=test,
        vocab_size=ArcDomain.vocab_size,
        seq_len=ArcDomain.seq_len,
        num_puzzle_identifiers=len(names),
        tokens=2 * examples * ArcDomain.seq_len,
        bytes=size,
        seconds=ended - started,
        writing_seconds=ended - writing,
        examples_per_second=examples / (ended - started),
        peak_memory_mb=peak_memory_mb(),
        notes=tasks.notes,
    )


def _facts(config: DataConfig) -> dict[str, Any]:
    return {
        "pad_id": PAD,
        "ignore_label_id": PAD,
        "blank_identifier_id": 0,
        "vocab_size": ArcDomain.vocab_size,
        "domain": {"name": ArcDomain.name},
        "augment": config.augment,
        "source": config.source,
        "seed": config.seed,
    }


def _write(
    writer: DatasetWriter, threads: Threads, tasks: ArcTasks, config: DataConfig, report: Report
) -> tuple[SplitSize, SplitSize, list[str]]:
    names = ["<blank>"]
    short: list[str] = []
    train = writer.split("train", seq_len=ArcDomain.seq_len)
    test = writer.split("test", seq_len=ArcDomain.seq_len) if tasks.test else None
    everything = [(task, False) for task in tasks.train] + [(task, True) for task in tasks.test]

    def numbered() -> Iterator[_Job]:
        for job in _in_order(threads, lambda task: _prepare(*task, config), everything):
            if len(job.symmetries) <= config.num_aug:
                short.append(job.task.name)
            first = len(names)
            names.extend(job.symmetries.names(job.task.name))
            yield _Job(job.task, job.train, job.test, job.symmetries, first)

    if config.augment == "stored":
        done = 0
        parts = ((job, start) for job in numbered() for start in range(0, len(job.symmetries), _PIECE))
        for piece in _in_order(threads, lambda part: _paint(*part, config.seed), parts):
            _append(train, piece, len(piece.job.train), piece.train)
            if test is not None and piece.test is not None and piece.job.test is not None:
                _append(test, piece, len(piece.job.test), piece.test)
            done += piece.is_last
            report("writing tasks", done, len(everything))
    else:
        for done, job in enumerate(numbered(), start=1):
            _append_original(train, job, job.train)
            if test is not None and job.test is not None:
                _append_original(test, job, job.test)
            report("writing tasks", done, len(everything))
    if short:
        some = ", ".join(short[:3]) + (", …" if len(short) > 3 else "")
        tasks.notes.append(
            f"{len(short):,} of {len(everything):,} tasks have fewer than {config.num_aug:,} different "
            f"augmented copies and got all of them ({some})"
        )
    return SplitSize.of(train), SplitSize() if test is None else SplitSize.of(test), names


def _prepare(task: Task, is_test: bool, config: DataConfig) -> _Job:
    shown = task.train if is_test else tuple(p for p in task.train + task.test if p.output is not None)
    train, test = Examples.from_pairs(shown), Examples.from_pairs(task.test) if is_test else None
    rng = task_rng(config.seed, task.name, _CHOOSE)
    symmetries = distinct_symmetries([train] if test is None else [train, test], config.num_aug, rng)
    return _Job(task, train, test, symmetries)


def _paint(job: _Job, start: int, seed: int) -> _Piece:
    symmetries = job.symmetries[start : start + _PIECE]
    rng = task_rng(seed, job.task.name, _PLACE, start)
    return _Piece(
        job,
        start,
        job.train.copies(symmetries, rng),
        # Test grids are not shifted, because grids that users solve are at the corner as well.
        None if job.test is None else job.test.copies(symmetries),
        start + len(symmetries) == len(job.symmetries),
    )


def _append(split: SplitWriter, piece: _Piece, examples: int, grids: tuple[Tokens, Tokens]) -> None:
    count = len(grids[0]) // examples
    group = piece.start + count
    split.append(
        *grids,
        # Only the last piece of a task closes the group.
        group_sizes=np.array([count] if piece.is_last else [], np.int64),
        puzzle_sizes=np.full(count, examples),
        identifiers=piece.job.first_identifier + np.arange(piece.start, group),
    )


def _append_original(split: SplitWriter, job: _Job, examples: Examples) -> None:
    split.append(
        examples.inputs.tokens,
        examples.outputs.tokens,
        group_sizes=np.ones(1, np.int64),
        puzzle_sizes=np.array([len(examples)]),
        identifiers=np.array([job.first_identifier]),
    )


def _in_order(threads: Threads, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """A threaded `map` that requests items lazily, so that only a few results are in memory."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) > 2 * granted_cores():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
