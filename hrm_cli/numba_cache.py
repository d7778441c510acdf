"""Machine code that numba has compiled, kept on disk where a folder for it can be written.

The folder is named by a hash of the source of every compiled function, because numba itself looks only at the file
that a function is defined in, not at the functions of other files that are compiled into it. No state of the folder,
full, read-only or damaged, stops a command: the code is compiled again, for this process alone if need be.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")

PACKAGE = Path(__file__).parent
COMPILED_FOLDERS = ("models/cpu/kernels", "puzzles")
"""Where functions for numba may be written: their sources are hashed."""
_PREFIX, _KEPT = "hrm-numba-", 4
"""Folders of that many versions of the sources are kept, for whoever switches between them."""


@functools.cache
def source_hash() -> str:
    """16 hexadecimal digits that change with any source file a compiled function can come from."""
    digest = hashlib.sha256()
    for folder in COMPILED_FOLDERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def compiled_code_folder() -> Path | None:
    """The folder for compiled code, made where it did not exist; None where none can be written.

    Inside `NUMBA_CACHE_DIR` if that is set, else inside the installed package, else in the user's cache folder.
    """
    for parent in _candidates():
        folder = parent / f"{_PREFIX}{source_hash()}"
        is_new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        if is_new:
            _remove_oldest(parent)
        return folder
    return None


def _candidates() -> list[Path]:
    if wanted := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(wanted)]
    cache = (
        os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    )
    return [PACKAGE / "__pycache__", Path(cache) / "hrm"]


def _remove_oldest(parent: Path) -> None:
    try:
        folders = sorted(parent.glob(f"{_PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
    except OSError:  # another process removes them, too
        return
    for folder in folders[:-_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def with_cache(compiled: Callable[[bool], R]) -> R:
    """What numba makes of a function at once, by `compiled(cache)`: kept per machine if possible, else per process."""
    folder = compiled_code_folder()
    if folder is None:
        return compiled(False)
    try:
        with _numba_writes_to(folder):
            return compiled(True)
    except OSError:
        return compiled(False)
    except Exception:
        # Damaged files fail in any way that unpickling can. An error in the function itself is raised again here.
        shutil.rmtree(folder, ignore_errors=True)
        return compiled(False)


def keep_on_disk(dispatcher: Any) -> Any:
    """A function of `numba.njit`, which compiles when it is first called, whose machine code is kept if possible."""
    folder = compiled_code_folder()
    if folder is not None:
        with suppress(RuntimeError, OSError), _numba_writes_to(folder):
            dispatcher._cache = _forgiving_cache()(dispatcher.py_func)
    return dispatcher


@contextmanager
def _numba_writes_to(folder: Path) -> Iterator[None]:
    """While a cache is made: other packages' caches stay where they are."""
    import numba

    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


@functools.cache
def _forgiving_cache() -> type[Any]:
    from numba.core.caching import FunctionCache

    class ForgivingCache(FunctionCache):
        """Numba's cache, for which a file that cannot be read or written is one that is not there."""

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except OSError:
                return None
            except Exception:  # a damaged file: unpickling fails in many ways
                self._flush()
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)
            except Exception:
                self._flush()  # the index may name what was not written

        def _flush(self) -> None:
            try:
                self.flush()
            except Exception:
                self.disable()

    return ForgivingCache
