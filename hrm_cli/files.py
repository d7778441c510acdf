"""Files and folders under every operating system: written whole or not at all, synced, locked, measured.

Linux, macOS and Windows differ in what they can lock, sync and measure, and so do network folders. All of that is in
here; no other module uses `fcntl`, `resource` or `os.fsync`.
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
"""Unfinished files and folders begin with it. Only a killed process leaves one behind."""

_IS_WINDOWS = os.name == "nt"

_LONGEST_NAME = 4096
"""Bytes of a lock's own text."""

_numbers = itertools.count()

# Whole files


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A file to write text to, at a path that a user named. It replaces an older one when the block ends well.

    When the block is interrupted (Ctrl-C, a signal), what was written so far is kept as NAME.partial; when it
    fails otherwise, nothing is. Raises ConfigError where no such file can be written.
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
    """Raises ConfigError where it can be known beforehand that no file can be written to `path`."""
    target = path.resolve()
    if target.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file")
    if target.exists() and not target.is_file():
        raise ConfigError(f"{path}: not a regular file; hrm writes regular files only")
    if not target.parent.is_dir():
        raise ConfigError(f"{path}: the folder {target.parent} does not exist")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ConfigError(f"{path}: cannot be written (permission denied)")


@contextmanager
def written_whole(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """A path to write a file to. The file is renamed to `path` when the block ends well, and removed when it fails.

    With `synced` it is on the disk before it is renamed, and its new name before the block is left. Raises OSError.
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
    """Writes a UTF-8 file whole or not at all. Raises OSError."""
    with written_whole(path, synced=synced) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def partial_path(target: Path) -> Path:
    """An unused name next to `target`, for what is to be renamed to it; it ends alike and is never too long."""
    return target.with_name(f"{PARTIAL}{os.getpid()}-{next(_numbers)}-{target.name[-40:]}")


def replace(source: Path, target: Path) -> None:
    """Renames a file or folder; a file replaces another one. Raises OSError."""
    for pause in (0.01, 0.05, 0.25, 1.0):
        try:
            os.replace(source, target)
        except PermissionError:
            # Windows renames nothing that anyone has open: a reader, an indexer or a virus scanner, for a moment.
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
"""Errors of a filesystem that cannot sync such a thing at all, as many network and FUSE filesystems cannot."""


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk, as far as the system offers that.

    Raises OSError where the content of a file could not be written to the disk.
    """
    is_folder = path.is_dir()
    try:
        # Windows syncs no file that was opened for reading, and opens no folder.
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


class AlreadyLocked(Exception):  # noqa: N818 - what happened, not a kind of fault
    """Another process holds the lock; `holder` says which, as far as that is known: `process 4711 on host`."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path}: locked by {holder}")
        self.path, self.holder = path, holder


class FileLock:
    """An exclusive lock: a file that names the process that holds it, `with FileLock(path):`.

    The operating system drops the lock when its process ends, however it ends. Where files cannot be locked (some
    network folders), the existence of the file is the lock, and it is dead when its process is.
    Raises AlreadyLocked, or OSError where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        for attempt in range(5):
            if attempt:
                # Whoever looks at a lock (`is_locked`) holds it for a moment.
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
                # Its last holder may have removed the file between our opening and our locking it.
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
        """Drops the lock and removes its file; a second call does nothing."""
        if _key(self.path) not in _held:
            return
        _held.discard(_key(self.path))
        if not _IS_WINDOWS:
            self.path.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if _IS_WINDOWS:
            # Windows removes no open file; another process may have it by now.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock `path`; nothing is written."""
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
"""Locks of this process."""
_LOCKED_BYTE = 1 << 30
"""Windows keeps others from reading the bytes that are locked: this one is after the text."""
_SECONDS_TO_WRITE = 10.0


def _key(path: Path) -> str:
    return os.path.abspath(path)


def _lock(descriptor: int, *, exclusive: bool) -> bool:
    """Locks an open file; False where the system or the filesystem has no locks. Raises _Refused."""
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
    """Whether a lock file, where nothing else tells, is of a process that lives; one of another host is believed."""
    name = _read_name(path)
    if name is None:
        # Nothing in it: just made, or left by a process that was killed as it made it.
        with suppress(OSError):
            return time.time() - path.stat().st_mtime < _SECONDS_TO_WRITE
        return False
    pid, host = name
    if host != socket.gethostname():
        return True
    if pid == os.getpid():
        # Containers number their processes anew: this may be of a former process with our number.
        return _key(path) in _held
    return is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
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
    # os.kill with signal 0 would send Ctrl-C there.
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
    """The most memory this process has held so far, in MB; None where Python offers no such figure (Windows)."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def free_disk(folder: Path) -> int | None:
    """Bytes that are free where `folder` is or will be; None where the system does not tell."""
    for place in (folder, *folder.resolve().parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None
