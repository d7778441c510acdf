"""Results of benchmarks/effort.py, one JSON line per puzzle and kind of effort, written as they come.

The first line describes the measurement. A measurement that was interrupted continues where it stopped; a file of
another measurement is refused.

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.puzzles.domain import Tokens
from hrm_cli.solving.choosing import LoadedModel, SolveOptions


@dataclass(frozen=True)
class Record:
    """The result of one kind of effort on one puzzle."""

    kind: str
    puzzle: int
    solved: bool
    steps: int
    """ACT steps, including those of the first pass unless the kind replaces it."""
    seconds: float
    """CPU time of these steps. Only sums count: puzzles share batches."""


@dataclass
class Records:
    """The records of a measurement, and the file that receives them."""

    file: Path | None
    by_kind: dict[str, dict[int, Record]] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path | None, header: dict[str, Any]) -> Records:
        """Reads the records that `file` holds so far, or begins it. Raises ValueError if it is of something else."""
        records = cls(file)
        if file is None:
            return records
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_lines(file)
        if not whole:
            file.write_text(f"{json.dumps(header)}\n", encoding="utf-8")
            return records
        found = json.loads(whole[0])
        for key, value in header.items():
            if found.get(key) != value:
                raise ValueError(f"{file}: its {key} is {found.get(key)!r:.80}, here it is {value!r:.80}")
        for line in whole[1:]:
            records._keep(Record(**json.loads(line)))
        return records

    def add(self, record: Record) -> None:
        """Keeps a record and appends it to the file."""
        self._keep(record)
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(asdict(record))}\n")

    def _keep(self, record: Record) -> None:
        self.by_kind.setdefault(record.kind, {})[record.puzzle] = record

    def of(self, kind: str) -> dict[int, Record]:
        """The records of a kind, by puzzle."""
        return self.by_kind.get(kind, {})

    def missing(self, kind: str, puzzles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `puzzles` without a record of this kind."""
        known = self.of(kind)
        return np.array([puzzle for puzzle in puzzles.tolist() if puzzle not in known], np.int64)


def header_of(loaded: LoadedModel, tokens: Tokens) -> dict[str, Any]:
    """What records must agree on: the weights, the puzzles `[n, S]`, and the steps of the first pass."""
    return {
        "model": hashlib.sha256(loaded.card.path.read_bytes()).hexdigest(),
        "puzzles": hashlib.sha256(tokens.tobytes()).hexdigest(),
        "max_steps": loaded.steps(SolveOptions()),
    }


def _whole_lines(file: Path) -> list[str]:
    """The complete lines of a file; an incomplete last line is removed from it."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return whole.splitlines()


HEADING = f"{'kind':<16} {'solved':>7} {'(95 %)':<18} {'steps':>8} {'FLOPs':>9} {'seconds':>8}   per puzzle"


def row(
    name: str, solved: NDArray[np.bool_], costs: tuple[float, float, float], sources: NDArray[np.str_]
) -> str:
    """A line of the table; `costs` are the mean steps, FLOPs and seconds per puzzle."""
    low, high = wilson_interval(float(solved.mean()), len(solved))
    steps, flops, seconds = costs
    of_sources = "  ".join(f"{name} {share:.1%}" for name, share in _by_source(solved, sources))
    cost = f"{steps:8.1f} {flops:9.2g} {seconds:8.2f}"
    return f"{name:<16} {solved.mean():7.1%} ({low:.1%} to {high:.1%}) {cost}   {of_sources}"


def _by_source(solved: NDArray[np.bool_], sources: NDArray[np.str_]) -> Iterator[tuple[str, float]]:
    for source in np.unique(sources):
        yield str(source), float(solved[sources == source].mean())
