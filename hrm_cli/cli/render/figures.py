"""Output of `hrm eval` and `hrm train`: exact accuracy first, trivial baselines next to every cell accuracy, and how a
run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hrm_cli.cli import console
from hrm_cli.cli.render.paragraphs import print_fitting, print_gap, print_paragraph, terminal_width
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.printable import amount, counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hrm_cli.evaluation.baselines import Baseline
    from hrm_cli.evaluation.results import BaselineMeasurement, Measurement
    from hrm_cli.evaluation.selecting import SelectedEvaluation
    from hrm_cli.runs.execution import RunOutcome

CLOSE = 0.02
"""A cell accuracy at most this much above that of a trivial baseline says nothing about solving puzzles."""

BAR = 40
"""Width of a bar that represents all puzzles."""

MEANINGS = {
    "most_frequent": "the most common answer in every cell",
    "copy_input": "the puzzle as its own answer",
    "all_background": "color 0 everywhere",
    "all_background_padded": "the same, with outputs padded to 30×30 with color 0",
}


def render_baselines(measured: BaselineMeasurement) -> None:
    """Prints the scores of trivial baselines as text."""
    if not measured.puzzles:
        print_fitting(f"{measured.data}: the {measured.split} split has no answers to compare with.")
        return
    columns = ("trivial baseline", "cells right", "exact", "what it answers")
    rows = [(name, b.cell_accuracy, b.exact_accuracy) for name, b in measured.on_outputs.items()]
    if rows:
        console.print_table(
            columns, _baseline_rows(rows), title=f"{measured.outputs:,} test outputs as they are"
        )
    rows = [(name, b.cell_accuracy, b.exact_accuracy) for name, b in measured.baselines.items()]
    console.print_table(
        columns, _baseline_rows(rows), title=f"{measured.data}: cells of {measured.split}", prose=True
    )


def _baseline_rows(rows: list[tuple[str, float, float]]) -> list[tuple[str, str, str, str]]:
    return [
        (name.replace("_", " "), f"{cells:.2%}", f"{exact:.2%}", MEANINGS.get(name, ""))
        for name, cells, exact in rows
    ]


def show(measured: Measurement, *, json: bool, fail_under: float | None = None) -> None:
    """Prints the figures as JSON or text, and on stderr whether they reach `fail_under`."""
    compared, value = measured.headline()
    if json:
        wanted: dict[str, Any] = {}
        if fail_under is not None:
            reached = not status(measured, fail_under)
            wanted = {
                "fail_under": {"accuracy": compared, "value": value, "wanted": fail_under, "reached": reached}
            }
        console.print_json({**measured.document(), **wanted})
    else:
        render(measured)
    if fail_under is not None and status(measured, fail_under):
        got = "is not known" if value is None else f"is {value:.2%}"
        console.print_message(
            f"--fail-under {fail_under:g}: the {compared} {got}, less than {fail_under:.2%}."
        )


def status(measured: Measurement, fail_under: float | None) -> int:
    """The exit status: 1 if the accuracy is below `fail_under`, else 0."""
    value = measured.headline()[1]
    return int(fail_under is not None and (value is None or value < fail_under))


def render(measured: Measurement) -> None:
    """Prints the figures as text, with a comparison of the cell accuracy with trivial baselines."""
    path, split, result = measured.name, measured.split, measured.result
    baselines, arc, attempted = measured.baselines, measured.arc or {}, measured.attempted
    if not result.puzzles:
        print_fitting(f"{path}: the {split} split has no answers, so there is no accuracy.")
        return
    low, high = wilson_interval(result.exact_accuracy, result.puzzles)
    rows: list[tuple[Any, ...]] = [
        (
            "exact accuracy",
            f"{result.exact_accuracy:.2%}",
            f"puzzles with every cell correct (95 %: {low:.1%} to {high:.1%})",
        )
    ]
    if attempted is not None:
        low, high = wilson_interval(attempted.exact_accuracy, result.puzzles)
        rows.append(
            (
                f"  with {attempted.describe()}",
                f"{attempted.exact_accuracy:.2%}",
                f"further effort where an answer breaks a rule (95 %: {low:.1%} to {high:.1%})",
            )
        )
        rows.append(
            (
                "  solved by",
                ", ".join(f"{how} {count:,}" for how, count in attempted.solved_by.items()),
                f"in all {attempted.steps_per_puzzle:,.1f} steps and "
                f"{amount(attempted.flops_per_puzzle, 'FLOP')} per puzzle",
            )
        )
    if measured.accepted is not None:
        low, high = measured.accepted.interval
        rows.append(
            (
                "accepted",
                f"{measured.accepted.share:.2%}",
                f"answers that {measured.accepted.check} accepts (95 %: {low:.1%} to {high:.1%})",
            )
        )
    if measured.selected is not None:
        rows += _selected_rows(measured.selected)
    rows += [
        (name, f"{score:.2%}", "tasks whose answer is among the first K by votes" if not number else "")
        for number, (name, score) in enumerate(arc.items())
    ]
    rows.append(
        ("cell accuracy", f"{result.cell_accuracy:.2%}", "fraction of correct cells, mean over puzzles")
    )
    rows += [
        (
            f"  {name.replace('_', ' ')}",
            f"{b.cell_accuracy:.2%}",
            f"trivial baseline; exact {b.exact_accuracy:.2%}",
        )
        for name, b in baselines.items()
    ]
    rows += [
        ("mean steps", f"{result.mean_steps:.2f}", "ACT steps until a puzzle halts"),
        ("efficiency", f"{result.efficiency:.3f}", "exact accuracy ÷ mean steps"),
        (
            "q-halt accuracy",
            f"{result.q_halt_accuracy:.2%}",
            "how often halt probability ≥ 50 % matches a correct answer",
        ),
        ("puzzles per second", f"{result.puzzles_per_second:,.0f}", ""),
    ]
    ablated = ", every puzzle identifier replaced by the blank one" if measured.ablate_puzzle_id else ""
    title = f"{path}: {counted(result.puzzles, 'puzzle')} of {split}{_sampled(measured)}{ablated}"
    console.print_table(("figure", "value", "meaning"), rows, title=title, prose=True)
    if result.by_depth:
        _gap_on_terminal()
        depths = [
            (
                f"{one.max_steps:,}",
                f"{one.exact_accuracy:.2%}",
                f"{one.mean_steps:.2f}",
                "█" * round(BAR * one.exact_accuracy),
            )
            for one in result.by_depth
        ]
        console.print_table(
            ("steps at most", "exact accuracy", "mean steps", ""), depths, folds=(), drops=("",)
        )
    if result.by_set:
        _gap_on_terminal()
        tried = attempted.by_set if attempted is not None else {}
        sets = [
            (
                name,
                f"{part.puzzles:,}",
                f"{part.exact_accuracy:.2%}",
                *((f"{tried[name]:.2%}",) if tried else ()),
                f"{part.cell_accuracy:.2%}",
                f"{part.mean_steps:.2f}",
            )
            for name, part in result.by_set.items()
        ]
        more = ("with effort",) if tried else ()
        console.print_table(
            ("set", "puzzles", "exact accuracy", *more, "cell accuracy", "mean steps"),
            sets,
            drops=("mean steps", "cell accuracy"),
        )
    if result.drift is not None:
        print_paragraph(result.drift.describe())
    if (regime := measured.regime()) is not None:
        print_paragraph(regime.describe(), hanging=2)
    print_paragraph(compared_with_baselines(result.cell_accuracy, baselines))


def _sampled(measured: Measurement) -> str:
    sample = measured.sample
    return "" if sample is None else f" (a sample of its {sample.of:,}, seed {sample.seed})"


def _gap_on_terminal() -> None:
    if terminal_width() is not None:
        print_gap()


def compared_with_baselines(cell_accuracy: float, baselines: Mapping[str, Baseline]) -> str:
    """Compares a cell accuracy with the best trivial baseline: both figures and a conclusion."""
    name, best = max(baselines.items(), key=lambda item: item[1].cell_accuracy)
    difference = cell_accuracy - best.cell_accuracy
    if difference > CLOSE:
        place, meaning = "above", ""
    else:
        place = "within two points of" if difference >= -CLOSE else "lower than"
        meaning = ": it says nothing about solving puzzles"
    return (
        f"The cell accuracy, {cell_accuracy:.2%}, is {place} the best trivial baseline "
        f"({name.replace('_', ' ')}, {best.cell_accuracy:.2%}){meaning}."
    )


def _selected_rows(selected: SelectedEvaluation) -> list[tuple[str, str, str]]:
    others = ", ".join(
        f"{name} {share:.2%}" for name, share in selected.by_selector.items() if name != selected.select
    )
    return [
        (
            f"  by {selected.select}",
            f"{selected.exact_accuracy:.2%}",
            f"chosen among {selected.attempts} answers to every puzzle; {others}",
        ),
        ("  among them", f"{selected.among:.2%}", "puzzles with the correct answer among their candidates"),
    ]


def show_outcome(
    outcome: RunOutcome, *, json: bool, page: Path | None = None, measured: Measurement | None = None
) -> None:
    """Prints how a run ended, and where its report is. In JSON also `measured`, the figures of own puzzles."""
    if json:
        evaluation = {} if measured is None else {"evaluation": measured.document()}
        console.print_json(
            {**outcome.document(), "report": None if page is None else str(page), **evaluation}
        )
    else:
        _render_outcome(outcome, page)


def _render_outcome(outcome: RunOutcome, page: Path | None) -> None:
    result = outcome.result
    reasons = {
        "finished": "Finished",
        "target_accuracy": "Stopped: train.target_accuracy reached in two evaluations",
        "patience": "Stopped early: no better exact accuracy",
        "max_minutes": "Stopped: train.max_minutes reached",
        "interrupted": "Interrupted and saved",
    }
    print_fitting(
        f"{reasons[result.reason]} after {counted(result.step, 'step')}, {result.seconds:.0f} s of training."
    )
    if result.best is not None:
        print_fitting(f"Best exact accuracy {result.best.exact_accuracy:.2%} at step {result.best.step:,}.")
    if outcome.drift is not None:
        print_paragraph(outcome.drift.describe())
    console.print_line(f"Checkpoint: {result.checkpoint}")
    if page is not None:
        console.print_line(f"Report: {page}")
    if result.reason == "interrupted":
        console.print_line(f"Continue with: hrm train --resume {outcome.folder}")
