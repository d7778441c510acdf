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
from typing import Any

import torch

from hrm_cli.config.schema import Preset
from hrm_cli.errors import TrainingDiverged
from hrm_cli.models.act import ACTModel
from hrm_cli.training.checkpoints import CheckpointNotWritten, save_checkpoint
from hrm_cli.training.distributed import ALONE, World
from hrm_cli.training.interruption import Interruption
from hrm_cli.training.loggers import Listener
from hrm_cli.training.prefetch import BatchStream, Prefetcher
from hrm_cli.training.schedule import rate_factor
from hrm_cli.training.state import Best, DatasetFacts, Plan, TrainState
from hrm_cli.training.step import add_sums, train_one_step

Evaluate = Callable[[ACTModel], Mapping[str, float]]
"""Evaluates a model; the result holds at least `exact_accuracy`."""


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
    world: World = ALONE
    """The processes that train together; ranks but the first have no listeners."""
    ahead: Prefetcher | None = None
    """Draws `batches` ahead while the run trains; it knows which of them have been used."""

    def save(self, state: TrainState, *, best: bool = False) -> Path:
        """Writes a checkpoint of `state`, with the rows and sums of all ranks."""
        return save_checkpoint(
            self.folder,
            state,
            self.preset,
            self.facts,
            (self.ahead or self.batches).state_dict(),
            best=best,
            world=self.world,
        )

    def save_if_possible(self, state: TrainState, *, best: bool = False) -> Path | None:
        """Writes a checkpoint; where that cannot be done the run goes on with a warning, and the next one is tried."""
        try:
            return self.save(state, best=best)
        except CheckpointNotWritten as error:
            self.warn(f"{error}. Training goes on; the next checkpoint is tried again")
            return None

    def warn(self, message: str) -> None:
        """Tells every listener of something wrong that does not end the run."""
        for listener in self.listeners:
            listener.warned(message)

    def tell(self, record: dict[str, Any]) -> None:
        """Hands a line of figures to every listener."""
        for listener in self.listeners:
            listener.logged(record)


def train(run: Run, state: TrainState) -> TrainResult:
    """Trains from `state` to the end of the plan, or until patience, time, a signal or divergence ends it.

    Raises TrainingDiverged when the loss is no longer finite or has exploded; the last checkpoint stays as it was.
    Raises CheckpointNotWritten when the last checkpoint cannot be written; an earlier one only brings a warning.
    """
    config, device = run.preset.train, state.model.device
    saved: Path | None = None
    reason = "finished"
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        run.ahead = stack.enter_context(Prefetcher(run.batches, device))
        _begin(run.listeners, run.plan, state.step, stack)
        clock = _Clock(state)
        while state.step < run.plan.total_steps:
            sums = train_one_step(state, next(run.ahead), config, run.plan.total_steps, run.world)
            # All ranks take a step together: one of them counts it.
            add_sums(state.sums, {**sums, "log_steps": torch.tensor(int(run.world.is_first))})
            clock.tick()
            for listener in run.listeners:
                listener.stepped(state.step)

            last = state.step == run.plan.total_steps
            saved = None
            if state.step % config.log_interval == 0 or last:
                _log(run, state)
            if run.evaluate is not None and (state.step % run.plan.eval_every == 0 or last):
                _check_weights(run, state)
                saved = _evaluate_and_save(run, state, must=last)
                clock.restart()
                if config.patience and state.evaluations_without_better >= config.patience:
                    reason = "patience"
                    break
            elif config.checkpoint_interval and state.step % config.checkpoint_interval == 0:
                _check_weights(run, state)
                saved = run.save_if_possible(state)
            signal_number, seconds = run.world.largest(interruption.signal_number or 0, state.seconds)
            if signal_number:
                interruption.signal_number = int(signal_number)
                reason = "interrupted"
                break
            if config.max_minutes and seconds >= 60 * config.max_minutes:
                reason = "max_minutes"
                break
        if saved is None:
            _check_weights(run, state)
            ended_early = run.evaluate is not None and reason == "max_minutes"
            saved = _evaluate_and_save(run, state, must=True) if ended_early else run.save(state)
        assert saved is not None
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


def _log(run: Run, state: TrainState) -> None:
    sums = {name: value.item() for name, value in run.world.sum(state.sums).items()}
    state.sums = {}
    config = run.preset.train
    steps = sums.pop("log_steps")
    rows = steps * config.global_batch_size
    halted = max(sums.pop("count"), 1)
    record = {name: value / (rows if name.endswith("loss") else halted) for name, value in sums.items()}
    _check_loss(run, state, record["loss"])
    rate = rate_factor(state.step, run.plan.total_steps, config)
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


def _evaluate_and_save(run: Run, state: TrainState, *, must: bool) -> Path | None:
    assert run.evaluate is not None
    figures = evaluate_average(run.evaluate, state)
    best_kept = state.best
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
    saved = run.save(state, best=better) if must else run.save_if_possible(state, best=better)
    if saved is None:
        # These weights are lost: the next good ones shall not be measured by them.
        state.best = best_kept
    return saved


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
