"""NumPy's `.npy` files of whole numbers, mapped from disk: the only reader of such files.

The header decides how much memory is requested, so it is checked against the file's own size before anything is
mapped. Neither pickles nor archives (`.npz`) are read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from hrm_cli.regular_files import UnusableFile, open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST_HEADER = 10_000
"""Characters."""


def map_integers(path: Path) -> NDArray[np.integer]:
    """The array of whole numbers in a file, read-only. Raises OSError, or UnusableFile with the reason."""
    import numpy as np

    with open_regular(path) as file:
        shape, fortran, dtype = _header(file)
        start, size = file.tell(), file.seek(0, 2)
    if dtype.kind not in "iu":
        raise UnusableFile(f"holds {dtype}; any integer type is expected")
    if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 8:
        raise UnusableFile(f"its header states the shape {shape!r:.60}")
    needed = math.prod(shape) * dtype.itemsize
    if needed > size - start:
        raise UnusableFile(f"its header states {needed:,} bytes of numbers, but {size - start:,} are there")
    order: Literal["F", "C"] = "F" if fortran else "C"
    if needed == 0:
        return np.empty(shape, dtype, order)
    array: NDArray[np.integer] = np.memmap(
        path, dtype=dtype, mode="r", offset=start, shape=tuple(shape), order=order
    )
    return array


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(file)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise UnusableFile(f"version {version[0]}.{version[1]} of the format; 1.0 and 2.0 are read")
        shape, fortran, dtype = readers[version](file, max_header_size=LONGEST_HEADER)
    except UnusableFile:
        raise
    except Exception as error:
        # NumPy evaluates the header as a Python literal: SyntaxError, TypeError, RecursionError, MemoryError, ….
        lines = str(error).splitlines()
        raise UnusableFile(
            f"its header cannot be read: {lines[0] if lines else type(error).__name__}"
        ) from None
    return shape, bool(fortran), dtype
