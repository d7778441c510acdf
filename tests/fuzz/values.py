"""Values and bytes that readers stumble over, and mutations of documents and files made with them."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CANARY = Path(tempfile.gettempdir()) / f"hrm-fuzz-canary-{os.getpid()}"
"""A file that appears where anything in an input is run."""

LITERALS = {
    "@@R0@@": "1e999",
    "@@R1@@": "-1e999",
    "@@R2@@": "NaN",
    "@@R3@@": "9" * 5000,
    "@@R4@@": "[" * 100_000,
    "@@R5@@": "-" + "9" * 400,
    "@@R6@@": "[" * 3000 + "]" * 3000,
    "@@R7@@": '{"a":' * 3000 + "1" + "}" * 3000,
    "@@R8@@": "0x10",
    "@@R9@@": "1" + "0" * 308 + ".0",
    "@@RA@@": "9" * 4000,
    "@@RB@@": '"\\ud800"',
    "@@RC@@": "-0.0",
    "@@RD@@": "1E400",
}
"""Stand-ins in a document, and the JSON text that they become, which no Python value gives."""

NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**9,
    10**12,
    10**18,
    10**100,
    1e308,
    5e-324,
    0.5,
    -0.5,
    1e-9,
    True,
    False,
    None,
)
TEXTS = (
    "",
    " ",
    "abc",
    "1",
    "-1",
    "1e9",
    "nan",
    "inf",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31mred",
    "[red]x[/red]",
    "[/]",
    "[link=http://x]y[/link]",
    "a" * 100_000,
    "٣",
    "²",
    "½",
    "\u202eevil",
    "\U0001f600",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/null",
    "a\x00b",
    "a\nb",
    "..",
    ".",
    "~root",
    "hf:a/b",
    "bundled:x",
    "0x" + "f" * 5000,
    "x" * 300,
    "$\\frac$",
    "%s%n",
    "{}",
)
STRUCTURES: tuple[Any, ...] = (
    [],
    {},
    [[]],
    [1, "a", None],
    {"name": "sudoku", "size": 10**9},
    {"name": "maze", "rows": 10**6, "columns": 10**6},
    {"name": "sudoku", "size": "4"},
    {"name": "sudoku", "size": [4]},
    {"name": "arc", "x": 1},
    {"name": 1},
    list(range(1000)),
    ["all"] * 1000,
)
KEYS = ("x", "", "\x1b[31mk", "extends", "a" * 5000, "__class__", "size", "name")
TOKENS = (
    b"\x00",
    b"\x1b[31m",
    b"\x9b31m",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b"\x0c",
    b"\x1a",
    b"\x7f",
    b"\x85",
    "\u2028".encode(),
    "\U0001f600".encode(),
    "٣".encode(),
    "²".encode(),
    "½".encode(),
    "𝟗".encode(),
    b'"',
    b"'",
    b"''",
    b'""',
    b",",
    b";",
    b"\t",
    b"#",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a",
    b"*a",
    b"<<: ",
    b"!!python/object/apply:os.system ['touch " + str(CANARY).encode() + b"']",
    b"!!binary x",
    b"!!set {a}",
    b"!!timestamp x",
    b"!!int x",
    b"!!omap [a]",
    b"? [a]\n: b\n",
    b"%YAML 9.9\n---\n",
    b"---\n",
    b"...\n",
    b"|\n",
    b">\n",
    b"0" * 5000,
    b"9" * 5000,
    b"-",
    b"1e999",
    b"NaN",
    b"Infinity",
    b"." * 20_000,
    b" " * 5000,
    b"a" * 140_000,
    b"0x" + b"f" * 5000,
    b"1:" * 3000 + b"1",
    b"=",
    b"[red]",
    b"[/]",
    b"question",
    b"puzzle,solution\n",
    b"[Puzzle]\n",
    b"\\",
    b"\xf0\x28\x8c\x28",
)


def bad_value(r: random.Random) -> Any:
    """One of the values; literals come often."""
    literals = tuple(LITERALS)
    return copy.deepcopy(r.choice((*NUMBERS, *TEXTS, *STRUCTURES, *literals, *literals)))


def dumps(document: Any, *, ascii_only: bool = True) -> str:
    """The document as JSON text, with its literals as they are."""
    text = json.dumps(document, ensure_ascii=ascii_only)
    for name, literal in LITERALS.items():
        text = text.replace(json.dumps(name), literal)
    return text


def encoded(text: str) -> bytes:
    """Text as bytes, halves of surrogate pairs included."""
    return text.encode("utf-8", "surrogatepass")


def places(document: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    yield here
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*here, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:30]):
            yield from places(value, (*here, index))


def mutate_document(r: random.Random, document: Any, count: int | None = None) -> Any:
    """A copy with one to three values replaced, scaled, wrapped, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(count or r.choice((1, 1, 1, 2, 3))):
        place = r.choice([one for one in places(document) if one] or [()])
        if not place:
            return bad_value(r)
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        last, what = place[-1], r.random()
        value = parent[last]
        if what < 0.62:
            parent[last] = bad_value(r)
        elif what < 0.75:
            if isinstance(value, int | float) and r.random() < 0.6:
                parent[last] = value * r.choice((0, 2, 10**3, 10**6, 10**9, 0.5)) + r.choice((0, 1, -1))
            elif isinstance(value, int | float):
                parent[last] = -value
            else:
                parent[last] = [value] if r.random() < 0.5 else {"x": value}
        elif what < 0.87:
            del parent[last]
        elif isinstance(parent, dict):
            parent[r.choice(KEYS)] = bad_value(r)
        else:
            parent.insert(0, bad_value(r))
    return document


def mutate_bytes(r: random.Random, content: bytes, count: int | None = None) -> bytes:
    """Bits flipped, pieces cut, doubled and inserted."""
    data = bytearray(content)
    for _ in range(count or r.choice((1, 1, 2, 3, 5, 10))):
        what, at = r.random(), r.randrange(len(data) + 1)
        if what < 0.25 and data:
            data[r.randrange(len(data))] ^= 1 << r.randrange(8)
        elif what < 0.35 and data:
            data[r.randrange(len(data))] = r.choice((0, 1, 0x7F, 0x80, 0xFF, 0x1B, 10, 13, 44, 34))
        elif what < 0.45:
            del data[at:]
        elif what < 0.55:
            del data[at : at + r.choice((1, 2, 8, 50))]
        elif what < 0.65:
            start = r.randrange(len(data) + 1)
            data[at:at] = data[start : start + r.choice((1, 8, 64, 1000))]
        elif what < 0.7:
            data[at:at] = data[:] if len(data) < 200_000 else b""
        else:
            data[at:at] = r.choice(TOKENS)
    return bytes(data)


class Evil:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()
