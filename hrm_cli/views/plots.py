"""Charts of pages as inline SVG, drawn without a library.

Every chart has a title and a description for screen readers. Lines differ in dashes and points in shapes, so that none
needs color. The page's style sheet gives the classes their colors (`PLOT_STYLE`). Lengths are in units of the view box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hrm_cli.printable import printable

WIDTH, HEIGHT = 380, 232
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 40
_MOST_POINTS = 40
"""A longer curve has no points."""

PLOT_STYLE = """
.plot svg { display: block; width: 100%; height: auto; max-width: 500px; }
.plot text { fill: var(--dim); font-size: 12px; font-family: inherit; }
.plot .axis { stroke: var(--cellline); fill: none; }
.plot .grid { stroke: var(--line); fill: none; stroke-dasharray: 2 3; }
.plot .mark { stroke: var(--dim); stroke-dasharray: 5 4; fill: none; }
.plot .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.plot .s0 { stroke: var(--accent); } .plot .s1 { stroke: var(--second); stroke-dasharray: 7 4; }
.plot .s2 { stroke: var(--third); stroke-dasharray: 2 4; } .plot .s3 { stroke: var(--dim); stroke-dasharray: 9 3 2 3; }
.plot .p0 { fill: var(--accent); } .plot .p1 { fill: var(--card); stroke: var(--second); stroke-width: 2; }
.plot .p2 { fill: var(--third); } .plot .p3 { fill: var(--dim); }
.plot .band { fill: var(--accent); opacity: 0.16; } .plot .whisker { stroke: var(--text); fill: none; }
.plot .bar { fill: var(--bar); } .plot .bar2 { fill: var(--second); }
.plot .stripe { stroke: var(--card); stroke-width: 2; }
.plot .value { fill: var(--text); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 4px 0 0; padding: 0; }
.legend li { display: inline-flex; align-items: center; gap: 7px; font-size: 0.85rem; }
.legend svg { width: 30px; height: 12px; max-width: none; }
"""


@dataclass(frozen=True)
class Series:
    """One curve of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    low_high: Sequence[tuple[float, float]] = ()
    """An interval around each point, drawn as a band."""
    is_points: bool = False
    """Points without a line."""


