"""Listeners of a run: its progress on the terminal, and trackers, which receive the same records as metrics.jsonl.

The trackers, TensorBoard and Weights & Biases, are optional extras, enabled by `train.loggers`. Weights & Biases writes
only to the run's folder: nothing leaves the machine unless WANDB_MODE=online is set. If a tracker fails, it is disabled
with a warning and the run continues.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.redact import redacted
from hrm_cli.config.schema import Preset
from hrm_cli.errors import ConfigError
from hrm_cli.models.choices import choices_line
from hrm_cli.printable import counted
from hrm_cli.reporting import Progress, Reporter
from hrm_cli.runs.plan import MEASURED_STEPS, seconds_left, time_line
from hrm_cli.runs.records import is_number
from hrm_cli.training.loggers import Listener
from hrm_cli.training.optimizers import optimizer_choice
from hrm_cli.training.state import Plan, TrainState

TENSORBOARD_FOLDER = "tensorboard"
WANDB_FOLDER = "wandb"
WANDB_PROJECT = "hrm"

_NEEDS = {"tensorboard": ("tensorboardX", "tensorboard"), "wandb": ("wandb", "wandb")}
"""For each tracker, the package to import and the extra that installs it."""


def check_trackers(names: Sequence[str]) -> None:
    """Raises ConfigError if a tracker's package is not installed. Called before anything is built for the run."""
    for name in names:
        package, extra = _NEEDS[name]
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"train.loggers={name}: {package} is not installed: pip install 'hrm-cli[{extra}]'"
            )


def make_trackers(folder: Path, preset: Preset, warn: Callable[[str], None]) -> list[Listener]:
    """Creates the trackers in `train.loggers`."""
    made: list[Listener] = []
    for name in preset.train.loggers:
        tracker: Listener = TensorBoard(folder) if name == "tensorboard" else WeightsAndBiases(folder, preset)
        made.append(FailSafe(name, tracker, warn))
    return made


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The values of a record that can be plotted, named `train/loss`, `eval/exact_accuracy`, …"""
    kind = record["kind"]
    return {
        f"{kind}/{name}": float(value)
        for name, value in record.items()
        if name not in ("kind", "step") and is_number(value)
    }


class TensorBoard(Listener):
    """Event files in RUN/tensorboard; `tensorboard --logdir runs` shows them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / TENSORBOARD_FOLDER

    def begin(self, plan: Plan, step: int) -> None:
        """Opens a new event file, which makes TensorBoard purge earlier events after `step`."""
        from tensorboardX import SummaryWriter

        # File names contain the time in seconds. The number keeps files of the same second apart.
        number = len(list(self._folder.iterdir())) if self._folder.is_dir() else 0
        self._writer = SummaryWriter(
            str(self._folder), purge_step=step + 1 if number else None, filename_suffix=f".{number}"
        )

    def logged(self, record: dict[str, Any]) -> None:
        """Writes the values and flushes the file."""
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record["step"])
        self._writer.flush()

    def warned(self, message: str) -> None:
        """Writes the warning as text."""
        self._writer.add_text("warning", message)

    def rewound(self, step: int) -> None:
        """Continues in another event file."""
        self._writer.close()
        self.begin(Plan(0, 1.0, 1), step)

    def end(self) -> None:
        """Closes the file."""
        self._writer.close()


