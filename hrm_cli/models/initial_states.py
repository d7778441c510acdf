"""Random initial states (`arch.initial_state`), and states that read as a given answer (`train.repair_rows`).

Letters in shapes: B batch, P+S positions, S tokens of a puzzle, H hidden size, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.core import InnerCarry
from hrm_cli.models.layers import rms_norm

_SEED = 20260521
"""Seed of the random initial states of inference, the same for all models, so that answers are reproducible."""
_SAMPLES_KEPT = 16


@functools.lru_cache(maxsize=_SAMPLES_KEPT)
def inference_states(
    positions: int, hidden_size: int, device: torch.device, count: int = 2
) -> tuple[Tensor, ...]:
    """The initial z_H, z_L and states of middle levels of every puzzle at inference, `count` of them.

    Each is `[P+S, H]` float32: always the same random numbers.
    """
    with torch.inference_mode(False), torch.device("cpu"):
        generator = torch.Generator().manual_seed(_SEED)
        sample = torch.randn((count, positions, hidden_size), generator=generator).to(device)
    return tuple(sample)


def random_states(seeds: Sequence[int], like: InnerCarry) -> InnerCarry:
    """Normal random numbers of mean 0 and standard deviation 1, in the shapes, dtypes and device of `like`.

    A row's numbers depend only on its seed, not on the other rows. z_H and z_L are `[B, P+S, H]`.
    """
    device = like.z_H.device
    generator = torch.Generator(device)
    found: dict[str, list[Tensor]] = {name: [] for name in like.tensors()}
    for seed in seeds:
        generator.manual_seed(seed)
        for name, state in like.tensors().items():
            numbers = torch.randn(state.shape[1:], generator=generator, device=device)
            found[name].append(numbers.to(state.dtype))
    return InnerCarry(**{name: torch.stack(rows) for name, rows in found.items()})


@torch.no_grad()
def state_of_answer(
    logits_of: Callable[[Tensor], Tensor], answer: Tensor, like: Tensor, vocab_size: int
) -> Tensor:
    """A slow state from which an output head reads the tokens `answer` `[B, S]`; tokens below 0 are left out.

    `logits_of` maps a state `[B, P+S, H]` to logits `[B, S, V]`. The result has its shape, taken from `like`. At every
    position it is the direction that raises the logits of that answer most, with RMS 1 as after a norm; positions
    that no logit of the answer depends on keep the state of `like`.
    """
    known = answer >= 0
    wanted = F.one_hot(answer.clamp(min=0).long(), vocab_size).float() - 1 / vocab_size
    wanted = wanted * known.unsqueeze(-1)
    with torch.enable_grad():
        z = torch.zeros_like(like).requires_grad_()
        logits = logits_of(z)
        (direction,) = torch.autograd.grad(logits, z, wanted.to(logits.dtype))
    direction = direction.float()
    # Normalized twice: the small numbers of a head's gradient would vanish in the norm's epsilon.
    largest = direction.abs().amax(-1, keepdim=True)
    direction = direction / largest.clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(largest > 0, rms_norm(direction, 1e-6).to(like.dtype), like)
