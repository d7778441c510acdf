"""What a run will take, in words; and how long, once some steps have been measured."""

from __future__ import annotations

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.schema import Preset
from hrm_cli.printable import amount, clock
from hrm_cli.reporting import Reporter
from hrm_cli.runs.plan import MEASURED_STEPS, RunPlan, seconds_left
from hrm_cli.training.loggers import Listener
from hrm_cli.training.state import Plan, TrainState


def plan_lines(plan: RunPlan) -> list[str]:
    """The plan for people."""
    lines = [
        f"Plan: {'at most ' if plan.max_minutes else ''}{plan.steps:,} steps, {plan.epochs:.1f} epochs, "
        f"{plan.examples:,} examples, {plan.tokens:,} tokens; "
        f"{amount(plan.flops, 'FLOP')} without evaluations",
        f"Memory while training: about {amount(plan.memory, 'B')} (weights, optimiser, activations). "
        f"Disk: {amount(plan.disk, 'B')} for checkpoints of {amount(plan.checkpoint, 'B')}",
    ]
    if plan.max_minutes is not None:
        lines.append(
            f"Time: {clock(60 * plan.max_minutes)} at most (train.max_minutes), evaluations included; learning "
            "rates follow the steps that there is time for"
        )
    return lines


def time_line(step_seconds: float, left: float, steps: int, batch: int, limit: float | None = None) -> str:
    """How long the run will take, as measured; `limit` are the seconds that it still has."""
    to_go = f"about {clock(left)} to go without evaluations"
    if limit is not None and limit < left:
        more = round(limit / step_seconds)
        to_go = f"{clock(limit)} to go, in which there is time for about {more:,} steps"
    return (
        f"Time: {to_go}, "
        f"{step_seconds:.3g} s a step ({batch / step_seconds:,.0f} examples/s), measured over {steps} steps"
    )


class TimeEstimate(Listener):
    """Says how long the run will take after its first steps. The very first warms up and is not counted."""

    def __init__(self, state: TrainState, preset: Preset, facts: DatasetFacts, reporter: Reporter) -> None:
        self._state, self._preset, self._facts, self._reporter = state, preset, facts, reporter
        self._plan: Plan | None = None
        self._warm: float | None = None
        self._said = False

    def begin(self, plan: Plan, step: int) -> None:
        """Remembers where the run begins."""
        self._plan, self._first = plan, step

    def stepped(self, step: int) -> None:
        """Says it once enough steps have been taken, if there are more to come."""
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
        """Begins to measure again."""
        self._warm = None
