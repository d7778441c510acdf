"""Builds a dataset: a source, puzzles drawn from it, augmented copies, streamed to disk in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hrm_cli.config.schema import DataConfig
from hrm_cli.data.augmentation import with_copies
from hrm_cli.data.measuring import peak_memory_mb
from hrm_cli.data.pool import PuzzlePool, Rows
from hrm_cli.data.selection import Selection, select
from hrm_cli.data.sources import Report, Source, load
from hrm_cli.data.writer import DatasetWriter, SplitWriter, check_target
from hrm_cli.puzzles.domain import PAD, Tokens

_CHUNK = 4096


@dataclass(frozen=True)
class SplitSize:
    """How much a split holds."""

    groups: int = 0
    puzzles: int = 0
    examples: int = 0


@dataclass(frozen=True)
class BuildSummary:
    """What was built, and what it took; the fields are the keys of `hrm build-dataset --json`."""

    output_dir: str
    domain: dict[str, Any]
    source: str
    augment: str
    seed: int
    train: SplitSize
    test: SplitSize
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    tokens: int
    """Tokens of inputs and labels on disk, both splits."""
    bytes: int
    seconds: float
    """From the call to the finished dataset, reading or generating the puzzles included."""
    writing_seconds: float
    """The share of `seconds` that augmenting and writing took."""
    examples_per_second: float
    """Examples of both splits ÷ `seconds`."""
    peak_memory_mb: float | None
    """The most that the process held so far."""
    notes: list[str] = field(default_factory=list)
    """What was left out, or could not be had, in words."""

    def to_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return asdict(self)


def build_dataset(
    config: DataConfig, output_dir: Path, *, force: bool = False, report: Report | None = None
) -> BuildSummary:
    """Builds the dataset of `config` in `output_dir` and tells what it holds.

    The same configuration makes the same files. `report` is told of progress by stage. `force` replaces a
    dataset that is there. Raises ConfigError, PuzzleError or DatasetError, and then leaves nothing behind.
    """
    report = report or (lambda stage, done, total: None)
    if config.domain == "arc":
        # Tasks are augmented whole and get identifiers: they have a builder of their own.
        from hrm_cli.data.arc_build import build_arc_dataset

        return build_arc_dataset(config, output_dir, force=force, report=report)
    started = time.perf_counter()
    check_target(output_dir, force=force)
    for_source, for_selection, for_copies = (
        np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(3)
    )
    with DatasetWriter(output_dir, force=force) as writer:
        source = load(config, writer.scratch, for_source, report)
        chosen = select(source, config, for_selection, report)
        writing = time.perf_counter()
        train, test = _write(writer, source, chosen, config=config, rng=for_copies, report=report)
        size = writer.commit(_facts(source, config))
    ended = time.perf_counter()
    examples = train.examples + test.examples
    return BuildSummary(
        output_dir=str(output_dir),
        domain=_domain_facts(source),
        source=config.source,
        augment=config.augment,
        seed=config.seed,
        train=train,
        test=test,
        vocab_size=source.domain.vocab_size,
        seq_len=source.domain.seq_len,
        num_puzzle_identifiers=1,
        tokens=2 * examples * source.domain.seq_len,
        bytes=size,
        seconds=ended - started,
        writing_seconds=ended - writing,
        examples_per_second=examples / (ended - started),
        peak_memory_mb=peak_memory_mb(),
        notes=source.notes,
    )


def _facts(source: Source, config: DataConfig) -> dict[str, Any]:
    return {
        "pad_id": PAD,
        "ignore_label_id": PAD,
        "blank_identifier_id": 0,
        "vocab_size": source.domain.vocab_size,
        "domain": _domain_facts(source),
        "augment": config.augment,
        "source": config.source,
        "seed": config.seed,
    }


def _domain_facts(source: Source) -> dict[str, Any]:
    return {"name": source.domain.name, **source.domain.facts()}


def _write(
    writer: DatasetWriter,
    source: Source,
    chosen: Selection,
    *,
    config: DataConfig,
    rng: np.random.Generator,
    report: Report,
) -> tuple[SplitSize, SplitSize]:
    copies = config.num_aug if config.augment == "stored" else 0
    if config.num_aug and not copies:
        source.notes.append(f"num_aug {config.num_aug:,} is not used: copies are drawn while training")
    test_pool = source.train if source.test is None else source.test
    held_out = np.sort(test_pool.prints(chosen.test))
    total = len(chosen.train) * (copies + 1) + len(chosen.test)

    test = SplitSize()
    if len(chosen.test):
        split = writer.split("test", seq_len=source.domain.seq_len)
        for inputs, labels in _pieces(test_pool, chosen.test):
            split.append(inputs, labels, group_sizes=np.ones(len(inputs), np.int64))
        test = _size(split)
    split = writer.split("train", seq_len=source.domain.seq_len)
    short = 0
    for originals in _pieces(source.train, chosen.train):
        for block in with_copies(source.domain, *originals, copies, held_out=held_out, rng=rng):
            split.append(block.inputs, block.labels, group_sizes=block.group_sizes)
            short += int((block.group_sizes <= copies).sum())
            report("writing", test.examples + split.examples, total)
    if short:
        source.notes.append(
            f"{short:,} of {len(chosen.train):,} training puzzles have fewer than {copies:,} different "
            f"images outside the test set and got all of them: {split.puzzles - split.groups:,} copies in all"
        )
    return _size(split), test


def _pieces(pool: PuzzlePool, rows: Rows) -> Iterator[tuple[Tokens, Tokens]]:
    for start in range(0, len(rows), _CHUNK):
        yield pool.rows(rows[start : start + _CHUNK])


def _size(split: SplitWriter) -> SplitSize:
    return SplitSize(split.groups, split.puzzles, split.examples)
