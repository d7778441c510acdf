"""Builds datasets of own puzzles: the pairs of a file or a folder, split, checked and written in bounded memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.asked import Asked
from hrm_cli.config.data import DataConfig
from hrm_cli.config.values import names_function
from hrm_cli.data.grids.pool import PairPool
from hrm_cli.data.grids.selection import LARGEST_SHARE, MOST_HELD_OUT, Places, Selected, Wanted, select_pairs
from hrm_cli.data.grids.sources import Report, pair_files
from hrm_cli.data.metadata import HELD_OUT_SPLITS, SPLITS
from hrm_cli.data.summary import BuildSummary, SplitSize
from hrm_cli.data.writer import DatasetWriter, check_target
from hrm_cli.errors import ConfigError, DatasetError, PuzzleError
from hrm_cli.files import peak_memory_mb
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import PAD
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.reading import Columns

_PIECE_CELLS = 1 << 22
"""Cells encoded at once."""
_SHOWN = 10


@dataclass
class _Symbols:
    """Tracks in which splits each symbol occurs."""

    pool: PairPool
    trained: NDArray[np.bool_]
    held_out: dict[int, int]
    """Symbols that no training pair has, each with a pair that contains it."""

    def note(self) -> list[str]:
        """A note on symbols that occur only in held-out pairs."""
        if not self.held_out:
            return []
        some = ", ".join(
            f"{self.pool.symbols[symbol]!r} ({self.pool.where(pair)})"
            for symbol, pair in list(self.held_out.items())[:_SHOWN]
        )
        more = ", …" if len(self.held_out) > _SHOWN else ""
        return [
            f"{counted(len(self.held_out), 'symbol')} seen only in validation or test pairs, so that no model can "
            f"learn to use them: {some}{more}"
        ]


def build_grids_dataset(
    config: DataConfig, output_dir: Path, *, force: bool, report: Report, asked: Asked
) -> BuildSummary:
    """Builds the dataset of `config`, whose domain is grids, in `output_dir` and returns a summary.

    Raises ConfigError, PuzzleError or DatasetError, and then leaves no files.
    """
    started = time.perf_counter()
    check_target(output_dir, force=force)
    if config.source == "builtin":
        raise ConfigError("data.source (--source) is missing: name the file of your pairs")
    if names_function(config.source) and "source" not in asked:
        raise ConfigError(
            f"data.source {config.source} is a function of your own, and code runs only when named on the command "
            f"line: repeat it there (data.source={config.source}, or --source)"
        )
    with DatasetWriter(output_dir, force=force) as writer:
        pool = PairPool(writer.scratch, tuple(config.symmetries))
        wanted = _wanted(config, asked)
        try:
            count = _to_generate(config, wanted)
            files = pair_files(config.source, writer.scratch, count=count, seed=config.seed, report=report)
            pool.read(files, Columns(config.input_column, config.output_column), report)
        except PuzzleError as error:
            raise DatasetError(str(error)) from None
        if not len(pool):
            raise DatasetError(f"{config.source}: holds no pairs; at least two are needed")
        rng = np.random.default_rng([config.seed, 7])
        chosen = select_pairs(pool, wanted, rng)
        domain, ranks = pool.domain()
        writing = time.perf_counter()
        sizes, notes = _write(writer, pool, chosen, domain, ranks, report)
        size = writer.commit(_facts(config, domain))
    ended = time.perf_counter()
    examples = sum(split.examples for split in sizes.values())
    return BuildSummary(
        output_dir=str(output_dir),
        domain={"name": domain.name, **domain.facts()},
        source=config.source,
        augment=_augment(domain),
        seed=config.seed,
        train=sizes["train"],
        validation=sizes["validation"],
        test=sizes["test"],
        vocab_size=domain.vocab_size,
        seq_len=domain.seq_len,
        num_puzzle_identifiers=1,
        tokens=2 * examples * domain.seq_len,
        bytes=size,
        seconds=ended - started,
        writing_seconds=ended - writing,
        examples_per_second=examples / (ended - started),
        peak_memory_mb=peak_memory_mb(),
        notes=[*chosen.notes, *notes],
    )


def _wanted(config: DataConfig, asked: Asked) -> Wanted:
    usual = {name: field.default for name, field in DataConfig.model_fields.items()}

    def of(name: str) -> int | None:
        value: int = getattr(config, name)
        return value if name in asked or value != usual[name] else None

    return Wanted(of("num_test"), of("num_validation"), config.subsample_size, config.test_subsample_size)


def _to_generate(config: DataConfig, wanted: Wanted) -> int:
    """Number of pairs that a generator makes: for training, and for the splits that are held out."""
    usual = max(1, min(MOST_HELD_OUT, config.num_train // (LARGEST_SHARE - 2)))
    test = usual if wanted.num_test is None else wanted.num_test
    validation = usual if wanted.num_validation is None else wanted.num_validation
    return config.num_train + test + validation


def _augment(domain: GridsDomain) -> str:
    return "online" if domain.symmetries else "stored"


def _facts(config: DataConfig, domain: GridsDomain) -> dict[str, Any]:
    return {
        "pad_id": PAD,
        "ignore_label_id": PAD,
        "blank_identifier_id": 0,
        "vocab_size": domain.vocab_size,
        "domain": {"name": domain.name, **domain.facts()},
        "augment": _augment(domain),
        "source": config.source,
        "seed": config.seed,
    }


def _write(
    writer: DatasetWriter,
    pool: PairPool,
    chosen: Selected,
    domain: GridsDomain,
    ranks: NDArray[np.int64],
    report: Report,
) -> tuple[dict[str, SplitSize], list[str]]:
    parts = {"train": chosen.train, "validation": chosen.validation, "test": chosen.test}
    total, done = sum(map(len, parts.values())), 0
    sizes = {split: SplitSize() for split in SPLITS}
    symbols = _Symbols(pool, np.zeros(len(pool.symbols), bool), {})
    piece = max(1, _PIECE_CELLS // domain.seq_len)
    for split in ("train", *HELD_OUT_SPLITS):
        if not len(parts[split]):
            continue
        writing = writer.split(split, seq_len=domain.seq_len, dtype=domain.token_type)
        for start in range(0, len(parts[split]), piece):
            numbers = parts[split][start : start + piece]
            grids = _encoded(pool, numbers, domain, ranks, symbols, is_train=split == "train")
            writing.append(*grids, group_sizes=np.ones(len(numbers), np.int64))
            done += len(numbers)
            report("writing", done, total)
        sizes[split] = SplitSize.of(writing)
    return sizes, symbols.note()


def _encoded(
    pool: PairPool,
    numbers: Places,
    domain: GridsDomain,
    ranks: NDArray[np.int64],
    symbols: _Symbols,
    *,
    is_train: bool,
) -> tuple[NDArray[Any], NDArray[Any]]:
    inputs = np.empty((len(numbers), domain.seq_len), domain.token_type)
    labels = np.empty_like(inputs)
    with pool.open() as stream:
        for row, number in enumerate(numbers.tolist()):
            given, wanted = pool.pair(stream, number)
            inputs[row] = domain.encode(ranks[given].astype(domain.token_type))
            labels[row] = domain.encode_output(ranks[wanted].astype(domain.token_type))
            for grid in (given, wanted):
                if is_train:
                    symbols.trained[grid] = True
                elif not symbols.trained[grid].all():
                    for symbol in np.unique(grid[~symbols.trained[grid]]).tolist():
                        symbols.held_out.setdefault(symbol, number)
    return inputs, labels
