"""The curves of a run: which figures they show, and a picture of them by matplotlib, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hrm_cli.errors import ConfigError
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.runs.records import RunRecords


@dataclass(frozen=True)
class Figure:
    """One chart of a run."""

    title: str
    training: str
    """Name of the figure in training lines."""
    evaluation: str
    """Name in evaluation lines; empty where there is none."""
    is_share: bool = False


FIGURES = (
    Figure("loss", "loss", ""),
    Figure("exact accuracy", "exact_accuracy", "exact_accuracy", is_share=True),
    Figure("ACT steps until a puzzle halts", "steps", "mean_steps"),
    Figure(
        "halting: puzzles whose halt value is right about their answer",
        "q_halt_accuracy",
        "q_halt_accuracy",
        True,
    ),
)
"""What `hrm runs show` draws."""


def draw_run(run: RunRecords, figures: Sequence[Figure], path: Path) -> None:
    """Writes a PNG with one chart below the other. Raises ConfigError where it cannot."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--png {path}: the picture is a PNG; its name ends in .png")
    refuse_unwritable(path)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet
    except ImportError:
        raise ConfigError("--png: matplotlib is not installed: pip install 'hrm-cli[plots]'") from None
    sheet = Sheet(figsize=(8, 2.2 * len(figures)), layout="constrained")
    FigureCanvasAgg(sheet)
    sheet.suptitle(f"{run.folder.name}: {run.state}, step {run.step:,}", parse_math=False)
    for axes, figure in zip(sheet.subplots(len(figures), 1, sharex=True), figures, strict=True):
        line = run.curve("train", figure.training)
        axes.plot(line.steps, line.values, linewidth=1, label="training")
        if figure.evaluation:
            points = run.curve("eval", figure.evaluation)
            axes.plot(points.steps, points.values, "o", markersize=4, label="evaluations")
            axes.legend(fontsize=7)
        if figure.is_share:
            axes.set_ylim(-0.02, 1.02)
        axes.set_title(figure.title, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
    axes.set_xlabel("step")
    try:
        with written_whole(path) as partial:
            sheet.savefig(partial, format="png", dpi=110, metadata={"Software": None})
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