class WeightsAndBiases(Listener):
    """A run of Weights & Biases in RUN/wandb, offline unless WANDB_MODE is set.

    A resumed run has the same id, which is stored in the folder.
    """

    def __init__(self, folder: Path, preset: Preset) -> None:
        self._folder, self._preset = folder, preset

    def begin(self, plan: Plan, step: int) -> None:
        """Starts or resumes the run in Weights & Biases."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        mode = os.environ.get("WANDB_MODE", "offline")
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            disable_job_creation=True,
            x_save_requirements=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
            name=self._folder.name,
            id=self._identity(),
            resume="allow" if mode == "online" else None,
            dir=str(self._folder),
            mode=mode,  # type: ignore[arg-type]
            config={**redacted(self._preset).model_dump(), "total_steps": plan.total_steps},
            settings=settings,
        )
        # Steps may be repeated after a rollback, so the axis is the record's step and not wandb's counter.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _identity(self) -> str:
        file = self._folder / f".{WANDB_FOLDER}-id"
        if not file.is_file():
            file.write_text(f"{os.urandom(4).hex()}\n", encoding="utf-8")
        return file.read_text(encoding="utf-8", errors="replace").strip()

    def logged(self, record: dict[str, Any]) -> None:
        """Logs the values."""
        self._run.log({"step": record["step"], **scalars(record)})

    def rewound(self, step: int) -> None:
        """Records the rollback. Repeated values replace the earlier ones by their step."""
        self._run.log({"step": step, "train/rollback": 1.0})

    def end(self) -> None:
        """Finishes the run in Weights & Biases."""
        self._run.finish()


class FailSafe(Listener):
    """Wraps a listener. If it fails, a warning is issued, and the listener is disabled."""

    def __init__(self, name: str, listener: Listener, warn: Callable[[str], None]) -> None:
        self._name, self._listener, self._warn = name, listener, warn
        self._works = True

    def begin(self, plan: Plan, step: int) -> None:
        """Calls the wrapped listener, as do the other methods."""
        self._try(lambda: self._listener.begin(plan, step))

    def stepped(self, step: int) -> None:
        """Passed on."""
        self._try(lambda: self._listener.stepped(step))

    def logged(self, record: dict[str, Any]) -> None:
        """Passed on."""
        self._try(lambda: self._listener.logged(record))

    def warned(self, message: str) -> None:
        """Passed on."""
        self._try(lambda: self._listener.warned(message))

    def rewound(self, step: int) -> None:
        """Passed on."""
        self._try(lambda: self._listener.rewound(step))

    def end(self) -> None:
        """Passed on."""
        self._try(self._listener.end)

    def _try(self, call: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            call()
        except Exception as error:
            self._works = False
            self._warn(f"{self._name} is disabled: {type(error).__name__}: {error}")


class ProgressListener(Listener):
    """Shows loss, exact accuracy on training puzzles and speed next to the bar, and prints a line per evaluation."""

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
        """Updates the metrics next to the bar, or prints a line for an evaluation."""
        if record["kind"] == "train":
            # Measured on training puzzles when they halt, so not comparable with the accuracy of an evaluation.
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
    """Reports the model to be trained, and the implementations it uses."""
    count = sum(p.numel() for p in state.model.parameters())
    reporter.note(
        f"{preset.arch.core} with {count:,} trainable parameters on {state.model.device} "
        f"({str(state.model.core.dtype).removeprefix('torch.')}, {counted(torch.get_num_threads(), 'thread')}), "
        f"{counted(plan.total_steps, 'step')} of {counted(preset.train.global_batch_size, 'puzzle')} "
        f"= {plan.epoch(plan.total_steps):.1f} epochs"
    )
    reporter.note(f"Using {choices_line(state.model, optimizer=optimizer_choice(state.network))}")


class TimeEstimate(Listener):
    """Prints the estimated duration after a few steps. The first step is not measured, because it is a warm-up."""

    def __init__(self, state: TrainState, preset: Preset, facts: DatasetFacts, reporter: Reporter) -> None:
        self._state, self._preset, self._facts, self._reporter = state, preset, facts, reporter
        self._plan: Plan | None = None
        self._warm: float | None = None
        self._is_printed = False

    def begin(self, plan: Plan, step: int) -> None:
        """Stores the first step."""
        self._plan, self._first = plan, step

    def stepped(self, step: int) -> None:
        """Prints the estimate once enough steps have been taken, if more steps follow."""
        if self._is_printed or self._plan is None:
            return
        if self._warm is None:
            self._warm, self._first = self._state.seconds, step
        elif step - self._first == MEASURED_STEPS:
            self._is_printed = True
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
