"""Portable file operations: atomic writes, syncing, locks, and memory and disk measurements.

Linux, macOS and Windows differ in what they can lock, sync and measure, and so do network filesystems. This module
handles those differences; no other module uses `fcntl`, `resource` or `os.fsync`.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from hrm_cli.errors import ConfigError
from hrm_cli.json_text import load_json

PARTIAL = ".partial-"
"""Name prefix of unfinished files and folders. They remain only if the process was killed."""

_IS_WINDOWS = os.name == "nt"

_LONGEST_NAME = 4096
"""Maximum size of a lock file, in bytes."""

_numbers = itertools.count()

# Atomic writes


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Opens a text file for writing at a user's path. It replaces an existing file only if the block succeeds.

    If the block is interrupted (Ctrl-C, a signal), the text written so far is kept as NAME.partial. After another error
    nothing is kept. Raises ConfigError if the file cannot be written.
    """
    refuse_unwritable(path)
    target = path.resolve()
    unfinished = partial_path(target)
    try:
        stream = unfinished.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with stream:
            yield stream
        replace(unfinished, target)
    except (KeyboardInterrupt, SystemExit):
        replace(unfinished, target.with_name(f"{target.name}.partial"))
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def refuse_unwritable(path: Path) -> None:
    """Raises ConfigError if it is already clear that no file can be written to `path`."""
    target = path.resolve()
    if target.is_dir():
        raise ConfigError(f"{path}: is a folder; expected a file")
    if target.exists() and not target.is_file():
        raise ConfigError(f"{path}: not a regular file; hrm writes regular files only")
    if not target.parent.is_dir():
        raise ConfigError(f"{path}: the folder {target.parent} does not exist")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ConfigError(f"{path}: cannot be written (permission denied)")


@contextmanager
def written_whole(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """Yields a temporary path to write to. The file is renamed to `path` if the block succeeds, else removed.

    With `synced`, the file is synced to disk before the rename, and its folder after it. Raises OSError.
    """
    target = path.resolve()
    partial = partial_path(target)
    try:
        yield partial
        if synced:
            sync(partial)
        replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    if synced:
        sync(target.parent)


def write_text(path: Path, text: str, *, synced: bool = False) -> None:
    """Writes a UTF-8 file atomically. Raises OSError."""
    with written_whole(path, synced=synced) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def partial_path(target: Path) -> Path:
    """An unused path next to `target`, to be renamed to it later. It keeps the suffix and is never too long."""
    return target.with_name(f"{PARTIAL}{os.getpid()}-{next(_numbers)}-{target.name[-40:]}")


def replace(source: Path, target: Path) -> None:
    """Renames a file or folder; a file replaces an existing file. Raises OSError."""
    for pause in (0.01, 0.05, 0.25, 1.0):
        try:
            os.replace(source, target)
        except PermissionError:
            # Windows cannot rename a file that is open; readers, indexers and virus scanners open files briefly.
            if not _IS_WINDOWS:
                raise
            time.sleep(pause)
        else:
            return
    os.replace(source, target)


# Syncing

_NO_SYNC = {
    getattr(errno, name)
    for name in ("EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOTTY")
    if hasattr(errno, name)
}
"""Errors of filesystems that do not support syncing, such as many network and FUSE filesystems."""


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on disk, as far as the system supports it.

    Raises OSError if a file's content could not be written to disk.
    """
    is_folder = path.is_dir()
    try:
        # Windows cannot sync a file opened for reading, and cannot open a folder.
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    except PermissionError:
        if is_folder:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC and not (is_folder and error.errno in (errno.EBADF, errno.EACCES)):
            raise
    finally:
        os.close(descriptor)


# Locks


class AlreadyLocked(Exception):  # noqa: N818 - the name describes the event
    """Another process holds the lock. `holder` describes it: `process 4711 on host`, or `another process`."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path}: locked by {holder}")
        self.path, self.holder = path, holder


