"""The charts of `hrm report`: training curves, steps, effort, halting, difficulty, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hrm_cli.printable import amount, counted
from hrm_cli.views.plots import (
    Axis,
    Series,
    axis_of,
    bar_chart,
    count_axis,
    line_chart,
    lying_bars,
    share_axis,
)
from hrm_cli.views.report.files import card, charts, definitions, note, numbers

Document = Mapping[str, Any]


def curves(run: Document) -> str:
    """The training curves of a run; empty if nothing was logged."""
    train, evaluated = run["curves"]["train"], run["curves"]["eval"]
    last = max((points[-1][0] for points in (*train.values(), *evaluated.values())), default=0)
    x = axis_of("step", [0, last])
    figures = (
        ("Loss", "loss", "", False),
        ("Exact accuracy", "exact_accuracy", "exact_accuracy", True),
        ("Cell accuracy", "accuracy", "cell_accuracy", True),
        ("ACT steps until a puzzle halts", "steps", "mean_steps", False),
        ("Halt decisions that match the answer", "q_halt_accuracy", "q_halt_accuracy", True),
        ("Learning rate", "lr", "", False),
    )
    drawn = []
    for title, in_training, in_evaluation, is_share in figures:
        series = [
            Series(name, [tuple(point) for point in points], is_points=name != "training")
            for name, points in (
                ("training", train.get(in_training)),
                ("evaluations", evaluated.get(in_evaluation)),
            )
            if points
        ]
        if not series:
            continue
        values = [value for one in series for _, value in one.points]
        y = share_axis("") if is_share else axis_of("", values, from_zero=True)
        drawn.append(line_chart(title, _ends(series, is_share=is_share), series, x, y))
    sets = [(name.partition("/")[2], points) for name, points in evaluated.items() if "/" in name]
    if sets:
        series = [Series(name, [tuple(point) for point in points]) for name, points in sets[:4]]
        drawn.append(
            line_chart("Exact accuracy by set", _ends(series, is_share=True), series, x, share_axis(""))
        )
    return charts(drawn) if drawn else ""


def _ends(series: Sequence[Series], *, is_share: bool) -> str:
    def shown(value: float) -> str:
        return f"{value:.1%}" if is_share else f"{value:.4g}"

    return "; ".join(f"{one.name}: {shown(one.points[0][1])} to {shown(one.points[-1][1])}" for one in series)


def scores(found: Document) -> Iterator[str]:
    """The sections of the scores."""
    yield card(
        "scores",
        "Scores and their regime",
        [*_regime(found), charts([_depth(found), _halting(found), *_effort(found)])],
    )
    if found["difficulty"]:
        yield card(
            "difficulty", "Accuracy by difficulty", [charts([_group(one) for one in found["difficulty"]])]
        )
    yield card("calibration", "Calibration of confidence", _calibration(found["calibration"]))


def _regime(found: Document) -> Iterator[str]:
    regime, figures, sample = found["regime"], found["figures"], found["sample"]
    for remark in found["notes"]:
        yield note(remark)
    if (drift := figures["drift"]) is not None:
        yield note(
            f"This model drifts: {drift['exact_accuracy']:.1%} exact after {counted(drift['max_steps'], 'step')}, "
            f"{drift['evaluated_accuracy']:.1%} after {drift['evaluated_steps']:,}.",
            is_problem=True,
        )
    if sample is None or sample["puzzles"] >= sample["of"]:
        chosen = f"all {found['puzzles']:,} puzzles of {found['split']}"
    else:
        chosen = f"{found['puzzles']:,} of the {sample['of']:,} puzzles of {found['split']}"
        chosen += f", sampled with seed {sample['seed']}"
    low, high = found["interval"]
    entries: dict[str, object] = {
        "puzzles": chosen,
        "exact accuracy": f"{figures['exact_accuracy']:.2%} in one pass (95 %: {low:.1%} to {high:.1%})",
        "cell accuracy": f"{figures['cell_accuracy']:.2%}",
    }
    for name, one in found["baselines"].items():
        title = f"baseline: {name.replace('_', ' ')}"
        entries[title] = f"cells {one['cell_accuracy']:.2%}, exact {one['exact_accuracy']:.2%}"
    if regime is not None:
        flops = regime["flops_per_puzzle"]
        entries |= {
            "training data": regime["training_data"],
            "built-in knowledge": regime["built_in_knowledge"],
            "effort": regime["effort"],
            "rules": regime["rules"],
            "compute": "" if flops is None else f"{amount(flops, 'FLOP')} per puzzle",
        }
    yield definitions(entries)
    sets = figures.get("by_set")
    if sets:
        rows = [
            (
                name,
                f"{one['puzzles']:,}",
                f"{one['exact_accuracy']:.2%}",
                f"{one['cell_accuracy']:.2%}",
                f"{one['mean_steps']:.2f}",
            )
            for name, one in sets.items()
        ]
        yield numbers(
            ("set", "puzzles", "exact accuracy", "cell accuracy", "mean steps"), rows, "Scores by set"
        )


def _depth(found: Document) -> str:
    rows = found["by_depth"]
    series = Series(
        "exact accuracy",
        [(one["max_steps"], one["exact_accuracy"]) for one in rows],
        [tuple(one["interval"]) for one in rows],
    )
    trained, last = found["trained_steps"], found["max_steps"]
    marks = {"steps in training": float(trained)} if last > trained else {}
    x = Axis("steps at most", 0, last, is_count=True)
    best = max(rows, key=lambda one: one["exact_accuracy"])
    text = (
        f"One evaluation, counted at every limit. Highest: {best['exact_accuracy']:.1%} with at most "
        f"{counted(best['max_steps'], 'step')}. The band is the 95 % interval, n = {found['puzzles']:,}."
    )
    drawn = line_chart("Accuracy over steps", text, [series], x, share_axis(""), marks=marks)
    return drawn.removesuffix("</div>") + _depth_numbers(rows) + "</div>"


def _depth_numbers(rows: Sequence[Document]) -> str:
    shown = [
        (
            one["max_steps"],
            f"{one['exact_accuracy']:.2%}",
            "{:.1%} to {:.1%}".format(*one["interval"]),
            f"{one['mean_steps']:.2f}",
        )
        for one in rows
    ]
    return numbers(("steps at most", "exact accuracy", "95 %", "mean steps"), shown)


def _halting(found: Document) -> str:
    rows = found["halting"]["steps"]
    used = [one for one in rows if one["right"] or one["wrong"]]
    last = max((one["steps"] for one in used), default=1)
    rows = rows[:last]
    means = found["halting"]["mean_steps"]
    parts = [f"{name}: {value:.1f} steps on average" for name, value in means.items() if value is not None]
    bars = [
        (
            str(one["steps"]),
            one["right"],
            f"{counted(one['steps'], 'step')}: {one['right']} right, {one['wrong']} wrong",
        )
        for one in rows
    ]
    most = max((one["right"] + one["wrong"] for one in rows), default=1)
    return bar_chart(
        f"Steps until a puzzle finishes ({found['halt']} halting)",
        f"{'; '.join(parts)}. At most {found['max_steps']} steps, n = {found['puzzles']:,}.",
        bars,
        count_axis("", most),
        x_label="steps",
        second=[one["wrong"] for one in rows],
        names=("right", "wrong"),
    )


def _effort(found: Document) -> Iterator[str]:
    rows = found["effort"]
    if len(rows) < 2:
        return
    bars = [(one["stage"], one["exact_accuracy"], f"{one['exact_accuracy']:.1%}") for one in rows]
    flops = [amount(one["flops_per_puzzle"], "FLOP") for one in rows if one["flops_per_puzzle"]]
    text = (
        f"Further effort only where an answer breaks a rule. From {flops[0]} to {flops[-1]} per puzzle on average, "
        f"n = {found['puzzles']:,}."
    )
    yield lying_bars("Accuracy over effort", text, bars, most=1)


def _group(one: Document) -> str:
    bars, whiskers = [], []
    for group in one["groups"]:
        label = (
            f"{group['first']}" if group["first"] == group["last"] else f"{group['first']}–{group['last']}"
        )
        tip = f"{label} {one['unit']}: {group['exact_accuracy']:.1%} of {group['puzzles']:,}"
        bars.append((label, group["exact_accuracy"], tip))
        whiskers.append((group["low"], group["high"]))
    harder = f" Puzzles with {one['harder']} {one['unit']} are harder." if one["harder"] else ""
    drawn = bar_chart(
        one["title"],
        f"Bars: exact accuracy in one pass; lines: 95 % intervals.{harder}",
        bars,
        share_axis(""),
        x_label=one["unit"],
        whiskers=whiskers,
    )
    rows = [
        (
            label,
            f"{group['puzzles']:,}",
            f"{group['exact_accuracy']:.2%}",
            f"{group['low']:.1%} to {group['high']:.1%}",
            f"{group['mean_steps']:.2f}",
        )
        for (label, _, _), group in zip(bars, one["groups"], strict=True)
    ]
    table = numbers((one["unit"], "puzzles", "exact accuracy", "95 %", "mean steps"), rows)
    return drawn.removesuffix("</div>") + table + "</div>"


def _calibration(found: Document) -> Iterator[str]:
    titles = {
        "answers": "Whole answers, by the model's confidence",
        "product": "Whole answers, by the product over cells",
        "cells": "Single cells",
    }
    yield '<p class="dim">On the dashed diagonal, confidence equals accuracy. Bins without answers are left out.</p>'
    yield charts(
        [
            _reliability(titles[name], found[name], "cells" if name == "cells" else "puzzles")
            for name in titles
        ]
    )


def _reliability(title: str, one: Document, what: str) -> str:
    used = [part for part in one["bins"] if part["count"]]
    series = Series(
        "accuracy", [(part["confidence"], part["accuracy"]) for part in used], is_points=len(used) < 2
    )
    apart = (
        ""
        if one["separation"] is None
        else f" A right answer is more confident than a wrong one in {one['separation']:.0%} of pairs."
    )
    text = (
        f"Confidence: {one['meaning']}. Expected calibration error {one['error']:.3f} in 10 bins, "
        f"n = {one['count']:,} {what}; accuracy {one['accuracy']:.1%}, mean confidence {one['confidence']:.1%}.{apart}"
    )
    drawn = line_chart(title, text, [series], share_axis("confidence"), share_axis(""), diagonal=True)
    rows = [
        (
            f"{part['low']:.1f} to {part['high']:.1f}",
            f"{part['count']:,}",
            f"{part['confidence']:.1%}",
            f"{part['accuracy']:.1%}",
        )
        for part in used
    ]
    table = numbers(("confidence", what, "mean confidence", "accuracy"), rows)
    return drawn.removesuffix("</div>") + table + "</div>"
