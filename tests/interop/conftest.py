"""Checkpoints in the reference's layout, made from scratch: names, shapes and formats as its classes store them.

Nothing of the package is used to make them, so that a mistake there cannot hide itself here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

PREFIX = "_orig_mod.model."

CONFIG: dict[str, Any] = {
    "arch": {
        "name": "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1",
        "loss": {"name": "losses@ACTLossHead", "loss_type": "softmax_cross_entropy"},
        "H_cycles": 2, "L_cycles": 3, "H_layers": 2, "L_layers": 1, "hidden_size": 32, "num_heads": 4, "expansion": 4,
        "puzzle_emb_ndim": 32, "pos_encodings": "rope", "halt_max_steps": 5, "halt_exploration_prob": 0.2,
    },
    "data_path": "data/nowhere", "global_batch_size": 96, "epochs": 200, "lr": 0.0003, "lr_min_ratio": 0.1,
    "lr_warmup_steps": 20, "weight_decay": 1.0, "beta1": 0.9, "beta2": 0.95, "puzzle_emb_lr": 0.0002,
    "puzzle_emb_weight_decay": 0.5, "project_name": "Sudoku ACT-torch", "run_name": "a brave name",
    "checkpoint_path": "checkpoints/x", "seed": 3, "checkpoint_every_eval": True, "eval_interval": 100,
    "eval_save_outputs": [],
}  # fmt: skip
"""What `all_config.yaml` holds for `reference_state()`."""


def reference_state(
    *,
    core: str = "hrm",
    hidden: int = 32,
    inner: int = 256,
    layers: tuple[int, int] = (2, 1),
    vocab: int = 6,
    identifiers: int = 3,
    learned: int = 0,
    mixed: int = 0,
    prefix: str = PREFIX,
    seed: int = 0,
) -> OrderedDict[str, Tensor]:
    """A state dict of the reference: float32 weights, initial states in bfloat16.

    `layers` of H and L (TRM has L alone); `learned` positions in a table; a token-mixing MLP over `mixed` positions.
    """
    generator = torch.Generator().manual_seed(seed)
    state: OrderedDict[str, Tensor] = OrderedDict()

    def draw(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        values = torch.randn(*shape, generator=generator) / shape[-1] ** 0.5
        state[f"{prefix}inner.{name}"] = values.to(dtype)

    draw("H_init", hidden, dtype=torch.bfloat16)
    draw("L_init", hidden, dtype=torch.bfloat16)
    draw("embed_tokens.embedding_weight", vocab, hidden)
    draw("lm_head.weight", vocab, hidden)
    draw("q_head.weight", 2, hidden)
    draw("q_head.bias", 2)
    if identifiers:
        draw("puzzle_emb.weights", identifiers, hidden)
    if learned:
        draw("embed_pos.embedding_weight", learned, hidden)
    for level, count in zip(("H_level", "L_level"), layers, strict=True):
        if core == "trm" and level == "H_level":
            continue
        for number in range(count):
            block = f"{level}.layers.{number}"
            if mixed:
                draw(f"{block}.mlp_t.gate_up_proj.weight", 2 * 256, mixed)
                draw(f"{block}.mlp_t.down_proj.weight", mixed, 256)
            else:
                draw(f"{block}.self_attn.qkv_proj.weight", 3 * hidden, hidden)
                draw(f"{block}.self_attn.o_proj.weight", hidden, hidden)
            draw(f"{block}.mlp.gate_up_proj.weight", 2 * inner, hidden)
            draw(f"{block}.mlp.down_proj.weight", hidden, inner)
    return state


@pytest.fixture
def write_reference(tmp_path: Path) -> Callable[..., Path]:
    """`write_reference(state, config=CONFIG)` → `reference/step_52080`, with `all_config.yaml` where one is given."""

    def write(
        state: Any, config: dict[str, Any] | None = None, name: str = "step_52080", **save: Any
    ) -> Path:
        folder = tmp_path / "reference"
        folder.mkdir(exist_ok=True)
        torch.save(state, folder / name, **save)
        if config is not None:
            (folder / "all_config.yaml").write_text(yaml.dump(config))
        return folder / name

    return write


@pytest.fixture
def in_process(
    run_hrm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """`in_process("convert", …)` runs the command line in `tmp_path`: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: astuple(run_hrm(*words))


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Equal in format, shape and every bit; −0 and NaN included."""
    return (
        ours.dtype == theirs.dtype
        and ours.shape == theirs.shape
        and bytes(ours.contiguous().view(torch.uint8).numpy())
        == bytes(theirs.contiguous().view(torch.uint8).numpy())
    )
