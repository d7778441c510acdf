"""Optimizers, learning-rate schedules (hrm-spec "Optimization") and the loss scale of float16.

AdamATan2 trains the network, sign descent the puzzle embeddings. In float16 small gradients underflow, so the loss is
multiplied by a scale before the backward pass, and the gradients are divided by it afterwards, in float32. A step with
non-finite gradients is skipped and halves the scale; many finite steps in a row double it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hrm_cli.config.train import TrainConfig
from hrm_cli.models.cpu.kernels.availability import fused_kernels_unavailable
from hrm_cli.models.cpu.kernels.launch import NUMBERS_PER_ROW, Kernel
from hrm_cli.models.layers import PuzzleEmbedding

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}
"""Schedule shapes: from 1 (the full rate) to 0 (the final rate), by progress 0..1 after the warm-up."""


def learning_rate(
    step: int, total_steps: int, lr: float, *, warmup_steps: int, min_ratio: float, schedule: str = "cosine"
) -> float:
    """The rate of optimizer step `step` (counted from 1) out of `total_steps`.

    Linear warm-up lr·step/W, then lr·(r + (1−r)·shape((k−W)/(T−W))); the cosine's shape is ½(1 + cos πx), the
    linear one's 1 − x. With r = 1 the rate is constant.
    """
    if step < warmup_steps:
        return lr * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return lr * (min_ratio + (1 - min_ratio) * SHAPES[schedule](min(1.0, progress)))


def rate_factor(step: int, total_steps: int, config: TrainConfig) -> float:
    """The factor on a run's learning rates at optimizer step `step` (counted from 1)."""
    schedule, min_ratio = config.schedule
    warmup_steps = config.lr_warmup_steps
    if config.max_minutes is not None:
        # The number of steps is only estimated, so the warm-up is limited to a tenth of them.
        warmup_steps = min(warmup_steps, total_steps // 10)
    return learning_rate(
        step,
        total_steps,
        1.0,
        warmup_steps=warmup_steps,
        min_ratio=min_ratio,
        schedule=schedule,
    )


GROWTH_INTERVAL = 2000
"""Number of consecutive steps with finite gradients after which the scale is doubled."""
LARGEST = 2.0**24


@dataclass
class LossScale:
    """The loss scale and its history; part of the resume state."""

    scale: float = 2.0**16
    good_steps: int = 0
    """Steps with finite gradients since the scale last changed."""
    skipped_steps: int = 0
    """Skipped steps in the whole run."""

    def overflowed(self) -> None:
        """Records a skipped step: halves the scale."""
        self.scale, self.good_steps = self.scale / 2, 0
        self.skipped_steps += 1

    def succeeded(self) -> None:
        """Records a step with finite gradients: after `GROWTH_INTERVAL` of them, doubles the scale."""
        self.good_steps += 1
        if self.good_steps == GROWTH_INTERVAL:
            self.scale, self.good_steps = min(2 * self.scale, LARGEST), 0


@torch.no_grad()
def unscale(gradients: Sequence[Tensor], scale: float) -> bool:
    """Divides float32 gradients by `scale` in place; returns whether all are finite."""
    if not gradients:
        return True
    torch._foreach_mul_(list(gradients), 1 / scale)
    return bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())


_adam_atan2 = Kernel("optimizer.adam_atan2")
_BYTES_PER_NUMBER = 7 * 4
"""Memory traffic per parameter: four float32 read, three written."""


