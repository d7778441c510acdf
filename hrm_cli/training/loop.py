"""The training loop: take a batch, step, log, evaluate, save, in this order.

Evaluation is handed in as a function, so that this floor knows nothing of the one above.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hrm_cli.config.schema import Preset, TrainConfig
from hrm_cli.data.batches import Batch
from hrm_cli.errors import TrainingDiverged
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.training.checkpoints import save_checkpoint
from hrm_cli.training.contracts import CONTRACTS
from hrm_cli.training.interruption import Interruption
from hrm_cli.training.loggers import Listener
from hrm_cli.training.schedule import learning_rate
from hrm_cli.training.state import Best, DatasetFacts, Plan, TrainState

Evaluate = Callable[[ACTModel], Mapping[str, float]]
"""Evaluates a model; the result holds at least `exact_accuracy`."""


class BatchStream(Protocol):
    """An endless stream of global batches whose position can be saved and restored."""

    def __next__(self) -> Batch:
        """The next batch."""

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    step: int
    seconds: float
    best: Best | None
    checkpoint: Path
    reason: str
    """Why it ended: `finished`, `patience`, `max_minutes`, `interrupted`."""
    signal_number: int | None = None


@dataclass
class Run:
    """A run: its folder, its configuration, its data, and who watches it."""

    folder: Path
    preset: Preset
    facts: DatasetFacts
    plan: Plan
    batches: BatchStream
    evaluate: Evaluate | None
    listeners: Sequence[Listener] = ()

    def save(self, state: TrainState, *, best: bool = False) -> Path:
        """Writes a checkpoint of `state`."""
        return save_checkpoint(
            self.folder, state, self.preset, self.facts, self.batches.state_dict(), best=best
        )

    def tell(self, record: dict[str, Any]) -> None:
        """Hands a line of figures to every listener."""
        for listener in self.listeners:
            listener.logged(record)


def to_device(batch: Batch, device: torch.device) -> PuzzleBatch:
    """The batch as tensors on `device`."""
    tensors = (torch.from_numpy(a) for a in (batch.inputs, batch.labels, batch.puzzle_identifiers))
    return PuzzleBatch(*(t.to(device, non_blocking=True) for t in tensors))


def train_one_step(
    state: TrainState, batch: PuzzleBatch, config: TrainConfig, total_steps: int
) -> dict[str, Tensor]:
    """One ACT step and one optimiser step; returns the metrics' sums (of the state before the update)."""
    contract = CONTRACTS[state.model.core.contract]
    state.model.train()
    state.carry, out = contract(state.model, state.carry, batch, config, state.generator)
    loss = out.loss
    if state.teacher is not None:
        taught = state.teacher.loss(out, config.loss)
        loss = loss + config.distill_weight * taught
        out.metrics["distill_loss"] = taught.detach()
    (loss / config.global_batch_size).backward()
    if config.grad_clip:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)

    state.step += 1
    rate = _rate_factor(state.step, total_steps, config)
    for group in state.network.param_groups:
        group["lr"] = config.lr * rate
    state.network.step()
    state.network.zero_grad(set_to_none=True)
    if state.sparse is not None and out.puzzle_rows is not None and out.puzzle_rows.grad is not None:
        state.sparse.lr = config.puzzle_emb_lr * rate
        state.sparse.step(out.current.puzzle_identifiers, out.puzzle_rows.grad)
    if state.average is not None:
        state.average.update(state.model)
    return {"loss": loss.detach(), **out.metrics}


def train(run: Run, state: TrainState) -> TrainResult:
    """Trains from `state` to the end of the plan, or until patience, time, a signal or divergence ends it.

    Raises TrainingDiverged when the loss is no longer finite or has exploded; the last checkpoint stays as it was.
    """
    config, device = run.preset.train, state.model.device
    saved: Path | None = None
    reason = "finished"
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        _begin(run.listeners, run.plan, state.step, stack)
        clock = _Clock(state)
        while state.step < run.plan.total_steps:
            batch = to_device(next(run.batches), device)
            _add(state.sums, train_one_step(state, batch, config, run.plan.total_steps))
            clock.tick()
            for listener in run.listeners:
                listener.stepped(state.step)

            last = state.step == run.plan.total_steps
            saved = None
            if state.step % config.log_interval == 0 or last:
                _log(run, state)
            if run.evaluate is not None and (state.step % run.plan.eval_every == 0 or last):
                _check_weights(run, state)
                saved = _evaluate_and_save(run, state)
                clock.restart()
                if config.patience and state.evaluations_without_better >= config.patience:
                    reason = "patience"
                    break
            elif config.checkpoint_interval and state.step % config.checkpoint_interval == 0:
                _check_weights(run, state)
                saved = run.save(state)
            if interruption.signal_number is not None:
                reason = "interrupted"
                break
            if config.max_minutes and state.seconds >= 60 * config.max_minutes:
                reason = "max_minutes"
                break
        if saved is None:
            _check_weights(run, state)
            ended_early = run.evaluate is not None and reason == "max_minutes"
            saved = _evaluate_and_save(run, state) if ended_early else run.save(state)
    return TrainResult(state.step, state.seconds, state.best, saved, reason, interruption.signal_number)


