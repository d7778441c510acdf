"""Files under every operating system: written whole or not at all, synced where that can be done, locked."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hrm_cli import files
from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.files import AlreadyLocked, FileLock, is_locked, sync, whole_file, write_text, written_whole


@pytest.mark.parametrize("target", ["folder", "missing/answers.txt"])
def test_unwritable_destinations_are_refused_at_once(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=target), whole_file(tmp_path / target):
        pytest.fail("the work must not begin")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device file")
def test_device_file_is_refused_because_renaming_would_replace_it() -> None:
    with pytest.raises(ConfigError, match="not a regular file"), whole_file(Path("/dev/null")):
        pytest.fail("the work must not begin")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "kept.txt").chmod(0o400)
    with pytest.raises(ConfigError, match="permission"), whole_file(tmp_path / "kept.txt"):
        pytest.fail("the work must not begin")


def write_and_raise(path: Path, error: BaseException) -> None:
    with whole_file(path) as stream:
        stream.write("new")
        raise error


def test_failure_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "answers.txt"
    target.write_text("old")
    with pytest.raises(PuzzleError):
        write_and_raise(target, PuzzleError("broken off"))
    assert [path.name for path in tmp_path.iterdir()] == ["answers.txt"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_interruption_keeps_what_was_written_next_to_the_older_file(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    target = tmp_path / "answers.txt"
    target.write_text("old")
    with pytest.raises(interruption):
        write_and_raise(target, interruption())
    assert target.read_text() == "old"
    assert (tmp_path / "answers.txt.partial").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_link_keeps_pointing_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with whole_file(tmp_path / "link.txt") as stream:
        stream.write("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_file_whose_name_is_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    target = tmp_path / f"{'ä' * 120}.json"
    write_text(target, "{}")
    assert target.read_text() == "{}"


def test_two_unfinished_files_of_the_same_name_do_not_collide(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a") as first, written_whole(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_while_syncing_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    refuse_to_sync(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a", "new", synced=True)
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def refuse_to_sync(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES])
def test_a_folder_that_cannot_be_synced_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_to_sync(monkeypatch, number)
    sync(tmp_path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_while_syncing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "a").write_text("a")
    refuse_to_sync(monkeypatch, number)
    for path in (tmp_path, tmp_path / "a"):
        with pytest.raises(OSError, match=os.strerror(number)):
            sync(path)


def test_a_rename_is_retried_when_windows_refuses_it_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [PermissionError(errno.EACCES, "a scanner has it open")] * 2
    rename = os.replace

    def refuse_twice(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        rename(source, target)

    (tmp_path / "a").write_text("a")
    monkeypatch.setattr(files.os, "replace", refuse_twice)
    with monkeypatch.context() as as_windows:
        as_windows.setattr(files, "_IS_WINDOWS", True)
        files.replace(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"
    refusals.append(PermissionError(errno.EACCES, "may not be"))
    with pytest.raises(PermissionError):
        files.replace(tmp_path / "b", tmp_path / "a")


@pytest.fixture(params=["flock", "msvcrt", "nothing"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How files are locked: as on Linux and macOS, as on Windows, or not at all, as in some network folders."""
    fcntl = pytest.importorskip("fcntl")
    if request.param != "flock":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    if request.param == "msvcrt":

        def locking(descriptor: int, mode: int, count: int) -> None:
            assert (mode, count) == (2, 1)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PermissionError(errno.EACCES, "Permission denied") from None

        monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    yield request.param
    files._held.clear()


HOLD = """
import sys
from pathlib import Path
if sys.argv[2] == "nothing":
    sys.modules["fcntl"] = None
from hrm_cli.files import FileLock
lock = FileLock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def hold(path: Path, locks: str) -> subprocess.Popen[str]:
    """Another process, which holds the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), locks],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_lock_keeps_other_processes_out_until_its_process_ends_and_names_it(
    tmp_path: Path, locks: str
) -> None:
    path = tmp_path / "lock"
    process = hold(path, locks)
    assert is_locked(path)
    with pytest.raises(AlreadyLocked) as refusal:
        FileLock(path)
    assert refusal.value.holder == f"process {process.pid} on {socket.gethostname()}"
    process.kill()
    process.communicate()
    assert not is_locked(path)
    with FileLock(path):
        assert is_locked(path)
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()
    assert not is_locked(path)


def test_a_process_cannot_lock_twice(tmp_path: Path, locks: str) -> None:
    with FileLock(tmp_path / "lock"):
        with pytest.raises(AlreadyLocked):
            FileLock(tmp_path / "lock")
        assert is_locked(tmp_path / "lock")
    FileLock(tmp_path / "lock").release()


def test_looking_at_a_lock_leaves_it_free(tmp_path: Path, locks: str) -> None:
    (tmp_path / "lock").write_text("")
    os.utime(tmp_path / "lock", (0, 0))
    assert not is_locked(tmp_path / "lock")
    FileLock(tmp_path / "lock").release()


def test_without_locks_a_lock_file_of_an_earlier_process_with_our_pid_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A container that is started again gives its processes the same numbers.
    monkeypatch.setitem(sys.modules, "fcntl", None)
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    assert not is_locked(path)
    FileLock(path).release()


def test_without_locks_a_lock_file_of_another_host_counts_as_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    assert is_locked(path)
    with pytest.raises(AlreadyLocked, match="process 1 on elsewhere"):
        FileLock(path)


def test_without_locks_an_empty_lock_file_counts_as_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    path = tmp_path / "lock"
    path.write_text("")
    with pytest.raises(AlreadyLocked, match="another process"):
        FileLock(path)
    os.utime(path, (time.time() - 60, time.time() - 60))
    FileLock(path).release()


def test_only_one_of_many_processes_gets_a_lock(tmp_path: Path, locks: str) -> None:
    if locks == "msvcrt":
        pytest.skip("the stand-in is of this process only")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), locks]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, **streams) for _ in range(6)]
    # The one that has it keeps it until its input ends, so that all others meet it.
    until = time.monotonic() + 60
    while sum(process.poll() is None for process in processes) > 1 and time.monotonic() < until:
        time.sleep(0.02)
    errors = [process.communicate()[1].decode() for process in processes]
    assert sum(process.returncode == 0 for process in processes) == 1
    assert sum("AlreadyLocked" in error for error in errors) == 5


def test_peak_memory_of_this_process_is_known_where_the_system_reports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sys.platform != "win32":
        peak = files.peak_memory_mb()
        assert peak is not None
        assert 10 < peak < 100_000
    monkeypatch.setitem(sys.modules, "resource", None)
    assert files.peak_memory_mb() is None


def test_free_disk_of_a_folder_that_does_not_exist_yet_is_its_parents(tmp_path: Path) -> None:
    free = files.free_disk(tmp_path / "not" / "yet")
    assert free is not None
    assert free > 0


PACKAGE = Path(files.__file__).parent
ASKS_FOR_NETWORK_INTERFACES = "process_group.py"


def test_no_other_module_uses_platform_specific_modules() -> None:
    users = [
        path.name
        for path in PACKAGE.rglob("*.py")
        for word in ("fcntl", "import resource\n", "msvcrt", "fsync", "os.replace(")
        if word in path.read_text(encoding="utf-8")
    ]
    assert set(users) == {"files.py", ASKS_FOR_NETWORK_INTERFACES}