@dataclass(frozen=True)
class Axis:
    """The scale of one axis."""

    label: str
    low: float
    high: float
    is_share: bool = False
    """Values are shown as percentages."""
    is_log: bool = False
    is_count: bool = False
    """Values are whole numbers, and so are the ticks."""

    def place(self, value: float) -> float:
        """Where a value lies, from 0 at `low` to 1 at `high`."""
        if self.is_log:
            low, high, value = (
                math.log(max(self.low, 1e-12)), math.log(max(self.high, 1e-12)), math.log(max(value, 1e-12)),
            )  # fmt: skip
        else:
            low, high = self.low, self.high
        return min(max((value - low) / ((high - low) or 1), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values along the axis."""
        if self.is_log:
            low, high = math.log10(max(self.low, 1e-12)), math.log10(max(self.high, 1e-12))
            first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
            every = max(1, -(-(last - first) // 5))
            powers = [10.0**power for power in range(first, last + 1, every)]
            if len(powers) > 1:
                return powers
            between = [step * 10.0**power for power in range(first - 1, last + 2) for step in (1, 2, 5)]
            return [value for value in between if self.low <= value <= self.high]
        step = nice_step((self.high - self.low) / 4)
        if self.is_count:
            step = max(1.0, math.ceil(step))
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, int(self.high / step + 1e-9) + 1)]

    def text(self, value: float) -> str:
        """A tick's label."""
        if self.is_share:
            return f"{value:.0%}"
        return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5, 10 (times a power of ten) that is at least `rough`."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.9999)


def share_axis(label: str) -> Axis:
    """0 to 100 %."""
    return Axis(label, 0, 1, is_share=True)


def count_axis(label: str, most: float) -> Axis:
    """From 0 to at least `most`, in whole numbers."""
    step = max(1.0, math.ceil(nice_step(max(most, 1) / 4)))
    return Axis(label, 0, math.ceil(max(most, 1) / step) * step, is_count=True)


def axis_of(label: str, values: Sequence[float], *, from_zero: bool = False, is_log: bool = False) -> Axis:
    """An axis that contains all values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if is_log:
        return Axis(label, max(low, 1e-9) / 1.2, max(high, 1e-9) * 1.2, is_log=True)
    if from_zero:
        low = min(low, 0.0)
    if high <= low:
        low, high = low - max(abs(low) * 0.05, 0.5), high + max(abs(high) * 0.05, 0.5)
    step = nice_step((high - low) / 4)
    return Axis(label, math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def line_chart(
    title: str,
    description: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    marks: Mapping[str, float] | None = None,
    diagonal: bool = False,
) -> str:
    """Curves over a common axis, with a legend. `marks`: labeled vertical lines."""
    parts = [_axes(x, y)]
    if diagonal:
        parts.append(
            f'<path class="mark" d="M{_x(x, x.low)} {_y(y, y.low)}L{_x(x, x.high)} {_y(y, y.high)}"/>'
        )
    for text, value in (marks or {}).items():
        at = _x(x, value)
        anchor = "end" if value > (x.low + x.high) / 2 else "start"
        parts.append(f'<path class="mark" d="M{at} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        height = _TOP + 10 if y.is_log else HEIGHT - _BOTTOM - 6  # where curves that fall, or rise, are not
        parts.append(_label(at + (-4 if anchor == "end" else 4), height, text, anchor))
    for number, one in enumerate(series):
        parts += _curve(number, one, x, y)
    legend = [(one.name, _sample(number, one)) for number, one in enumerate(series)]
    return _figure(title, description, "".join(parts), HEIGHT, legend if len(series) > 1 else [])


def _curve(number: int, one: Series, x: Axis, y: Axis) -> list[str]:
    style = number % 4
    spots = [(_x(x, value), _y(y, height)) for value, height in one.points]
    parts = []
    if one.low_high and len(spots) > 1:
        upper = [f"{spot[0]} {_y(y, high)}" for spot, (_, high) in zip(spots, one.low_high, strict=True)]
        lower = [f"{spot[0]} {_y(y, low)}" for spot, (low, _) in zip(spots, one.low_high, strict=True)]
        parts.append(f'<path class="band" d="M{"L".join([*upper, *reversed(lower)])}z"/>')
    if len(spots) > 1 and not one.is_points:
        parts.append(f'<path class="line s{style}" d="M{"L".join(f"{a} {b}" for a, b in spots)}"/>')
    if _has_points(one):
        for (a, b), (value, height) in zip(spots, one.points, strict=True):
            tip = f"{one.name}: {x.label} {x.text(value)}, {_exact(y, height)}"
            parts.append(point(style, a, b, tip))
    return parts


def _has_points(one: Series) -> bool:
    return one.is_points or len(one.points) <= _MOST_POINTS


def _exact(axis: Axis, value: float) -> str:
    return f"{value:.1%}" if axis.is_share else f"{value:.4g}"


def point(style: int, x: float, y: float, tip: str) -> str:
    """A point whose shape depends on the series: disk, ring, square, diamond."""
    tip = f"<title>{_text(tip)}</title>"
    if style < 2:
        return f'<circle class="p{style}" cx="{x}" cy="{y}" r="3.2">{tip}</circle>'
    if style == 2:
        return f'<rect class="p2" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6">{tip}</rect>'
    return f'<path class="p3" d="M{x} {y - 4:.1f}l4 4l-4 4l-4 -4z">{tip}</path>'


def _sample(number: int, one: Series) -> str:
    style = number % 4
    line = "" if one.is_points else f'<path class="line s{style}" d="M1 6H29"/>'
    return line + (point(style, 15, 6, one.name) if _has_points(one) else "")


def bar_chart(
    title: str,
    description: str,
    bars: Sequence[tuple[str, float, str]],
    y: Axis,
    *,
    x_label: str = "",
    whiskers: Sequence[tuple[float, float]] = (),
    second: Sequence[float] = (),
    names: tuple[str, str] = ("", ""),
) -> str:
    """Vertical bars: label, value and tooltip of each. `whiskers` are intervals; `second` is stacked on top."""
    parts = [_axes(Axis(x_label, 0, 1), y, with_x_ticks=False)]
    room = (WIDTH - _LEFT - _RIGHT) / max(len(bars), 1)
    thick = min(room * 0.78, 54)
    widest = max((len(label) for label, _, _ in bars), default=1)
    every = max(1, math.ceil((widest * 6.6 + 8) / room))
    for number, (label, value, tip) in enumerate(bars):
        middle = _LEFT + (number + 0.5) * room
        top, bottom = _y(y, value), _y(y, y.low)
        hint = f"<title>{_text(tip)}</title>"
        parts.append(_box("bar", middle - thick / 2, top, thick, bottom - top, hint))
        if number < len(second) and second[number] > 0:
            above = _y(y, value + second[number])
            parts.append(_box("bar2", middle - thick / 2, above, thick, top - above, hint))
            for height in range(int(above) + 4, int(top), 5):
                parts.append(f'<path class="stripe" d="M{middle - thick / 2:.1f} {height}h{thick:.1f}"/>')
        if number < len(whiskers):
            low, high = (_y(y, bound) for bound in whiskers[number])
            ends = f"M{middle - 4:.1f} {high}h8M{middle - 4:.1f} {low}h8"
            parts.append(f'<path class="whisker" d="M{middle:.1f} {high}V{low}{ends}"/>')
        if number % every == 0:
            parts.append(_label(middle, HEIGHT - _BOTTOM + 15, label, "middle"))
    legend = []
    if second:
        swatch = '<rect class="{}" x="4" y="0" width="22" height="12"/>'
        legend = [(names[0], swatch.format("bar"))]
        legend.append((names[1], swatch.format("bar2") + '<path class="stripe" d="M4 4h22M4 9h22"/>'))
    return _figure(title, description, "".join(parts), HEIGHT, legend)


def lying_bars(
    title: str,
    description: str,
    rows: Sequence[tuple[str, float, str]],
    *,
    most: float | None = None,
    ticks: Sequence[float] = (),
    tick_name: str = "",
) -> str:
    """Horizontal bars: name, value and the text at its end. `ticks`: a reference value for each row, as a line."""
    high = most or max((value for _, value, _ in rows), default=1) or 1
    name_room = min(150, 12 + 6.6 * max((len(name) for name, _, _ in rows), default=1))
    text_room = 14 + 6.8 * max((len(text) for _, _, text in rows), default=1)
    room = WIDTH - name_room - text_room
    parts, height = [], 24
    for number, (name, value, text) in enumerate(rows):
        top = 4 + number * height
        length = max(room * min(value / high, 1), 1)
        parts.append(_label(name_room - 8, top + 14, name, "end"))
        parts.append(
            _box("bar", name_room, top + 3, length, 14, f"<title>{_text(f'{name}: {text}')}</title>")
        )
        if number < len(ticks):
            at = name_room + room * min(ticks[number] / high, 1)
            parts.append(f'<path class="whisker" stroke-width="2" d="M{at:.1f} {top}v20"/>')
        parts.append(f'<text class="value" x="{WIDTH}" y="{top + 14}" text-anchor="end">{_text(text)}</text>')
    legend = [(tick_name, '<path class="whisker" stroke-width="2" d="M15 0v12"/>')] if tick_name else []
    return _figure(title, description, "".join(parts), 8 + height * len(rows), legend)


def histogram(title: str, found: Mapping[str, Any], *, most_bars: int = 40) -> str:
    """A bar chart of counted whole numbers (`Distribution.record`), in at most `most_bars` bins of equal width."""
    low, high = found["min"], found["max"]
    width = -(-(high - low + 1) // most_bars)
    bins = [0] * -(-(high - low + 1) // width)
    for value, count in found["counts"]:
        bins[(value - low) // width] += count
    bars = []
    for number, count in enumerate(bins):
        first = low + number * width
        label = f"{first}" if width == 1 else f"{first} to {first + width - 1}"
        bars.append((f"{first}", count, f"{label}: {count:,}"))
    text = f"{low:,} to {high:,}, median {found['median']:,}, mean {found['mean']:.1f}"
    return bar_chart(title, text, bars, count_axis("", max(bins)))


def _axes(x: Axis, y: Axis, *, with_x_ticks: bool = True) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for value in y.ticks():
        at = _y(y, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {at}H{right}"/>')
        parts.append(_label(_LEFT - 6, at + 4, y.text(value), "end"))
    if with_x_ticks:
        for value in x.ticks():
            at = _x(x, value)
            parts.append(f'<path class="axis" d="M{at} {bottom}v4"/>')
            parts.append(_label(at, bottom + 16, x.text(value), "end" if at > right - 10 else "middle"))
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
    parts.append(_label((_LEFT + right) / 2, HEIGHT - 6, x.label, "middle"))
    return "".join(parts)


def _x(axis: Axis, value: float) -> float:
    return round(_LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - _BOTTOM - axis.place(value) * (HEIGHT - _TOP - _BOTTOM), 1)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>' if text else ""


def _box(style: str, x: float, y: float, width: float, height: float, content: str = "") -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0):.1f}">'
        f"{content}</rect>"
    )


def _figure(
    title: str, description: str, content: str, height: float, legend: Sequence[tuple[str, str]]
) -> str:
    entries = "".join(
        f'<li><svg viewBox="0 0 30 12" aria-hidden="true">{drawn}</svg>{_text(name)}</li>'
        for name, drawn in legend
    )
    below = f'<ul class="legend">{entries}</ul>' if entries else ""
    return (
        f'<div class="plot"><h3>{_text(title)}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{_text(title)}</title>'
        f"<desc>{_text(description)}</desc>{content}</svg>{below}"
        f'<p class="dim">{_text(description)}</p></div>'
    )


def _text(text: object) -> str:
    return escape(printable(str(text)))