def _begin(listeners: Iterable[Listener], plan: Plan, step: int, stack: ExitStack) -> None:
    for listener in listeners:
        listener.begin(plan, step)
        stack.callback(listener.end)


class _Clock:
    """Adds training time to the state, evaluation left out."""

    def __init__(self, state: TrainState) -> None:
        self.state, self.last = state, time.perf_counter()

    def tick(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self.last
        self.last = now

    def restart(self) -> None:
        self.last = time.perf_counter()


def _rate_factor(step: int, total_steps: int, config: TrainConfig) -> float:
    return learning_rate(
        step, total_steps, 1.0, warmup_steps=config.lr_warmup_steps, min_ratio=config.lr_min_ratio
    )


def _add(sums: dict[str, Tensor], metrics: dict[str, Tensor]) -> None:
    # Kept on the device: reading a number at every step would make the processor wait for the accelerator.
    rows = torch.ones((), dtype=torch.int64)
    for name, value in {**metrics, "log_steps": rows}.items():
        sums[name] = sums[name] + value if name in sums else value


def _log(run: Run, state: TrainState) -> None:
    sums = {name: value.item() for name, value in state.sums.items()}
    state.sums = {}
    config = run.preset.train
    steps = sums.pop("log_steps")
    rows = steps * config.global_batch_size
    halted = max(sums.pop("count"), 1)
    record = {name: value / (rows if name.endswith("loss") else halted) for name, value in sums.items()}
    _check_loss(run, state, record["loss"])
    rate = _rate_factor(state.step, run.plan.total_steps, config)
    run.tell(
        {
            "kind": "train",
            "step": state.step,
            "epoch": round(run.plan.epoch(state.step), 4),
            "lr": config.lr * rate,
            "seconds": round(state.seconds, 3),
            **record,
        }
    )


def _check_loss(run: Run, state: TrainState, loss: float) -> None:
    limit = run.preset.train.explode_ratio
    if not math.isfinite(loss):
        raise _diverged(run, state, f"the loss is {loss}")
    if state.lowest_loss is not None and loss > limit * state.lowest_loss:
        raise _diverged(
            run,
            state,
            f"the loss is {loss:.4g}, more than {limit:g} times its lowest, {state.lowest_loss:.4g}",
        )
    state.lowest_loss = loss if state.lowest_loss is None else min(loss, state.lowest_loss)


def _check_weights(run: Run, state: TrainState) -> None:
    # Between two logged lines the loss is not read: nothing that is not finite may reach a checkpoint.
    for name, parameter in state.model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise _diverged(run, state, f"{name} holds numbers that are not finite")


def _diverged(run: Run, state: TrainState, what: str) -> TrainingDiverged:
    latest = run.folder / "latest"
    kept = (
        f"The last good checkpoint is {run.folder / latest.read_text().strip()}"
        if latest.is_file()
        else ("No checkpoint had been written")
    )
    return TrainingDiverged(
        f"training diverged at step {state.step}: {what}. {kept}. "
        f"Try a lower train.lr (now {run.preset.train.lr:g}), or train.grad_clip=1."
    )


def _evaluate_and_save(run: Run, state: TrainState) -> Path:
    assert run.evaluate is not None
    figures = evaluate_average(run.evaluate, state)
    exact, cells = figures["exact_accuracy"], figures.get("cell_accuracy", 0.0)
    better = state.best is None or state.best.is_beaten_by(exact, cells)
    if better:
        state.best = Best(state.step, exact, cells)
        state.evaluations_without_better = 0
    else:
        state.evaluations_without_better += 1
    run.tell(
        {
            "kind": "eval",
            "step": state.step,
            "epoch": round(run.plan.epoch(state.step), 4),
            "best": better,
            **figures,
        }
    )
    return run.save(state, best=better)


def evaluate_average(evaluate: Evaluate, state: TrainState) -> Mapping[str, float]:
    """Evaluates with the averaged weights where averaging is on, and puts the weights back."""
    if state.average is None:
        return evaluate(state.model)
    own = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    state.model.load_state_dict(state.average.parameters, strict=False)
    try:
        return evaluate(state.model)
    finally:
        state.model.load_state_dict(own, strict=False)
