"""The training loop: take a batch, step, log, save, evaluate and update `best`, in this order.

Evaluation is passed in as a function, so that training does not import it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from hrm_cli.checkpoints.pointers import discard_checkpoint
from hrm_cli.distributed.world import World
from hrm_cli.training.loggers import Listener
from hrm_cli.training.optimizers import rate_factor
from hrm_cli.training.prefetch import Prefetcher
from hrm_cli.training.run import Evaluate, Run
from hrm_cli.training.state import Best, Plan, TrainState
from hrm_cli.training.step import add_sums, train_one_step
from hrm_cli.training.stopping import (
    Divergence,
    Interruption,
    TimeLimit,
    check_accuracy,
    check_loss,
    check_scale,
    check_weights,
    roll_back,
)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    step: int
    seconds: float
    best: Best | None
    checkpoint: Path
    reason: str
    """Why the run ended: `finished`, `target_accuracy`, `patience`, `max_minutes` or `interrupted`."""
    signal_number: int | None = None


_SYNC_SECONDS = 0.5
_MOST_STEPS_BETWEEN_SYNCS = 1000
_AT_TARGET = 2
"""Evaluations in a row that must reach `train.target_accuracy`: one alone may be luck."""
_ECHO_SECONDS = 1.0
"""Maximum delay between a signal and the copy that the launcher forwards."""


def train(run: Run, state: TrainState) -> TrainResult:
    """Trains from `state` to the end of the plan, or until something in `stopping` or an evaluation ends the run.

    Raises TrainingDiverged if training diverged and is not rolled back; the last checkpoint is unchanged.
    Raises CheckpointWriteError if the last checkpoint cannot be written; for earlier ones, this is only a warning.
    """
    config = run.preset.train
    saved: Path | None = None
    reason = "finished"
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption(_ECHO_SECONDS if run.world.size > 1 else 0))
        run.ahead = stack.enter_context(Prefetcher(run.batches, state.model.device))
        _begin(run.listeners, run.plan, state.step, stack)
        clock, agreement = _Clock(state), Agreement(run.world)
        limit = TimeLimit(config.max_minutes, run.plan.total_steps, evaluates=config.eval_interval is None)
        state.awaits_evaluation &= run.evaluate is not None
        if config.max_minutes is None:
            state.horizon = None  # may be left from an earlier session with a time limit
        while state.step < run.plan.total_steps or state.awaits_evaluation:
            try:
                saved = _run_step(run, state, clock, limit)
            except Divergence as divergence:
                roll_back(run, state, divergence)
                clock.restart()
                saved = None
            if state.evaluations_at_target >= _AT_TARGET:
                reason = "target_accuracy"
                break
            if config.patience and state.evaluations_without_better >= config.patience:
                reason = "patience"
                break
            must_sync = state.step % run.plan.eval_every == 0 or state.step == run.plan.total_steps
            agreed = agreement.sync(state, interruption.signal_number or 0, now=must_sync)
            if agreed is None:
                continue
            signal_number, wall_seconds = agreed
            if signal_number:
                interruption.signal_number = int(signal_number)
                reason = "interrupted"
                break
            if limit.follow(state, wall_seconds):
                reason = "max_minutes"
                break
        if saved is None or (reason == "max_minutes" and limit.evaluated_step != state.step):
            saved = _save_last(run, state, clock, limit, evaluates=reason == "max_minutes")
    return TrainResult(state.step, state.seconds, state.best, saved, reason, interruption.signal_number)


def _run_step(run: Run, state: TrainState, clock: _Clock, limit: TimeLimit) -> Path | None:
    """Takes one step and does what is due after it. Returns the checkpoint if one was written. Raises Divergence."""
    assert run.ahead is not None
    config = run.preset.train
    if state.awaits_evaluation:
        # An earlier session saved this step and ended before evaluating it.
        return _save_and_evaluate(run, state, clock, limit, must=state.step == run.plan.total_steps)
    expected = state.horizon or run.plan.total_steps
    sums = train_one_step(state, next(run.ahead), config, expected, run.world)
    if sums:
        # All ranks take each step together, so only rank 0 counts it.
        add_sums(state.sums, {**sums, "log_steps": torch.tensor(int(run.world.is_first))})
    clock.tick()
    for listener in run.listeners:
        listener.stepped(state.step)
    check_scale(state)

    saved = None
    last = state.step == run.plan.total_steps
    if state.step % config.log_interval == 0 or last:
        _log(run, state)
    due = state.step % run.plan.eval_every == 0 or limit.evaluation_is_due
    if run.evaluate is not None and (due or last):
        check_weights(state)
        saved = _save_and_evaluate(run, state, clock, limit, must=last)
    elif config.checkpoint_interval and state.step % config.checkpoint_interval == 0:
        check_weights(state)
        saved = run.save_if_possible(state)
    return saved


def _save_last(run: Run, state: TrainState, clock: _Clock, limit: TimeLimit, *, evaluates: bool) -> Path:
    """Writes the final checkpoint if the last step has not written one."""
    try:
        check_weights(state)
        if evaluates and run.evaluate is not None:
            saved = _save_and_evaluate(run, state, clock, limit, must=True)
            assert saved is not None
            return saved
    except Divergence as divergence:
        roll_back(run, state, divergence)
    return run.save(state)


def _begin(listeners: Iterable[Listener], plan: Plan, step: int, stack: ExitStack) -> None:
    for listener in listeners:
        listener.begin(plan, step)
        stack.callback(listener.end)


class Agreement:
    """Exchanges received signals and training time between ranks about twice a second, at the same steps on all ranks.

    It does not exchange at every step, because each exchange waits for the slowest rank, and a step of a small model
    takes only a millisecond.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._step, self._seconds, self._next = 0, 0.0, 0

    def sync(self, state: TrainState, signal_number: int, *, now: bool) -> tuple[float, float] | None:
        """The signal that any rank received (else 0) and the longest training time; None if no exchange is due.

        `now` forces an exchange. It must be the same on all ranks.
        """
        if self._world.size == 1:
            return signal_number, state.wall_seconds
        # After a rollback, the run is before the step of its last exchange.
        if self._step <= state.step < self._next and not now:
            return None
        received, seconds = self._world.largest(signal_number, state.wall_seconds)
        # Computed from values that are equal on all ranks, so that all choose the same next step.
        each = (seconds - self._seconds) / max(1, state.step - self._step)
        steps = int(_SYNC_SECONDS / each) if each > 0 else 1
        self._step, self._seconds = state.step, seconds
        self._next = state.step + min(max(1, steps), _MOST_STEPS_BETWEEN_SYNCS)
        return received, seconds


