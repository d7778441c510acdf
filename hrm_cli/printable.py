"""Formats amounts and durations, and escapes control characters in text from files and headers.

A control character can move the cursor, set the window's title or reorder text. Each is written as an escape such as
`\\u001b`. This is also its escape inside a JSON string, so JSON stays valid.
"""

from __future__ import annotations

import re

LONGEST_MESSAGE = 4000
"""Maximum characters of an error message or of a table cell."""

# C0 except newline and tab; DEL and C1; marks and overrides of writing direction; line and paragraph separators;
# unpaired surrogates, which no encoding can write.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with every control character except newline and tab escaped as `\\uXXXX`."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 step`, `1,200 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """`text` cut to at most `longest` characters. A note in the middle states its full length."""
    if len(text) <= longest:
        return text
    note = f" … ({len(text):,} characters, shortened) … "
    kept = max(0, longest - len(note))
    head = kept - kept // 4
    return f"{text[:head]}{note}{text[len(text) - kept // 4 :] if kept // 4 else ''}"


def cut(text: str, longest: int) -> str:
    """The beginning of `text`, at most `longest` characters, which end in … if anything is left out."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def quoted(value: object, longest: int) -> str:
    """`repr(value)`, cut to `longest` characters."""
    return cut(repr(value), longest)


_KINDS = {"a valid integer": "a whole number", "a valid number": "a number"}
_BOUNDS = {
    "greater than or equal to": "at least", "less than or equal to": "at most", "greater than": "above",
    "less than": "below",
}  # fmt: skip


def expectation(message: str) -> str:
    """What a message of pydantic expects, in our words: `Input should be a valid integer, …` → `a whole number`."""
    wanted = message.removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable")[0]
    for theirs, ours in (_KINDS | _BOUNDS).items():
        wanted = wanted.replace(theirs, ours)
    return wanted


def clock(seconds: float) -> str:
    """A duration as `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def amount(value: float, unit: str) -> str:
    """A number with its SI prefix: `1.35 GFLOP`, `109 MB`."""
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    power = 0
    while value >= 999.5 and power < len(prefixes) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {prefixes[power]}{unit}"
