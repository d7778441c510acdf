"""Output of `hrm params`: counts, comparisons, and the list of published figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hrm_cli.accounting.approximations import Approximation
from hrm_cli.accounting.budget import Candidate
from hrm_cli.accounting.counting import GroupCount
from hrm_cli.accounting.ledger import Entry
from hrm_cli.accounting.memory import BYTES
from hrm_cli.accounting.report import Report, trainable_by_kind
from hrm_cli.cli import console
from hrm_cli.cli.render.layout import right_aligned
from hrm_cli.cli.render.paragraphs import print_gap, print_paragraph, terminal_width
from hrm_cli.printable import amount, counted

_EXPLAINED_ERROR = 0.01
"""Relative error above which the reasons for a formula's deviation are printed."""

_HELD = {
    "weights": "weights (float32)",
    "working_copy": "weights for the step, gradients",
    "gradients": "gradients",
    "optimizer": "the optimizer's moments",
    "averaged_weights": "averaged weights",
    "buffers": "puzzle table, fixed tensors",
    "activations": "activations (estimate)",
    "total": "total, at most",
    "activations_on_cpu": "activations on a CPU instead",
    "total_on_cpu": "total on a CPU, at most",
}


def show_report(report: Report) -> None:
    """One model: parameters by module and kind, formulas, memory, arithmetic."""
    exact = report.exact
    print_paragraph(f"{report.name} ({_counted_for(report)}): {exact.trainable:,} trainable parameters")
    print_gap()
    _print_groups("module", exact.modules, report)
    _print_groups("kind", exact.kinds, report)
    if report.shape is None:
        print_paragraph("The file has no configuration of hrm: the tensors' names show which are trained.")
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
    """Prints configurations near a budget, with the settings to add to the preset."""
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
    console.print_table(("published formula", "parameters", "error", "why"), rows, prose=True)
    print_gap()


def _formula_row(formula: Approximation) -> tuple[str, int, str, str]:
    why = formula.words() if abs(formula.error) > _EXPLAINED_ERROR else ""
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
        f"Memory to train {report.batch_size:,} puzzles per step{_in_micro_batches(report.accumulation_steps)}, "
        "by the format of the forward pass:"
    )
    print_gap()
    console.print_table(heads, used)
    print_gap()
    sizes = [f"{amount(report.stored_bytes(dtype), 'B')} in {dtype}" for dtype in BYTES]
    print_paragraph(f"A model file: {', '.join(sizes)}.")


def _in_micro_batches(count: int) -> str:
    return f" in {count:,} micro-batches" if count > 1 else ""


def _print_flops(report: Report) -> None:
    assert report.step is not None
    assert report.shape is not None
    steps = report.shape.arch.halt_max_steps
    print_paragraph(
        f"One ACT step of a puzzle: {amount(report.step.forward, 'FLOP')} forward, "
        f"{amount(report.step.training, 'FLOP')} in training. "
        f"An answer after {counted(steps, 'step')}: {amount(steps * report.step.forward, 'FLOP')}."
    )
    if report.run is None:
        print_paragraph(f"A whole run: not known, because {report.run_words}.")
        return
    run = report.run
    print_paragraph(
        f"A whole run: {amount(run.training, 'FLOP')} in {run.steps:,} steps of {run.global_batch_size:,} puzzles "
        f"({report.run_words}; evaluations not counted)."
    )


_BETWEEN = 3
"""Characters between two columns of a table."""


def show_comparison(reports: Sequence[Report]) -> None:
    """Prints one column per model, as many side by side as fit the terminal, without empty lines."""
    lines = [(label, [value(report) for report in reports]) for label, value in _lines(reports)]
    lines = [(label, cells) for label, cells in lines if any(cells)]
    labels = [label for label, _ in lines]
    columns = [
        right_aligned([report.name, *(cells[i] for _, cells in lines)]) for i, report in enumerate(reports)
    ]
    for number, group in enumerate(_groups(columns, max(map(len, labels)))):
        if number:
            print_gap()
        heads, *rows = zip(["", *labels], *group, strict=True)
        console.print_table(heads, rows)


def _groups(columns: list[list[str]], label_width: int) -> Iterator[list[list[str]]]:
    """The columns in groups that fit the terminal."""
    width = terminal_width()
    group: list[list[str]] = []
    taken = label_width
    for column in columns:
        needed = len(column[0]) + _BETWEEN
        if group and width is not None and taken + needed + 2 > width:
            yield group
            group, taken = [], label_width
        group.append(column)
        taken += needed
    yield group


