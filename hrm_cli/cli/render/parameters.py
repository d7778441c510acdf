"""What `hrm params` prints of one model, and of the configurations near a budget."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_cli.accounting.approximations import Approximation
from hrm_cli.accounting.budget import Candidate
from hrm_cli.accounting.counting import GroupCount
from hrm_cli.accounting.memory import BYTES
from hrm_cli.accounting.report import Report
from hrm_cli.cli import console
from hrm_cli.cli.render.paragraphs import print_gap, print_paragraph, right_aligned
from hrm_cli.printable import amount, counted

_WORTH_WORDS = 0.01
"""Error from which a formula's reasons are told."""

_HELD = {
    "weights": "weights (float32)",
    "working_copy": "weights for the step, gradients",
    "gradients": "gradients",
    "optimizer": "AdamATan2's two moments",
    "averaged_weights": "averaged weights",
    "buffers": "puzzle table, fixed tensors",
    "activations": "activations (estimate)",
    "total": "together, at most",
    "activations_on_cpu": "activations on a CPU instead",
    "total_on_cpu": "together, at most, on a CPU",
}


def show_report(report: Report) -> None:
    """One model: parameters by module and kind, formulas, memory, arithmetic."""
    exact = report.exact
    print_paragraph(f"{report.name} ({_counted_for(report)}): {exact.trainable:,} trainable parameters")
    print_gap()
    _print_groups("module", exact.modules, report)
    _print_groups("kind", exact.kinds, report)
    if report.shape is None:
        print_paragraph(
            "The file has no configuration of ours: what is trained is told from the tensors' names."
        )
        return
    _print_formulas(report)
    _print_memory(report)
    _print_flops(report)


def _counted_for(report: Report) -> str:
    if report.shape is None:
        return report.puzzles
    words = f"{report.puzzles}, {report.shape.vocab_size} tokens"
    identifiers = report.shape.num_puzzle_identifiers
    if report.exact.puzzle_embedding:
        words += f", {counted(identifiers, 'puzzle identifier')}"
    return words


def show_candidates(preset: str, budget: int, candidates: Sequence[Candidate]) -> None:
    """Configurations near a budget, with what to write behind the preset."""
    rows = [
        (candidate.trainable, f"{candidate.error:+.2%}", " ".join(candidate.overrides))
        for candidate in candidates
    ]
    title = f"Nearest to {budget:,} trainable parameters"
    console.print_table(("parameters", "off by", f"--preset {preset} with"), rows, title=title)


def _print_groups(what: str, groups: Sequence[GroupCount], report: Report) -> None:
    exact = report.exact
    rows: list[tuple[object, ...]] = [
        (group.name, group.trainable, f"{group.trainable / max(exact.trainable, 1):.1%}", group.buffers)
        for group in groups
    ]
    rows.append(("total", exact.trainable, "", exact.state_dict - exact.trainable))
    console.print_table((what, "trainable", "share", "stored, not trained"), rows)
    print_gap()


def _print_formulas(report: Report) -> None:
    assert report.guide is not None
    assert report.rule_of_thumb is not None
    rows = [("exact", report.exact.trainable, "", "")]
    rows += [_formula_row(formula) for formula in (report.guide, report.rule_of_thumb)]
    console.print_table(("published formula", "parameters", "error", "why"), rows)
    print_gap()


def _formula_row(formula: Approximation) -> tuple[str, int, str, str]:
    why = formula.words() if abs(formula.error) > _WORTH_WORDS else ""
    return formula.name, formula.parameters, f"{formula.error:+.2%}", why


def _print_memory(report: Report) -> None:
    assert report.training is not None
    held = [[getattr(memory, field) for field in _HELD] for memory in report.training.values()]
    columns = [
        right_aligned([dtype, *(amount(value, "B") if value > 0 else "-" for value in column)])
        for dtype, column in zip(report.training, held, strict=True)
    ]
    heads, *rows = zip(["training memory", *_HELD.values()], *columns, strict=True)
    used = [row for row, values in zip(rows, zip(*held, strict=True), strict=True) if max(values) > 0]
    print_paragraph(
        f"Memory to train {report.batch_size:,} puzzles a step{_in_parts(report.accumulation_steps)}, "
        "by the format of the forward pass:"
    )
    print_gap()
    console.print_table(heads, used)
    print_gap()
    sizes = [f"{amount(report.stored_bytes(dtype), 'B')} in {dtype}" for dtype in BYTES]
    print_paragraph(f"A model file: {', '.join(sizes)}.")


def _in_parts(count: int) -> str:
    return f" in {count:,} parts" if count > 1 else ""


def _print_flops(report: Report) -> None:
    assert report.step is not None
    assert report.shape is not None
    steps = report.shape.arch.halt_max_steps
    print_paragraph(
        f"One ACT step of a puzzle: {amount(report.step.forward, 'FLOP')} forward, "
        f"{amount(report.step.training, 'FLOP')} in training. "
        f"An answer after {steps} steps: {amount(steps * report.step.forward, 'FLOP')}."
    )
    if report.run is None:
        print_paragraph(f"A whole run: not known, because {report.run_words}.")
        return
    run = report.run
    print_paragraph(
        f"A whole run: {amount(run.training, 'FLOP')} in {run.steps:,} steps of {run.global_batch_size:,} puzzles "
        f"({report.run_words}; evaluations not counted)."
    )
