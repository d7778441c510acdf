"""Writes the small recordings of this folder anew: python tests/golden/record.py

Their format is the one of the large recordings. The weights are float16 to save room; all that follows from them is
computed in float64 by reference.py and stored in float32. Gradients and updated weights of wide matrices are left out
of some recordings for their size: an optimizer treats every element alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from reference import FIXED, TABLE, Model, Weights, forward_recording, train_recording
from safetensors.torch import save_file

FOLDER = Path(__file__).with_name("small")
ROWS = 4
COMMON: dict[str, Any] = {
    "batch_size": ROWS, "seq_len": 12, "vocab_size": 6, "num_puzzle_identifiers": 4, "hidden_size": 8, "num_heads": 2,
    "H_layers": 1, "L_layers": 1, "H_cycles": 2, "L_cycles": 2, "expansion": 4.0, "puzzle_emb_ndim": 12,
    "pos_encodings": "rope", "halt_max_steps": 3, "halt_exploration_prob": 0.0, "forward_dtype": "float32",
}  # fmt: skip
OPTIM = {
    "lr": 0.01, "weight_decay": 0.1, "betas": [0.9, 0.95], "lr_warmup_steps": 2, "total_steps": 4,
    "lr_min_ratio": 0.1, "puzzle_emb_lr": 0.02, "puzzle_emb_weight_decay": 0.1,
}  # fmt: skip
TRM = {"puzzle_emb_len": 0, "mlp_t": False}
LEARNED = {"puzzle_emb_ndim": 0, "pos_encodings": "learned"}
TOKENS = {"puzzle_emb_ndim": 8, "pos_encodings": "none", "puzzle_emb_len": 2, "mlp_t": True, "seq_len": 6}
RECORDINGS: dict[str, tuple[dict[str, Any], str | None, int]] = {
    "hrm_train_rope": ({}, "stablemax_cross_entropy", 8),
    "hrm_forward_learned": (LEARNED, None, 0),
    "trm_train_rope": (TRM, "softmax_cross_entropy", 81),
    "trm_forward_mlp": (TOKENS, None, 0),
}
"""Name → what differs from `COMMON`, the loss of a training, and a seed with which some rows of each step halt."""


def random_weights(is_trm: bool, config: dict[str, Any], rng: torch.Generator) -> Weights:
    """Float16 values, the Q head and the puzzle table among them, which a new model has at zero."""
    hidden, vocabulary, inner = config["hidden_size"], config["vocab_size"], 256
    positions = config.get("puzzle_emb_len") or -(-config["puzzle_emb_ndim"] // hidden)
    length = positions + config["seq_len"]

    def block(name: str) -> dict[str, tuple[int, ...]]:
        mixing = {
            f"{name}.self_attn.qkv_proj.weight": (3 * hidden, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, hidden),
        }
        if config.get("mlp_t"):
            mixing = {
                f"{name}.mlp_t.gate_up_proj.weight": (2 * inner, length),
                f"{name}.mlp_t.down_proj.weight": (length, inner),
            }
        mlp = {f"{name}.mlp.gate_up_proj.weight": (2 * inner, hidden)}
        return {**mixing, **mlp, f"{name}.mlp.down_proj.weight": (hidden, inner)}

    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(FIXED, (hidden,))
    for level in "L" if is_trm else "HL":
        shapes |= block(f"inner.{level}_level.layers.0")
    shapes |= {f"inner.{name}.weight": (n, hidden) for name, n in (("lm_head", vocabulary), ("q_head", 2))}
    shapes |= {"inner.embed_tokens.embedding_weight": (vocabulary, hidden), "inner.q_head.bias": (2,)}
    if config["puzzle_emb_ndim"]:
        shapes[TABLE] = (config["num_puzzle_identifiers"], config["puzzle_emb_ndim"])
    if config["pos_encodings"] == "learned":
        shapes["inner.embed_pos.embedding_weight"] = (length, hidden)
    return {
        name: (torch.randn(shape, generator=rng) * (1 if name in FIXED else shape[-1] ** -0.5)).half()
        for name, shape in shapes.items()
    }


def random_batch(model: Model, config: dict[str, Any], rng: torch.Generator, first: bool) -> Weights:
    """Tokens, labels with gaps, equal identifiers among the rows.

    In the first batch row 0 is answered right by a fresh start, row 1 all but one cell, and row 3 has no label.
    """
    shape = (ROWS, config["seq_len"])
    inputs = torch.randint(config["vocab_size"], shape, generator=rng, dtype=torch.int32)
    labels = torch.randint(1, config["vocab_size"], shape, generator=rng, dtype=torch.int32)
    labels[torch.rand(shape, generator=rng) < 0.3] = -100
    identifiers = torch.randint(1, 3, (ROWS,), generator=rng, dtype=torch.int32)
    if first:
        rows = model.weights[TABLE][identifiers.long()] if TABLE in model.weights else None
        with torch.no_grad():
            z_H, z_L = (model.initial(name, ROWS) for name in "HL")
            answers = model.step(z_H, z_L, inputs, rows)[2].argmax(-1).int()
        labels[:2] = answers[:2]
        labels[1, 5] = (labels[1, 5] + 1) % config["vocab_size"]
        labels[3] = -100
    return {"inputs": inputs, "labels": labels, "puzzle_identifiers": identifiers}


def is_kept(recording: str, name: str, steps: int) -> bool:
    """Whether a computed tensor is stored."""
    step, kind, *rest = name.split("/")
    if kind == "grad":
        return step == "step1" and not (recording.startswith("trm") and "gate_up" in rest[0])
    if kind == "params":
        return step == f"step{steps}" and "mlp" not in rest[0]
    return kind not in ("z_H", "z_L") or step == f"step{steps}"


def stored(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().contiguous()
    return tensor.float() if tensor.dtype == torch.float64 and tensor.ndim else tensor


def main() -> None:
    """Writes every recording."""
    for name, (changes, loss, seed) in RECORDINGS.items():
        rng = torch.Generator().manual_seed(seed)
        kind, config = "_".join(name.split("_")[:2]), {**COMMON, **changes}
        state = random_weights(name.startswith("trm"), config, rng)
        model = Model(kind, config, {key: t.double() for key, t in state.items()})
        if loss is None:
            steps, prefix = 4, "state"
            batch = random_batch(model, config, rng, first=False)
            found = forward_recording(model, batch, steps)
            found |= {f"batch/{key}": t for key, t in batch.items()}
        else:
            steps, prefix = 4, "init"
            batches = [random_batch(model, config, rng, first=k == 0) for k in range(steps)]
            found = train_recording(model, batches, loss, OPTIM)
        kept = {key: stored(t) for key, t in found.items() if key[:5] == "batch" or is_kept(name, key, steps)}
        metadata = {"kind": kind, "config": json.dumps(config), "steps": str(steps)}
        if loss is not None:
            metadata |= {"loss": loss, "optim": json.dumps(OPTIM)}
        FOLDER.mkdir(exist_ok=True)
        save_file(
            kept | {f"{prefix}/{key}": t for key, t in state.items()},
            FOLDER / f"{name}.safetensors",
            metadata,
        )


if __name__ == "__main__":
    main()
