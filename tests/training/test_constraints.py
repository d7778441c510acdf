"""The constraint loss: zero for valid grids, its formula, its gradient, and where it is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.training.constraints import ConstraintLoss, constraint_of
from hrm_cli.training.state import TrainState, initial_state
from hrm_cli.training.step import train_one_step

FACTS = DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4})
CPU = torch.device("cpu")
GRID = [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]
LOSSES = ("softmax_cross_entropy", "stablemax_cross_entropy")


def certain(grid: list[list[int]]) -> torch.Tensor:
    """Logits `[1, 16, 6]` that are certain of the symbols of a 4×4 grid; tokens are padding, blank, 1 to 4."""
    tokens = torch.tensor(grid).flatten() + 1
    return 1e9 * torch.nn.functional.one_hot(tokens, 6).float().unsqueeze(0)


def penalty() -> ConstraintLoss:
    return ConstraintLoss({"name": "sudoku", "size": 4}, 6, 16, CPU)


@pytest.mark.parametrize("loss", LOSSES)
@given(digits=st.permutations([1, 2, 3, 4]))
@settings(max_examples=24, deadline=None)
def test_a_valid_grid_has_no_penalty(loss: str, digits: list[int]) -> None:
    grid = [[digits[value - 1] for value in row] for row in GRID]
    assert penalty()(certain(grid), loss).item() == pytest.approx(0, abs=1e-6)


def test_two_exchanged_digits_are_penalized_in_every_unit_that_they_break() -> None:
    grid = [row[:] for row in GRID]
    grid[0][0], grid[0][1] = grid[0][1], grid[0][0]
    # Row and box stay valid; in two columns one digit appears twice and another is missing.
    assert penalty()(certain(grid), LOSSES[0]).item() == pytest.approx(4 / (12 * 4))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from(LOSSES))
def test_the_penalty_follows_its_formula_summed_over_rows(seed: int, loss: str) -> None:
    logits = torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(seed))
    scores = logits.double()
    stablemax = torch.where(scores < 0, 1 / (1 - scores), scores + 1)
    weights = scores.exp() if loss == LOSSES[0] else stablemax
    p = (weights / weights.sum(-1, keepdim=True)).view(2, 4, 4, 6)[..., 2:]
    counts = [p[:, i].sum(1) for i in range(4)] + [p[:, :, i].sum(1) for i in range(4)]
    counts += [p[:, r : r + 2, c : c + 2].sum((1, 2)) for r, c in itertools.product((0, 2), (0, 2))]
    expected = (torch.stack(counts) - 1).square().mean((0, 2)).sum()
    assert penalty()(logits, loss).item() == pytest.approx(expected.item(), rel=1e-4)


def started(weight: float, objective: str = "deep_supervision") -> tuple[TrainState, Preset]:
    arch = ArchConfig(
        hidden_size=16, num_heads=2, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, halt_max_steps=3,
        forward_dtype="float32", puzzle_emb_ndim=0, halt_exploration_prob=0,
    )  # fmt: skip
    train = TrainConfig(
        global_batch_size=8, lr=1e-2, lr_warmup_steps=0, constraint_loss=weight, objective=objective
    )
    preset = Preset(arch=arch, train=train)
    return initial_state(preset, FACTS, CPU), preset


def batch(number: int) -> PuzzleBatch:
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randint(1, 6, (8, 16), dtype=torch.int32, generator=generator)
    # One labeled cell: the penalty covers the others, too.
    labels = torch.full_like(inputs, -100)
    labels[:, 0] = torch.tensor(GRID).flatten()[0] + 1
    return PuzzleBatch(inputs, labels, torch.zeros(8, dtype=torch.int32))


@pytest.mark.parametrize("objective", ["deep_supervision", "rsm"])
def test_the_step_adds_the_weighted_penalty_to_the_loss(objective: str) -> None:
    plain, preset = started(0, objective)
    without = train_one_step(plain, batch(0), preset.train, 10)
    state, preset = started(0.3, objective)
    found = train_one_step(state, batch(0), preset.train, 10)
    assert "constraint_loss" not in without
    added = 0.3 * found["constraint_loss"].item()
    assert added > 0
    assert found["loss"].item() == pytest.approx(without["loss"].item() + added, rel=1e-5)


def test_training_with_it_lowers_the_penalty_of_cells_without_labels() -> None:
    state, preset = started(30.0)
    found = [
        train_one_step(state, batch(number), preset.train, 40)["constraint_loss"].item()
        for number in range(40)
    ]
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


def test_another_size_of_the_run_has_its_own_units() -> None:
    own = penalty()
    assert own(torch.zeros(3, 36, 8), LOSSES[0]).item() == pytest.approx(3 * (6 / 8 - 1) ** 2)


@pytest.mark.parametrize(
    ("domain", "shape", "name"),
    [({"name": "maze", "rows": 4, "columns": 4}, (6, 16), "4×4 maze"), ({}, (7, 20), "this dataset")],
)
def test_domains_without_such_units_are_refused(domain: dict, shape: tuple[int, int], name: str) -> None:
    facts = DatasetFacts(*shape, 1, domain)
    with pytest.raises(
        ConfigError, match=rf"such as Sudoku; {name} declares none\. Use train\.constraint_loss=0"
    ):
        constraint_of(TrainConfig(constraint_loss=0.3), facts, CPU)
    assert constraint_of(TrainConfig(), facts, CPU) is None
