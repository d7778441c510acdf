"""How long a run will be, told from its configuration before its dataset is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrm_cli.config.schema import DataConfig, TrainConfig
from hrm_cli.data.metadata import read_metadata


@dataclass(frozen=True)
class ExpectedExamples:
    """Examples that an epoch visits: groups × mean examples of a puzzle."""

    groups: int | None
    """None where only the built dataset can tell."""
    words: str
    """What is assumed, or why it cannot be told."""
    mean_examples: float = 1.0
    """Examples of a puzzle, on average."""

    def steps(self, train: TrainConfig) -> int | None:
        """Optimizer steps of a run (`planned_steps`)."""
        return None if self.groups is None else planned_steps(train, self.groups, self.mean_examples)


def total_steps(epochs: int, groups: int, mean_examples: float, global_batch_size: int) -> int:
    """Steps in `epochs`, floor(epochs · groups · mean examples per puzzle ÷ global batch size)."""
    return int(epochs * groups * mean_examples / global_batch_size)


def planned_steps(train: TrainConfig, groups: int, mean_examples: float) -> int:
    """Optimizer steps of a run: those of its epochs, at most train.max_steps, at least one."""
    steps = total_steps(train.epochs, groups, mean_examples, train.global_batch_size)
    return max(1, min(steps, train.max_steps or steps))


def expected_examples(data: DataConfig) -> ExpectedExamples:
    """The examples of an epoch of this data section. Raises DatasetError where `path` holds no dataset."""
    if data.path is not None:
        metadata = read_metadata(Path(data.path), "train")
        per_epoch = metadata.total_groups * metadata.mean_puzzle_examples
        words = f"{per_epoch:,.0f} examples an epoch, as {data.path} has them"
        return ExpectedExamples(metadata.total_groups, words, metadata.mean_puzzle_examples)
    if data.domain == "arc":
        return ExpectedExamples(
            None, "tasks differ in their number of examples; name a built dataset: data.path=DIR"
        )
    puzzles = 0
    for source in data.sources:
        wanted = source.num_train if source.source == "builtin" else source.subsample_size
        if wanted is None:
            return ExpectedExamples(
                None, f"{source.source} says its size once it is built; name the dataset: data.path=DIR"
            )
        puzzles += wanted + source.variations
    # Augmented copies belong to their puzzle's group, of which an epoch visits one.
    return ExpectedExamples(puzzles, f"{puzzles:,} puzzles an epoch, one example each")
