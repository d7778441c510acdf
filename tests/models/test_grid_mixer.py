"""The `grid` mixer: which cells a message reaches, what each direction means, large grids, other sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hrm_cli.config.arch import MOST_GRID_POSITIONS, ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.mixers.grid import from_around, from_lines, from_positions
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.models.shapes import Shapes
from hrm_cli.puzzles.relations import Neighborhood
from hrm_cli.training.objectives import OBJECTIVES, Progress

GRID: dict[str, Any] = {
    "core": "trm", "mixer": "grid", "hidden_size": 16, "num_heads": 2, "L_layers": 1, "H_cycles": 1, "L_cycles": 1,
    "pos_encodings": "none", "forward_dtype": "float32", "expansion": 3, "halting": "certain",
}  # fmt: skip


def grid_model(rows: int, columns: int, **more: Any) -> ACTModel:
    """A new model for own puzzles of this size."""
    domain = {
        "name": "grids", "rows": rows, "columns": columns, "symbols": ["a", "b"], "input_rows": rows,
        "input_columns": columns, "output_rows": rows, "output_columns": columns,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    return build_model(
        ArchConfig(**{**GRID, **more}), 3, rows * columns, 1, domain=domain, generator=generator
    )


def field(rows: int, columns: int, width: int = 1) -> torch.Tensor:
    """Different numbers for every cell, `[1, S, width]`."""
    return torch.arange(1.0, rows * columns * width + 1).view(1, rows * columns, width)


@pytest.mark.parametrize(
    ("weight", "received"),
    [
        (1, [0, 0, 0, 1, 2, 3]),  # from above
        (3, [0, 1, 2, 0, 4, 5]),  # from the left
        (4, [1, 2, 3, 4, 5, 6]),  # from itself
        (8, [5, 6, 0, 0, 0, 0]),  # from below, to the right
    ],
)
def test_every_direction_has_a_weight_of_its_own_and_nothing_comes_from_outside(
    weight: int, received: list[int]
) -> None:
    around = torch.zeros(1, 9)
    around[0, weight] = 1
    assert from_around(field(2, 3), around, Neighborhood(2, 3)).flatten().tolist() == received


def test_lines_are_the_mean_and_the_maximum_of_row_and_column() -> None:
    found = from_lines(field(2, 3).expand(1, 6, 2), Neighborhood(2, 3))[0]
    assert found.tolist()[0] == [2, 3, 2.5, 4]
    assert found.tolist()[5] == [5, 6, 4.5, 6]


def test_positions_can_hold_any_rearrangement_and_each_head_its_own() -> None:
    backward, same = torch.eye(4).flip(0), torch.eye(4)
    found = from_positions(field(1, 4, 2), torch.stack((backward, same)))
    assert found[0].tolist() == [[7, 2], [5, 4], [3, 6], [1, 8]]


def test_every_weight_of_a_new_model_gets_a_gradient() -> None:
    model = grid_model(3, 4)
    tokens = torch.randint(1, 3, (3, 12), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    batch = PuzzleBatch(tokens, tokens, torch.zeros(3, dtype=torch.int32))
    _, out = OBJECTIVES["rsm"](model, None, batch, TrainConfig(objective="rsm"), StepRNG(None, 3), Progress())
    out.loss.backward()
    assert {name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()} == set()


def test_large_grids_have_no_weights_between_positions() -> None:
    small, large = grid_model(20, 20), grid_model(20, 21)
    assert MOST_GRID_POSITIONS == 20 * 20
    count = [sum(one.numel() for one in model.parameters()) for model in (small, large)]
    assert count[0] - count[1] == 2 * 400**2 + 2 * 16**2
    tokens = torch.ones(1, 420, dtype=torch.int32)
    with torch.no_grad():
        assert large.core(large.core.initial_carry(tokens), tokens, None)[1].logits.shape == (1, 420, 3)


def test_a_model_serves_only_the_size_that_it_was_made_for() -> None:
    with pytest.raises(ConfigError, match=r"arch\.mixer grid: the weights depend on the size of the puzzles"):
        Shapes(grid_model(3, 4))
