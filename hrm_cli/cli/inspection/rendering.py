"""Prints the result of `hrm inspect` as text: tables, findings, and drawn examples."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrm_cli.cli import console
from hrm_cli.cli.render.paragraphs import print_fitting
from hrm_cli.inspection.examples import Example
from hrm_cli.inspection.findings import findings, how_built
from hrm_cli.inspection.report import Inspection
from hrm_cli.printable import amount, counted
from hrm_cli.puzzles.domain import Grid
from hrm_cli.views.colored import needs_digits, painted
from hrm_cli.views.drawing import draw

if TYPE_CHECKING:
    from rich.text import Text

_MOST_SYMBOLS = 24
_MOST_SIZES = 8
_BARS = "▁▂▃▄▅▆▇█"
_GAP = 4
_PLAIN_WIDTH = 120
"""Width of drawn examples where the output is not a terminal."""


def render(inspection: Inspection, per_set: int) -> None:
    """Prints the inspection; of the examples at most `per_set` of each set."""
    facts = inspection.facts
    for line in heading(facts):
        print_fitting(line)
    splits: Mapping[str, Mapping[str, Any]] = facts["splits"]
    rows: list[tuple[object, ...]] = []
    for name, split in splits.items():
        rows.append((name, split["groups"], split["puzzles"], split["examples"]))
        if len(split["sets"]) > 1:
            rows += [
                (f"  {part}", size["groups"], size["puzzles"], size["examples"])
                for part, size in split["sets"].items()
            ]
    console.print_table(["split", "original puzzles", "with copies", "examples"], rows)
    console.print_line()
    for line in distributions(splits):
        print_fitting(line)
    _print_symbols(facts)
    if (scores := facts["baselines"]) is not None:
        _print_baselines(scores)
    console.print_line()
    console.print_line("Findings")
    for finding in findings(facts):
        print_fitting(f"  {finding.mark} {finding.text}")
    _print_examples(inspection, per_set)


def heading(facts: Mapping[str, Any]) -> list[str]:
    """The lines that say what was inspected."""
    lines = [f"{facts['source']}: {facts['description']}"]
    if facts["is_dataset"]:
        how = {"online": "augmented copies are made during training", "stored": "augmented copies are stored"}
        copies = any(split["puzzles"] > split["groups"] for split in facts["splits"].values())
        kind = how[facts["augment"]] if copies or facts["augment"] == "online" else "no augmented copies"
        lines.append(f"A dataset, {how_built(facts)}{kind}")
        storage = facts["storage"]
        lines.append(
            f"{amount(storage['bytes'], 'B')} in {storage['files']} files, tokens as {storage['dtype']}, "
            f"{facts['seq_len']} per grid; vocabulary of {facts['vocab_size']}"
        )
    else:
        lines.append("Not a dataset yet: read and split as hrm build-dataset would")
    return lines


def distributions(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each split about sizes, clues, difficulty and path lengths."""
    lines = []
    for name, split in splits.items():
        lines.append(
            f"{name}: inputs {_sizes(split['input_sizes'])}; outputs {_sizes(split['output_sizes'])}"
        )
        checked = split["checked"] or {}
        for title, found in (
            ("clues", split["clues"]),
            ("moves of the path", split["path_lengths"]),
            ("branches of the exact solver", checked.get("difficulty")),
        ):
            if found is not None:
                sample = f" (of {checked['puzzles']} sampled puzzles)" if title.startswith("branches") else ""
                lines.append(
                    f"  {title}{sample}: {found['min']} to {found['max']}, median {found['median']}, "
                    f"mean {found['mean']:.1f}  {_spark(found['counts'])}"
                )
    return lines


def _sizes(sizes: Sequence[Mapping[str, Any]]) -> str:
    known = [size for size in sizes if size["rows"]]
    unknown = sum(size["count"] for size in sizes if not size["rows"])
    shown = [
        f"{size['rows']}×{size['columns']}" + (f" ({size['count']:,})" if len(sizes) > 1 else "")
        for size in known[:_MOST_SIZES]
    ]
    if len(known) > _MOST_SIZES:
        shown.append(f"and {counted(len(known) - _MOST_SIZES, 'more size')}")
    if unknown:
        shown.append(f"unknown ({unknown:,})")
    return ", ".join(shown)


