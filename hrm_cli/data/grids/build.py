"""Builds datasets of own puzzles: the pairs of a file or a folder, split, checked and written in bounded memory.

Splits share no input: neither identical inputs nor, if symmetries are claimed, inputs that are symmetric to each other.

Letters in shapes: n pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.data import DataConfig
from hrm_cli.config.user_settings import UserSettings
from hrm_cli.config.values import names_function
from hrm_cli.data.grids.pool import SPLIT_IDS, PairPool
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
"""Number of cells encoded at once."""
_SHOWN = 10


@dataclass
class _Symbols:
    """Tracks in which splits each symbol occurs."""

    pool: PairPool
    trained: NDArray[np.bool_]
    held_out: dict[int, int]
    """Symbols that occur in no training pair, each with a pair that contains it."""

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
            f"{counted(len(self.held_out), 'symbol')} only in validation or test pairs, so no model can learn to use "
            f"them: {some}{more}"
        ]


def build_grids_dataset(
    config: DataConfig, output_dir: Path, *, force: bool, report: Report, user_settings: UserSettings
) -> BuildSummary:
    """Builds the dataset of `config`, whose domain is grids, in `output_dir` and returns a summary.

    Raises ConfigError, PuzzleError or DatasetError, and then leaves no files.
    """
    started = time.perf_counter()
    check_target(output_dir, force=force)
    if config.source == "builtin":
        raise ConfigError("data.source (--source) is missing; expected the file of your pairs")
    if names_function(config.source) and "source" not in user_settings:
        raise ConfigError(
            f"data.source {config.source} is a function of your own, and code runs only when named on the command "
            f"line: repeat it there (data.source={config.source}, or --source)"
        )
    with DatasetWriter(output_dir, force=force) as writer:
        pool = PairPool(writer.scratch, tuple(config.symmetries))
        wanted = _wanted(config, user_settings)
        try:
            count = _to_generate(config, wanted)
            files = pair_files(config.source, writer.scratch, count=count, seed=config.seed, report=report)
            pool.read(files, Columns(config.input_column, config.output_column), report)
        except PuzzleError as error:
            raise DatasetError(str(error)) from None
        if not len(pool):
            raise DatasetError(
                f"{config.source}: contains no pairs; expected at least two, such as a line input,output and lines "
                "like 01/23,02/13"
            )
        rng = np.random.default_rng([config.seed, 7])
        chosen = select_pairs(pool, wanted, rng)
        domain, ranks = pool.domain()
        writing = time.perf_counter()
        sizes, notes = _write(writer, pool, chosen, domain, ranks, report)
        notes += _rows_as_symbols(domain)
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


def _rows_as_symbols(domain: GridsDomain) -> list[str]:
    """A note if every symbol looks like a row of a grid, because a JSON list of texts is one row of symbols."""
    lengths = {len(symbol) for symbol in domain.symbols}
    if domain.rows > 1 or len(lengths) > 1 or min(lengths) < 3 or len(domain.symbols) < 8:
        return []
    return [
        f"all {len(domain.symbols):,} symbols are texts of {min(lengths)} characters, as in {domain.symbols[0]!r}: a "
        "JSON list of texts is one row of symbols. If each text is a row of a grid, join them with / (as in 01/23), or "
        "use lists of lists"
    ]


def _wanted(config: DataConfig, user_settings: UserSettings) -> Wanted:
    usual = {name: field.default for name, field in DataConfig.model_fields.items()}

    def unless_default(name: str) -> int | None:
        value: int = getattr(config, name)
        return value if name in user_settings or value != usual[name] else None

    return Wanted(
        unless_default("num_test"),
        unless_default("num_validation"),
        config.subsample_size,
        config.test_subsample_size,
    )


def _to_generate(config: DataConfig, wanted: Wanted) -> int:
    """Number of pairs that a generator makes: for training, and for the splits that are held out."""
    usual = max(1, min(MAX_HELD_OUT, config.num_train // (HELD_OUT_DIVISOR - 2)))
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


HELD_OUT_DIVISOR = 10
"""By default, one in so many pairs is held out for each of test and validation, at most `MAX_HELD_OUT`."""
MAX_HELD_OUT = 500
_SHOWN_PAIRS = 3

_TRAIN, _VALIDATION, _TEST = (SPLIT_IDS.index(name) for name in ("train", "validation", "test"))
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """Requested sizes; None uses the default."""

    num_test: int | None = None
    num_validation: int | None = None
    subsample_size: int | None = None
    test_subsample_size: int | None = None


@dataclass
class Selected:
    """The pairs of each split, as indices in the pool."""

    train: Places
    validation: Places
    test: Places
    notes: list[str] = field(default_factory=list)


def select_pairs(pool: PairPool, wanted: Wanted, rng: np.random.Generator) -> Selected:
    """Assigns pairs to splits. Raises DatasetError if there are too few."""
    notes: list[str] = []
    splits = np.where(pool.splits == 0, _TRAIN, pool.splits).astype(np.int64)
    kept = _without_repetitions(pool, splits, notes)
    _check_outputs(pool, kept, notes)
    keys = pool.hashes[:, 2]
    parts = {split: kept[splits[kept] == split] for split in (_TRAIN, _VALIDATION, _TEST)}
    for held_out, others in ((_TEST, (_TRAIN, _VALIDATION)), (_VALIDATION, (_TRAIN,))):
        for other in others:
            parts[other] = _without_leaks(pool, parts[other], parts[held_out], (other, held_out), notes)
    if len(parts[_TEST]) and wanted.test_subsample_size is not None:
        parts[_TEST] = np.sort(rng.permutation(parts[_TEST])[: wanted.test_subsample_size])
    _hold_out(parts, keys, wanted, rng, notes)
    train = parts[_TRAIN]
    if wanted.subsample_size is not None:
        train = np.sort(rng.permutation(train)[: wanted.subsample_size])
    return Selected(train, parts[_VALIDATION], parts[_TEST], notes)


def _without_repetitions(pool: PairPool, splits: Places, notes: list[str]) -> Places:
    """Returns the first pair of each input in a split, and adds notes about the others."""
    inputs, outputs = pool.hashes[:, 0], pool.hashes[:, 1]
    order = np.lexsort((np.arange(len(pool)), splits, inputs))
    starts = np.ones(len(order), bool)
    starts[1:] = (inputs[order][1:] != inputs[order][:-1]) | (splits[order][1:] != splits[order][:-1])
    first_of = np.empty(len(order), np.int64)
    first_of[order] = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    repeats = np.flatnonzero(first_of != np.arange(len(order)))
    same = outputs[repeats] == outputs[first_of[repeats]]
    conflicts = repeats[~same]
    if len(conflicts):
        some = _some(conflicts, lambda n: f"{pool.where(n)} and {pool.where(int(first_of[n]))}")
        notes.append(
            f"{counted(len(conflicts), 'pair')} left out, because an earlier pair has the same input and a different "
            f"output: {some}"
        )
    if same.any():
        some = _some(repeats[same], lambda n: f"{pool.where(n)} repeats {pool.where(int(first_of[n]))}")
        notes.append(f"{counted(int(same.sum()), 'duplicate')} left out: {some}")
    return np.flatnonzero(first_of == np.arange(len(order)))


def _check_outputs(pool: PairPool, kept: Places, notes: list[str]) -> None:
    """Adds notes about trivial outputs. Raises DatasetError if there is only one input."""
    hashes = pool.hashes[kept]
    same = np.flatnonzero(hashes[:, 0] == hashes[:, 1])
    if len(same):
        some = _some(kept[same], pool.where)
        share = f"{len(same) / len(kept):.1%}"
        notes.append(f"the output equals the input in {counted(len(same), 'pair')} ({share}): {some}")
    if len(kept) < 2:
        raise DatasetError(
            f"{pool.files[0]}: only one input; expected at least two different ones, for training and testing"
        )
    if (hashes[:, 1] == hashes[0, 1]).all():
        notes.append("the output is the same in every pair: there is nothing to learn")
        return
    values, counts = np.unique(hashes[:, 1], return_counts=True)
    if counts.max() > len(kept) / 2:
        some = _some(kept[hashes[:, 1] == values[counts.argmax()]], pool.where)
        notes.append(f"{counts.max() / len(kept):.1%} of the pairs have the same output: {some}")


def _without_leaks(
    pool: PairPool, part: Places, held_out: Places, names: tuple[int, int], notes: list[str]
) -> Places:
    keys = pool.hashes[:, 2]
    leaks = np.isin(keys[part], keys[held_out])
    if not leaks.any():
        return part
    own, other = (SPLIT_IDS[name] for name in names)
    partner = {int(keys[n]): n for n in held_out.tolist()} if leaks.sum() else {}
    some = _some(part[leaks], lambda n: f"{pool.where(n)} is in {pool.where(partner[int(keys[n])])}")
    how = " up to symmetry" if pool.symmetries else ""
    notes.append(
        f"{counted(int(leaks.sum()), f'{own} pair')} left out, because the {other} split has its input{how}: {some}"
    )
    return part[~leaks]


def _hold_out(
    parts: dict[int, Places],
    keys: NDArray[np.uint64],
    wanted: Wanted,
    rng: np.random.Generator,
    notes: list[str],
) -> None:
    """Holds out test and validation pairs from the training pairs if the source has no such split."""
    train = parts[_TRAIN]
    values, groups = np.unique(keys[train], return_inverse=True)
    order = rng.permutation(len(values))
    usual = min(MAX_HELD_OUT, len(values) // HELD_OUT_DIVISOR)
    test = max(1, usual) if wanted.num_test is None else wanted.num_test
    validation = usual if wanted.num_validation is None else wanted.num_validation
    test = 0 if len(parts[_TEST]) else test
    validation = 0 if len(parts[_VALIDATION]) else validation
    if test + validation >= len(values):
        of = "different inputs up to symmetry" if len(values) < len(train) else "different inputs"
        raise DatasetError(
            f"{len(values):,} {of}, but {test:,} test and {validation:,} validation pairs are to be held out, so none "
            "is left for training; request fewer (--num-test, --num-validation)"
        )
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    at = place[groups]
    # Of symmetric inputs, only one is used for testing.
    first = np.zeros(len(train), bool)
    first[np.unique(groups, return_index=True)[1]] = True
    if test:
        parts[_TEST] = train[(at < test) & first]
    if validation:
        parts[_VALIDATION] = train[(at >= test) & (at < test + validation) & first]
    parts[_TRAIN] = train[at >= test + validation]
    unused = int(((at < test + validation) & ~first).sum())
    if unused:
        notes.append(
            f"{counted(unused, 'pair')} left out, because the input is symmetric to a held-out input"
        )


def _some(numbers: Sequence[int] | Places, words: Callable[[int], str]) -> str:
    shown = [words(int(number)) for number in numbers[:_SHOWN_PAIRS]]
    return ", ".join(shown) + (", …" if len(numbers) > _SHOWN_PAIRS else "")
