"""One training step: forward and backward over micro-batches, then one update of all trained parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hrm_cli.config.train import TrainConfig
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.models.act import ACTModel, Carry, PuzzleBatch
from hrm_cli.models.compiling import begin_step
from hrm_cli.models.cpu.workers import run_shards
from hrm_cli.training.objectives import Progress, Supervised, objective_of
from hrm_cli.training.optimizers import LossScale, rate_factor, unscale
from hrm_cli.training.shards import ShardWeights, shard_count
from hrm_cli.training.state import TrainState


def train_one_step(
    state: TrainState, batch: PuzzleBatch, config: TrainConfig, total_steps: int, world: World = ALONE
) -> dict[str, Tensor]:
    """Takes one ACT step and one optimizer step; returns sums of metrics, computed before the update.

    `batch` holds this rank's rows of the global batch, and the sums are over these rows. The update uses the gradient
    of the global batch.

    With `train.accumulation_steps`, the rows are processed in that many micro-batches, whose gradients add up to the
    gradient of the whole batch.

    In float16, a step whose gradients overflow is skipped. It is counted and its batch is consumed, but nothing is
    updated (not even averaged weights) and the returned sums are empty. Rows with non-finite states take a new puzzle.
    """
    state.model.train()
    state.take_size(batch.inputs.shape[1])
    begin_step(state.model)
    progress = Progress(state.step, total_steps)
    sums, embeddings = _accumulate_gradients(state, batch, config, world, progress)
    state.step += 1
    if state.loss_scale is not None and not _unscaled(state, state.loss_scale, embeddings, world):
        return {}
    if config.grad_clip:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)
    rate = state.lr_factor * rate_factor(state.step, total_steps, config)
    _update(state, embeddings, config, rate, world)
    return sums


def micro_batches(rows: int, count: int) -> Iterator[slice]:
    """Splits `rows` rows into `count` slices (fewer if there are fewer rows) whose sizes differ by at most one."""
    count = min(count, rows)
    for i in range(count):
        yield slice(i * rows // count, (i + 1) * rows // count)


def add_sums(sums: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    """Adds metrics to `sums` on the device. Reading a value would make the host wait for the device."""
    for name, value in more.items():
        # Cloned because under RSM `loss` and `lm_loss` are the same tensor, which safetensors cannot save twice.
        sums[name] = sums[name] + value if name in sums else value.clone()


@dataclass
class _EmbeddingGradients:
    """Gradients of the puzzle embeddings used in a step, one entry per micro-batch."""

    puzzle_identifiers: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def take(self, out: Supervised) -> None:
        if out.puzzle_rows is not None and out.puzzle_rows.grad is not None:
            self.puzzle_identifiers.append(out.current.puzzle_identifiers)
            self.gradients.append(out.puzzle_rows.grad)


@dataclass
class _Shard:
    """The result of the forward and backward pass on some rows."""

    after: Carry | None
    out: Supervised
    loss: Tensor


def _shards(model: ACTModel, rows: slice) -> list[slice]:
    count = rows.stop - rows.start
    return [
        slice(rows.start + part.start, rows.start + part.stop)
        for part in micro_batches(count, shard_count(model, count))
    ]


def _accumulate_gradients(
    state: TrainState, batch: PuzzleBatch, config: TrainConfig, world: World, progress: Progress
) -> tuple[dict[str, Tensor], _EmbeddingGradients]:
    objective = objective_of(state.model, config)
    sums: dict[str, Tensor] = {}
    embeddings = _EmbeddingGradients()
    carries: list[Carry | None] = []
    count = len(batch.inputs)
    rng = world.step_rng(state.generator, count)
    scale = 1.0 if state.loss_scale is None else state.loss_scale.scale
    # With several sizes, the number of rows depends on the size.
    rows_in_batch = config.global_batch_size if state.shapes is None else count * world.size
    for rows in micro_batches(count, config.accumulation_steps):
        shards = _shards(state.model, rows)
        cast = ShardWeights(state.model.core.cast_weights(), len(shards)) if len(shards) > 1 else None

        def trained(index: int, shards: list[slice] = shards, cast: ShardWeights | None = cast) -> _Shard:
            rows = shards[index]
            before = None if state.carry is None else state.carry.select(rows)
            after, out = objective(
                state.model, before, batch.select(rows), config, rng.of(rows), progress,
                None if cast is None else cast.of_shard(index),
            )  # fmt: skip
            loss = out.loss
            if state.teacher is not None:
                distillation = state.teacher.loss(out, config.loss, first_row=rows.start)
                loss = loss + config.distill_weight * distillation
                out.metrics["distill_loss"] = distillation.detach()
            if state.constraint is not None:
                penalty = state.constraint(out.logits, config.loss)
                loss = loss + config.constraint_loss * penalty
                out.metrics["constraint_loss"] = penalty.detach()
            l_distillation = out.l_distillation(config.loss)
            if l_distillation is not None:
                loss = loss + config.l_distill_weight * l_distillation
                out.metrics["l_distill_loss"] = l_distillation.detach()
            (loss * scale / rows_in_batch).backward()
            if cast is not None:
                cast.finish(index)
            return _Shard(after, out, loss.detach())

        for one in run_shards(trained, len(shards)):
            embeddings.take(one.out)
            add_sums(sums, {"loss": one.loss, **one.out.metrics})
            carries.append(one.after)
        if cast is not None:
            cast.add_to_parameters()
    if state.shapes is not None:
        sums["log_rows"] = torch.tensor(count)
    world.sum_gradients(state.model)
    state.carry = Carry.joined([carry for carry in carries if carry is not None]) if carries[0] else None
    return sums, embeddings


def _unscaled(
    state: TrainState, loss_scale: LossScale, embeddings: _EmbeddingGradients, world: World
) -> bool:
    """Divides all gradients by the loss scale. Returns False if they overflowed on any rank: the step is skipped."""
    own = [p.grad for p in state.model.parameters() if p.grad is not None]
    finite = unscale([*own, *embeddings.gradients], loss_scale.scale)
    if not world.largest(float(not finite))[0]:
        loss_scale.succeeded()
        return True
    loss_scale.overflowed()
    state.network.zero_grad(set_to_none=True)
    if state.carry is not None:
        sound = torch.ones_like(state.carry.halted)
        for one in state.carry.inner.tensors().values():
            sound &= one.isfinite().flatten(1).all(1)
        state.carry.halted |= ~sound
    return False


def _update(
    state: TrainState, embeddings: _EmbeddingGradients, config: TrainConfig, rate: float, world: World
) -> None:
    for group in state.network.param_groups:
        group["lr"] = config.lr * rate
    state.network.step()
    state.network.zero_grad(set_to_none=True)
    if state.sparse is not None and embeddings.gradients:
        state.sparse.lr = config.puzzle_emb_lr * rate
        state.sparse.step(
            world.gather_rows(torch.cat(embeddings.puzzle_identifiers)),
            world.gather_rows(torch.cat(embeddings.gradients)),
        )
    if state.average is not None:
        state.average.update(state.model)
