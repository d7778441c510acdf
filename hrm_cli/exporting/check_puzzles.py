"""Puzzles with known answers, on which an exported model is compared with the original.

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.config.data import DataConfig
from hrm_cli.data.batches import evaluation_batches
from hrm_cli.data.format import Dataset
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.evaluation.evaluate import sample_examples
from hrm_cli.puzzles.domain import Domain, Tokens


@dataclass(frozen=True)
class CheckPuzzles:
    """Puzzles and their answers."""

    inputs: NDArray[np.int32]
    """`[n, S]`"""
    labels: NDArray[np.int32]
    """`[n, S]`, −100 for cells without a label."""
    identifiers: NDArray[np.int32]
    """`[n]`"""
    words: str
    """What they are, as text."""

    def exact_accuracy(self, answers: NDArray[np.int64]) -> float:
        """The fraction of answers `[n, S]` in which every labeled cell is right."""
        return float(((answers == self.labels) | (self.labels < 0)).all(axis=1).mean())


def check_puzzles(
    card: ModelCard, domain: Domain | None, data: Path | None, count: int, seed: int
) -> CheckPuzzles | None:
    """`count` puzzles: a sample of a dataset's test split, or new ones like those of training.

    None if there is no dataset and no generator for the domain. Raises DatasetError or ConfigError.
    """
    if count < 1:
        return None
    if data is not None:
        return _sampled(card, data, count, seed)
    if domain is None or domain.name not in ("sudoku", "maze"):
        return None
    pairs = list(_generated(card.preset.data, domain, count, np.random.default_rng([seed, count])))
    inputs, labels = (
        domain.encode_all(np.concatenate(cells)).astype(np.int32)  # type: ignore[attr-defined]
        for cells in zip(*pairs, strict=True)
    )
    words = f"{len(inputs):,} generated {domain.describe()} puzzles"
    return CheckPuzzles(inputs, labels, np.zeros(len(inputs), np.int32), words)


def _generated(
    data: DataConfig, domain: Domain, count: int, rng: np.random.Generator
) -> Iterator[tuple[Tokens, Tokens]]:
    if domain.name == "sudoku":
        from hrm_cli.puzzles.sudoku.generator import generate as generate_sudoku

        size = int(domain.facts()["size"])
        return generate_sudoku(size, count, rng, clues=None if size <= 9 else (size * size * 6 // 10,) * 2)
    from hrm_cli.puzzles.maze.generator import generate as generate_mazes
    from hrm_cli.puzzles.maze.generator import longest_possible

    rows, columns = int(domain.facts()["rows"]), int(domain.facts()["columns"])
    shortest = min(data.min_path, longest_possible(rows, columns, "perfect"))
    return generate_mazes(rows, count, rng, columns=columns, min_path=shortest)


def _sampled(card: ModelCard, data: Path, count: int, seed: int) -> CheckPuzzles:
    dataset = Dataset.open(data, "test")
    found = dataset.metadata.vocab_size, dataset.metadata.seq_len
    if found != (card.facts.vocab_size, card.facts.seq_len):
        raise DatasetError(
            f"{data}: {found[0]} tokens and {found[1]} cells, but the checkpoint has {card.facts.vocab_size} and "
            f"{card.facts.seq_len}; name a dataset of the same puzzles with --data"
        )
    if not dataset.has_answers:
        raise ConfigError(
            f"--data {data}: its test split has no answers, so that no accuracy can be measured"
        )
    among = sample_examples(dataset.num_examples, count, seed)
    batch = next(evaluation_batches(dataset, len(among), among=among))
    words = f"{len(among):,} puzzles of the test split of {data}"
    return CheckPuzzles(batch.inputs, batch.labels, batch.puzzle_identifiers, words)
