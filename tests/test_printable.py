from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from hrm_cli.config.values import plain_problems
from hrm_cli.errors import first_line, reason_of, type_and_message
from hrm_cli.printable import counted, cut, quoted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")]
)
def test_a_count_and_its_noun_agree_in_number(number: int, text: str) -> None:
    assert counted(number, "step") == text


def test_a_text_that_is_cut_says_so() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert quoted(["a" * 50], 10) == "['aaaaaaa…"


def test_reasons_of_errors_contain_no_notation_of_python() -> None:
    missing = FileNotFoundError(2, "No such file or directory", "a.json")
    assert reason_of(missing) == "No such file or directory"
    assert reason_of(KeyError("sampler")) == "the entry sampler is missing"
    assert reason_of(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")) == "not UTF-8 text"
    assert reason_of(RuntimeError("first line\n  second line")) == "first line"
    assert reason_of(EOFError()) == "EOFError"


def test_a_long_line_of_an_exception_ends_in_an_ellipsis() -> None:
    long = ValueError("x" * 300)
    assert first_line(long) == reason_of(long) == "x" * 199 + "…"
    assert type_and_message(long) == f"ValueError: {'x' * 199}…"
    assert type_and_message(EOFError()) == "EOFError"


CUT_SILENTLY = re.compile(r"\{[^{}:]+:\.\d\d+\}|\{[^{}:]+\[:\d\d+\]\}")
"""`{text:.300}` and `text[:200]` inside a message: a reader cannot tell that something is missing."""


def test_no_message_is_cut_without_an_ellipsis() -> None:
    assert CUT_SILENTLY.search('f"{name}: {lines[0]:.300}"')
    assert CUT_SILENTLY.search('f"{lines[0][:200]}"')
    package = Path(__file__).resolve().parent.parent / "hrm_cli"
    found = [
        f"{path.name}: {match[0]}"
        for path in package.rglob("*.py")
        for match in CUT_SILENTLY.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_messages_of_pydantic_are_told_in_our_words() -> None:
    class Document(BaseModel, extra="forbid"):
        count: int = Field(ge=1)
        share: float

    with pytest.raises(ValidationError) as raised:
        Document.model_validate({"count": 0, "more": 1, "share": "much"})
    assert plain_problems(raised.value) == [
        "count: found 0; expected at least 1",
        "share: found 'much'; expected a number",
        "more: unknown key",
    ]
    with pytest.raises(ValidationError) as raised:
        Document.model_validate({"count": "x"})
    assert plain_problems(raised.value) == ["count: found 'x'; expected a whole number", "share: missing"]
