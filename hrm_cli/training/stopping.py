"""What stops a run early: signals, the time limit `train.max_minutes`, and divergence, which may also roll it back.

After the first signal, the loop saves and stops; a second signal ends the process at once. With a time limit, the run
ends in time, including evaluations, and its learning-rate schedule is fitted to that time.

If a run is killed during a rollback before the rollback is recorded in the checkpoint that `latest` names, the resumed
run diverges again and is rolled back in the same way.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from types import FrameType, TracebackType

import torch

from hrm_cli.checkpoints.pointers import (
    CheckpointWriteError,
    point_latest_to_best,
    read_pointer,
    record_rollback,
)
from hrm_cli.config.train import TrainConfig
from hrm_cli.environment import stop_signals
from hrm_cli.errors import TrainingDiverged
from hrm_cli.training.resuming import adopt_checkpoint, load_training_state
from hrm_cli.training.run import Run
from hrm_cli.training.state import TrainState


class Interruption:
    """A context manager that stores the first signal in `signal_number`. A second signal has its default effect.

    Signals within `echo_seconds` after the first count as the same signal: batch systems and service managers signal
    the launcher and its workers, and the launcher forwards the signal as well.
    """

    def __init__(self, echo_seconds: float = 0.0) -> None:
        self._echo_seconds = echo_seconds
        self._first_came = 0.0
        self.signal_number: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for number in stop_signals():
            # Setting a handler fails outside the main thread; the caller (a notebook, a test) then handles signals.
            with contextlib.suppress(ValueError):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._first_came = number, time.monotonic()
            if not self._echo_seconds:
                self._restore()
        elif time.monotonic() - self._first_came > self._echo_seconds:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]


_MEASURED_STEPS = 3
"""Minimum number of steps, after one warm-up step, for an estimate of the speed."""
_EVALUATIONS = 10
"""Number of evaluations in the time limit if `train.eval_interval` is not set."""


class TimeLimit:
    """The time limit of a run; without `minutes`, the run follows its plan.

    Sets `state.horizon` to the estimated total number of steps, which learning rates and depth schedule follow. With
    several ranks, `follow` must be called at the same steps with the same time on all of them.
    """

    def __init__(self, minutes: float | None, total_steps: int, *, evaluates: bool) -> None:
        self.seconds = math.inf if minutes is None else 60 * minutes
        self._total_steps = total_steps
        self._evaluates = evaluates
        """Whether evaluations are scheduled by time."""
        self._first: tuple[int, float] | None = None
        self._evaluation = 0.0
        self._tenth: int | None = None
        self.evaluation_is_due = False
        self.evaluated_step: int | None = None

    def follow(self, state: TrainState, wall_seconds: float) -> bool:
        """Records the run's progress. Returns whether only the time for the last evaluation is left."""
        if self.seconds == math.inf:
            return False
        if self._first is None or state.step < self._first[0]:
            self._first = state.step, wall_seconds
        first_step, first_seconds = self._first
        left = self.seconds - wall_seconds - self._evaluation
        if state.step - first_step >= _MEASURED_STEPS:
            pace = (wall_seconds - first_seconds) / (state.step - first_step)
            more = math.floor(max(0.0, left) / max(pace, 1e-9))
            state.horizon = max(state.step, min(self._total_steps, state.step + more))
        tenth = math.floor(_EVALUATIONS * wall_seconds / self.seconds)
        if self._tenth is None:
            self._tenth = tenth
        # Without any evaluation in the first half, one shows how long the last one takes.
        is_unknown = self.evaluated_step is None and tenth >= _EVALUATIONS // 2
        self.evaluation_is_due = is_unknown or (self._evaluates and tenth > self._tenth)
        return left <= 0

    def evaluated(self, state: TrainState, seconds: float) -> None:
        """Records the duration of an evaluation, to reserve time for the last one."""
        self._evaluation, self.evaluated_step = seconds, state.step
        self.evaluation_is_due = False
        if self.seconds < math.inf:
            self._tenth = math.floor(_EVALUATIONS * state.wall_seconds / self.seconds)


_SMALL_LOSS = 0.01
"""Loss in nats below which nearly every token is correct: a ratio of such small losses is meaningless."""


class Divergence(Exception):  # noqa: N818 - the event's name in this field
    """Training has diverged; the message names the symptom. The loop decides how to react."""


