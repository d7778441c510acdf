"""Output of a run while it trains: the model at the start, a progress bar with metrics, evaluations, warnings."""

from __future__ import annotations

from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.schema import Preset
from hrm_cli.models.choices import choices_line
from hrm_cli.printable import counted
from hrm_cli.reporting import Progress, Reporter
from hrm_cli.runs.plan import MEASURED_STEPS, seconds_left, time_line
from hrm_cli.training.loggers import Listener
from hrm_cli.training.optimizers import optimizer_choice
from hrm_cli.training.state import Plan, TrainState


class ProgressListener(Listener):
    """Shows loss, exact accuracy on training puzzles and speed next to the bar, and a line for every evaluation."""

    def __init__(self, display: Progress, state: TrainState, reporter: Reporter) -> None:
        self._display, self._state, self._reporter = display, state, reporter
        self._note = ""

    def begin(self, plan: Plan, step: int) -> None:
        """Starts measuring the speed."""
        self._first, self._seconds_before = step, self._state.seconds

    def stepped(self, step: int) -> None:
        """Moves the bar."""
        speed = (step - self._first) / max(self._state.seconds - self._seconds_before, 1e-9)
        # With a time limit, the total is the estimated number of steps.
        horizon = self._state.horizon
        total = None if horizon is None else max(step, horizon)
        self._display.update(step, f"{self._note}{speed:.1f} steps/s", total)

    def logged(self, record: dict[str, Any]) -> None:
        """Updates the metrics next to the bar; prints a line for an evaluation."""
        if record["kind"] == "train":
            # Of training puzzles, at the step where they halted: not comparable with the accuracy of an evaluation.
            self._note = f"loss {record['loss']:.3f}, train exact {record['exact_accuracy']:.1%}, "
        elif record["kind"] == "eval":
            self._reporter.note(
                f"step {record['step']:,}: exact accuracy {record['exact_accuracy']:.2%}"
                f"{' (best)' if record['best'] else ''}, mean steps {record['mean_steps']:.2f}"
            )

    def warned(self, message: str) -> None:
        """Passes the warning to the reporter."""
        self._reporter.warn(message)

    def rewound(self, step: int) -> None:
        """Moves the bar back."""
        self._display.update(step, self._note)


def describe_run(preset: Preset, state: TrainState, plan: Plan, reporter: Reporter) -> None:
    """Reports the model that will be trained, and the implementations it uses."""
    count = sum(p.numel() for p in state.model.parameters())
    reporter.note(
        f"{preset.arch.core} with {count:,} trainable parameters on {state.model.device} "
        f"({str(state.model.core.dtype).removeprefix('torch.')}, {counted(torch.get_num_threads(), 'thread')}), "
        f"{counted(plan.total_steps, 'step')} of {counted(preset.train.global_batch_size, 'puzzle')} "
        f"= {plan.epoch(plan.total_steps):.1f} epochs"
    )
    reporter.note(f"Using {choices_line(state.model, optimizer=optimizer_choice(state.network))}")


class TimeEstimate(Listener):
    """Prints the estimated duration after a few steps. The first step is a warm-up and is not measured."""

    def __init__(self, state: TrainState, preset: Preset, facts: DatasetFacts, reporter: Reporter) -> None:
        self._state, self._preset, self._facts, self._reporter = state, preset, facts, reporter
        self._plan: Plan | None = None
        self._warm: float | None = None
        self._said = False

    def begin(self, plan: Plan, step: int) -> None:
        """Stores the first step."""
        self._plan, self._first = plan, step

    def stepped(self, step: int) -> None:
        """Prints the estimate once enough steps have been taken, if more steps follow."""
        if self._said or self._plan is None:
            return
        if self._warm is None:
            self._warm, self._first = self._state.seconds, step
        elif step - self._first == MEASURED_STEPS:
            self._said = True
            if step < self._plan.total_steps:
                each = (self._state.seconds - self._warm) / MEASURED_STEPS
                left = seconds_left(each, step, self._plan, self._preset, self._facts)
                batch = self._preset.train.global_batch_size
                minutes = self._preset.train.max_minutes
                limit = None if minutes is None else max(0.0, 60 * minutes - self._state.wall_seconds)
                self._reporter.note(time_line(each, left, MEASURED_STEPS, batch, limit))

    def rewound(self, step: int) -> None:
        """Restarts the measurement."""
        self._warm = None