class FileLock:
    """An exclusive lock file that contains the process id of its holder. Use as `with FileLock(path):`.

    The operating system releases the lock when the process exits, for any reason. On filesystems without locks (some
    network folders), the file's existence is the lock, and the lock is stale once its process has exited.
    Raises AlreadyLocked, or OSError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        for attempt in range(5):
            if attempt:
                # A process that checks a lock (`is_locked`) holds it for a moment.
                time.sleep(0.02)
            try:
                self._acquire()
            except _Refused:
                continue
            _held.add(_key(path))
            return
        raise AlreadyLocked(path, _holder(path))

    def _acquire(self) -> None:
        try:
            descriptor, is_new = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            try:
                descriptor, is_new = os.open(self.path, os.O_RDWR), False
            except FileNotFoundError:
                raise _Refused from None
        try:
            if _lock(descriptor, exclusive=True):
                # The previous holder may have removed the file between our open and our lock.
                if not _is_same_file(descriptor, self.path):
                    raise _Refused
            elif not is_new:
                if not _names_living_process(self.path):
                    self.path.unlink(missing_ok=True)
                raise _Refused
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _own_name())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Releases the lock and removes its file; a second call does nothing."""
        if _key(self.path) not in _held:
            return
        _held.discard(_key(self.path))
        if not _IS_WINDOWS:
            self.path.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if _IS_WINDOWS:
            # Windows cannot remove an open file, and another process may have opened it by now.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Whether a running process holds the lock `path`. Writes nothing."""
    if _key(path) in _held:
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(descriptor, exclusive=False) and _names_living_process(path)
    except _Refused:
        return True
    finally:
        os.close(descriptor)


class _Refused(Exception):  # noqa: N818
    """Another process holds the lock."""


_held: set[str] = set()
"""Keys of the locks that this process holds."""
_LOCKED_BYTE = 1 << 30
"""Windows blocks reads of locked bytes by other processes, so the locked byte lies beyond the text."""
_SECONDS_TO_WRITE = 10.0


def _key(path: Path) -> str:
    return os.path.abspath(path)


def _lock(descriptor: int, *, exclusive: bool) -> bool:
    """Locks an open file. Returns False if the system or filesystem has no locks. Raises _Refused."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:
        return _lock_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _Refused from None
    except OSError:
        return False
    return True


def _lock_on_windows(descriptor: int) -> bool:
    try:
        msvcrt: Any = importlib.import_module("msvcrt")
    except ImportError:
        return False
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLK):
            raise _Refused from None
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _own_name() -> bytes:
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()


def _read_name(path: Path) -> tuple[int, str] | None:
    try:
        document = load_json(path, _LONGEST_NAME)
        return int(document["pid"]), str(document["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holder(path: Path) -> str:
    name = _read_name(path)
    return "another process" if name is None else f"process {name[0]} on {name[1]}"


def _names_living_process(path: Path) -> bool:
    """Whether the process named in a lock file is running. A process on another host is assumed to be."""
    name = _read_name(path)
    if name is None:
        # The file is empty: it was just created, or its process was killed while creating it.
        with suppress(OSError):
            return time.time() - path.stat().st_mtime < _SECONDS_TO_WRITE
        return False
    pid, host = name
    if host != socket.gethostname():
        return True
    if pid == os.getpid():
        # Containers restart process numbers, so an earlier process may have had our PID.
        return _key(path) in _held
    return is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process on this machine is running."""
    if _IS_WINDOWS:
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_alive_on_windows(pid: int) -> bool:
    # On Windows, os.kill with signal 0 would send Ctrl-C.
    import ctypes

    query_limited_information, still_active = 0x1000, 259
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.GetExitCodeProcess.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    kernel.CloseHandle.argtypes = [ctypes.c_void_p]
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return not known or code.value == still_active


# Measuring


def peak_memory_mb() -> float | None:
    """Peak memory of this process so far, in MB; None where Python does not provide it (Windows)."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The unit is KiB on Linux and bytes on macOS.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def free_disk(folder: Path) -> int | None:
    """Free bytes on the disk where `folder` is or will be; None if unknown."""
    for place in (folder, *folder.resolve().parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None
