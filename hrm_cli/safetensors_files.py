"""Reads the header of a safetensors file, without torch and without the tensors: an eight-byte length, then JSON.

Every entry is checked against the file's size, so that the header can be trusted before memory is allocated.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.json_text import parse_json
from hrm_cli.printable import quoted
from hrm_cli.regular_files import UnusableFile, open_regular

LONGEST_HEADER = 100_000_000
"""Maximum bytes of a header, as the format specifies."""
MOST_DIMENSIONS = 8

_METADATA = "__metadata__"
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """A header's entry for one tensor."""

    dtype: str
    """Its name in the format: `F32`, `BF16`."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SafetensorsHeader:
    """The parsed header of a file."""

    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Reads a file's header and checks that all tensors are inside the file.

    Raises OSError, or UnusableFile with the reason.
    """
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(8)
        if len(start) < 8:
            raise UnusableFile("it has fewer than eight bytes")
        (length,) = struct.unpack("<Q", start)
        if length > min(LONGEST_HEADER, size - 8):
            raise UnusableFile(f"a header of {length:,} bytes in a file of {size:,}")
        document = parse_json(file.read(length))
    if not isinstance(document, dict):
        raise UnusableFile("its header is not an object")
    metadata = document.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UnusableFile(f"its {_METADATA} is not an object of strings")
    tensors = {name: _entry(name, stated, size - 8 - length) for name, stated in document.items()}
    return SafetensorsHeader(metadata, tensors)


def _entry(name: str, stated: Any, available: int) -> TensorEntry:
    where = f"tensor {quoted(name, 100)}"
    if not isinstance(stated, dict):
        raise UnusableFile(f"{where}: expected an object with dtype, shape and data_offsets")
    dtype: Any = stated.get("dtype")
    shape: Any = stated.get("shape")
    offsets: Any = stated.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise UnusableFile(f"{where}: unknown dtype {quoted(dtype, 40)}")
    if not _whole_numbers(shape) or len(shape) > MOST_DIMENSIONS:
        raise UnusableFile(f"{where}: its shape is {quoted(shape, 60)}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise UnusableFile(f"{where}: its data_offsets are {quoted(offsets, 60)}")
    first, end = offsets
    if not first <= end <= available or end - first != math.prod(shape) * _BITS[dtype] // 8:
        raise UnusableFile(
            f"{where}: data_offsets {first} to {end} do not fit its shape {quoted(shape, 60)} of {dtype}, or the file"
        )
    return TensorEntry(dtype, tuple(shape))


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
