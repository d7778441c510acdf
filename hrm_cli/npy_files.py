"""Memory-maps NumPy `.npy` files of integers. The only reader of such files.

The header determines how much memory is mapped, so it is checked against the file's size first. Pickles are never
read. Archives (`.npz`) are unpacked to files first, within limits.
"""

from __future__ import annotations

import math
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from hrm_cli.printable import quoted
from hrm_cli.regular_files import UnusableFile, open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST_HEADER = 10_000
"""Maximum length of a header, in characters."""
MOST_ARRAYS = 64
"""Maximum number of arrays in an archive."""
LARGEST_ARRAY = 8 << 30
"""Maximum bytes of one unpacked array of an archive."""


def map_integers(path: Path) -> NDArray[np.integer]:
    """Memory-maps the integer array in a file, read-only. Raises OSError, or UnusableFile with the reason."""
    import numpy as np

    with open_regular(path) as file:
        shape, fortran, dtype = _header(file)
        start, size = file.tell(), file.seek(0, 2)
    if dtype.kind not in "iu":
        raise UnusableFile(f"found type {dtype}; expected an integer type")
    if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 8:
        raise UnusableFile(f"its header states the shape {quoted(shape, 60)}")
    needed = math.prod(shape) * dtype.itemsize
    if needed > size - start:
        raise UnusableFile(
            f"its header states {needed:,} bytes of numbers, but the file has {size - start:,}"
        )
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
            raise UnusableFile(f"version {version[0]}.{version[1]} of the format; supported are 1.0 and 2.0")
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


def unpack_arrays(path: Path, folder: Path) -> dict[str, Path]:
    """Unpacks an `.npz` archive into `folder` without reading the arrays. Returns each array's path by name.

    Raises OSError, or UnusableFile with the reason.
    """
    found: dict[str, Path] = {}
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            if len(members) > MOST_ARRAYS:
                raise UnusableFile(f"contains {len(members):,} arrays; at most {MOST_ARRAYS} are read")
            for number, entry in enumerate(members):
                if entry.file_size > LARGEST_ARRAY:
                    raise UnusableFile(
                        f"{entry.filename} has {entry.file_size:,} bytes; at most {LARGEST_ARRAY:,} are read"
                    )
                # Use our own file name: a name from the archive could point outside the folder.
                target = folder / f"{path.stem}-{number}.npy"
                with archive.open(entry) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                found[entry.filename.removesuffix(".npy")] = target
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        RuntimeError,  # an encrypted archive, or a compression method that zipfile does not know
        EOFError,
        zlib.error,
    ) as error:
        raise UnusableFile(f"not a complete .npz archive ({error})") from None
    if not found:
        raise UnusableFile("an archive without arrays")
    return found
