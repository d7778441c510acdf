"""What a build made, and what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hrm_cli.data.mixture import SourceSummary
from hrm_cli.data.writer import SplitWriter


@dataclass(frozen=True)
class SplitSize:
    """How much a split holds."""

    groups: int = 0
    puzzles: int = 0
    examples: int = 0

    @classmethod
    def of(cls, split: SplitWriter) -> SplitSize:
        """What has been written."""
        return cls(split.groups, split.puzzles, split.examples)

    def __add__(self, other: SplitSize) -> SplitSize:
        return SplitSize(
            self.groups + other.groups, self.puzzles + other.puzzles, self.examples + other.examples
        )


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
    """What was left out or missing, as text."""
    validation: SplitSize = SplitSize()
    sources: list[SourceSummary] = field(default_factory=list)
    """What came from each, where there are several."""

    def to_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return asdict(self)
