"""The page of `hrm inspect --html`: one file with everything in it, to browse a dataset without a network.

The template is `dataset_page.html`. Tables and charts are written here; a script in the template draws the examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hrm_cli.config.redact import source_name
from hrm_cli.errors import ConfigError
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.inspection.examples import Example
from hrm_cli.inspection.findings import findings, how_built
from hrm_cli.inspection.grids_in_tokens import Grid, TokenReader
from hrm_cli.inspection.report import Inspection
from hrm_cli.printable import amount, printable
from hrm_cli.views.drawing import draw
from hrm_cli.views.plots import PLOT_STYLE, histogram
from hrm_cli.views.web.boards import embedded, empty_board, grid_of, script, style

TEMPLATE = Path(__file__).with_suffix(".html")
MOST_CELLS = 1_000_000
"""Cells of all drawn grids: they bound the size of the page."""
_MOST_SYMBOLS = 16
_WIDTH = 320


def check_page(path: Path, *, force: bool) -> None:
    """Raises ConfigError if the page cannot be written to `path`."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--html {path}: expected a name that ends in .html")
    refuse_unwritable(path)
    if path.exists() and not force:
        raise ConfigError(f"--html {path}: already exists; --force overwrites it")


def write_page(inspection: Inspection, path: Path) -> str:
    """Writes the page. Returns what it leaves out, as the end of a sentence. Raises ConfigError."""
    text, left_out = page(inspection)
    try:
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    return left_out


