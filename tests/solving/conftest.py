"""4×4 puzzles, and a model whose predictions a test writes down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hrm_cli.models.act import InferenceStep
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.solver import search

SOLVABLE = ("..1..4...3....2.", "....41.....33.4.", "...23....4....1.")
"""One solution each."""

Respond = Callable[[NDArray[np.uint8], int], tuple[NDArray[np.uint8], float]]
"""Tokens of a puzzle and the step → predicted tokens and the halt value."""


def right_answer(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tokens of the solution of a 4×4 puzzle given as tokens."""
    return search((tokens - 1)[None], 4).solutions[0, 0] + np.uint8(1)


@dataclass
class ScriptedModel:
    """Answers as `respond` says; halts a row once its halt value is positive."""

    respond: Respond
    runs: list[NDArray[np.uint8]] = field(default_factory=list)
    """The token batches that the model was given."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def infer(
        self, inputs: torch.Tensor, puzzle_identifiers: torch.Tensor, max_steps: int, *, adaptive: bool
    ) -> Iterator[InferenceStep]:
        assert inputs.dtype == puzzle_identifiers.dtype == torch.int32
        tokens = inputs.numpy().astype(np.uint8)
        self.runs.append(tokens)
        rows = np.arange(len(tokens))
        for step in range(1, max_steps + 1):
            answers, values = zip(*(self.respond(tokens[row], step) for row in rows), strict=True)
            values_array = np.array(values, np.float32)
            finished = np.full(len(rows), step == max_steps) | (adaptive & (values_array > 0))
            yield InferenceStep(
                step,
                torch.from_numpy(rows),
                torch.from_numpy(np.stack(answers).astype(np.int64)),
                torch.from_numpy(values_array),
                torch.from_numpy(finished),
            )
            rows = rows[~finished]
            if not len(rows):
                return


@pytest.fixture(scope="session")
def domain() -> SudokuDomain:
    return SudokuDomain(4)


@pytest.fixture
def puzzles(domain: SudokuDomain) -> list[Puzzle]:
    """Three puzzles with one solution each."""
    return [domain.parse(text, f"file:{line}") for line, text in enumerate(SOLVABLE, 1)]


@pytest.fixture
def right_model() -> ScriptedModel:
    """Solves everything in one step."""
    return ScriptedModel(lambda tokens, step: (right_answer(tokens), 1.0))


@pytest.fixture
def scripted() -> Callable[[Respond], ScriptedModel]:
    return ScriptedModel