def _spark(counts: Sequence[Sequence[int]], width: int = 32) -> str:
    """A histogram without spaces, so that it is never broken: bins that are empty have the lowest bar."""
    low, high = counts[0][0], counts[-1][0]
    bins = [0] * min(width, high - low + 1)
    for value, count in counts:
        bins[min((value - low) * len(bins) // (high - low + 1), len(bins) - 1)] += count
    most = max(bins)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in bins)


def _print_symbols(facts: Mapping[str, Any]) -> None:
    symbols, splits = facts["symbols"], list(facts["splits"])
    used = [record for record in symbols if record["count"]]
    total = sum(record["count"] for record in used) or 1
    rows = [
        (
            record["symbol"],
            *(record["splits"][split][kind] for split in splits for kind in ("inputs", "outputs")),
            f"{record['count'] / total:.1%}",
        )
        for record in used[:_MOST_SYMBOLS]
    ]
    console.print_line()
    names = [f"{split} {kind}" for split in splits for kind in ("inputs", "outputs")]
    console.print_table(["symbol", *names, "share"], rows)
    if len(used) > _MOST_SYMBOLS:
        print_fitting(f"and {len(used) - _MOST_SYMBOLS} more symbols (--json lists all)")


def _print_baselines(scores: Mapping[str, Any]) -> None:
    console.print_line()
    kinds = [("", scores["scores"]), (", on output grids", scores["on_output_grids"])]
    rows = [
        (
            f"{name.replace('_', ' ')}{where}",
            f"{score['exact_accuracy']:.2%}",
            f"{score['cell_accuracy']:.2%}",
        )
        for where, part in kinds
        for name, score in part.items()
    ]
    title = f"trivial baselines on {counted(scores['examples'], 'example')} of {scores['split']}"
    console.print_table([title, "exact accuracy", "cell accuracy"], rows)


def _print_examples(inspection: Inspection, per_set: int) -> None:
    shown: dict[tuple[str, str], int] = {}
    for example in inspection.examples:
        key = (example.split, example.set)
        shown[key] = shown.get(key, 0) + 1
        if shown[key] > per_set:
            continue
        several = len(inspection.facts["splits"][example.split]["sets"]) > 1
        console.print_line()
        part = f", set {example.set}" if several else ""
        name = f", task {example.name}" if example.name else ""
        print_fitting(f"Example {example.number:,} of {example.split}{part}{name}")
        _print_blocks(_blocks(example, inspection))


def _blocks(example: Example, inspection: Inspection) -> list[tuple[str, list[Text]]]:
    titles = {
        "stored": "stored copy",
        "online": "copy made in training",
        "possible": "possible copy",
    }
    blocks = [("input", _drawn(example.input, inspection)), ("output", _drawn(example.output, inspection))]
    for number, copy in enumerate(example.copies, start=1):
        title = f"{titles[copy.kind]}{f' {number}' if len(example.copies) > 1 else ''}"
        blocks += [(title, _drawn(copy.input, inspection)), ("its output", _drawn(copy.output, inspection))]
    return blocks


def _drawn(grid: Grid | None, inspection: Inspection) -> list[Text]:
    from rich.text import Text

    reader = inspection.reader
    has_colors = hasattr(reader.domain, "palette") and not console.is_plain(sys.stdout)
    if grid is not None and reader.domain is not None and has_colors:
        terminal = console.console(sys.stdout)
        drawing = draw(reader.domain, grid)
        narrow = 2 * len(drawing.columns) > terminal.width
        text = painted(drawing, has_digits=needs_digits(terminal), is_narrow=narrow)
        return list(text.split("\n"))
    return [Text(line) for line in reader.lines(grid)]


def _columns(block: tuple[str, list[Text]]) -> int:
    return max(len(block[0]), *(line.cell_len for line in block[1]))


def _print_blocks(blocks: Sequence[tuple[str, list[Text]]]) -> None:
    """Prints titled drawings side by side, as many as fit; an output stays next to its input if both fit."""
    from rich.text import Text

    plain = console.is_plain(sys.stdout)
    terminal = console.console(sys.stdout)
    width = _PLAIN_WIDTH if plain else terminal.width
    waiting = list(blocks)
    while waiting:
        row: list[tuple[str, list[Text], int]] = []
        used = 0
        while waiting:
            title, lines = waiting[0]
            needed = _columns(waiting[0])
            pair = needed + _GAP + _columns(waiting[1]) if len(waiting) % 2 == 0 else needed
            if row and used + _GAP + (pair if pair <= width else needed) > width:
                break
            used += needed + (_GAP if row else 0)
            row.append((title, lines, needed))
            waiting.pop(0)
        for number in range(-1, max(len(lines) for _, lines, _ in row)):
            line = Text()
            for title, lines, needed in row:
                if line.cell_len or row[0][0] is not title:
                    line.append(" " * _GAP)
                if number < 0:
                    cell = Text(title, style="dim")
                else:
                    cell = lines[number].copy() if number < len(lines) else Text()
                line.append_text(cell)
                line.append(" " * (needed - cell.cell_len))
            line.rstrip()
            terminal.print(line, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)