def page(inspection: Inspection) -> tuple[str, str]:
    """The page, and what it leaves out of the examples, as the end of a sentence."""
    facts = inspection.facts
    examples = _within_limit(inspection.examples)
    left_out = ""
    if len(examples) < len(inspection.examples):
        left_out = f" ({len(examples):,} of {len(inspection.examples):,} examples, to bound its size)"
    data = {
        "board": _board(inspection.reader, examples),
        "sampled": _sampled(facts, examples),
        "sets": len({example.set for example in examples}),
        "examples": [_record(example, inspection.reader) for example in examples],
    }
    parts = {
        "{{title}}": escape(printable(f"{_name(facts)}: {facts['description']}")),
        "{{style}}": style(),
        "{{plots}}": PLOT_STYLE,
        "{{summary}}": "\n".join(_summary(facts)),
        "{{data}}": embedded(data),
        "{{script}}": script(),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    pieces = []
    for marker, content in parts.items():
        before, _, text = text.partition(marker)
        pieces += [before, content]
    return "".join([*pieces, text]), left_out


def _within_limit(examples: Sequence[Example]) -> list[Example]:
    """As many examples of every set as fit."""
    cells = sum(map(_cells, examples))
    if cells <= MOST_CELLS:
        return list(examples)
    of_set: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        of_set.setdefault((example.split, example.set), []).append(example)
    kept = []
    for part in of_set.values():
        limit, used = MOST_CELLS / len(of_set), 0
        for number, example in enumerate(part):
            used += _cells(example)
            if number and used > limit:
                break
            kept.append(example)
    return kept


def _cells(example: Example) -> int:
    grids = [
        example.input,
        example.output,
        *(grid for copy in example.copies for grid in (copy.input, copy.output)),
    ]
    return sum(grid.size for grid in grids if grid is not None)


def _record(example: Example, reader: TokenReader) -> dict[str, Any]:
    return {
        "split": example.split,
        "set": example.set,
        "number": example.number,
        "name": example.name,
        "input": _grid(reader, example.input),
        "output": _grid(reader, example.output),
        "copies": [
            {
                "kind": copy.kind,
                "input": _grid(reader, copy.input),
                "output": _grid(reader, copy.output),
            }
            for copy in example.copies
        ],
    }


def _grid(reader: TokenReader, grid: Grid | None) -> dict[str, Any] | None:
    """A grid of a board; of an unknown domain, its numbers."""
    if grid is None:
        return None
    if reader.domain is not None:
        return grid_of(draw(reader.domain, grid))
    rows, columns = grid.shape
    symbols = [str(value) for value in grid.reshape(-1).tolist()]
    return {"rows": rows, "columns": columns, "symbols": symbols, "ruled_rows": [], "ruled_columns": []}


def _board(reader: TokenReader, examples: Sequence[Example]) -> dict[str, Any] | None:
    """How the script draws every grid of the page."""
    if not examples:
        return None
    if reader.domain is not None:
        return empty_board(reader.domain, examples[0].input) | {"puzzle": None, "given": []}
    return {
        "kind": "symbols",
        "domain": "",
        "fills_in": False,
        "blank": None,
        "solid": None,
        "dot": None,
        "palette": {},
    }


def _sampled(facts: Mapping[str, Any], examples: Sequence[Example]) -> str:
    parts = []
    for name, split in facts["splits"].items():
        count = sum(example.split == name for example in examples)
        parts.append(f"{count:,} of {split['groups']:,} of {name}")
    return f"Original examples, sampled: {', '.join(parts)}. Each copy is next to its example."


def _summary(facts: Mapping[str, Any]) -> Iterator[str]:
    splits: Mapping[str, Mapping[str, Any]] = facts["splits"]
    yield f"<header><h1>{_text(_name(facts))}</h1><p>{_text(facts['description'])}</p>"
    yield f'<p class="dim">{_text(_origin(facts))}</p></header>'
    used = sum(1 for record in facts["symbols"] if record["count"])
    tiles = [
        (f"{sum(split['groups'] for split in splits.values()):,}", "original puzzles"),
        (f"{sum(split['examples'] for split in splits.values()):,}", "examples"),
        (f"{used:,}", "symbols used"),
        (f"{facts['seq_len']:,}", "tokens per grid"),
    ]
    if facts["storage"] is not None:
        size = facts["storage"]
        tiles.append((amount(size["bytes"], "B"), f"in {size['files']} files, {size['dtype']}"))
    yield '<div class="tiles">'
    yield from (f'<div class="tile"><b>{value}</b><span>{_text(name)}</span></div>' for value, name in tiles)
    yield "</div>"
    yield '<section class="card"><h2>Findings</h2><ul class="findings">'
    yield from (f'<li class="{finding.kind}">{_text(finding.text)}</li>' for finding in findings(facts))
    yield "</ul></section>"
    yield from _splits(splits)
    yield from _charts(splits)
    yield from _symbols(facts)
    if facts["baselines"] is not None:
        yield from _baselines(facts["baselines"])


def _origin(facts: Mapping[str, Any]) -> str:
    if not facts["is_dataset"]:
        return "Not a dataset yet: read and split as hrm build-dataset would"
    copies = (
        "augmented copies made during training" if facts["augment"] == "online" else "augmented copies stored"
    )
    if not any(split["puzzles"] > split["groups"] for split in facts["splits"].values()):
        copies = copies if facts["augment"] == "online" else "no augmented copies"
    built = how_built(facts)
    return f"{built[:1].upper()}{built[1:]}{copies}"


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield '<section class="card"><h2>Splits</h2><div class="wide"><table>'
    yield "<tr><th>split</th><th>original puzzles</th><th>with copies</th><th>examples</th><th>duplicates</th></tr>"
    for name, split in splits.items():
        cells = [split["groups"], split["puzzles"], split["examples"], split["duplicates"]["inputs"]]
        yield f"<tr><td>{_text(name)}</td>" + "".join(f"<td>{cell:,}</td>" for cell in cells) + "</tr>"
        if len(split["sets"]) > 1:
            for part, size in split["sets"].items():
                cells = [size["groups"], size["puzzles"], size["examples"]]
                yield (
                    f'<tr><td class="part">{_text(part)}</td>'
                    + "".join(f"<td>{cell:,}</td>" for cell in cells)
                    + "<td></td></tr>"
                )
    yield "</table></div></section>"


def _charts(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    charts = []
    for name, split in splits.items():
        checked = split["checked"] or {}
        for title, found in (
            (f"Clues, {name}", split["clues"]),
            (f"Moves of the path, {name}", split["path_lengths"]),
            (f"Branches of the exact solver, {checked.get('puzzles')} of {name}", checked.get("difficulty")),
        ):
            if found is not None:
                charts.append(histogram(title, found))
        for what in ("input", "output"):
            sizes = [size for size in split[f"{what}_sizes"] if size["rows"]]
            if len(sizes) > 1:
                charts.append(_size_chart(f"Sizes of {what}s, {name}", sizes))
    if charts:
        yield '<section class="card"><h2>Distributions</h2><div class="charts">'
        yield from charts
        yield "</div></section>"


def _size_chart(title: str, sizes: Sequence[Mapping[str, Any]]) -> str:
    """A map of sizes: a square for rows and columns, the darker the more frequent."""
    rows, columns = max(size["rows"] for size in sizes), max(size["columns"] for size in sizes)
    most = max(size["count"] for size in sizes)
    side = min(_WIDTH / columns, 150 / rows, 22)
    squares = [
        f'<rect class="bar" x="{26 + (size["columns"] - 1) * side:.2f}" y="{14 + (size["rows"] - 1) * side:.2f}" '
        f'width="{side * 0.94:.2f}" height="{side * 0.94:.2f}" opacity="{math.sqrt(size["count"] / most):.2f}">'
        f"<title>{size['rows']}×{size['columns']}: {size['count']:,}</title></rect>"
        for size in sizes
    ]
    width, height = 26 + columns * side, 14 + rows * side
    common = ", ".join(f"{size['rows']}×{size['columns']} ({size['count']:,})" for size in sizes[:4])
    more = f" and {len(sizes) - 4:,} more" if len(sizes) > 4 else ""
    return (
        f'<div class="chart"><h3>{_text(title)}</h3><svg viewBox="0 0 {max(_WIDTH + 26, width):.0f} {height + 4:.0f}" '
        f'role="img" aria-label="{_text(title)}">{"".join(squares)}'
        f'<path class="axis" fill="none" d="M25.5 {height:.1f}V13.5H{width:.1f}"/>'
        f'<text x="26" y="9">1</text><text x="{width:.0f}" y="9" text-anchor="end">{columns} columns</text>'
        f'<text x="20" y="{height - 2:.0f}" text-anchor="end">{rows}</text></svg>'
        f'<p class="dim">{len(sizes):,} sizes (rows×columns), most often {common}{more}</p></div>'
    )


def _symbols(facts: Mapping[str, Any]) -> Iterator[str]:
    used = [record for record in facts["symbols"] if record["count"]]
    if not used:
        return
    total = sum(record["count"] for record in used)
    most = used[0]["count"]
    yield '<section class="card"><h2>Symbols</h2><div class="bars">'
    for record in used[:_MOST_SYMBOLS]:
        share = f"{record['count'] / total:.1%}"
        yield f"<span>{_text(record['symbol'])}</span>{_bar(record['count'] / most)}<span>{share}</span>"
    yield "</div>"
    rest = len(used) - _MOST_SYMBOLS
    more = f" {rest:,} more symbols are rarer." if rest > 0 else ""
    yield f'<p class="dim">Shares of all cells of inputs and outputs.{more}</p></section>'


def _baselines(scores: Mapping[str, Any]) -> Iterator[str]:
    yield '<section class="card"><h2>Trivial baselines</h2><div class="bars long">'
    for where, part in (("", scores["scores"]), (", on output grids", scores["on_output_grids"])):
        for name, score in part.items():
            shown = f"cells {score['cell_accuracy']:.1%}, exact {score['exact_accuracy']:.1%}"
            title = _text(name.replace("_", " ") + where)
            yield f"<span>{title}</span>{_bar(score['cell_accuracy'])}<span>{shown}</span>"
    yield (
        f'</div><p class="dim">On {scores["examples"]:,} examples of {_text(scores["split"])}. A model has to be '
        "better than these.</p></section>"
    )


def _bar(share: float) -> str:
    return f'<i style="width:{share:.1%}"></i>'


def _name(facts: Mapping[str, Any]) -> str:
    """The name of the dataset or source, without its folder: pages are passed on."""
    return source_name(str(facts["source"]).rstrip("/\\"))


def _text(text: object) -> str:
    return escape(printable(str(text)))
