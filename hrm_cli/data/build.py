"""Builds a dataset: samples puzzles from sources, augments them, and writes them to disk in bounded memory.

Settings that have no effect for a source (because of its test set or collections) are errors.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hrm_cli.config.data import DataConfig
from hrm_cli.config.user_settings import NO_USER_SETTINGS, UserSettings, settings_of_each_source
from hrm_cli.data.augmentation import check_hints, with_copies
from hrm_cli.data.metadata import HELD_OUT_SPLITS, SPLITS
from hrm_cli.data.mixture import Mixture, load_all
from hrm_cli.data.selection import select
from hrm_cli.data.set_names import set_names
from hrm_cli.data.sources import Report, Source
from hrm_cli.data.summary import BuildSummary, SplitSize
from hrm_cli.data.writer import DatasetWriter, check_target
from hrm_cli.errors import ConfigError
from hrm_cli.files import peak_memory_mb
from hrm_cli.puzzles.domain import PAD


class Builder(Protocol):
    """Builds the datasets of one domain, as `build_dataset` does."""

    def __call__(
        self,
        config: DataConfig,
        output_dir: Path,
        *,
        force: bool,
        report: Report,
        user_settings: UserSettings,
    ) -> BuildSummary:
        """Raises ConfigError, PuzzleError or DatasetError, and then leaves no files."""


BUILDERS = {
    "arc": "hrm_cli.data.arc.build:build_arc_dataset",
    "grids": "hrm_cli.data.grids.build:build_grids_dataset",
}
"""Domains with a builder of their own: ARC tasks are augmented as a whole; own puzzles have no rules."""


def check_sources(sources: Sequence[Source], config: DataConfig, user_settings: UserSettings) -> list[str]:
    """Raises ConfigError if a requested setting has no effect. For settings of a preset, returns notes instead."""
    notes: list[str] = []
    for source, own, of_source in zip(
        sources, config.sources, settings_of_each_source(config, user_settings), strict=True
    ):
        unused = ""
        if source.test is None and own.test_subsample_size is not None:
            unused, reason = "test_subsample_size", (
                f"{own.source} has no test set to sample from; {of_source.spelled('num_test')} sets how many of its "
                "puzzles are held out for testing"
            )  # fmt: skip
        elif source.test is not None and "num_test" in of_source:
            unused, reason = "num_test", (
                f"{own.source} has its own test set; {of_source.spelled('test_subsample_size')} samples from it"
            )  # fmt: skip
        if unused:
            message = f"{of_source.spelled(unused)}: has no effect, because source {reason}"
            if unused in of_source:
                raise ConfigError(message)
            notes.append(message)
    if config.by_collection and not any(_names_collections(source) for source in sources):
        message = (
            f"{user_settings.spelled('by_collection')}: has no effect, because no source has collections; expected a "
            "CSV file with a collection in the column `source` of each line, at most 1,000 different ones"
        )
        if "by_collection" in user_settings:
            raise ConfigError(message)
        notes.append(message)
    return notes


def _names_collections(source: Source) -> bool:
    return any(pool is not None and pool.names_collections for pool in (source.train, source.test))


def build_dataset(
    config: DataConfig,
    output_dir: Path,
    *,
    force: bool = False,
    report: Report | None = None,
    user_settings: UserSettings = NO_USER_SETTINGS,
) -> BuildSummary:
    """Builds the dataset of `config` in `output_dir` and returns a summary.

    The same configuration gives the same files. `report` receives the progress of each stage. `force` replaces an
    existing dataset. A setting in `user_settings` that has no effect is an error.
    Raises ConfigError, PuzzleError or DatasetError, and then leaves no files.
    """
    report = report or (lambda stage, done, total: None)
    if config.domain in BUILDERS:
        module, _, name = BUILDERS[config.domain].partition(":")
        build: Builder = getattr(importlib.import_module(module), name)
        return build(config, output_dir, force=force, report=report, user_settings=user_settings)
    started = time.perf_counter()
    check_target(output_dir, force=force)
    configs = config.sources
    # Three random generators per source, so that the first source's numbers do not depend on the others.
    rngs = [
        np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(3 * len(configs))
    ]
    with DatasetWriter(output_dir, force=force) as writer:
        sources = load_all(configs, writer.scratch, rngs[0::3], report)
        check_hints(sources[0].domain, config.hints)
        unused = check_sources(sources, config, user_settings)
        names = set_names(configs)
        chosen = select(sources, configs, rngs[1::3], report)
        writing = time.perf_counter()
        mixture = Mixture(sources, chosen, names, rngs[2::3], configs)
        for note in unused:
            mixture.add_note(note)
        sizes = _write(writer, mixture, config=config, report=report)
        size = writer.commit(_facts(sources[0], config))
    ended = time.perf_counter()
    examples = sum(split.examples for split in sizes.values())
    source = sources[0]
    return BuildSummary(
        output_dir=str(output_dir),
        domain=_domain_facts(source),
        source=config.source,
        augment=config.augment,
        seed=config.seed,
        **sizes,
        sources=mixture.summaries(),
        vocab_size=source.domain.vocab_size,
        seq_len=source.domain.seq_len,
        num_puzzle_identifiers=1,
        tokens=2 * examples * source.domain.seq_len,
        bytes=size,
        seconds=ended - started,
        writing_seconds=ended - writing,
        examples_per_second=examples / (ended - started),
        peak_memory_mb=peak_memory_mb(),
        notes=mixture.notes(),
    )


def _facts(source: Source, config: DataConfig) -> dict[str, Any]:
    return {
        "pad_id": PAD,
        "ignore_label_id": PAD,
        "blank_identifier_id": 0,
        "vocab_size": source.domain.vocab_size,
        "domain": _domain_facts(source),
        "augment": config.augment,
        "hints": config.hints if config.augment == "online" else 0.0,
        "source": ", ".join(dict.fromkeys(part.source for part in config.sources)),
        "seed": config.seed,
    }


def _domain_facts(source: Source) -> dict[str, Any]:
    return {"name": source.domain.name, **source.domain.facts()}


def _write(
    writer: DatasetWriter, mixture: Mixture, *, config: DataConfig, report: Report
) -> dict[str, SplitSize]:
    copies = config.num_aug if config.augment == "stored" else 0
    if config.num_aug and not copies:
        mixture.add_note(f"num_aug {config.num_aug:,} is not used, because copies are made during training")
    held_out = mixture.held_out()
    total = mixture.count("train") * (copies + 1) + mixture.count("validation") + mixture.count("test")
    sizes = {split: SplitSize() for split in SPLITS}
    done = 0
    # Each source has its own held-out set, named after it. The reference implementation accepts several sets here.
    for split in HELD_OUT_SPLITS:
        for part in mixture.parts(split):
            writing = writer.split(split, part.name, seq_len=mixture.domain.seq_len)
            for inputs, labels in part.pieces():
                writing.append(inputs, labels, group_sizes=np.ones(len(inputs), np.int64))
            sizes[split] += SplitSize.of(writing)
            done += writing.examples
    # One training set for all sources, because the reference implementation would train on several sets in sequence.
    writing = writer.split("train", seq_len=mixture.domain.seq_len)
    short = 0
    for part in mixture.parts("train"):
        for originals in part.pieces():
            for block in with_copies(
                mixture.domain, *originals, copies, held_out=held_out, rng=part.rng, hints=config.hints
            ):
                writing.append(block.inputs, block.labels, group_sizes=block.group_sizes)
                short += int((block.group_sizes <= copies).sum())
                report("writing", done + writing.examples, total)
    if short:
        mixture.add_note(
            f"{short:,} of {writing.groups:,} training puzzles have fewer than {copies:,} different "
            f"augmented copies outside the test set and got all of them: "
            f"{writing.puzzles - writing.groups:,} copies in total"
        )
    return {**sizes, "train": SplitSize.of(writing)}
