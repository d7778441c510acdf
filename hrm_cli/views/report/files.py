"""Writes a page: the template with its parts, to a file that is overwritten only if the same command wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from hrm_cli.errors import ConfigError
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.printable import printable
from hrm_cli.views.plots import PLOT_STYLE

TEMPLATE = Path(__file__).with_name("page.html")
_HEAD_BYTES = 2_000


def check_page(path: Path, generator: str, *, force: bool, option: str = "-o") -> None:
    """Raises ConfigError if the page of the command `generator` cannot be written to `path`.

    A page of the same command is overwritten; any other file only with `force`.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{option} {path}: expected a name that ends in .html")
    refuse_unwritable(path)
    if path.exists() and not force and not _is_own(path, generator):
        raise ConfigError(
            f"{option} {path}: already exists and is not a page of {generator}; --force overwrites it"
        )


def _is_own(path: Path, generator: str) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return f'<meta name="generator" content="{generator}">'.encode() in head


def page(title: str, generator: str, content: Iterable[str], *, style: str = "", scripts: str = "") -> str:
    """The text of a page."""
    parts = {
        "{{generator}}": generator,
        "{{title}}": text_of(title),
        "{{style}}": PLOT_STYLE + style,
        "{{content}}": "\n".join(content),
        "{{scripts}}": scripts,
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    pieces = []
    for marker, part in parts.items():
        before, _, text = text.partition(marker)
        pieces += [before, part]
    return "".join([*pieces, text])


def write_page(path: Path, text: str) -> None:
    """Writes the page. Raises ConfigError."""
    try:
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error


def text_of(value: object) -> str:
    """Text for HTML."""
    return escape(printable(str(value)))


def card(name: str, title: str, parts: Iterable[str]) -> str:
    """A section of the page."""
    return f'<section class="card" id="{name}"><h2>{text_of(title)}</h2>{"".join(parts)}</section>'


def charts(parts: Sequence[str]) -> str:
    """Charts side by side."""
    return f'<div class="charts">{"".join(parts)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls sideways on a narrow screen."""
    head = "".join(f'<th scope="col">{text_of(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{text_of(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def numbers(columns: Sequence[str], rows: Iterable[Sequence[object]], summary: str = "Numbers") -> str:
    """A folded table: the figures behind a chart."""
    return f"<details><summary>{text_of(summary)}</summary>{table(columns, rows)}</details>"


def definitions(entries: Mapping[str, object]) -> str:
    """Names and values; entries without a value are left out."""
    inner = "".join(
        f"<dt>{text_of(name)}</dt><dd>{text_of(value)}</dd>"
        for name, value in entries.items()
        if value not in ("", None)
    )
    return f"<dl>{inner}</dl>"


def tiles(entries: Sequence[tuple[str, str]]) -> str:
    """Large figures with what they mean."""
    inner = "".join(
        f'<div class="tile"><b>{text_of(value)}</b><span>{text_of(name)}</span></div>'
        for value, name in entries
    )
    return f'<div class="tiles">{inner}</div>'


def note(text: str, *, is_problem: bool = False) -> str:
    """A remark."""
    return f'<p class="note{" problem" if is_problem else ""}">{text_of(text)}</p>'
