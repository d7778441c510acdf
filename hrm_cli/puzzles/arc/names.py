"""The names of puzzle identifiers as one short text, so that a model file can carry them.

A million names of ARC copies are 30 MB as JSON; packed they are about a quarter of that, 0.4 % of the embeddings of
512 numbers that they belong to.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence

from hrm_cli.json_text import parse_json

_LARGEST = 128 << 20
"""Bytes of the names, unpacked: four million names of ARC copies."""


def pack_names(names: Sequence[str]) -> str:
    """The names as printable text."""
    return base64.b85encode(zlib.compress(json.dumps(list(names)).encode(), 6)).decode("ascii")


def unpack_names(packed: str) -> list[str]:
    """The names of a packed text; none of an empty one. Raises ValueError where it is damaged."""
    if not packed:
        return []
    try:
        names = parse_json(_inflated(base64.b85decode(packed)))
    except (zlib.error, ValueError) as error:
        raise ValueError(f"damaged names ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("damaged names (no list of texts)")
    return names


def _inflated(packed: bytes) -> bytes:
    """A few bytes can inflate to gigabytes: no more than `_LARGEST` are made. Raises ValueError or zlib.error."""
    inflater = zlib.decompressobj()
    content = inflater.decompress(packed, _LARGEST)
    if inflater.unconsumed_tail:
        raise ValueError(f"more than {_LARGEST:,} bytes")
    if not inflater.eof:
        raise ValueError("cut short")
    return content
