"""Packs the names of puzzle identifiers into one short text, so that a model file can store them.

A million names of augmented ARC tasks take 30 MB as JSON. Packed they take about a quarter of that, which is 0.4 % of
the 512-dimensional puzzle embeddings that they name.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence

from hrm_cli.errors import reason_of
from hrm_cli.json_text import parse_json

_LARGEST = 128 << 20
"""Upper limit for the unpacked names in bytes: enough for four million names of augmented ARC tasks."""


def pack_names(names: Sequence[str]) -> str:
    """Packs names into printable text."""
    return base64.b85encode(zlib.compress(json.dumps(list(names)).encode(), 6)).decode("ascii")


def unpack_names(packed: str) -> list[str]:
    """Unpacks names; an empty text gives an empty list. Raises ValueError if the text is damaged."""
    if not packed:
        return []
    try:
        names = parse_json(_inflated(base64.b85decode(packed)))
    except (zlib.error, ValueError) as error:
        raise ValueError(f"damaged names ({reason_of(error)})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("damaged names (not a list of strings)")
    return names


def _inflated(packed: bytes) -> bytes:
    """Decompresses at most `_LARGEST` bytes: a few bytes can inflate to gigabytes. Raises ValueError or zlib.error."""
    inflater = zlib.decompressobj()
    content = inflater.decompress(packed, _LARGEST)
    if inflater.unconsumed_tail:
        raise ValueError(f"more than {_LARGEST:,} bytes")
    if not inflater.eof:
        raise ValueError("cut short")
    return content
