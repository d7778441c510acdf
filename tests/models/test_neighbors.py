"""The `neighbors` mixer: equivariance, one set of weights for every grid, how far messages travel, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.mixers import MIXERS
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.core import CoreOutput
from hrm_cli.models.mixers.neighbors import gathered
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.puzzles.dihedral import transform
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.relations import Neighborhood
from hrm_cli.training.objectives import OBJECTIVES, Progress

NEIGHBORS: dict[str, Any] = {
    "mixer": "neighbors", "hidden_size": 16, "num_heads": 1, "H_layers": 1, "L_layers": 1, "H_cycles": 2,
    "L_cycles": 2, "pos_encodings": "none", "forward_dtype": "float32", "expansion": 3,
}  # fmt: skip
CORES = ("hrm", "trm")


def neighbors_model(rows: int, columns: int, **more: Any) -> ACTModel:
    """A model with random weights everywhere, also in its Q head."""
    domain = MazeDomain(rows, columns)
    generator = torch.Generator().manual_seed(3)
    stated = {"name": "maze", **domain.facts()}
    shape = domain.vocab_size, domain.seq_len, 1
    model = build_model(ArchConfig(**{**NEIGHBORS, **more}), *shape, domain=stated, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("q_head.weight", "o_proj.weight", "down_proj.weight")):
                parameter.normal_(std=0.2, generator=generator)
    return model


def answers(model: ACTModel, grids: np.ndarray, steps: int = 2) -> CoreOutput:
    """The output after some ACT steps on token grids `[n, R, C]`."""
    inputs = torch.from_numpy(np.ascontiguousarray(grids).astype(np.int32).reshape(len(grids), -1))
    carry = model.core.initial_carry(inputs)
    with torch.no_grad():
        for _ in range(steps):
            carry, out = model.core(carry, inputs, None)
    assert out.logits is not None
    return out


@pytest.mark.parametrize("core", CORES)
@given(size=st.sampled_from([(6, 6), (4, 9)]), number=st.integers(1, 7), seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_outputs_turn_with_the_maze_under_every_symmetry_of_the_square(
    core: str, size: tuple[int, int], number: int, seed: int
) -> None:
    grid = np.random.default_rng(seed).integers(1, 6, size)
    turned = transform(grid, number)
    plain, moved = (answers(neighbors_model(*one.shape, core=core), one[None]) for one in (grid, turned))
    expected = np.stack(
        [transform(plain.logits[0, :, token].view(size).numpy(), number) for token in range(6)], axis=-1
    )
    np.testing.assert_allclose(moved.logits[0].view(*turned.shape, 6).numpy(), expected, atol=1e-5)
    torch.testing.assert_close(moved.q_halt, plain.q_halt, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("core", CORES)
def test_a_maze_inside_walls_of_any_thickness_gets_the_answers_of_the_same_weights(core: str) -> None:
    # The edge of the grid is seen as an edge, but the weights do not depend on the size.
    small, large = neighbors_model(5, 8, core=core), neighbors_model(30, 30, core=core)
    large.load_state_dict(small.state_dict())
    assert large.core.seq_len == 900


def test_a_message_travels_one_cell_in_every_block() -> None:
    model = neighbors_model(1, 12, H_cycles=1, L_cycles=4)
    plain = np.full((1, 1, 12), 2)
    changed = plain.copy()
    changed[0, 0, 0] = 1
    differs = (answers(model, plain, 1).logits != answers(model, changed, 1).logits)[0].any(-1)
    # Four L updates and one H update are five blocks.
    assert differs.tolist() == [True] * 6 + [False] * 6


def test_cells_at_the_edge_receive_nothing_from_outside() -> None:
    sent = torch.arange(1.0, 13.0).view(
        1, 6, 2
    )  # 2 rows × 3 columns, one number for the sum and one for the maximum
    received = gathered(sent, Neighborhood(2, 3))[0]
    assert received[:, 0].tolist() == [3 + 7, 1 + 5 + 9, 3 + 11, 1 + 9, 3 + 7 + 11, 5 + 9]
    assert received[:, 1].tolist() == [8, 10, 12, 10, 12, 10]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("objective", ["deep_supervision", "rsm"])
def test_every_weight_of_a_new_model_gets_a_gradient_under_every_objective(core: str, objective: str) -> None:
    more = {"halting": "certain"} if objective == "rsm" else {"q_continue": False}
    model = neighbors_model(4, 6, core=core, **more)
    tokens = torch.randint(1, 6, (3, 24), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    batch = PuzzleBatch(tokens, tokens, torch.zeros(3, dtype=torch.int32))
    config = TrainConfig(objective=objective)
    _, out = OBJECTIVES[objective](model, None, batch, config, StepRNG(None, 3), Progress())
    out.loss.backward()
    assert {name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()} == set()


def test_a_new_model_starts_with_quiet_blocks_so_that_the_input_passes_through() -> None:
    model = build_model(ArchConfig(**NEIGHBORS), 6, 36, 1, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert parameter.std().item() == pytest.approx(0.1 / parameter.shape[1] ** 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"core": "nova"}, "mixer neighbors works only with the cores hrm and trm"),
        ({"puzzle_emb_ndim": 16}, "puzzle_emb_ndim=0"),
        ({"pos_encodings": "rope"}, "pos_encodings=none"),
        ({"tied_output": True}, "tied_output=false"),
        (
            {"mixer": "neighbours"},
            "unknown mixer 'neighbours'.*neighbors.*known: attention, mlp, units, neighbors",
        ),
    ],
)
def test_settings_that_do_not_go_with_neighbors_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ArchConfig(**{**NEIGHBORS, **change})


def test_cells_that_are_no_known_grid_are_refused() -> None:
    with pytest.raises(ConfigError, match="no known domain has 7 tokens and 20 cells"):
        build_model(ArchConfig(**NEIGHBORS), 7, 20, 1)


def test_every_registered_mixer_is_accepted() -> None:
    for name in MIXERS:
        for core in ("hrm", "trm"):
            assert ArchConfig(core=core, mixer=name, pos_encodings="none").mixer == name
