"""Opens and reads regular files, up to a size limit.

Reading a device or a named pipe might never end. All readers of JSON, YAML, NumPy and safetensors files use this
module.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


class UnusableFile(ValueError):  # noqa: N818 - the name describes the file
    """A file that its reader does not accept. The message is the reason, without the path."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading bytes. Raises OSError, or UnusableFile if it is not a regular file."""
    # Without O_NONBLOCK, opening a named pipe waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # the path contains a NUL
        raise UnusableFile(f"cannot be read: {error}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    kind = "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a pipe or a socket"
    raise UnusableFile(f"is {kind}; only regular files are read")


def read_bytes(path: Path, largest: int) -> bytes:
    """Reads a regular file of at most `largest` bytes. Raises OSError or UnusableFile."""
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        size = "more"
        with suppress(OSError):
            size = f"{path.stat().st_size:,} bytes"
        raise UnusableFile(f"is too large ({size}; at most {largest:,} bytes are read)")
    return content


def read_text(path: Path, largest: int) -> str:
    """Reads UTF-8 text, with or without a byte-order mark. Raises OSError or UnusableFile, also for invalid UTF-8."""
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableFile(f"is not UTF-8 text (byte {error.start} cannot be read)") from None
