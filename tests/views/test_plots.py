"""Charts of pages: well formed, described in text, and readable without color."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from hrm_cli.views.plots import (
    Axis,
    Series,
    axis_of,
    bar_chart,
    count_axis,
    histogram,
    line_chart,
    lying_bars,
    nice_step,
    share_axis,
)

CURVE = Series("accuracy", [(1, 0.2), (2, 0.5), (4, 0.9)], [(0.1, 0.3), (0.4, 0.6), (0.8, 1.0)])
OTHER = Series("other", [(1, 0.1), (4, 0.3)])


def drawn() -> dict[str, str]:
    x, y = Axis("steps", 0, 4), share_axis("")
    return {
        "lines": line_chart("Title <1>", "What & why", [CURVE, OTHER], x, y, marks={"trained": 2.0}, diagonal=True),
        "bars": bar_chart(
            "Bars", "Some", [("a", 1, "a: 1"), ("b", 2, "b: 2")], count_axis("", 3),
            whiskers=[(0.5, 1.5), (1, 3)], second=[1, 0], names=("right", "wrong"),
        ),
        "lying": lying_bars(
            "Lying", "Some", [("one", 0.5, "50 %"), ("two", 1, "100 %")], ticks=[0.3, 0.4], tick_name="t"
        ),
        "histogram": histogram("Counts", {"min": 1, "max": 3, "median": 2, "mean": 2.0, "counts": [[1, 4], [3, 1]]}),
    }  # fmt: skip


@pytest.mark.parametrize("kind", drawn())
def test_a_chart_is_well_formed_and_says_what_it_shows(kind: str) -> None:
    chart = ElementTree.fromstring(drawn()[kind])
    svg = chart.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    title, description = svg.find("title"), svg.find("desc")
    assert title is not None
    assert description is not None
    assert title.text
    assert description.text


@pytest.mark.parametrize("kind", drawn())
def test_nothing_of_a_chart_lies_outside_its_box(kind: str) -> None:
    svg = ElementTree.fromstring(drawn()[kind]).find("svg")
    assert svg is not None
    width, height = map(float, (svg.get("viewBox") or "").split()[2:])
    boxes = list(svg.iter("rect"))
    for box in boxes:
        left, top = float(box.get("x") or 0), float(box.get("y") or 0)
        assert left >= 0
        assert top >= 0
        assert left + float(box.get("width") or 0) <= width
        assert top + float(box.get("height") or 0) <= height
    for text in svg.iter("text"):
        assert 0 <= float(text.get("x") or -1) <= width


def test_text_is_escaped() -> None:
    assert "Title &lt;1&gt;" in drawn()["lines"]
    assert "What &amp; why" in drawn()["lines"]


def test_series_differ_in_dashes_and_shapes_and_are_named() -> None:
    chart = drawn()["lines"]
    assert "line s0" in chart
    assert "line s1" in chart
    assert re.findall(r"</svg>(\w+)</li>", chart) == ["accuracy", "other"]


def test_bars_have_the_heights_of_their_values() -> None:
    svg = ElementTree.fromstring(drawn()["bars"]).find("svg")
    assert svg is not None
    one, two = (float(box.get("height") or 0) for box in svg.iter("rect") if box.get("class") == "bar")
    assert two == pytest.approx(2 * one, abs=0.2)


@pytest.mark.parametrize(
    ("rough", "step"), [(0.3, 0.5), (1, 1), (1.1, 2), (2.1, 2.5), (3, 5), (7, 10), (0, 1), (180, 200)]
)
def test_steps_between_ticks_are_round(rough: float, step: float) -> None:
    assert nice_step(rough) == pytest.approx(step)


def test_ticks_of_shares_and_of_counts() -> None:
    assert [share_axis("").text(value) for value in share_axis("").ticks()] == [
        "0%",
        "25%",
        "50%",
        "75%",
        "100%",
    ]
    assert count_axis("", 2).ticks() == [0, 1, 2]
    assert count_axis("", 0).ticks() == [0, 1]


def test_an_axis_contains_equal_values_and_powers_of_ten() -> None:
    flat = axis_of("", [3.0, 3.0])
    assert flat.low < 3 < flat.high
    scale = axis_of("", [0.001, 10.0], is_log=True)
    assert scale.place(0.1) == pytest.approx(0.5, abs=0.01)
    assert 0.001 in [pytest.approx(tick) for tick in scale.ticks()]