class _Clock:
    """Adds elapsed time to the state: total wall time, and training time only."""

    def __init__(self, state: TrainState) -> None:
        self.state, self.last = state, time.perf_counter()

    def tick(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self.last
        self.state.wall_seconds += now - self.last
        self.last = now

    def restart(self) -> None:
        now = time.perf_counter()
        self.state.wall_seconds += now - self.last
        self.last = now


def _log(run: Run, state: TrainState) -> None:
    if not state.sums:
        return  # every step of the interval was skipped (float16)
    sums = {name: value.item() for name, value in run.world.sum(state.sums).items()}
    state.sums = {}
    config = run.preset.train
    steps = sums.pop("log_steps")
    rows = sums.pop("log_rows", steps * config.global_batch_size)
    halted = max(sums.pop("count"), 1)
    record = {name: value / (rows if name.endswith("loss") else halted) for name, value in sums.items()}
    check_loss(state, record["loss"], config)
    if state.loss_scale is not None:
        record |= {"loss_scale": state.loss_scale.scale, "skipped_steps": state.loss_scale.skipped_steps}
    rate = state.lr_factor * rate_factor(state.step, state.horizon or run.plan.total_steps, config)
    run.log(
        {
            "kind": "train",
            "step": state.step,
            "epoch": round(run.plan.epoch(state.step), 4),
            "lr": config.lr * rate,
            "seconds": round(state.seconds, 3),
            **record,
        }
    )


def _save_and_evaluate(
    run: Run, state: TrainState, clock: _Clock, limit: TimeLimit, *, must: bool
) -> Path | None:
    """Saves a checkpoint, evaluates, and updates `best`.

    The checkpoint comes first, so that a failing evaluation loses no training.
    """
    assert run.evaluate is not None
    save = run.save if must else run.save_if_possible
    clock.restart()
    began = state.wall_seconds
    state.awaits_evaluation = True
    saved = save(state)
    figures = evaluate_average(run.evaluate, state)
    best_kept = state.best
    exact, cells = figures["exact_accuracy"], figures.get("cell_accuracy", 0.0)
    better = state.best is None or state.best.is_beaten_by(exact, cells)
    if better:
        state.best = Best(state.step, exact, cells)
        state.evaluations_without_better = 0
    else:
        state.evaluations_without_better += 1
    target = run.preset.train.target_accuracy
    state.evaluations_at_target = state.evaluations_at_target + 1 if target and exact >= target else 0
    run.log(
        {
            "kind": "eval",
            "step": state.step,
            "epoch": round(run.plan.epoch(state.step), 4),
            "best": better,
            **figures,
        }
    )
    state.awaits_evaluation = False
    clock.restart()
    limit.evaluated(state, state.wall_seconds - began)
    try:
        check_accuracy(state, exact, run.preset.train)
    except Divergence:
        if saved is not None and run.world.is_first:
            discard_checkpoint(run.folder, saved)
        raise
    if saved is None or save(state, best=better) is None:
        # These weights were not saved or not marked as best, so later evaluations must not be compared with them.
        state.best = best_kept
    return saved


def evaluate_average(evaluate: Evaluate, state: TrainState) -> Mapping[str, float]:
    """Evaluates with the averaged weights if averaging is on, then restores the current weights."""
    if state.average is None:
        return evaluate(state.model)
    own = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    state.model.load_state_dict(state.average.parameters, strict=False)
    try:
        return evaluate(state.model)
    finally:
        state.model.load_state_dict(own, strict=False)
