"""The interface of a core: the network that one ACT step runs, and the halt logits that cores compute.

The halting policy is outside the core.

Letters in shapes: B batch, S tokens of a puzzle, P puzzle positions in front of them, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.config.arch import ArchConfig

# A state with ‖z_H − previous z_H‖ ÷ ‖z_H‖ below 0.02 has a settledness of 0.98. The slope sets how fast that falls
# with larger changes: at a change of 5 % it is about one half.
_SETTLED, _SETTLED_LOGIT, _SETTLED_SLOPE = 0.02, math.log(0.98 / 0.02), 4.0


@dataclass
class InnerCarry:
    """The recurrent state that passes from one ACT step to the next, detached."""

    z_H: Tensor
    """Slow state, `[B, P+S, H]` in the forward dtype or float32 (`arch.state_dtype`)."""
    z_L: Tensor
    """Fast state, the same."""
    z_M: Tensor | None = None
    """States of the levels between L and H, from the fastest, `[B, M, P+S, H]`; None if there are none."""

    def tensors(self) -> dict[str, Tensor]:
        """The states by name, without z_M if it is None."""
        states = {"z_H": self.z_H, "z_L": self.z_L}
        return states if self.z_M is None else {**states, "z_M": self.z_M}

    def map(self, change: Callable[[Tensor], Tensor]) -> InnerCarry:
        """The carry with `change` applied to each of its tensors."""
        return InnerCarry(**{name: change(state) for name, state in self.tensors().items()})

    def select(self, rows: Tensor | slice) -> InnerCarry:
        """The carry of some rows (indices, a mask or a slice)."""
        return self.map(lambda state: state[rows])

    @staticmethod
    def joined(parts: Sequence[InnerCarry]) -> InnerCarry:
        """Concatenates the rows of all parts."""
        together = [part.tensors() for part in parts]
        return InnerCarry(**{name: torch.cat([one[name] for one in together]) for name in together[0]})


@dataclass(frozen=True)
class Depth:
    """Number of cycles of one ACT step, and which of them receive gradient."""

    H_cycles: int
    """Updates of z_H."""
    L_cycles: int
    """Updates of z_L before each update of z_H."""
    trains_last_cycle: bool = False
    """Gradient through the whole last cycle, instead of the core's own rule."""
    reaches_back: bool = False
    """Gradient also through the update of z_H before the last cycle, as in RSM (arXiv 2603.15641)."""
    trains_all_cycles: bool = False
    """Gradient through all updates of the ACT step."""
    only_values: bool = False
    """Only the Q values are needed: the last update may compute only the first position, which the Q head reads."""

    @property
    def trains_whole_cycles(self) -> bool:
        """Whether the gradient covers all updates of a cycle."""
        return self.trains_last_cycle or self.trains_all_cycles


@dataclass
class CoreOutput:
    """The outputs of one ACT step."""

    logits: Tensor | None
    """`[B, S, V]` in the forward dtype; None if not requested."""
    q_halt: Tensor
    """Q-halt, a logit, `[B]` float32. Without a Q head: how little the state still changes, or the confidence of the
    least confident cell, as a logit."""
    q_continue: Tensor
    """Q-continue, `[B]` float32; 0 without a Q head."""
    l_logits: Tensor | None = None
    """What the output head reads from L's state, `[B, S, V]`, if the core is told to (`RecurrentCore.reads_L`)."""


class StepTensors(NamedTuple):
    """What one ACT step computes."""

    z_H: Tensor
    z_L: Tensor
    logits: Tensor | None
    """`[B, S, V]`; None if only the Q values are requested."""
    q_values: Tensor | None
    """Q-halt and Q-continue, `[B, 2]` float32; None without a Q head."""
    z_M: Tensor | None = None
    """States of middle levels, detached."""
    l_logits: Tensor | None = None
    """The answer of z_L, `[B, S, V]`, if requested."""