def _lines(reports: Sequence[Report]) -> list[tuple[str, Callable[[Report], str]]]:
    kinds = dict.fromkeys(kind for report in reports for kind in trainable_by_kind(report.exact.kinds))
    return [
        ("puzzles", lambda report: report.puzzles),
        ("tokens", lambda report: f"{report.shape.vocab_size}" if report.shape else ""),
        ("core", _setting("core")),
        ("hidden size", _setting("hidden_size")),
        ("heads", _setting("num_heads")),
        ("layers H+L", _pair("H_layers", "L_layers", "+")),
        ("cycles H/L", _pair("H_cycles", "L_cycles", "/")),
        ("middle cycles", _middle_cycles),
        ("ACT steps", _setting("halt_max_steps")),
        ("trainable", lambda report: f"{report.exact.trainable:,}"),
        *((f"  {kind}", _of_kind(kind)) for kind in kinds),
        ("puzzle table", lambda report: _count(report.exact.puzzle_embedding)),
        ("fixed tensors", lambda report: _count(report.exact.buffers)),
        ("everything stored", lambda report: f"{report.exact.state_dict:,}"),
        ("model file, float32", lambda report: amount(report.stored_bytes("float32"), "B")),
        ("batch", lambda report: _count(report.batch_size)),
        ("training, float32", _training_memory("float32")),
        ("training, bfloat16", _training_memory("bfloat16")),
        ("one step forward", lambda report: amount(report.step.forward, "FLOP") if report.step else ""),
        ("one step in training", lambda report: amount(report.step.training, "FLOP") if report.step else ""),
        ("whole run", lambda report: amount(report.run.training, "FLOP") if report.run else ""),
    ]


def _setting(name: str) -> Callable[[Report], str]:
    return lambda report: f"{getattr(report.shape.arch, name)}" if report.shape else ""


def _pair(first: str, second: str, sign: str) -> Callable[[Report], str]:
    slow, fast = _setting(first), _setting(second)
    return lambda report: f"{slow(report)}{sign}{fast(report)}" if report.shape else ""


def _middle_cycles(report: Report) -> str:
    """The cycles of levels between L and H, from the fastest; empty without them, which leaves out the line."""
    cycles = report.shape.arch.middle_cycles if report.shape else ()
    return ", ".join(map(str, cycles))


def _of_kind(kind: str) -> Callable[[Report], str]:
    return lambda report: _count(trainable_by_kind(report.exact.kinds).get(kind, 0))


def _training_memory(dtype: str) -> Callable[[Report], str]:
    return lambda report: amount(report.training[dtype].total, "B") if report.training else ""


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


_INTRODUCTION = (
    "Published figures for the size of HRM, and what each of them counts. A parameter is a number that training "
    "adjusts; these are what papers report. A model file also stores numbers that are never trained. H is the "
    "width of a model. A model is a stack of blocks, each with attention and a SwiGLU (a feed-forward layer with "
    "three matrices). All figures except the claimed ones are computed now; the command below an entry shows the "
    "whole count."
)
_WIDE = 110
"""Smallest terminal width at which the table includes the source of each claim."""


def show_ledger(entries: Sequence[Entry]) -> None:
    """A table of the claims, then a paragraph on what each of them counted."""
    print_paragraph(_INTRODUCTION)
    print_gap()
    width = terminal_width()
    _print_table(entries, with_source=width is None or width >= _WIDE)
    print_gap()
    for number, entry in enumerate(entries, 1):
        print_paragraph(f"{f'{number}.':<4}{entry.claim} ({entry.source}): {entry.verdict}", hanging=4)
        print_paragraph(f"It counted {entry.counted}.", indent=4)
        console.print_line(f"    {entry.command}")
        if number < len(entries):
            console.print_line()


def _print_table(entries: Sequence[Entry], *, with_source: bool) -> None:
    columns = {
        "": [f"{number}." for number in range(1, len(entries) + 1)],
        "claim": [entry.claim for entry in entries],
        "where": [entry.source for entry in entries],
        "claimed": [entry.claimed for entry in entries],
        "computed": [_figure(entry) for entry in entries],
        "verdict": [entry.verdict for entry in entries],
    }
    if not with_source:
        del columns["where"]
    table = [
        right_aligned([head, *cells]) if head in ("claimed", "computed") else [head, *cells]
        for head, cells in columns.items()
    ]
    heads, *rows = zip(*table, strict=True)
    console.print_table(heads, rows, folds=("claim", "where", "verdict"))


def _figure(entry: Entry) -> str:
    if entry.unit == "share":
        return f"{entry.computed:.0%}"
    if entry.unit == "difference" and entry.computed == 0:
        return "no change"
    return f"{entry.computed:,.0f}"
