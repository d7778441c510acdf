"""Line charts as SVG text: means, with the range over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 250
LEFT, TOP, RIGHT, BOTTOM = 52, 44, 18, 48
COLORS = ("#2563eb", "#d92d20", "#067647", "#7c3aed", "#b54708", "#475467", "#0e7490", "#c11574", "#4d7c0f")
STYLE = """
  text { font-family: ui-sans-serif, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
  .card { fill: #ffffff }
  .title { font-size: 14px; font-weight: 700; fill: #101828 }
  .small { font-size: 11px; fill: #667085 }
  .label { font-size: 12px; font-weight: 600 }
  .grid { stroke: #eaecf0 }
  .axis { stroke: #98a2b3 }
"""


@dataclass(frozen=True)
class Line:
    """One quantity of several runs: `values[i]` are the runs' values at `x[i]`, shares between 0 and 1."""

    name: str
    x: Sequence[float]
    values: Sequence[Sequence[float]]
    dashed: bool = False
    color: int = 0


@dataclass(frozen=True)
class Panel:
    """Lines over one horizontal axis."""

    title: str
    x_label: str
    lines: Sequence[Line]
    ticks: Sequence[float]
    logarithmic: bool = False
    lowest: float = 0.0
    """Fraction at the bottom of the vertical axis."""


def draw(panels: Sequence[Panel], columns: int = 2) -> str:
    """All panels in rows of `columns`, as an SVG document."""
    rows = -(-len(panels) // columns)
    width, height = WIDTH * columns, HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" width="{width}" height="{height}"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = WIDTH * (number % columns), HEIGHT * (number // columns)
        parts.append(f'<g transform="translate({x} {y})">{_panel(panel)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> str:
    scale = math.log if panel.logarithmic else float
    low, high = scale(panel.ticks[0]), scale(panel.ticks[-1])

    def across(value: float) -> float:
        return LEFT + (scale(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(share: float) -> float:
        share = max(share, panel.lowest)
        return HEIGHT - BOTTOM - (share - panel.lowest) / (1 - panel.lowest) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="{LEFT}" y="20">{escape(panel.title)}</text>']
    for step in range(5):
        share = panel.lowest + step * (1 - panel.lowest) / 4
        y = down(share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="small" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * share:.3g} %</text>'
        )
    for tick in panel.ticks:
        x = across(tick)
        parts.append(
            f'<text class="small" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>'
        )
    foot = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{foot}" y2="{foot}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="small" x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(panel.x_label)}</text>'
    )
    key = LEFT
    for line in panel.lines:
        color = COLORS[line.color]
        places = [across(x) for x in line.x]
        upper = [f"{x:.1f},{down(max(v)):.1f}" for x, v in zip(places, line.values, strict=True)]
        lower = [f"{x:.1f},{down(min(v)):.1f}" for x, v in zip(places, line.values, strict=True)]
        middle_line = [
            f"{x:.1f},{down(sum(v) / len(v)):.1f}" for x, v in zip(places, line.values, strict=True)
        ]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{color}" opacity="0.13"/>')
        parts.append(
            f'<polyline points="{" ".join(middle_line)}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'
        )
        parts.append(
            f'<line x1="{key}" x2="{key + 18}" y1="33" y2="33" stroke="{color}" stroke-width="2"{dash}/>'
        )
        parts.append(f'<text class="label" x="{key + 23}" y="37" fill="{color}">{escape(line.name)}</text>')
        key += 34 + 7 * len(line.name)
    return "".join(parts)
