"""FLOPs agree exactly with what torch counts while the model runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import run_flops, step_flops, step_flops_by_kind, training_flops
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.core import Depth
from hrm_cli.models.nova import Nova
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.training.objectives import OBJECTIVES, Progress

# A CPU leaves out products whose result nothing reads, and torch does not count those of packed weights.
pytestmark = pytest.mark.usefixtures("blocks_of_an_accelerator")

ROWS, VOCABULARY, CELLS = 3, 6, 16
SMALL: dict[str, Any] = {"hidden_size": 32, "num_heads": 4, "H_layers": 2, "L_layers": 1}
MODELS = {
    "hrm": {"H_cycles": 2, "L_cycles": 3, "puzzle_emb_ndim": 40},
    "hrm, one cycle of each": {"H_cycles": 1, "L_cycles": 1, "pos_encodings": "learned"},
    "hrm without a second pass, for one ACT step has nothing to go on to": {"halt_max_steps": 1},
    "hrm without a second pass, for no value of going on is learned": {"q_continue": False},
    "trm": {"core": "trm", "H_cycles": 3, "L_cycles": 2, "puzzle_emb_len": 4},
    "trm with token mixing": {"core": "trm", "mlp_t": True, "L_cycles": 2, "pos_encodings": "none"},
    "hrm with token mixing": {"mixer": "mlp", "L_cycles": 2, "pos_encodings": "none"},
    "hrm with position tables": {"position_tables": True},
    "hrm with QK norm": {"qk_norm": True},
    "hrm with units": {"mixer": "units", "pos_encodings": "none", "L_cycles": 3},
    "trm with units": {"core": "trm", "mixer": "units", "pos_encodings": "none"},
    "hrm with neighbors": {"mixer": "neighbors", "pos_encodings": "none", "L_cycles": 3},
    "trm with neighbors": {"core": "trm", "mixer": "neighbors", "pos_encodings": "none"},
    "hrm with edges": {"mixer": "edges", "pos_encodings": "none", "L_cycles": 3},
    "trm with edges": {"core": "trm", "mixer": "edges", "pos_encodings": "none"},
    "hrm with grid": {"mixer": "grid", "pos_encodings": "none", "L_cycles": 3},
    "trm with grid": {"core": "trm", "mixer": "grid", "pos_encodings": "none"},
    "hrm with gates": {"fusion": "gated", "H_cycles": 2, "L_cycles": 2},
    "hrm with gates and four levels": {"fusion": "gated", "middle_cycles": [2, 3], "middle_layers": 3},
    "nova": {"core": "nova", "puzzle_emb_ndim": 0, "halt_max_steps": 3},
}


def matmul_flops(counter: FlopCounterMode) -> int:
    """The FLOPs of the matmuls: of everything that torch counts but the depthwise convolution of the mixer `grid`."""
    return sum(
        flops
        for operator, flops in counter.get_flop_counts()["Global"].items()
        if "conv" not in str(operator)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_a_step_takes_the_flops_that_torch_counts(settings: dict[str, Any], dtype: str) -> None:
    arch = ArchConfig(**{**SMALL, **settings, "forward_dtype": dtype})
    model = build_model(arch, VOCABULARY, CELLS, 5, generator=torch.Generator().manual_seed(0)).train()
    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), dtype=torch.int32)
    batch = PuzzleBatch(inputs, inputs, torch.zeros(ROWS, dtype=torch.int32))
    expected = step_flops(components(arch, VOCABULARY, CELLS, 5))

    # Torch counts no fused attention on a CPU: it is told to write the products out.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as training:
        if isinstance(model.inner, Nova):
            loss = model.inner.training_loss(inputs, inputs, "softmax_cross_entropy")[0]
        else:
            _, out = model.train_step(model.initial_carry(batch), batch)
            loss = out.logits.float().sum() + out.q_halt.sum() + out.q_continue.sum()
        loss.backward()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        model.core(model.core.initial_carry(inputs), inputs, model.puzzle_rows(batch.puzzle_identifiers))

    assert matmul_flops(training) == ROWS * expected.training
    assert matmul_flops(forward) == ROWS * expected.forward


@pytest.mark.parametrize("reach_back", [0, 1])
@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_under_rsm_a_step_takes_the_flops_that_torch_counts_at_every_stage(
    core: str, reach_back: int
) -> None:
    settings = {"halting": "settle", "tied_output": True, "forward_dtype": "float32", "core": core}
    arch = ArchConfig(**{**SMALL, **settings})
    train = TrainConfig(objective="rsm", depth_schedule="1x2@0 3x2@0.5", reach_back=reach_back)
    model = build_model(arch, VOCABULARY, CELLS, 5, generator=torch.Generator().manual_seed(0)).train()
    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), dtype=torch.int32)
    counted = []
    for H_cycles in (1, 3):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            depth = Depth(H_cycles, 2, trains_last_cycle=True, reaches_back=bool(reach_back))
            rows = model.puzzle_rows(torch.zeros(ROWS, dtype=torch.int32))
            _, out = model.core(model.core.initial_carry(inputs), inputs, rows, depth=depth)
            out.logits.sum().backward()
        counted.append(counter.get_total_flops())
    expected = ROWS * training_flops(arch, train, VOCABULARY, CELLS)
    # The H update before the last cycle passes no gradient to its input, which saves torch one matmul.
    assert sum(counted) / 2 == (pytest.approx(expected, rel=0.06) if reach_back else expected)
    plain = training_flops(arch, train.model_copy(update={"reach_back": 0}), VOCABULARY, CELLS)
    assert (expected > ROWS * plain) == bool(reach_back)


@pytest.mark.parametrize("objective", ["deep_supervision", "rsm"])
@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_gradient_through_all_cycles_takes_the_flops_that_torch_counts(core: str, objective: str) -> None:
    arch = ArchConfig(
        **{
            **SMALL,
            "core": core,
            "H_cycles": 3,
            "L_cycles": 2,
            "q_continue": False,
            "forward_dtype": "float32",
        }
    )
    train = TrainConfig(objective=objective, gradient="all_cycles")
    model = build_model(arch, VOCABULARY, CELLS, 5, generator=torch.Generator().manual_seed(0)).train()
    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), dtype=torch.int32)
    rows = model.puzzle_rows(torch.zeros(ROWS, dtype=torch.int32))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        depth = Depth(3, 2, trains_all_cycles=True)
        _, out = model.core(model.core.initial_carry(inputs), inputs, rows, depth=depth)
        (out.logits.sum() + out.q_halt.sum() + out.q_continue.sum()).backward()
    assert counter.get_total_flops() == ROWS * training_flops(arch, train, VOCABULARY, CELLS)


@pytest.mark.parametrize("mixer", ["attention", "units"])
def test_reading_the_fast_state_takes_the_flops_that_torch_counts(mixer: str) -> None:
    positions = "rope" if mixer == "attention" else "none"
    arch = ArchConfig(
        **SMALL, mixer=mixer, pos_encodings=positions, q_continue=False, forward_dtype="float32"
    )
    model = build_model(arch, VOCABULARY, CELLS, 5, generator=torch.Generator().manual_seed(0)).train()
    model.inner.reads_L = True
    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), dtype=torch.int32)
    batch = PuzzleBatch(inputs, inputs, torch.zeros(ROWS, dtype=torch.int32))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _, out = model.train_step(model.initial_carry(batch), batch)
        (out.logits.sum() + out.l_logits.sum() + out.q_halt.sum() + out.q_continue.sum()).backward()
    assert counter.get_total_flops() == ROWS * training_flops(
        arch, TrainConfig(l_distill_weight=0.1), VOCABULARY, CELLS
    )


@pytest.mark.parametrize("objective", ["deep_supervision", "rsm"])
def test_steps_of_warmed_up_rows_are_counted(objective: str) -> None:
    arch = ArchConfig(**{**SMALL, "halt_max_steps": 1, "forward_dtype": "float32"})
    train = TrainConfig(objective=objective, warm_up_rows=1, warm_up_steps=1, reach_back=0)
    model = build_model(arch, VOCABULARY, CELLS, 5, generator=torch.Generator().manual_seed(0)).train()
    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), dtype=torch.int32)
    batch = PuzzleBatch(inputs, inputs, torch.zeros(ROWS, dtype=torch.int32))
    rng = StepRNG(torch.Generator().manual_seed(0), ROWS)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _, out = OBJECTIVES[objective](model, None, batch, train, rng, Progress())
        out.loss.backward()
    assert matmul_flops(counter) == ROWS * training_flops(arch, train, VOCABULARY, CELLS)
    plain = training_flops(arch, train.model_copy(update={"warm_up_rows": 0.0}), VOCABULARY, CELLS)
    assert training_flops(arch, train, VOCABULARY, CELLS) > plain


def test_kinds_sum_to_the_step_and_steps_to_the_run() -> None:
    parts = components(ArchConfig(**SMALL), VOCABULARY, CELLS)
    step, kinds = step_flops(parts), step_flops_by_kind(parts)
    assert set(kinds) == {"attention", "SwiGLU", "heads"}
    assert sum(kind.forward for kind in kinds.values()) == step.forward
    assert sum(kind.training for kind in kinds.values()) == step.training
    assert run_flops(step.training, steps=10, global_batch_size=8).training == 80 * step.training