class AdamATan2(torch.optim.Optimizer):
    """Adam with atan2(m, √v) instead of m ÷ (√v + ε): it needs no epsilon and bounds the update.

    p ← p·(1 − lr·wd); m ← lerp(m, g, 1−β1); v ← lerp(v, g², 1−β2); p ← p − lr/(1−β1^t) · atan2(m, √v/√(1−β2^t)).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p].update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                self.state[p]["step"] += 1
            states = [self.state[p] for p in params]
            fused = all(map(_suits_the_kernel, params, states))
            (_update_on_cpu if fused else self._update)(group, params, states)

    @staticmethod
    def _update(group: dict[str, Any], params: list[Tensor], states: list[dict[str, Any]]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        step = states[0]["step"]
        gradients = [p.grad for p in params if p.grad is not None]
        first = [state["exp_avg"] for state in states]
        second = [state["exp_avg_sq"] for state in states]
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, (1 - beta2**step) ** 0.5)
        rate = lr / (1 - beta1**step)
        if params[0].is_cuda:
            torch._foreach_sub_(params, foreach_atan2(first, list(roots)), alpha=rate)
            return
        for p, m, root in zip(params, first, roots, strict=True):
            p.sub_(torch.atan2(m, root, out=root), alpha=rate)


def foreach_atan2(y: list[Tensor], x: list[Tensor]) -> list[Tensor]:
    """atan2(y, x) for x ≥ 0 in float32, with a few kernel launches for all tensors; overwrites x.

    Computed as atan(y ÷ x), because torch has no foreach atan2. In float32, √v is 0 or above 10⁻²³, so clamping x to
    10⁻³⁰ changes only zeros: 0 ÷ 0 becomes 0, as it should, and atan(y ÷ 0) stays ±π/2.
    """
    torch._foreach_clamp_min_(x, 1e-30)
    turns = torch._foreach_div(y, x)
    torch._foreach_atan_(turns)
    return list(turns)


def _suits_the_kernel(p: Tensor, state: dict[str, Any]) -> bool:
    stored = (p, state["exp_avg"], state["exp_avg_sq"])
    plain = all(t.is_cpu and t.dtype == torch.float32 and t.is_contiguous() for t in stored)
    return plain and fused_kernels_unavailable(torch.float32) is None


def _update_on_cpu(group: dict[str, Any], params: list[Tensor], states: list[dict[str, Any]]) -> None:
    lr, (beta1, beta2) = group["lr"], group["betas"]
    for p, state in zip(params, states, strict=True):
        assert p.grad is not None
        step = state["step"]
        _adam_atan2(
            -(-p.numel() // NUMBERS_PER_ROW), NUMBERS_PER_ROW * _BYTES_PER_NUMBER, p.dtype, p.numel(),
            1 - lr * group["weight_decay"], 1 - beta1, beta2, 1 - beta2,
            (1 - beta2**step) ** -0.5, lr / (1 - beta1**step),
            p, p.grad.contiguous(), state["exp_avg"], state["exp_avg_sq"],
        )  # fmt: skip


class SignDescent:
    """Sign descent with decoupled weight decay on the rows of a puzzle-embedding table used in a step.

    w ← w·(1 − lr·wd) − lr·sign(g), where g is summed over all rows with the same identifier.
    """

    def __init__(self, table: PuzzleEmbedding, lr: float, weight_decay: float) -> None:
        self.table, self.lr, self.weight_decay = table, lr, weight_decay

    @torch.no_grad()
    def step(self, puzzle_identifiers: Tensor, gradients: Tensor) -> None:
        """Updates the rows of `puzzle_identifiers` `[B]` with their `gradients` `[B, puzzle_emb_ndim]`."""
        identifiers = puzzle_identifiers.long()
        summed = _summed_by_identifier(identifiers, gradients.float())
        rows = self.table.weights[identifiers]
        # Rows with the same identifier all write the same values.
        self.table.weights[identifiers] = rows * (1 - self.lr * self.weight_decay) - self.lr * summed.sign()


def _summed_by_identifier(identifiers: Tensor, gradients: Tensor) -> Tensor:
    """For every row, the sum of the gradients of all rows with the same identifier: `[B, D]` → `[B, D]`."""
    if identifiers.device.type != "cpu":
        # `unique` would synchronize with the accelerator to get its output size; a `[B, B]` × `[B, D]` matmul does not.
        same = (identifiers[:, None] == identifiers).float()
        return same @ gradients
    distinct, position = torch.unique(identifiers, return_inverse=True)
    summed = gradients.new_zeros(len(distinct), gradients.shape[1])
    return summed.index_add_(0, position, gradients)[position]


def network_optimizer(
    params: list[Tensor], config: TrainConfig, matrices: Sequence[Tensor] = ()
) -> torch.optim.Optimizer:
    """The optimizer that `train.optimizer` names. `matrices` are those of `params` that Muon updates.

    All others store the same two moments, `exp_avg` and `exp_avg_sq`. For AdamATan2 on CUDA, the compiled package is
    used if it is installed, else our implementation.
    """
    _keep_dynamo_unloaded()
    if config.optimizer == "muon":
        from hrm_cli.training.muon import MuonWithAdamATan2

        by_muon = {id(p) for p in matrices}
        adam = config.model_copy(update={"optimizer": "adam_atan2"})
        rest = network_optimizer([p for p in params if id(p) not in by_muon], adam)
        return MuonWithAdamATan2(list(matrices), rest, config)
    options: dict[str, Any] = {
        "lr": config.lr,
        "betas": (config.beta1, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "adamw":
        return torch.optim.AdamW(params, **options)
    if params and params[0].is_cuda:
        try:
            from adam_atan2 import AdamATan2 as CompiledAdamATan2
        except (ImportError, OSError, RuntimeError):  # a build for another torch fails in any of these ways
            pass
        else:
            return CompiledAdamATan2(params, **options)
    return AdamATan2(params, **options)


def _keep_dynamo_unloaded() -> None:
    """Stops optimizers from importing torch's compiler, which takes a second and 70 MB, when nothing is compiled.

    torch decorates these methods so that its compiler skips them, and the decorator imports the compiler at the first
    call. Compiled code never calls them here, so the plain methods do the same. Has no effect on AdamW, whose `step`
    imports the compiler itself, and on versions of torch with another decorator.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", plain)


def moments_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> tuple[str, ...]:
    """The names of the moments that the optimizer stores for a parameter."""
    by_muon = getattr(optimizer, "updates_by_muon", None)
    if by_muon is not None and by_muon(parameter):
        return ("momentum_buffer",)
    return ("exp_avg", "exp_avg_sq")


def optimizer_choice(optimizer: torch.optim.Optimizer) -> str:
    """The optimizer of the network, as short text."""
    if (others := getattr(optimizer, "others", None)) is not None:
        described: str = optimizer.describe(optimizer_choice(others))  # type: ignore[attr-defined]
        return described
    if not isinstance(optimizer, AdamATan2):
        kind = type(optimizer)
        return (
            kind.__name__ if kind.__module__.startswith("torch.") else f"{kind.__name__} of {kind.__module__}"
        )
    params = [p for group in optimizer.param_groups for p in group["params"]]
    if params and params[0].is_cuda:
        return "AdamATan2 (a few launches for all parameters)"
    return "AdamATan2"
