"""Models that solve a 4×4 Sudoku once enough of its cells have been pinned right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hrm_cli.models.core import CoreOutput, InnerCarry
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

from .scripted import ScriptedCore

FOUR = SudokuDomain(4)
BLANK = 1


def tokens(text: str) -> np.ndarray:
    return FOUR.encode(FOUR.parse(text).grid)


PUZZLE, OTHER = tokens("..1..4...3....2."), tokens("....41.....33.4.")
Beliefs = Callable[[np.ndarray], np.ndarray]
"""What the model gives each token of a puzzle with its pins: `[S]` → `[S, V]`, not normalized."""


class Believer(ScriptedCore):
    """Believes what a test says; the most probable token of each cell is its answer."""

    def __init__(self, beliefs: Beliefs) -> None:
        super().__init__(lambda *_: (np.zeros(1), 0.0), FOUR.vocab_size, FOUR.seq_len)
        self.beliefs = beliefs
        self.seen: list[np.ndarray] = []
        """The nodes, in the order in which they joined."""

    def forward(
        self, carry: InnerCarry, inputs: Tensor, puzzle_rows: None, weights: None
    ) -> tuple[InnerCarry, CoreOutput]:
        self.at_work.append(len(inputs))
        said = [self.beliefs(row) for row in inputs.numpy().astype(np.uint8)]
        self.seen += [
            row.astype(np.uint8)
            for row, steps in zip(inputs.numpy(), carry.z_H.flatten(), strict=True)
            if steps == 0
        ]
        logits = torch.from_numpy(np.log(np.maximum(np.stack(said), 1e-9)).astype(np.float32))
        values = torch.zeros(len(inputs))
        return InnerCarry(carry.z_H + 1, carry.z_L), CoreOutput(logits, values, values)


def unsure(puzzle: np.ndarray) -> np.ndarray:
    """All digits alike in open cells, the givens for sure."""
    chances = np.zeros((len(puzzle), FOUR.vocab_size))
    chances[:, BLANK + 1 :] = 0.25
    given = puzzle > BLANK
    chances[given] = np.eye(FOUR.vocab_size)[puzzle[given]]
    return chances


def sure_of(answer: np.ndarray) -> np.ndarray:
    return np.eye(FOUR.vocab_size)[answer]


def solution(puzzle: np.ndarray) -> np.ndarray:
    return FOUR.solve_all(puzzle[None]).answers[0]


def needs(pins: int) -> Beliefs:
    """Knows the answer once that many right digits have been pinned, and nothing else."""

    def beliefs(puzzle: np.ndarray) -> np.ndarray:
        for known in (PUZZLE, OTHER):
            answer = solution(known)
            if ((known == BLANK) | (known == puzzle)).all():
                pinned = (puzzle != known).sum()
                is_right = ((puzzle == BLANK) | (puzzle == answer)).all()
                return sure_of(answer) if is_right and pinned >= pins else unsure(puzzle)
        raise AssertionError("no node of these puzzles")

    return beliefs
