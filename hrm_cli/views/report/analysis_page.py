"""The page of `hrm analyze`, from its document (`hrm_cli.analysis.analyze`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hrm_cli.printable import counted
from hrm_cli.views.plots import Axis, Series, axis_of, line_chart, lying_bars, share_axis
from hrm_cli.views.report.files import card, charts, definitions, note, page, table, text_of, tiles

GENERATOR = "hrm analyze"

Document = Mapping[str, Any]


def analysis_page(found: Document) -> str:
    """The whole page."""
    parts = [
        *_head(found), _steps(found), _hierarchy(found), _trajectories(found), _stability(found), *_attention(found),
    ]  # fmt: skip
    return page(f"Analysis of {found['checkpoint']}", GENERATOR, parts)


def _head(found: Document) -> Iterator[str]:
    model, regime = found["model"], found["regime"]
    shape = f"core {model['core']}, mixer {model['mixer']}, hidden size {model['hidden_size']}, step {model['step']:,}"
    yield f"<header><h1>Analysis of {text_of(found['checkpoint'])}</h1>"
    yield f"<p>{text_of(model['puzzles'])}: {text_of(shape)}</p></header>"
    trained = (
        found["accuracy"][found["trained_steps"] - 1] if found["steps"] >= found["trained_steps"] else None
    )
    last, part = found["accuracy"][-1], found["participation"]
    entries = [(f"{found['puzzles']:,}", f"puzzles of {found['split']} (seed {found['seed']})")]
    if trained is not None:
        entries.append(
            (
                f"{trained['exact_accuracy']:.1%}",
                f"exact after {counted(trained['step'], 'step')}, as trained",
            )
        )
    entries.append((f"{last['exact_accuracy']:.1%}", f"exact after {counted(last['step'], 'step')}"))
    if part["H_over_L"] is not None:
        entries.append((f"{part['H_over_L']:.2f}", "participation ratio of z_H ÷ that of z_L"))
    yield tiles(entries)
    yield card(
        "regime",
        "Regime",
        [
            definitions(
                {
                    "training data": regime["training_data"],
                    "built-in knowledge": regime["built_in_knowledge"],
                    "effort": regime["effort"],
                    "rules": regime["rules"],
                    "puzzles": f"{found['puzzles']:,} of the {found['of']:,} of {found['split']}, seed {found['seed']}",
                }
            ),
            *(
                note(f"Does not apply: {name.replace('_', ' ')}: {reason}.")
                for name, reason in found["does_not_apply"].items()
            ),
        ],
    )


def _marks(found: Document) -> dict[str, float]:
    trained = found["trained_steps"]
    return {"trained depth": float(trained)} if found["steps"] > trained else {}


def _steps(found: Document) -> str:
    rows, last = found["accuracy"], found["steps"]
    x = Axis("step", 0, last, is_count=True)
    exact = Series(
        "exact accuracy",
        [(row["step"], row["exact_accuracy"]) for row in rows],
        [tuple(row["interval"]) for row in rows],
    )
    cells = Series("cell accuracy", [(row["step"], row["cell_accuracy"]) for row in rows])
    best = max(rows, key=lambda row: row["exact_accuracy"])
    drawn = [
        line_chart(
            "Accuracy over steps and beyond the trained depth",
            f"Highest: {best['exact_accuracy']:.1%} after {counted(best['step'], 'step')}; "
            f"{rows[-1]['exact_accuracy']:.1%} after {last:,}. No halting. The band is the 95 % interval, "
            f"n = {found['puzzles']:,}.",
            [exact, cells],
            x,
            share_axis(""),
            marks=_marks(found),
        )
    ]
    for end in ("right", "wrong"):
        series = [
            Series(f"z_{module}", list(enumerate(found["residuals"][module][end], 1)))
            for module in ("H", "L")
            if found["residuals"][module][end] is not None
        ]
        if series:
            values = [value for one in series for _, value in one.points if value > 0]
            drawn.append(
                line_chart(
                    f"Change per step, puzzles that end {end}",
                    f"‖after − before‖ ÷ ‖after‖, mean over puzzles, logarithmic. After {last:,} steps: "
                    + ", ".join(f"{one.name} {one.points[-1][1]:.3g}" for one in series),
                    series,
                    x,
                    axis_of("", values, is_log=True),
                    marks=_marks(found),
                )
            )
    if found["updates"]:
        drawn.append(_updates(found))
    return card("steps", "Accuracy and convergence", [charts(drawn), _depth(found)])


def _updates(found: Document) -> str:
    """The residual of every single update, separately for H and L."""
    points: dict[str, list[tuple[float, float]]] = {"H": [], "L": []}
    for number, one in enumerate(found["updates"], 1):
        points.setdefault(one["module"], []).append((number, max(one["residual"], 1e-6)))
    series = [Series(f"z_{module}", places) for module, places in points.items() if places]
    values = [value for one in series for _, value in one.points]
    return line_chart(
        "Change per single update",
        f"{len(found['updates']):,} updates of {counted(found['trained_steps'], 'step')}, logarithmic. "
        "The HRM paper shows z_L settling within each cycle, and moving again after each update of z_H.",
        series,
        axis_of("update", [0, len(found["updates"])]),
        axis_of("", values, is_log=True),
    )


def _depth(found: Document) -> str:
    depth = found["effective_depth"]
    rows = []
    for name in ("right", "wrong"):
        one = depth[name]
        if one is not None:
            blocks = "" if one["mean_blocks"] is None else f"{one['mean_blocks']:,.0f}"
            rows.append(
                (
                    f"end {name}",
                    one["puzzles"],
                    f"{one['mean']:.1f}",
                    f"{one['median']:.0f}",
                    f"{one['nine_tenths']:.0f}",
                    blocks,
                )
            )
    title = "<h3>Effective depth: the last step that changes the answer</h3>"
    return title + table(("puzzles that", "puzzles", "mean", "median", "90 %", "blocks, mean"), rows)


def _hierarchy(found: Document) -> str:
    part = found["participation"]
    rows = [
        (name, f"{one['H']:.1f}", f"{one['L']:.1f}", _ratio(one["H_over_L"]))
        for name, one in (("this model", part), ("untrained", part["untrained"]))
    ]
    drawn = []
    for title, rows_of, name in (
        ("Participation ratio over the number of puzzles", part["by_puzzles"], "puzzles"),
        ("Participation ratio over steps", part["by_step"], "step"),
    ):
        series = [
            Series(f"z_{module}", [(row[name], row[module]) for row in rows_of]) for module in ("H", "L")
        ]
        values = [value for one in series for _, value in one.points]
        places = [row[name] for row in rows_of]
        description = f"From {rows_of[0][name]} to {rows_of[-1][name]}: " + ", ".join(
            f"{one.name} {one.points[0][1]:.1f} to {one.points[-1][1]:.1f}" for one in series
        )
        drawn.append(
            line_chart(
                title, description, series, axis_of(name, [0, *places]), axis_of("", values, from_zero=True)
            )
        )
    intro = (
        f"The participation ratio counts the directions that states use, of {part['width']}; here {part['states']:,} "
        "states of each module: some positions of every puzzle at some steps up to the trained depth."
    )
    first = f'<p class="dim">{text_of(intro)}</p>'
    return card(
        "hierarchy",
        "Dimensions of the states",
        [first, table(("", "z_H", "z_L", "z_H ÷ z_L"), rows), charts(drawn)],
    )


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _trajectories(found: Document) -> str:
    drawn, ends = [], found["trajectories"]["right"]
    for module in ("H", "L"):
        one = found["trajectories"][module]
        series = [
            Series(f"puzzle {number}, {'right' if right else 'wrong'}", [tuple(point) for point in path])
            for number, (path, right) in enumerate(zip(one["paths"], ends, strict=True), 1)
        ]
        across = [point[0] for path in one["paths"] for point in path]
        down = [point[1] for path in one["paths"] for point in path]
        first, second = one["shares"]
        description = (
            f"Whole states of {len(series)} puzzles, from the initial state on. The first component explains "
            f"{first:.0%} of the variance, the second {second:.0%}."
        )
        drawn.append(
            line_chart(
                f"Trajectories of z_{module}",
                description,
                series,
                axis_of("first component", across),
                axis_of("", down),
            )
        )
    return card("trajectories", "Trajectories in two principal components", [charts(drawn)])


def _stability(found: Document) -> str:
    stability, single = found["stability"], found["one_empty_cell"]
    rows = [
        (
            "none" if not one["scale"] else f"{one['scale']:g}",
            one["right_at_end"],
            f"{one['right_at_end']:.0%}",
        )
        for one in stability["scales"]
    ]
    drawn = []
    if rows:
        drawn.append(
            lying_bars(
                "Solved states, disturbed by noise",
                f"{counted(stability['solved'], 'puzzle')} solved after {counted(stability['settle_steps'], 'step')}; "
                f"fraction still right {counted(stability['steps'], 'step')} later, by noise ÷ size of the states.",
                rows,
                most=1,
            )
        )
    if single is not None:
        bars = [
            ("after 1 step", single["after_one"], f"{single['after_one']:.0%}"),
            (f"after {single['steps']}", single["at_end"], f"{single['at_end']:.0%}"),
        ]
        text = f"Solutions with one random cell emptied, n = {single['puzzles']:,}."
        drawn.append(lying_bars("A single empty cell", text, bars, most=1))
    if not drawn:
        return card(
            "stability", "Stability", [note("No puzzle was solved, so there is no solved state to disturb.")]
        )
    return card("stability", "Stability of the fixed point", [charts(drawn)])


def _attention(found: Document) -> Iterator[str]:
    attention = found["attention"]
    if attention is None:
        return
    drawn = []
    # From the fastest level: L, M1, …, H.
    for module in sorted(attention["modules"], key=lambda name: (name != "L", name == "H", name)):
        shares = attention["modules"][module]
        rows = [(kind, shares[kind], f"{shares[kind]:.1%}") for kind in attention["kinds"]]
        even = [attention["uniform"][kind] for kind in attention["kinds"]]
        if module in attention["on_empty"]:
            share = attention["on_empty"][module]
            rows.append(("empty cells", share, f"{share:.1%}"))
            even.append(attention["uniform_on_empty"])
        drawn.append(
            lying_bars(
                f"Attention of {module}",
                "Fraction of a cell's attention on each kind of cell; mean over heads, blocks, updates and puzzles.",
                rows,
                ticks=even,
                tick_name="uniform attention",
            )
        )
    yield card("attention", "Where attention goes", [charts(drawn), "<h3>Heads</h3>", _heads(attention)])


def _heads(attention: Document) -> str:
    kinds: Sequence[str] = attention["kinds"]
    rows = [
        (
            f"{head['module']}, block {head['block'] + 1}, head {head['head'] + 1}",
            *(f"{head['shares'][kind]:.1%}" for kind in kinds),
            *([f"{head['on_empty']:.1%}"] if attention["on_empty"] else []),
            f"{head['entropy_bits']:.2f}",
        )
        for head in attention["heads"]
    ]
    empty = ["empty cells"] if attention["on_empty"] else []
    even = [f"{attention['uniform'][kind]:.1%}" for kind in kinds]
    if empty:
        even.append(f"{attention['uniform_on_empty']:.1%}")
    rows.append(("uniform attention", *even, f"{attention['uniform_bits']:.2f}"))
    return table(("", *kinds, *empty, "entropy, bits"), rows)
