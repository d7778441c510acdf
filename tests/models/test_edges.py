"""The `edges` mixer: equivariance, one set of weights for every grid, what a side receives, gradients, old weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.mixers.edges import EdgesStructure, gathered
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.models.shapes import Shapes
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.dihedral import transform
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.relations import Neighborhood
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.training.objectives import OBJECTIVES, Progress

from .test_neighbors import NEIGHBORS, answers, neighbors_model

EDGES: dict[str, Any] = {**NEIGHBORS, "mixer": "edges"}
CORES: dict[str, dict[str, Any]] = {
    "hrm": {},
    "hrm with gates and three levels": {"fusion": "gated", "middle_cycles": [2]},
    "trm": {"core": "trm"},
    "trm that halts when certain": {"core": "trm", "halting": "certain"},
}


def edges_model(rows: int, columns: int, **more: Any) -> ACTModel:
    """A model with random weights everywhere, also in its Q head."""
    return neighbors_model(rows, columns, **{"mixer": "edges", **more})


@pytest.mark.parametrize("size", [(6, 6), (4, 9), (1, 5)])
@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_outputs_turn_with_the_maze_under_every_symmetry_of_the_square(
    core: dict[str, Any], size: tuple[int, int]
) -> None:
    grid = np.random.default_rng(0).integers(1, 6, size)
    plain = answers(edges_model(*size, **core), grid[None])
    for number in range(8):
        turned = transform(grid, number)
        moved = answers(edges_model(*turned.shape, **core), turned[None])
        expected = np.stack(
            [transform(plain.logits[0, :, token].view(size).numpy(), number) for token in range(6)], axis=-1
        )
        np.testing.assert_allclose(moved.logits[0].view(*turned.shape, 6).numpy(), expected, atol=1e-5)
        torch.testing.assert_close(moved.q_halt, plain.q_halt, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_one_set_of_weights_serves_every_rectangle(core: dict[str, Any]) -> None:
    sizes = [(30, 30), (7, 4), (5, 8)]
    small = edges_model(5, 8, **core)
    shapes = Shapes(small)
    for rows, columns in sizes:
        grids = np.random.default_rng(1).integers(1, 6, (2, rows, columns))
        own = edges_model(rows, columns, **core)
        own.load_state_dict(small.state_dict())
        domain = MazeDomain(rows, columns)
        shapes.take(domain.vocab_size, domain.seq_len, {"name": "maze", **domain.facts()})
        assert torch.equal(answers(small, grids, 1).logits, answers(own, grids, 1).logits)
        assert small.core.positions == 4 * rows * columns


def test_a_message_passes_one_cell_per_block() -> None:
    model = edges_model(1, 12, H_cycles=1, L_cycles=4)
    plain = np.full((1, 1, 12), 2)
    changed = plain.copy()
    changed[0, 0, 0] = 1
    differs = (answers(model, plain, 1).logits != answers(model, changed, 1).logits)[0].any(-1)
    assert differs.tolist() == [True] * 6 + [False] * 6  # five blocks


def test_a_side_receives_from_across_its_edge_and_from_the_sides_of_its_cell() -> None:
    # 1 row × 2 columns; a side sends the same number in all three messages. Up, right, down, left of both cells:
    sent = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 80.0]).view(1, 8, 1).expand(-1, -1, 3)
    arrived, of_cells = gathered(sent, Neighborhood(1, 2))
    assert arrived[0, :, 0].tolist() == [0, 80, 0, 0, 0, 0, 0, 2]
    # The sum and the maximum of the cell's own sides, then of what arrived.
    assert of_cells[0].tolist() == [[10, 4, 80, 80], [98, 80, 2, 2]]


def test_a_side_receives_from_the_rows_above_and_below() -> None:
    sent = torch.arange(1.0, 9.0).view(1, 8, 1).expand(-1, -1, 3)  # 2 rows × 1 column
    assert gathered(sent, Neighborhood(2, 1))[0][0, :, 0].tolist() == [0, 0, 5, 0, 3, 0, 0, 0]


@pytest.mark.parametrize("core", ["hrm", "trm"])
@pytest.mark.parametrize("objective", ["deep_supervision", "rsm"])
def test_every_weight_of_a_new_model_gets_a_gradient_under_every_objective(core: str, objective: str) -> None:
    more = {"halting": "certain"} if objective == "rsm" else {"q_continue": False}
    model = edges_model(4, 6, core=core, **more)
    tokens = torch.randint(1, 6, (3, 24), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    batch = PuzzleBatch(tokens, tokens, torch.zeros(3, dtype=torch.int32))
    config = TrainConfig(objective=objective)
    _, out = OBJECTIVES[objective](model, None, batch, config, StepRNG(None, 3), Progress())
    out.loss.backward()
    assert {name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()} == set()


def test_a_new_model_starts_with_quiet_blocks_so_that_the_input_passes_through() -> None:
    model = build_model(ArchConfig(**EDGES), 6, 36, 1, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert parameter.std().item() == pytest.approx(0.1 / parameter.shape[1] ** 0.5, rel=0.2)


def test_parameters_have_the_names_and_shapes_of_trained_checkpoints() -> None:
    model = build_model(ArchConfig(**EDGES), 6, 36, 1)
    shapes = {name: tuple(one.shape) for name, one in model.named_parameters() if ".edges." in name}
    assert shapes == {
        f"inner.{module}.layers.0.edges.{projection}.weight": shape
        for module in ("H_level", "L_level")
        for projection, shape in (("in_proj", (48, 16)), ("o_proj", (16, 80)))
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"core": "nova"}, "mixer edges works only with the cores hrm and trm"),
        ({"puzzle_emb_ndim": 16}, "puzzle_emb_ndim=0"),
        ({"pos_encodings": "learned"}, "pos_encodings=none"),
        ({"mixer": "edge"}, "unknown mixer 'edge'.*edges"),
    ],
)
def test_settings_that_do_not_go_with_edges_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ArchConfig(**{**EDGES, **change})


def test_every_domain_that_declares_a_grid_has_edges() -> None:
    for domain in (MazeDomain(3, 5), SudokuDomain(9), ArcDomain()):
        assert EdgesStructure(domain).positions == 4 * domain.seq_len


def test_a_domain_without_a_grid_is_refused_with_the_name_of_the_mixer() -> None:
    class Line(MazeDomain):
        neighborhood = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match=r"arch\.mixer edges needs a domain whose cells are a grid"):
        EdgesStructure(Line(1, 5))
