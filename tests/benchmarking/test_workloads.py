"""What is timed is what is counted: a workload's FLOPs are those that torch counts while it runs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hrm_cli.benchmarking import training
from hrm_cli.config.presets import load_preset
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.puzzles.domain import make_domain

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "core=trm",
            "mlp_t=true",
            "objective=rsm",
            "train.reach_back=0",
            "train.depth_schedule=2x2@0 3x4@0.5",
        ],
        ["core=trm", "train.depth_schedule=cgar"],
        ["H_cycles=2"],
    ],
    ids=["rsm", "cgar", "no schedule"],
)
def test_a_training_workload_runs_the_flops_it_states_at_the_deepest_stage(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The portable blocks: torch's counter does not know the CPU's own products.
    monkeypatch.setattr(RecurrentCore, "_has_cpu_blocks", False)
    small = ["size=4", "hidden_size=32", "num_heads=2", "pos_encodings=none", "arch.forward_dtype=float32"]
    preset = load_preset("tiny", [*small, *overrides])
    workload = training("tiny", preset, make_domain("sudoku", size=4), 8, CPU)
    # Torch counts no fused attention on a CPU: it is told to write the products out.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        workload.run()
    assert workload.flops_per_example is not None
    assert counter.get_total_flops() == 8 * workload.flops_per_example
