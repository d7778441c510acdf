"""A disk cache for code that numba has compiled, used if a writable folder exists.

The folder's name contains a hash of the sources of all compiled functions. numba itself checks only the file that
defines a function, not the files of other functions compiled into it. A full, read-only or damaged folder never stops
a command: the code is compiled again, if necessary for this process only.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from hrm_cli.reporting import count_compiling, report_compiling

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE = Path(__file__).parent
COMPILED_FOLDERS = ("models/cpu/kernels", "puzzles")
"""Folders whose source files are hashed. Functions for numba may be defined only there."""
_PREFIX, _KEPT = "hrm-numba-", 4
"""Prefix of the folders' names, and how many source versions keep their folder when a user switches between them."""


COMPILING_SECONDS = 2.0
"""Seconds of compilation after which `when_compiling` reports it."""


@functools.cache
def _watch_compiler() -> None:
    """Measures the passes of numba's compiler, which do not run for cached code."""
    from numba.core import event

    class Watch(event.Listener):
        def __init__(self) -> None:
            self.began = self.total = 0.0
            self.depth = 0
            """A pass that needs another function's type starts the passes of that function."""

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                self.began = time.perf_counter()
            self.depth += 1

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            now = time.perf_counter()
            self.total += now - self.began
            count_compiling(now - self.began)
            self.began = now
            if self.total > COMPILING_SECONDS:
                report_compiling()

    event.register("numba:run_pass", Watch())


@functools.cache
def source_hash() -> str:
    """16 hexadecimal digits that change with any source file that may define a compiled function."""
    digest = hashlib.sha256()
    for folder in COMPILED_FOLDERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def compiled_code_folder() -> Path | None:
    """The folder for compiled code, created if missing; None if no folder is writable.

    It is inside `NUMBA_CACHE_DIR` if that is set, else inside the installed package, else in the user's cache folder.
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
    except OSError:  # another process may remove folders at the same time
        return
    for folder in folders[:-_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def with_cache(compiled: Callable[[bool], R]) -> R:
    """Compiles a function eagerly by calling `compiled(cache)`. The code is cached on disk if possible."""
    _watch_compiler()
    folder = compiled_code_folder()
    if folder is None:
        return compiled(False)
    try:
        with _numba_writes_to(folder):
            return compiled(True)
    except OSError:
        return compiled(False)
    except Exception:
        # Unpickling a damaged file may raise any exception. An error in the function itself is raised again here.
        shutil.rmtree(folder, ignore_errors=True)
        return compiled(False)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles `function` with numba in nopython mode. The kernel releases the GIL while it runs."""
    import numba

    return keep_on_disk(numba.njit(nogil=True)(function))


def keep_on_disk(dispatcher: Any) -> Any:
    """Adds a disk cache, if possible, to a `numba.njit` function, which compiles lazily on its first call."""
    _watch_compiler()
    folder = compiled_code_folder()
    if folder is not None:
        with suppress(RuntimeError, OSError), _numba_writes_to(folder):
            dispatcher._cache = _forgiving_cache()(dispatcher.py_func)
    return dispatcher


@contextmanager
def _numba_writes_to(folder: Path) -> Iterator[None]:
    """Redirects numba's cache to `folder` while a cache is created. Other packages' caches are not affected."""
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
        """Numba's cache, except that a file that cannot be read or written counts as missing."""

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
                self._flush()  # the index may name a file that was not written

        def _flush(self) -> None:
            try:
                self.flush()
            except Exception:
                self.disable()

    return ForgivingCache
