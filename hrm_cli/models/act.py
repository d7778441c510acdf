"""Adaptive computation: the outer carry, halting, exploration, Q targets, and dropping finished rows.

The same wrapper serves every core. Training replaces rows when they halt (hrm-spec "Adaptive computation"). Inference
drops them, so the batch shrinks to the unfinished puzzles.

Letters in shapes: B rows, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.core import Core, Depth, InnerCarry
from hrm_cli.models.rng import RowNoise, StepRNG
from hrm_cli.models.sharded import sharded_step


@dataclass
class PuzzleBatch:
    """Puzzles as tensors on the model's device."""

    inputs: Tensor
    """`[B, S]` int32 tokens."""
    labels: Tensor
    """`[B, S]` int32 tokens, −100 at positions without a label."""
    puzzle_identifiers: Tensor
    """`[B]` int32."""

    def select(self, rows: slice) -> PuzzleBatch:
        """A slice of the rows, as views."""
        return PuzzleBatch(self.inputs[rows], self.labels[rows], self.puzzle_identifiers[rows])

    def rows(self, indices: Tensor) -> PuzzleBatch:
        """Copies of the rows at `indices` `[b]`."""
        return PuzzleBatch(self.inputs[indices], self.labels[indices], self.puzzle_identifiers[indices])

    @staticmethod
    def joined(parts: Sequence[PuzzleBatch]) -> PuzzleBatch:
        """Concatenates the rows of all parts."""
        names = [field.name for field in fields(PuzzleBatch)]
        return PuzzleBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def where_not(self, mask: Tensor, other: PuzzleBatch) -> PuzzleBatch:
        """These rows, replaced by those of `other` where `mask` `[B]` is set."""
        return PuzzleBatch(
            torch.where(mask.unsqueeze(-1), other.inputs, self.inputs),
            torch.where(mask.unsqueeze(-1), other.labels, self.labels),
            torch.where(mask, other.puzzle_identifiers, self.puzzle_identifiers),
        )


@dataclass
class Carry:
    """The state carried from one training step to the next."""

    inner: InnerCarry
    steps: Tensor
    """Number of ACT steps taken on each row's puzzle, `[B]` int32."""
    halted: Tensor
    """Rows that take a new puzzle at the next step, `[B]` bool."""
    current: PuzzleBatch
    """The puzzles in the rows."""

    def select(self, rows: slice) -> Carry:
        """The carry of a slice of the rows, as views."""
        return Carry(self.inner.select(rows), self.steps[rows], self.halted[rows], self.current.select(rows))

    @staticmethod
    def joined(parts: Sequence[Carry]) -> Carry:
        """Concatenates the rows of all parts."""
        if len(parts) == 1:
            return parts[0]
        return Carry(
            InnerCarry.joined([part.inner for part in parts]),
            torch.cat([part.steps for part in parts]),
            torch.cat([part.halted for part in parts]),
            PuzzleBatch.joined([part.current for part in parts]),
        )


Prepare = Callable[[InnerCarry, PuzzleBatch, Tensor, Tensor | None, Any], InnerCarry]
"""Prepares the states of a training step, given the puzzles, the rows with a new one, their embeddings and the cast
weights (`hrm_cli.training.row_starts`)."""


@dataclass
class TrainOutput:
    """The output of one ACT step in training, for the loss and the optimizers."""

    logits: Tensor
    """`[B, S, V]`"""
    q_halt: Tensor
    """`[B]` float32"""
    q_continue: Tensor
    """`[B]` float32"""
    target_q_continue: Tensor | None
    """`[B]` float32 in 0..1; None if Q-continue is not trained or halt_max_steps is 1."""
    puzzle_rows: Tensor | None
    """The puzzle embeddings used, `[B, puzzle_emb_ndim]`, a leaf tensor that receives their gradient."""
    l_logits: Tensor | None = None
    """What the output head reads from L's state, `[B, S, V]`, if the core is told to."""


@dataclass
class InferenceStep:
    """One ACT step of inference, for the rows that have not finished."""

    step: int
    """Counted from 1."""
    rows: Tensor
    """Indices of these rows in the batch, `[b]`."""
    predictions: Tensor
    """Most likely tokens, `[b, S]`."""
    q_halt: Tensor
    """`[b]` float32"""
    finished: Tensor
    """Rows that finish at this step, `[b]` bool; all of them at the last step."""
    logits: Tensor | None = None
    """`[b, S, V]` in the forward dtype."""
    carry: InnerCarry | None = None
    """The recurrent state after the step, of these rows."""
    halts: Tensor | None = None
    """Rows that the model halts, `[b]` bool. At the last step, the other rows finish because no steps are left."""
    before: InnerCarry | None = None
    """The recurrent state before the step, of these rows, including the added noise."""


