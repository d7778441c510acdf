"""The results and costs of a build."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hrm_cli.data.mixture import SourceSummary
from hrm_cli.data.writer import SplitWriter


@dataclass(frozen=True)
class SplitSize:
    """Number of groups, puzzles and examples in a split."""

    groups: int = 0
    puzzles: int = 0
    examples: int = 0

    @classmethod
    def of(cls, split: SplitWriter) -> SplitSize:
        """The size of the split written so far."""
        return cls(split.groups, split.puzzles, split.examples)

    def __add__(self, other: SplitSize) -> SplitSize:
        return SplitSize(
            self.groups + other.groups, self.puzzles + other.puzzles, self.examples + other.examples
        )


@dataclass(frozen=True)
class BuildSummary:
    """The results and costs of a build. The fields are the keys of `hrm build-dataset --json`."""

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
    """Number of input and label tokens on disk in all splits."""
    bytes: int
    seconds: float
    """Time from the call to the finished dataset, including reading or generating the puzzles."""
    writing_seconds: float
    """The part of `seconds` spent on augmentation and writing."""
    examples_per_second: float
    """Examples of all splits ÷ `seconds`."""
    peak_memory_mb: float | None
    """Peak memory of the process so far."""
    notes: list[str] = field(default_factory=list)
    """Notes on what was left out or is missing."""
    validation: SplitSize = SplitSize()
    sources: list[SourceSummary] = field(default_factory=list)
    """A summary of each source, if there are several."""

    def to_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return asdict(self)
