"""Inspects a dataset or a source: one pass over every split, then the comparisons between splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.checks import solutions
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import METADATA_FILE, SPLITS, read_metadata
from hrm_cli.data.sources import Report
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.evaluation.baselines import Baseline, measure_baselines, measure_output_baselines
from hrm_cli.inspection.arc_tasks import tasks_of
from hrm_cli.inspection.claims import CLAIMS, check_claims
from hrm_cli.inspection.examples import Example, sample_examples
from hrm_cli.inspection.findings import findings
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.inspection.overlaps import duplicates, leaks
from hrm_cli.inspection.sources import Opened, SourceOptions, opened
from hrm_cli.inspection.tallies import Distribution, SplitTally, symbol_records, tally_split
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.reporting import Reporter, stages

MOST_CHECKED = 200
"""Puzzles of a split that the exact solver checks."""
MOST_SCORED = 50_000
"""Examples on which baselines are measured."""
_SAMPLE = 7


@dataclass(frozen=True)
class InspectRequest:
    """What to inspect, and how much of it to show."""

    source: str
    split: str | None = None
    """Only this split; None: all."""
    examples: int = 2
    """Examples of each set."""
    copies: int = 1
    """Augmented copies of each example."""
    seed: int = 0
    symmetries: tuple[str, ...] | None = None
    """Own puzzles: claims to apply; None takes those of the dataset."""
    options: SourceOptions = field(default_factory=SourceOptions)

    def check(self) -> None:
        """Raises ConfigError for unknown names."""
        if self.split is not None and self.split not in SPLITS:
            raise ConfigError(f"--split {self.split}: unknown; accepted: {', '.join(SPLITS)}")
        if unknown := [name for name in self.symmetries or () if name not in CLAIMS]:
            raise ConfigError(f"--symmetries {unknown[0]}: unknown; accepted: {', '.join(CLAIMS)}")


@dataclass(frozen=True)
class Inspection:
    """The result. `document` is what `hrm inspect --json` prints."""

    facts: Mapping[str, Any]
    examples: Sequence[Example]
    reader: TokenReader

    def document(self) -> dict[str, Any]:
        """Everything as JSON-serializable values."""
        told = [{"kind": finding.kind, "text": finding.text} for finding in findings(self.facts)]
        return {
            **self.facts,
            "findings": told,
            "examples": [example.record(self.reader) for example in self.examples],
        }


def inspect_source(request: InspectRequest, reporter: Reporter | None = None) -> Inspection:
    """Inspects a dataset folder or a source. Raises ConfigError, DatasetError or PuzzleError."""
    request.check()
    with (
        stages(reporter or Reporter()) as report,
        opened(request.source, request.options, report) as found,
    ):
        return _inspect(request, found, report)


def _inspect(request: InspectRequest, found: Opened, report: Report) -> Inspection:
    present = [name for name in SPLITS if (found.folder / name / METADATA_FILE).is_file()]
    if request.split is not None:
        # Raises DatasetError naming the splits that exist.
        read_metadata(found.folder, request.split)
    datasets = [Dataset.open(found.folder, name) for name in present if request.split in (None, name)]
    _check_same(datasets)
    first = datasets[0]
    reader = TokenReader.of(first.metadata)
    domain = reader.domain
    if request.symmetries is not None and not isinstance(domain, GridsDomain):
        raise ConfigError(
            f"--symmetries: is for own puzzles, but {request.source} is {reader.describe()}, whose symmetries are known"
        )
    claimed: Sequence[str] = request.symmetries or ()
    if request.symmetries is None and isinstance(domain, GridsDomain):
        claimed = domain.symmetries
    tallies = [tally_split(dataset, reader, report) for dataset in datasets]
    symbols = symbol_records(tallies, reader)
    metadata = first.metadata
    facts: dict[str, Any] = {
        "source": request.source,
        "is_dataset": not found.is_temporary,
        "domain": None if domain is None else {"name": domain.name, **domain.facts()},
        "description": reader.describe(),
        "built_from": metadata.source,
        "built_with_seed": metadata.seed,
        "augment": metadata.augment,
        "hints": metadata.hints,
        "vocab_size": metadata.vocab_size,
        "seq_len": metadata.seq_len,
        "num_puzzle_identifiers": metadata.num_puzzle_identifiers,
        "storage": None if found.is_temporary else _storage(found.folder, datasets),
        "splits": {
            tally.dataset.split: _split_record(tally, reader, request.seed, report) for tally in tallies
        },
        "symbols": symbols,
        "unused_symbols": [record["symbol"] for record in symbols if not record["count"]],
        "held_out_only_symbols": _held_out_only(symbols),
        "baselines": _baselines(datasets, reader, request.seed),
        "leaks": leaks(tallies, reader, claimed, report),
        "symmetries": check_claims(datasets, domain, claimed, report)
        if isinstance(domain, GridsDomain)
        else [],
        "notes": [note.replace(str(found.folder), request.source) for note in found.notes],
    }
    examples = [
        example
        for dataset in datasets
        for example in sample_examples(
            dataset, reader, request.examples, request.copies, request.seed, claimed
        )
    ]
    return Inspection(facts, examples, reader)


def _check_same(datasets: Sequence[Dataset]) -> None:
    """Raises DatasetError if splits differ in their vocabulary or length."""
    first = datasets[0]
    for other in datasets[1:]:
        for name in ("vocab_size", "seq_len"):
            one, two = getattr(first.metadata, name), getattr(other.metadata, name)
            if one != two:
                raise DatasetError(
                    f"{other.directory / other.split / METADATA_FILE}: {name} is {two}, but {first.split} has {one}; "
                    "the splits of a dataset have the same vocabulary and length"
                )


def _storage(folder: Path, datasets: Sequence[Dataset]) -> dict[str, Any]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    by_split: Counter[str] = Counter()
    for file in files:
        by_split[file.relative_to(folder).parts[0]] += file.stat().st_size
    kinds = sorted({str(part.inputs.dtype) for dataset in datasets for part in dataset.sets})
    return {
        "files": len(files),
        "bytes": sum(by_split.values()),
        "by_entry": dict(by_split),
        "dtype": kinds[0] if len(kinds) == 1 else ", ".join(kinds),
    }


def _split_record(tally: SplitTally, reader: TokenReader, seed: int, report: Report) -> dict[str, Any]:
    dataset = tally.dataset
    return {
        "groups": dataset.num_groups,
        "puzzles": dataset.num_puzzles,
        "examples": dataset.num_examples,
        "sets": {
            part.name: {
                "groups": len(part.group_indices) - 1,
                "puzzles": len(part.puzzle_identifiers),
                "examples": len(part.inputs),
            }
            for part in dataset.sets
        },
        "input_sizes": _sizes(tally.input_sizes),
        "output_sizes": _sizes(tally.output_sizes),
        "clues": tally.clues.record(),
        "path_lengths": tally.path_lengths.record(),
        "checked": _checked(tally, reader, seed, report),
        "duplicates": duplicates(tally),
    }


def _sizes(counts: Counter[tuple[int, int]]) -> list[dict[str, Any]]:
    return [
        {"rows": rows, "columns": columns, "count": count}
        for (rows, columns), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _checked(tally: SplitTally, reader: TokenReader, seed: int, report: Report) -> dict[str, Any] | None:
    """What the rules and the exact solver find in a sample of the original puzzles; None without rules."""
    domain, dataset = reader.domain, tally.dataset
    if not isinstance(domain, SudokuDomain | MazeDomain):
        return None
    originals = tally.originals
    rng = np.random.default_rng([seed, _SAMPLE])
    chosen = np.sort(rng.choice(originals, min(MOST_CHECKED, len(originals)), replace=False))
    inputs, labels = (
        np.clip(grid, 0, domain.vocab_size - 1).astype(np.uint8) for grid in dataset.gather(chosen)
    )
    solved = solutions(inputs, domain)
    difficulty = Distribution()
    difficulty.add(solved.difficulties[solved.counts > 0])
    right = domain.verify_all(inputs, labels)
    report(f"checking {dataset.split} by the rules", len(chosen), len(chosen))
    return {
        "puzzles": len(chosen),
        "right_answers": int(right.sum()),
        "wrong": chosen[~right][:5].tolist(),
        "one_solution": int((solved.counts == 1).sum()),
        "unknown": int((solved.counts < 0).sum()),
        "difficulty": difficulty.record() if isinstance(domain, SudokuDomain) else None,
    }


def _held_out_only(symbols: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Symbols that occur, but not in training; None without a training split."""
    if not symbols or "train" not in symbols[0]["splits"]:
        return None
    return [
        record["symbol"]
        for record in symbols
        if record["count"] and not sum(record["splits"]["train"].values())
    ]


def _baselines(datasets: Sequence[Dataset], reader: TokenReader, seed: int) -> dict[str, Any] | None:
    """Scores of trivial predictors on the test split or, without one, on the last split."""
    dataset = datasets[-1]
    if not dataset.has_answers:
        return None
    among = None
    if dataset.num_examples > MOST_SCORED:
        rng = np.random.default_rng([seed, _SAMPLE])
        among = np.sort(rng.choice(dataset.num_examples, MOST_SCORED, replace=False))
    scores = measure_baselines(dataset, among=among)
    outputs, on_outputs = 0, dict[str, Baseline]()
    if is_arc(dataset):
        _, tasks = tasks_of(dataset, dataset, reader)
        outputs, found = measure_output_baselines(tasks)
        on_outputs = dict(found)
    return {
        "split": dataset.split,
        "examples": dataset.num_examples if among is None else len(among),
        "scores": {name: vars(score) for name, score in scores.items()},
        "output_grids": outputs,
        "on_output_grids": {name: vars(score) for name, score in on_outputs.items()},
    }
