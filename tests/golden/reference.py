"""HRM and TRM once more, as plainly as the papers state them: the independent computation after `small/`.

Nothing here comes from `hrm_cli`; weights are a dictionary of tensors by name. A test shows that it reproduces the
recordings of the reference implementations; what it computes in float64 is recorded (record.py) for the tests of
`hrm_cli`.
Shapes: B rows, S cells, P puzzle positions, T = P + S, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad, silu, softmax

Weights = dict[str, Tensor]
FIXED = ("inner.H_init", "inner.L_init")
"""Stored, not trained."""
TABLE = "inner.puzzle_emb.weights"


def norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)


def swiglu(x: Tensor, weights: Weights, name: str) -> Tensor:
    gate, up = (x @ weights[f"{name}.gate_up_proj.weight"].T).chunk(2, -1)
    return (silu(gate) * up) @ weights[f"{name}.down_proj.weight"].T


def rotated(x: Tensor) -> Tensor:
    """RoPE on `[B, heads, T, D]`: pairs are (d, d + D/2)."""
    length, width = x.shape[-2:]
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=x.dtype) / width)
    angles = torch.arange(length, dtype=x.dtype)[:, None] * frequencies
    first, second = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def attention(x: Tensor, weights: Weights, name: str, heads: int, rope: bool) -> Tensor:
    rows, length, hidden = x.shape
    qkv = (x @ weights[f"{name}.qkv_proj.weight"].T).view(rows, length, 3, heads, hidden // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    if rope:
        q, k = rotated(q), rotated(k)
    shares = softmax(q @ k.transpose(-1, -2) / math.sqrt(hidden // heads), -1)
    return (shares @ v).transpose(1, 2).reshape(x.shape) @ weights[f"{name}.o_proj.weight"].T


class Model:
    """The network inside one ACT step, for one configuration in the reference's field names."""

    def __init__(self, kind: str, config: dict[str, Any], weights: Weights) -> None:
        self.is_trm, self.config, self.weights = kind.startswith("trm"), config, weights
        hidden = config["hidden_size"]
        self.positions = config.get("puzzle_emb_len") or -(-config["puzzle_emb_ndim"] // hidden)

    def level(self, name: str, x: Tensor, injection: Tensor) -> Tensor:
        """A reasoning module: the injection is added, then block after block, each normalized at its end."""
        config, weights = self.config, self.weights
        x = x + injection
        for layer in range(config["H_layers" if name == "H" else "L_layers"]):
            block = f"inner.{name}_level.layers.{layer}"
            if config.get("mlp_t"):
                turned = x.transpose(1, 2)
                x = norm(turned + swiglu(turned, weights, f"{block}.mlp_t")).transpose(1, 2)
            else:
                rope = config["pos_encodings"] == "rope"
                x = norm(x + attention(x, weights, f"{block}.self_attn", config["num_heads"], rope))
            x = norm(x + swiglu(x, weights, f"{block}.mlp"))
        return x

    def embedding(self, inputs: Tensor, rows: Tensor | None) -> Tensor:
        """Inputs `[B, S]` and rows of the puzzle table `[B, N]` as `[B, T, H]`."""
        hidden = self.config["hidden_size"]
        e = self.weights["inner.embed_tokens.embedding_weight"][inputs.long()]
        if rows is not None:
            front = pad(rows, (0, self.positions * hidden - rows.shape[1])).view(-1, self.positions, hidden)
            e = torch.cat([front, e], 1)
        if self.config["pos_encodings"] == "learned":
            e = (e + self.weights["inner.embed_pos.embedding_weight"]) / math.sqrt(2)
        return math.sqrt(hidden) * e

    def step(
        self, z_H: Tensor, z_L: Tensor, inputs: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One ACT step: states `[B, T, H]`, logits `[B, S, V]` and the two Q values `[B, 2]`."""
        e, top = self.embedding(inputs, rows), "L" if self.is_trm else "H"
        cycles, updates = self.config["H_cycles"], self.config["L_cycles"]
        wanted = torch.is_grad_enabled()
        for h in range(cycles):
            for i in range(updates):
                # HRM learns through its last two updates, TRM through the whole last cycle.
                last = h == cycles - 1 and (self.is_trm or i == updates - 1)
                with torch.set_grad_enabled(wanted and last):
                    z_L = self.level("L", z_L, z_H + e)
            with torch.set_grad_enabled(wanted and h == cycles - 1):
                z_H = self.level(top, z_H, z_L)
        logits = z_H[:, self.positions :] @ self.weights["inner.lm_head.weight"].T
        q = z_H[:, 0] @ self.weights["inner.q_head.weight"].T + self.weights["inner.q_head.bias"]
        return z_H, z_L, logits, q

    def initial(self, name: str, rows: int) -> Tensor:
        length = self.positions + self.config["seq_len"]
        return self.weights[f"inner.{name}_init"].expand(rows, length, -1)


def token_losses(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """`[B, S]`, 0 where the label is −100."""
    if loss == "stablemax_cross_entropy":
        x = logits.double()
        s = torch.where(x < 0, 1 / (1 - x + 1e-30), x + 1)
        log_shares = torch.log(s / s.sum(-1, keepdim=True))
    else:
        log_shares = torch.log_softmax(logits, -1)
    chosen = log_shares.gather(-1, labels.clamp(min=0).long()[..., None])[..., 0]
    return torch.where(labels == -100, 0.0, -chosen)


def forward_recording(model: Model, batch: Weights, steps: int) -> Weights:
    """Evaluation: every row runs to `halt_max_steps`, then begins anew."""
    found, rows = (
        {},
        model.weights[TABLE][batch["puzzle_identifiers"].long()] if TABLE in model.weights else None,
    )
    with torch.no_grad():
        for step in range(steps):
            if step % model.config["halt_max_steps"] == 0:
                z_H, z_L = (model.initial(name, len(batch["inputs"])) for name in "HL")
            z_H, z_L, logits, q = model.step(z_H, z_L, batch["inputs"], rows)
            values = {"logits": logits, "q_halt_logits": q[:, 0], "q_continue_logits": q[:, 1]}
            found |= {f"step{step + 1}/{name}": t for name, t in {**values, "z_H": z_H, "z_L": z_L}.items()}
    return found


def train_recording(model: Model, batches: list[Weights], loss: str, optim: dict[str, Any]) -> Weights:
    """Training: carry, halting, losses, gradients, both optimizers; what is recorded of each step."""
    weights, config, found = model.weights, model.config, {}
    size = len(batches[0]["inputs"])
    trained = {name: t.requires_grad_() for name, t in weights.items() if name not in (*FIXED, TABLE)}
    moments = {name: (torch.zeros_like(t), torch.zeros_like(t)) for name, t in trained.items()}
    now = {name: t.clone() for name, t in batches[0].items()}
    z_H, z_L = (model.initial(name, size) for name in "HL")
    steps, halted = torch.zeros(size, dtype=torch.int32), torch.ones(size, dtype=torch.bool)
    for k, batch in enumerate(batches, start=1):
        take = halted.view(-1, 1, 1)
        z_H, z_L = (torch.where(take, model.initial(n, size), z) for n, z in (("H", z_H), ("L", z_L)))
        now = {n: torch.where(halted.view(-1, *[1] * (t.ndim - 1)), batch[n], t) for n, t in now.items()}
        identifiers, labels = now["puzzle_identifiers"].long(), now["labels"]
        rows = weights[TABLE][identifiers].clone().requires_grad_() if TABLE in weights else None
        z_H, z_L, logits, q = model.step(z_H, z_L, now["inputs"], rows)
        z_H, z_L = z_H.detach(), z_L.detach()
        q_halt, q_continue = q.unbind(-1)
        steps = torch.where(halted, 0, steps) + 1
        halted = steps >= config["halt_max_steps"]
        is_last = halted
        if config["halt_max_steps"] > 1:
            halted = halted | (q_halt > (0 if model.is_trm else q_continue)).detach()

        counts = (labels != -100).sum(1)
        right = (logits.argmax(-1) == labels) & (labels != -100)
        whole = right.sum(1) == counts
        scored = halted & (counts > 0)
        fractions = right.sum(1) / counts.clamp(min=1)
        bce = binary_cross_entropy_with_logits
        lm_loss = (token_losses(logits, labels, loss) / counts.clamp(min=1)[:, None]).sum()
        halt_loss = bce(q_halt, whole.to(q.dtype), reduction="sum")
        metrics = {
            "count": scored.sum(), "accuracy": fractions[scored].sum(), "exact_accuracy": (scored & whole).sum(),
            "q_halt_accuracy": (scored & ((q_halt >= 0) == whole)).sum(), "steps": steps[scored].sum(),
            "lm_loss": lm_loss, "q_halt_loss": halt_loss,
        }  # fmt: skip
        total = lm_loss + 0.5 * halt_loss
        if not model.is_trm:
            with torch.no_grad():
                following = model.step(z_H, z_L, now["inputs"], rows)[3]
            target = torch.sigmoid(torch.where(is_last, following[:, 0], following.max(-1).values))
            metrics["q_continue_loss"] = bce(q_continue, target, reduction="sum")
            total = total + 0.5 * metrics["q_continue_loss"]
        wanted = [*trained.values(), *([] if rows is None else [rows])]
        gradients = torch.autograd.grad(total / size, wanted)
        found |= {
            f"step{k}/{name}": value
            for name, value in {"halted": halted, "steps": steps, "loss": total}.items()
        }
        found |= {f"step{k}/metric/{name}": value.detach() for name, value in metrics.items()}
        found |= {f"step{k}/batch/{name}": value for name, value in batch.items()}
        names = [*trained, *([] if rows is None else ["puzzle_emb_local"])]
        found |= {f"step{k}/grad/{name}": g for name, g in zip(names, gradients, strict=True)}

        scale = schedule(k, optim)
        with torch.no_grad():
            adam_atan2(
                trained, dict(zip(names, gradients, strict=False)), moments, k, scale * optim["lr"], optim
            )
            if rows is not None:
                rate = scale * optim["puzzle_emb_lr"]
                for identifier in identifiers.unique():
                    gradient = gradients[-1][identifiers == identifier].sum(0)
                    row = weights[TABLE][identifier] * (1 - rate * optim["puzzle_emb_weight_decay"])
                    weights[TABLE][identifier] = row - rate * gradient.sign()
        found |= {f"step{k}/params/{name}": t.detach().clone() for name, t in weights.items()}
    return {name: value.detach() for name, value in found.items()}


def schedule(k: int, optim: dict[str, Any]) -> float:
    """Linear warm-up, then a cosine down to `lr_min_ratio`."""
    warmup, least = optim["lr_warmup_steps"], optim["lr_min_ratio"]
    if k < warmup:
        return k / warmup
    share = (k - warmup) / (optim["total_steps"] - warmup)
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * share))


def adam_atan2(
    trained: Weights, gradients: Weights, moments: dict[str, Any], k: int, rate: float, optim: dict[str, Any]
) -> None:
    first, second = optim["betas"]
    for name, p in trained.items():
        m, v = moments[name]
        m.lerp_(gradients[name], 1 - first)
        v.lerp_(gradients[name] ** 2, 1 - second)
        update = torch.atan2(m, v.sqrt() / math.sqrt(1 - second**k)) / (1 - first**k)
        p.mul_(1 - rate * optim["weight_decay"]).sub_(rate * update)