class CompiledUpdate(Protocol):
    """The replacement for `RecurrentCore.module_update` (`hrm_cli.models.compiling`)."""

    def __call__(self, z: Tensor, injection: Tensor, blocks: Sequence[Any], /) -> Tensor:
        """One update of a state."""

    def prepare(self, z: Tensor, injection: Tensor, blocks: Sequence[Any], /) -> None:
        """Compiles everything that such a call needs, so that the call itself compiles nothing."""


class Core(Protocol):
    """The interface that ACT, evaluation and solving use. Every core is also an `nn.Module`."""

    objective: ClassVar[str]
    """How the core is trained: a name in `hrm_cli.training.objectives`."""
    arch: ArchConfig
    vocab_size: int
    seq_len: int
    dtype: torch.dtype
    """The forward dtype, resolved for the device by `build_model`."""
    recomputes_activations: bool
    """Activation checkpointing: training stores block inputs only and recomputes the rest in the backward pass."""

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes every parameter and fixed vector at random."""

    def cast_weights(self) -> Any:
        """The weights in the forward dtype, cast once per step and passed to every call in that step."""

    @property
    def trains_q_continue(self) -> bool:
        """Whether Q-continue is trained."""

    def initial_carry(self, inputs: Tensor) -> InnerCarry:
        """The initial states for the puzzles `inputs` `[B, S]`."""

    def reset(self, carry: InnerCarry, rows: Tensor) -> InnerCarry:
        """`carry` with the initial states in the rows where the mask `[B]` is set."""

    @property
    def halts_together(self) -> bool:
        """Whether halting depends on the whole batch. All rows must then start at the same step."""

    def halts(self, step: int | Tensor, out: CoreOutput) -> Tensor:
        """Rows that finish at inference after step `step` (from 1; one number, or one per row `[b]`); `[b]` bool."""

    def __call__(
        self,
        carry: InnerCarry,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: Any = None,
        *,
        with_logits: bool = True,
        depth: Depth | None = None,
    ) -> tuple[InnerCarry, CoreOutput]:
        """One ACT step on `inputs` `[B, S]` with the puzzle embeddings `[B, puzzle_emb_ndim]`.

        With `depth` None, the cycles come from the configuration and the gradient follows the core's own rule.
        With `with_logits` false, only the two Q values are valid; the returned carry must not be used.
        """


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """The relative change of a state `[B, P+S, H]` in a step: ‖after − before‖ ÷ ‖after‖, `[B]` float32."""
    change = (after - before).float().square().mean((1, 2)) / after.float().square().mean((1, 2))
    return change.clamp(min=1e-12).sqrt()


def damped(
    new: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], damping: float
) -> tuple[Tensor, Tensor]:
    """damping · new + (1 − damping) · before, for z_H and z_L.

    The new z_H may have only the first position, `[B, 1, H]`, if only Q values are needed.
    """
    if damping == 1:
        return new
    (z_H, z_L), (old_H, old_L) = new, before
    return (
        torch.lerp(old_H[:, : z_H.shape[1]].to(z_H.dtype), z_H, damping),
        torch.lerp(old_L.to(z_L.dtype), z_L, damping),
    )


def smooth_minimum(values: Tensor) -> Tensor:
    """A smooth minimum over positions, `[B, T, n]` → `[B, n]`: an answer is correct only if every position is."""
    return math.log(values.shape[1]) - torch.logsumexp(-values, dim=1)


def settled_logit(before: Tensor, after: Tensor) -> Tensor:
    """Halt logit `[B]` float32 from the relative change of the slow state `[B, P+S, H]`.

    It is logit(0.98) + 4·ln(0.02 ÷ change), so that its σ is comparable with a learned halt probability.
    """
    return _SETTLED_LOGIT + _SETTLED_SLOPE * (math.log(_SETTLED) - relative_change(before, after).log())


def confidence_logit(logits: Tensor) -> Tensor:
    """Confidence of the least confident cell, as a logit `[B]` float32, from the logits `[B, S, V]`."""
    best = F.log_softmax(logits.float(), dim=-1).amax(-1).amin(-1)
    return best - torch.log(-torch.expm1(best.clamp(max=-1e-7)))
