"""Estimated activations agree with what autograd really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.accounting.components import components
from hrm_cli.accounting.memory import (
    _TRANSIENT,
    activation_bytes,
    activation_bytes_on_cpu,
    memory_in_training,
    training_memory,
)
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.models import layers, nova
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.nova import Nova
from hrm_cli.models.registry import build_model
from hrm_cli.training.optimizers import AdamATan2

TOLERANCE = 0.05
"""As `hrm_cli.accounting.memory` promises."""
ROWS, VOCABULARY, CELLS = 3, 11, 81
SMALL: dict[str, Any] = {"hidden_size": 64, "num_heads": 4, "H_layers": 2, "L_layers": 1}
MODELS = {
    "hrm": {"puzzle_emb_ndim": 100},
    "hrm with learned positions": {"pos_encodings": "learned", "puzzle_emb_ndim": 0},
    "hrm with position tables": {"position_tables": True},
    "hrm with QK norm": {"qk_norm": True},
    "trm with QK norm and learned positions": {"core": "trm", "qk_norm": True, "pos_encodings": "learned"},
    "hrm, more cycles keep no more": {"H_cycles": 3, "L_cycles": 3},
    "hrm with gates": {"fusion": "gated", "puzzle_emb_ndim": 0},
    "hrm with gates and four levels": {"fusion": "gated", "middle_cycles": [2, 3], "middle_layers": 1},
    "trm": {"core": "trm", "L_cycles": 2},
    "trm with token mixing": {"core": "trm", "mlp_t": True, "L_cycles": 2, "pos_encodings": "none"},
    "hrm with token mixing": {"mixer": "mlp", "pos_encodings": "none"},
    "hrm with units": {"mixer": "units", "pos_encodings": "none"},
    "hrm with neighbors": {"mixer": "neighbors", "pos_encodings": "none"},
    "hrm with edges": {"mixer": "edges", "pos_encodings": "none"},
    "hrm with edges and no Q head": {"mixer": "edges", "pos_encodings": "none", "halting": "certain"},
    "trm with edges": {"core": "trm", "mixer": "edges", "pos_encodings": "none"},
    "trm with grid": {"core": "trm", "mixer": "grid", "pos_encodings": "none"},
    "nova": {"core": "nova", "puzzle_emb_ndim": 0, "halt_max_steps": 2, "dropout": 0},
}


def fused(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Attention as on CUDA and, in float32, on a CPU."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2)


def kept_bytes(arch: ArchConfig) -> int:
    """Bytes of the storages that one training step keeps for its backward pass, weights left out."""
    model = build_model(arch, VOCABULARY, CELLS, 1, generator=torch.Generator().manual_seed(0)).train()
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage)
        return tensor

    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), dtype=torch.int32)
    batch = PuzzleBatch(inputs, inputs, torch.zeros(ROWS, dtype=torch.int32))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if isinstance(model.inner, Nova):
            step: object = model.inner.training_loss(inputs, inputs, "softmax_cross_entropy")
        else:
            step = model.train_step(model.initial_carry(batch), batch)
    del step
    return sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_activations_are_estimated_within_the_promised_tolerance(
    settings: dict[str, Any], dtype: str, blocks_of_an_accelerator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (layers, nova):
        monkeypatch.setattr(module, "attend", fused)
    arch = ArchConfig(**{**SMALL, **settings, "forward_dtype": dtype})
    parts = components(arch, VOCABULARY, CELLS)
    copies = training_memory(parts, ROWS, dtype).working_copy // 2
    assert activation_bytes(parts, ROWS, dtype) + copies == pytest.approx(kept_bytes(arch), rel=TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "settings", [*MODELS.values(), {**MODELS["nova"], "dropout": 0.1}], ids=[*MODELS, "nova with dropout"]
)
def test_activation_memory_on_a_cpu_matches_what_its_kernels_store(
    settings: dict[str, Any], dtype: str
) -> None:
    arch = ArchConfig(**{**SMALL, **settings, "forward_dtype": dtype})
    parts = components(arch, VOCABULARY, CELLS)
    copies = training_memory(parts, ROWS, dtype).working_copy // 2
    assert activation_bytes_on_cpu(parts, ROWS, dtype) + copies == pytest.approx(
        kept_bytes(arch), rel=TOLERANCE
    )


@pytest.mark.parametrize("name", ["hrm with learned positions", "hrm with units"])
def test_float32_states_keep_what_portable_blocks_store(name: str) -> None:
    settings = {**MODELS[name], "state_dtype": "float32", "forward_dtype": "bfloat16"}
    arch = ArchConfig(**{**SMALL, **settings})
    memory = memory_in_training(arch, TrainConfig(), VOCABULARY, CELLS, 1, ROWS, "bfloat16")
    assert memory.activations_on_cpu + memory.working_copy // 2 == pytest.approx(
        kept_bytes(arch), rel=TOLERANCE
    )


def test_weights_gradients_and_moments_are_those_of_the_optimizer() -> None:
    arch = ArchConfig(**SMALL)
    model = build_model(arch, VOCABULARY, CELLS, 9)
    optimizer = AdamATan2(model.parameters(), lr=1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
    said = training_memory(components(arch, VOCABULARY, CELLS, 9), 1, "float32", averages_weights=True)
    assert said.weights == sum(p.nbytes for p in model.parameters())
    assert said.gradients == sum(p.grad.nbytes for p in model.parameters())
    assert said.optimizer == sum(t.nbytes for t in moments)
    assert said.averaged_weights == said.weights
    assert said.buffers == sum(
        t.nbytes for name, t in model.state_dict().items() if name not in dict(model.named_parameters())
    )
    assert said.working_copy == 0


def test_peak_memory_does_not_add_gradients_to_activations_unless_micro_batches_follow() -> None:
    parts = components(ArchConfig(hidden_size=256, num_heads=4), VOCABULARY, CELLS)
    few, many = (training_memory(parts, rows, "bfloat16") for rows in (1, 1000))
    copy = few.working_copy // 2
    assert few.activations + copy < few.gradients < many.activations
    standing = few.weights + copy + few.optimizer + few.buffers + _TRANSIENT
    assert few.total == few.total_on_cpu == standing + few.gradients
    assert many.total == standing + many.activations + copy
    assert many.total_on_cpu == standing + many.activations_on_cpu + copy
    added = training_memory(parts, 1000, "bfloat16", accumulates=True)
    assert added.total == many.total + many.gradients
