"""Curves of runs: charts in plain characters, and a PNG made by matplotlib, an optional dependency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hrm_cli.errors import ConfigError
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.runs.records import Curve, RunRecords

POINT = "●"
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bit of each dot of a Braille character, by column and row."""
_BRAILLE = 0x2800


def chart(
    title: str,
    line: Curve,
    points: Curve,
    last_step: int,
    *,
    width: int = 64,
    height: int = 8,
    share: bool = False,
) -> list[str]:
    """The lines of a chart of `width` × `height` cells: `line` as dots, `points` as circles on top of it.

    `share` sets the axis to 0..100 %. A chart without values contains a note instead of curves.
    """
    values = [*line.values, *points.values]
    if not values:
        return [f"{title}: nothing logged"]
    low, high = (0.0, 1.0) if share else (min(values), max(values))
    if high <= low:
        low, high = low - max(abs(low) * 0.05, 0.05), high + max(abs(high) * 0.05, 0.05)
    cells = [[0] * width for _ in range(height)]
    for x, y in _connected([_place(point, last_step, low, high, width, height) for point in _pairs(line)]):
        cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    drawn = [[chr(_BRAILLE + bits) if bits else " " for bits in row] for row in cells]
    for point in _pairs(points):
        x, y = _place(point, last_step, low, high, width, height)
        drawn[y // 4][x // 2] = POINT
    labels = {
        0: _label(high, share),
        height // 2: _label((high + low) / 2, share),
        height - 1: _label(low, share),
    }
    margin = max(map(len, labels.values()))
    rows = [
        f"{labels.get(number, ''):>{margin}} ┤{''.join(row)}".rstrip() for number, row in enumerate(drawn)
    ]
    end = f"{last_step:,}"
    axis = f"{'':>{margin}} └{'─' * width}"
    steps = f"{'':>{margin}}  0{end:>{width - 1}}"
    return [title, *rows, axis, steps]


def _pairs(curve: Curve) -> list[tuple[int, float]]:
    return list(zip(curve.steps, curve.values, strict=True))


def _place(
    point: tuple[int, float], last_step: int, low: float, high: float, width: int, height: int
) -> tuple[int, int]:
    """The dot position of a point, counted from the upper left corner."""
    step, value = point
    x = round(step / max(last_step, 1) * (2 * width - 1))
    y = round((high - min(max(value, low), high)) / (high - low) * (4 * height - 1))
    return min(max(x, 0), 2 * width - 1), y


def _connected(dots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The dots, with gaps filled in so that steep lines are continuous."""
    filled = list(dots[:1])
    for (x0, y0), (x1, y1) in pairwise(dots):
        length = max(abs(x1 - x0), abs(y1 - y0))
        filled += [
            (round(x0 + (x1 - x0) * part / length), round(y0 + (y1 - y0) * part / length))
            for part in range(1, length + 1)
        ]
    return filled


def _label(value: float, share: bool) -> str:
    return f"{value:.0%}" if share else f"{value:.3g}"


@dataclass(frozen=True)
class Figure:
    """One chart of a run."""

    title: str
    training: str
    """Key of the figure in training records."""
    evaluation: str
    """Key in evaluation records; empty if there is none."""
    is_share: bool = False


FIGURES = (
    Figure("loss", "loss", ""),
    Figure("exact accuracy", "exact_accuracy", "exact_accuracy", is_share=True),
    Figure("ACT steps until a puzzle halts", "steps", "mean_steps"),
    Figure(
        "halting: puzzles whose halt decision matches the answer's correctness",
        "q_halt_accuracy",
        "q_halt_accuracy",
        True,
    ),
)
"""The charts of `hrm runs show`."""


def draw_run(run: RunRecords, figures: Sequence[Figure], path: Path) -> None:
    """Writes a PNG with the charts below each other. Raises ConfigError if matplotlib is missing or writing fails."""
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


SEVERAL = "*"
"""The character where curves of several runs overlap."""
_HEIGHT = 9
"""Rows of a chart of several runs; odd, so that the label in the middle is the middle of the axis."""


def letter(number: int) -> str:
    """The letter of a run by its index: A, B, C …"""
    return chr(ord("A") + number)


def overlay(title: str, curves: Sequence[Curve], *, width: int, share: bool = False) -> list[str]:
    """The lines of a chart. Every column shows the mean of each curve's values; all curves share the step axis.

    `share` sets the axis to 0..100 %.
    """
    values = [value for curve in curves for value in curve.values]
    if not values:
        return [f"{title}: nothing logged"]
    low, high = (0.0, 1.0) if share else (min(values), max(values))
    if high <= low:
        low, high = low - max(abs(low) * 0.05, 0.05), high + max(abs(high) * 0.05, 0.05)
    last = max((step for curve in curves for step in curve.steps), default=0)
    rows = [[" "] * width for _ in range(_HEIGHT)]
    for number, curve in enumerate(curves):
        for column, value in _means(curve, last, width).items():
            row = round((high - min(max(value, low), high)) / (high - low) * (_HEIGHT - 1))
            rows[row][column] = letter(number) if rows[row][column] == " " else SEVERAL
    labels = {0: high, _HEIGHT // 2: (high + low) / 2, _HEIGHT - 1: low}
    texts = {row: f"{value:.0%}" if share else f"{value:.3g}" for row, value in labels.items()}
    margin = max(map(len, texts.values()))
    end = f"{last:,}"
    return [
        title,
        *(f"{texts.get(number, ''):>{margin}} ┤{''.join(row)}".rstrip() for number, row in enumerate(rows)),
        f"{'':>{margin}} └{'─' * width}",
        f"{'':>{margin}}  0{end:>{width - 1}}",
    ]


def _means(curve: Curve, last: int, width: int) -> dict[int, float]:
    columns: dict[int, list[float]] = {}
    for step, value in zip(curve.steps, curve.values, strict=True):
        columns.setdefault(round(step / max(last, 1) * (width - 1)), []).append(value)
    return {column: sum(values) / len(values) for column, values in columns.items()}
