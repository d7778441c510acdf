"""Runs of models with gates and more than two levels: they resume exactly, and their rows start as all others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.core import Depth
from hrm_cli.models.rng import StepRNG
from hrm_cli.training.loop import train
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.row_starts import row_starts
from hrm_cli.training.state import initial_state

LEVELS = {"fusion": "gated", "middle_cycles": [2, 1]}
STARTS = {"state_noise": 0.1, "warm_up_rows": 0.5, "warm_up_steps": 2, "repair_rows": 0.5}


def begun(make_run: Any, folder: str, arch: dict[str, Any], **settings: Any) -> Any:
    run, _ = make_run(6, folder=folder, **settings)
    arch = {**run.preset.arch.model_dump(), **LEVELS, **arch}
    run.preset = run.preset.model_copy(update={"arch": ArchConfig(**arch)})
    return run, initial_state(run.preset, run.facts, torch.device("cpu"))


@pytest.mark.parametrize(
    ("arch", "settings"),
    [
        ({}, {"l_distill_weight": 0.5}),
        ({"initial_state": "random", "damping": 0.8}, STARTS),
        ({"state_dtype": "float32", "forward_dtype": "bfloat16"}, {"objective": "rsm", "carry_over": 0.5}),
    ],
)
def test_a_run_with_levels_resumes_bit_identically(
    make_run: Any, arch: dict[str, Any], settings: dict[str, Any]
) -> None:
    run, whole = begun(make_run, "whole", arch, **settings)
    train(run, whole)
    first, half = begun(make_run, "parts", arch, checkpoint_interval=4, **settings)
    train(first, half)
    second, resumed = begun(make_run, "parts", arch, **settings)
    (second.folder / "latest").write_text("checkpoints/step-000000004")
    second.batches.position = load_training_state(second.folder, resumed)["position"]
    assert resumed.step == 4
    assert resumed.carry is not None
    assert resumed.carry.inner.z_M is not None
    train(second, resumed)
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], tensor), key
    gates = [key for key in whole.model.state_dict() if "_gate.bias" in key]
    assert len(gates) == 4
    assert all(whole.model.state_dict()[key].abs().sum() > 0 for key in gates)


def test_random_and_noisy_middle_states_are_those_of_their_rows(make_run: Any) -> None:
    run, state = begun(make_run, "run", {"initial_state": "random"}, state_noise=0.1)
    core, config = state.model.core, run.preset.train
    labels = torch.ones(4, 9, dtype=torch.int32)
    batch = PuzzleBatch(labels, labels, torch.zeros(4, dtype=torch.int32))
    start = core.initial_carry(labels)
    fresh = torch.tensor([True, False, True, False])
    rng = StepRNG(torch.Generator().manual_seed(1), 4)
    starts = row_starts(state.model, config, rng, Depth(1, 1))
    assert starts is not None
    found = starts.prepare(start, batch, fresh, state.model.puzzle_rows(batch.puzzle_identifiers), None)
    assert start.z_M is not None
    assert found.z_M is not None
    moved = (found.z_M - start.z_M).square().mean((1, 2, 3)).sqrt()
    # A fresh row has other random states; the others have theirs with noise of a tenth.
    assert (moved[fresh] > 1).all()
    assert (moved[~fresh] < 0.2).all()
    assert (moved > 0.05).all()
    assert not torch.equal(found.z_M[0], found.z_M[2])
