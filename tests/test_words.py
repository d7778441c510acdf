"""What users read from the program is in the terms of the field: help pages, descriptions of settings, messages.

The list of old words is that of the documentation (tests/test_docs_figures.py).
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.cli.app import COMMANDS, _load
from hrm_cli.config.data import AdditionalSource
from hrm_cli.config.schema import SECTIONS

from .test_docs_figures import OLD_WORDS

PACKAGE = Path(__file__).resolve().parent.parent / "hrm_cli"
MORE_OLD_WORDS = {
    r"of no known\b|is no (?:multiple|tensor|file|run|digit|name|task|pair|grid|maze|dataset)\b": "is not a …",
    r"(?:is|are|were) (?:wanted|asked for)\b": "expected, requested",
    r"\bgo(?:es)? on\b": "continue",
    r"images? that\b|symmetric images?\b|different images?\b": "augmented copies",
    r"share of (?:the|right|what)\b": "fraction of",
    r"all the same\b": "anyway",
    r"there already\b": "already exists",
    r"says? otherwise\b|unless said\b": "overrides; by default",
    r"whoever\b": "if you",
    r"written besides\b|stored besides\b": "in addition",
}
"""Of messages only: in prose some of these may stand."""


def old_words(text: str) -> Iterator[str]:
    for pattern, better in (OLD_WORDS | MORE_OLD_WORDS).items():
        for match in re.finditer(rf"\b(?:{pattern})", " ".join(text.split()), re.IGNORECASE):
            yield f"{match[0]!r}: {better}"


def help_pages() -> Iterator[tuple[str, str]]:
    """`hrm train` and its help page, for every command and every command inside a command."""
    waiting: list[tuple[str, Any]] = [(f"hrm {name}", _load(name)) for name in COMMANDS]
    yield "hrm", " ".join(summary for _, summary in COMMANDS.values())
    for name, command in waiting:
        yield name, command.get_help(command.context_class(command, info_name=name))
        waiting += [(f"{name} {inner}", one) for inner, one in getattr(command, "commands", {}).items()]


PAGES = dict(help_pages())


@pytest.mark.parametrize("page", PAGES)
def test_help_pages_use_the_terms_of_the_field(page: str) -> None:
    # --licence is the old spelling of an option, which is still taken.
    assert list(old_words(PAGES[page].replace("--licence", ""))) == []


def test_every_command_has_been_read() -> None:
    assert {"hrm train", "hrm build-dataset sudoku", "hrm models add", "hrm presets diff"} <= set(PAGES)
    assert all("--help" in page for name, page in PAGES.items() if name != "hrm")


@pytest.mark.parametrize("section", [*SECTIONS, "also"])
def test_descriptions_of_settings_use_the_terms_of_the_field(section: str) -> None:
    fields = (SECTIONS | {"also": AdditionalSource})[section].model_fields
    found = {
        name: words for name, field in fields.items() if (words := list(old_words(field.description or "")))
    }
    assert found == {}


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Every text of several words in a module, with its line; docstrings are not shown to users."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if id(node) in docstrings or id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            # What is filled in becomes a word of its own.
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if " " in text.strip():
            yield node.lineno, text


@pytest.mark.parametrize(
    "module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_messages_use_the_terms_of_the_field(module: Path) -> None:
    found = [
        f"{module.name}:{line}: {word}"
        for line, text in literals(module.read_text(encoding="utf-8"))
        for word in old_words(text)
    ]
    assert found == []


PLAIN_IN_CODE = ("have left",)
"""Parts of patterns whose words mean something else in docstrings and comments."""


def remarks(source: str) -> Iterator[tuple[int, str]]:
    """Every docstring and comment of a module without the code in it, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)


def old_words_in_remarks(source: str) -> list[str]:
    patterns = [pattern for pattern in OLD_WORDS if not any(part in pattern for part in PLAIN_IN_CODE)]
    return [
        f"{line}: {match[0]}"
        for line, text in remarks(source)
        for pattern in patterns
        for match in re.finditer(
            rf"\b(?:{pattern})", re.sub(r"`[^`]*`", "``", " ".join(text.split())), re.IGNORECASE
        )
    ]


def test_docstrings_and_comments_use_the_terms_of_the_field() -> None:
    found = {
        str(module.relative_to(PACKAGE)): words
        for module in PACKAGE.rglob("*.py")
        if (words := old_words_in_remarks(module.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_an_old_word_is_found_in_a_docstring_and_in_a_comment_but_not_in_code() -> None:
    source = '"""Puzzles with several solutions."""\nbeside = 1  # 3.5 against 4 ms\n"""See `beside`."""\n'
    assert sorted(old_words_in_remarks(source)) == ["1: several solutions", "2: 3.5 against 4"]


def test_an_old_word_is_found_in_a_message_and_not_in_a_docstring() -> None:
    source = (
        '"""Contract of images of a puzzle."""\nraise ValueError(f"{path}: is no number, beside {other}")\n'
    )
    ((line, text),) = literals(source)
    assert line == 2
    assert len(list(old_words(text))) == 2
