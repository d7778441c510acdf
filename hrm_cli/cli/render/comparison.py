"""`hrm params --compare`: several models side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hrm_cli.accounting.report import Report, trainable_by_kind
from hrm_cli.cli import console
from hrm_cli.cli.render.paragraphs import print_gap, right_aligned, terminal_width
from hrm_cli.printable import amount

_BETWEEN = 3
"""Characters between two columns of a table."""


def show_comparison(reports: Sequence[Report]) -> None:
    """A column for each model, as many beside each other as the terminal holds; lines that none has are left out."""
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


def _of_kind(kind: str) -> Callable[[Report], str]:
    return lambda report: _count(trainable_by_kind(report.exact.kinds).get(kind, 0))


def _training_memory(dtype: str) -> Callable[[Report], str]:
    return lambda report: amount(report.training[dtype].total, "B") if report.training else ""


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