def check_loss(state: TrainState, loss: float, config: TrainConfig) -> None:
    """Raises Divergence if a logged mean loss is not finite, or exceeds `explode_ratio` times the lowest so far.

    A lowest loss below 0.01 counts as 0.01: the loss of models that solve everything jumps between 0.00001 and 0.01.
    """
    limit = config.explode_ratio
    if not math.isfinite(loss):
        raise Divergence(f"the loss is {loss}")
    if state.lowest_loss is not None and loss > limit * max(state.lowest_loss, _SMALL_LOSS):
        raise Divergence(
            f"the loss is {loss:.4g}, more than {limit:g} times its lowest, {state.lowest_loss:.4g}"
        )
    state.lowest_loss = loss if state.lowest_loss is None else min(loss, state.lowest_loss)


def check_weights(state: TrainState) -> None:
    """Raises Divergence if weights or puzzle embeddings are not finite: such values must not reach a checkpoint.

    `check_loss` is not enough, because the loss is read only when a line is logged.
    """
    for name, tensor in state.model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise Divergence(f"{name} holds numbers that are not finite")


def check_accuracy(state: TrainState, exact_accuracy: float, config: TrainConfig) -> None:
    """Raises Divergence if an evaluation's exact accuracy has collapsed.

    It has collapsed if the best was at least `collapse_from` and it is now below `collapse_ratio` times the best.
    """
    best = state.best
    if best is None or best.exact_accuracy < config.collapse_from:
        return
    if exact_accuracy < config.collapse_ratio * best.exact_accuracy:
        raise Divergence(
            f"exact accuracy has collapsed to {exact_accuracy:.2%}, from {best.exact_accuracy:.2%} "
            f"at step {best.step}"
        )


def check_scale(state: TrainState) -> None:
    """Raises Divergence if float16 gradients overflow at every loss scale."""
    if state.loss_scale is not None and state.loss_scale.scale < 1:
        raise Divergence("float16 gradients are not finite even without a loss scale")


def roll_back(run: Run, state: TrainState, divergence: Divergence) -> None:
    """Loads the best checkpoint (or the latest, if none was evaluated) into `state` and lowers the learning rates.

    Raises TrainingDiverged if `train.on_divergence` is `stop`, the rollbacks are used up, or there is no checkpoint.
    """
    config, world = run.preset.train, run.world
    step, seconds, wall_seconds = state.step, state.seconds, state.wall_seconds
    rollbacks, lr_factor = state.rollbacks + 1, state.lr_factor * config.rollback_lr_factor
    if (
        config.on_divergence == "stop"
        or rollbacks > config.max_rollbacks
        or not world.ask_rank_0(lambda: point_latest_to_best(run.folder))
    ):
        raise _end(run, state, divergence) from None
    position = load_training_state(run.folder, state, world, rows=config.global_batch_size, warn=run.warn)
    adopt_checkpoint(run.folder, state, world)
    assert run.ahead is not None
    run.ahead.restart_from(position)
    state.rollbacks, state.lr_factor = rollbacks, lr_factor
    # Time spent on the discarded steps still counts.
    state.seconds, state.wall_seconds = seconds, wall_seconds
    if state.teacher is not None:
        state.teacher.forget()

    run.warn(
        f"training diverged at step {step}: {divergence}. Back to step {state.step}, "
        f"learning rates × {lr_factor:g} ({rollbacks} of {config.max_rollbacks} rollbacks)"
    )
    for listener in run.listeners:
        listener.rewound(state.step)
    run.log(
        {
            "kind": "rollback",
            "step": state.step,
            "epoch": round(run.plan.epoch(state.step), 4),
            "from_step": step,
            "reason": str(divergence),
            "rollbacks": rollbacks,
            "lr_factor": lr_factor,
        }
    )
    # Recorded last: a run killed before this repeats the rollback and its messages.
    if world.is_first:
        try:
            record_rollback(run.folder, rollbacks, lr_factor, seconds, wall_seconds)
        except CheckpointWriteError as error:
            run.warn(f"{error}. A run resumed before the next checkpoint forgets this rollback")


def _end(run: Run, state: TrainState, divergence: Divergence) -> TrainingDiverged:
    config = run.preset.train
    pointer = next(
        (path for path in (run.folder / "best", run.folder / "latest") if path.is_file()),
        None,
    )
    kept = (
        f"The {pointer.name if pointer.name == 'best' else 'last good'} checkpoint is {read_pointer(pointer)}"
        if pointer is not None
        else "No checkpoint had been written"
    )
    tried = f" It had been rolled back {state.rollbacks} times." if state.rollbacks else ""
    advice = "" if config.on_divergence == "rollback" else ", or train.on_divergence=rollback"
    return TrainingDiverged(
        f"training diverged at step {state.step}: {divergence}.{tried} {kept}. "
        f"Try a lower train.lr (now {config.lr * state.lr_factor:g}), train.grad_clip=1{advice}."
    )
