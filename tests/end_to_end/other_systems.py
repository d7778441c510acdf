"""Runs `hrm` on Linux by the rules of another system: `other_systems.py windows|network FOLDER`.

Each line of standard input is a list of arguments in JSON, and each line of standard output what came of it: status,
stdout, stderr. One process for all of them saves the seconds in which torch is imported.

windows: no fcntl, resource and pwd; folders cannot be opened; what was opened for reading cannot be synced; a rename
replaces no file (`os.replace` does) and nothing that is open; signals and functions that Windows lacks are missing.
network: folders cannot be synced, files cannot be locked, as on many network and FUSE filesystems.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any


def as_on_windows() -> None:
    # Since Python 3.12, asyncio for Linux calls os.sysconf when it is imported; on Windows, it has other code.
    import asyncio.selector_events  # noqa: F401

    for name in ("fcntl", "resource", "pwd", "grp", "termios"):
        sys.modules[name] = None  # type: ignore[assignment]
    for name in ("getuid", "geteuid", "getppid", "setsid", "sched_getaffinity", "sysconf"):
        delattr(os, name)
    del signal.SIGKILL
    open_, fsync, rename, replace = os.open, os.fsync, os.rename, os.replace
    read_only: set[int] = set()

    def open_no_folder(path: Any, flags: int, *given: Any, **named: Any) -> int:
        if isinstance(path, str | os.PathLike) and Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        descriptor = open_(path, flags, *given, **named)
        (read_only.discard if flags & (os.O_WRONLY | os.O_RDWR) else read_only.add)(descriptor)
        return descriptor

    def sync(descriptor: int) -> None:
        if descriptor in read_only:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(descriptor)

    def refuse_open_files(source: Any) -> None:
        for descriptor in Path("/proc/self/fd").iterdir():
            try:
                target = descriptor.readlink()
            except OSError:
                continue
            if target == Path(source).resolve() or Path(source).resolve() in target.parents:
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(source))

    def rename_to_new_names(source: Any, target: Any, **named: Any) -> None:
        if Path(target).exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(target))
        refuse_open_files(source)
        rename(source, target, **named)

    def replace_closed_files(source: Any, target: Any, **named: Any) -> None:
        if Path(target).is_dir():
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        refuse_open_files(source)
        refuse_open_files(target)
        replace(source, target, **named)

    os.open, os.fsync, os.rename, os.replace = (
        open_no_folder, sync, rename_to_new_names, replace_closed_files,
    )  # fmt: skip


def as_on_a_network_folder() -> None:
    import fcntl

    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    os.fsync = sync
    fcntl.flock = fcntl.lockf = refuse


def serve() -> None:
    from hrm_cli.cli.app import main

    for line in sys.stdin:
        out, error = io.StringIO(), io.StringIO()
        status: Any = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                main(json.loads(line))
            except SystemExit as end:
                status = end.code
        gc.collect()  # what a process that has ended would no longer hold open
        print(json.dumps([status or 0, out.getvalue(), error.getvalue()]), flush=True)


if __name__ == "__main__":
    {"windows": as_on_windows, "network": as_on_a_network_folder}[sys.argv[1]]()
    os.chdir(sys.argv[2])
    serve()
