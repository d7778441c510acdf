"""Parses JSON with limits on nesting, length of numbers and file size. The only reader of JSON from other sources.

Python's parser accepts some input that later code fails on. This module refuses it: numbers too large for a float,
NaN and Infinity (which are not JSON), and nesting deeper than Python can recurse.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from hrm_cli.printable import cut
from hrm_cli.regular_files import UnusableFile, read_text

DEEPEST = 64
"""Maximum nesting of lists and objects."""
LONGEST_NUMBER = 300
"""Maximum number of digits. Every such number fits in a float."""
LARGEST_DOCUMENT = 256 << 20
"""Maximum bytes of a data file. A million ARC identifiers take 30 MB."""
LARGEST_FACTS = 4 << 20
"""Maximum bytes of a metadata file: `dataset.json`, `status.json`, `training.json`."""

# Only documents that match are parsed with the slower hooks.
_LARGE_NUMBER = re.compile(rf"\d{{{LONGEST_NUMBER}}}|[eE]\+?\d\d\d")


def parse_json(text: str | bytes, *, nan_as_null: bool = False) -> Any:
    """Parses a JSON document. Raises UnusableFile with a one-line reason.

    `nan_as_null` reads NaN and Infinity, which Python's writer produces, as null; by default they are refused.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        hooks: dict[str, Any] = {}
        if _LARGE_NUMBER.search(text):
            hooks = {"parse_int": _whole_number, "parse_float": _number}
        document = json.loads(text, parse_constant=_null if nan_as_null else _no_constant, **hooks)
    except UnusableFile:
        raise
    except RecursionError:
        raise UnusableFile(_too_deep()) from None
    except UnicodeDecodeError as error:
        raise UnusableFile(f"is not UTF-8 text (byte {error.start} cannot be read)") from None
    except ValueError as error:
        raise UnusableFile(f"not valid JSON: {error}") from None
    _check_depth(document)
    return document


def load_json(path: Path, largest: int = LARGEST_DOCUMENT) -> Any:
    """Reads a JSON file. Raises OSError or UnusableFile. The message does not contain the path."""
    return parse_json(read_text(path, largest))


def _too_deep() -> str:
    return f"lists and objects nested more than {DEEPEST} deep"


def _null(name: str) -> None:
    return None


def _no_constant(name: str) -> Any:
    raise UnusableFile(f"{name} is not JSON; expected a number or null")


def _whole_number(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise UnusableFile(f"a number of {len(digits):,} digits; at most {LONGEST_NUMBER} are read")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnusableFile(f"the number {cut(text, 40)} is too large")
    return number


def _check_depth(document: Any) -> None:
    level = [document] if isinstance(document, list | dict) else []
    depth = 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise UnusableFile(_too_deep())
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