class ACTModel(nn.Module):
    """A core wrapped in adaptive computation. Stored tensors are named `inner.…`, as in the reference."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.inner = core
        self.compiled_loss: Callable[..., tuple[Tensor, dict[str, Tensor]]] | None = None
        """Takes the place of `hrm_cli.models.losses.act_loss` in training (`hrm_cli.models.compiling`)."""

    @property
    def core(self) -> Core:
        """The core, typed by its interface."""
        return cast(Core, self.inner)

    @property
    def arch(self) -> ArchConfig:
        """The core's configuration."""
        return self.core.arch

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def puzzle_rows(self, puzzle_identifiers: Tensor, *, requires_grad: bool = False) -> Tensor | None:
        """Copies of the embeddings of these puzzles; None for a model without puzzle embeddings."""
        table = getattr(self.inner, "puzzle_emb", None)
        return None if table is None else table.rows(puzzle_identifiers, requires_grad=requires_grad)

    def initial_carry(self, batch: PuzzleBatch) -> Carry:
        """A carry in which every row has halted, so that the first step replaces all rows with the batch."""
        size, device = len(batch.inputs), batch.inputs.device
        return Carry(
            self.core.initial_carry(batch.inputs),
            torch.zeros(size, dtype=torch.int32, device=device),
            torch.ones(size, dtype=torch.bool, device=device),
            PuzzleBatch(
                *(torch.zeros_like(t) for t in (batch.inputs, batch.labels, batch.puzzle_identifiers))
            ),
        )

    def train_step(
        self,
        carry: Carry,
        batch: PuzzleBatch,
        rng: StepRNG | None = None,
        depth: Depth | None = None,
        weights: Any = None,
        prepare: Prepare | None = None,
    ) -> tuple[Carry, TrainOutput]:
        """One ACT step in training: halted rows take a new puzzle, the others keep theirs.

        With `rng` None, exploration uses torch's global generator. With `depth` None, the number of cycles comes from
        the configuration. `weights` is the result of `core.cast_weights`, called here if None. `prepare` may change the
        states before the step.
        """
        arch = self.arch
        current = carry.current.where_not(carry.halted, batch)
        inner = self.core.reset(carry.inner, carry.halted)
        steps = torch.where(carry.halted, 0, carry.steps) + 1

        weights = weights or self.core.cast_weights()
        puzzle_rows = self.puzzle_rows(current.puzzle_identifiers, requires_grad=True)
        if prepare is not None:
            inner = prepare(inner, current, carry.halted, puzzle_rows, weights)
        inner, out = self.core(inner, current.inputs, puzzle_rows, weights, depth=depth)

        target = None
        with torch.no_grad():
            is_last = steps >= arch.halt_max_steps
            halted = is_last
            if arch.halt_max_steps > 1:
                trains_q_continue = self.core.trains_q_continue
                halted = is_last | (out.q_halt > (out.q_continue if trains_q_continue else 0))
                rng = rng or StepRNG(None, len(steps))
                halted = halted & (steps >= rng.minimum_steps(arch, steps.device))
                if trains_q_continue:
                    _, after = self.core(
                        inner, current.inputs, puzzle_rows, weights, with_logits=False, depth=depth
                    )
                    best = torch.where(is_last, after.q_halt, torch.maximum(after.q_halt, after.q_continue))
                    target = best.sigmoid()
        assert out.logits is not None
        return (
            Carry(inner, steps, halted, current),
            TrainOutput(out.logits, out.q_halt, out.q_continue, target, puzzle_rows, out.l_logits),
        )

    @torch.inference_mode()
    def infer(
        self,
        inputs: Tensor,
        puzzle_identifiers: Tensor,
        max_steps: int,
        *,
        adaptive: bool,
        paused: tuple[InnerCarry, int] | None = None,
        noise: RowNoise | None = None,
        weights: Any = None,
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """Yields ACT steps on `inputs` `[B, S]` until every row has finished, at most `max_steps` of them.

        `max_steps` may exceed the number used in training. With `adaptive`, a row finishes once the core halts it.
        `paused` resumes an earlier call: its carry and the number of steps it had taken.
        `noise` is added to the rows' states. `weights` is the result of `core.cast_weights`, called here if None.
        The caller may `send` a mask of further rows to finish, `[b]` bool, after each step.
        """
        self.eval()
        weights = weights or self.core.cast_weights()
        puzzle_rows = self.puzzle_rows(puzzle_identifiers)
        carry, taken = paused or (self.core.initial_carry(inputs), 0)
        if noise is not None and paused is None:
            carry = noise.at_start(carry, replaces=self.arch.initial_state == "random")
        rows = torch.arange(len(inputs), device=inputs.device)
        for step in range(taken + 1, max_steps + 1):
            before = carry if noise is None else noise.before_step(carry)
            carry, out = sharded_step(self.core, before, inputs, puzzle_rows, weights)
            assert out.logits is not None
            halts = self.core.halts(step, out) if adaptive else torch.zeros_like(out.q_halt, dtype=torch.bool)
            finished = torch.ones_like(halts) if step == max_steps else halts
            dropped = yield InferenceStep(
                step, rows, out.logits.argmax(-1), out.q_halt, finished, out.logits, carry, halts, before
            )
            if dropped is not None:
                finished = finished | dropped
            if finished.any():
                keep = (~finished).nonzero().squeeze(-1)
                if len(keep) == 0:
                    return
                rows, inputs, carry = rows[keep], inputs[keep], carry.select(keep)
                puzzle_rows = None if puzzle_rows is None else puzzle_rows[keep]
                noise = None if noise is None else noise.select(keep)
