"""Draws curves of several runs in one chart of plain characters, with one letter per run."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_cli.runs.records import Curve

SEVERAL = "*"
"""The character where curves of several runs overlap."""
_HEIGHT = 10


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
    labels = {0: high, _HEIGHT // 2: high - (high - low) * (_HEIGHT // 2) / (_HEIGHT - 1), _HEIGHT - 1: low}
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
