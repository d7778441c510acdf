"""Processor, cores and memory of this machine, as the system reports them. Does not import torch."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""The folder that contains `proc` and `sys`; tests use another."""


def granted_cores() -> int:
    """Number of cores that this process may use. taskset, containers and batch systems may grant fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's marketing name, or its architecture if the system does not report a name."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(
                command, capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_bytes(root: Path = ROOT) -> int | None:
    """Memory limit in bytes for all processes here together, without swap; None if unknown."""
    limits = [*_group_limits(root)]
    if (installed := _installed(root)) is not None:
        limits.append(installed)
    return min(limits, default=None)


def available_bytes(root: Path = ROOT) -> int | None:
    """Bytes of that memory not in use now, counting file caches as free (Linux only); None elsewhere."""
    free = _meminfo(root).get("MemAvailable")
    limit = memory_bytes(root)
    return free if limit is None or free is None else min(free, limit)


def _installed(root: Path) -> int | None:
    if (found := _meminfo(root).get("MemTotal")) is not None:
        return found
    # For macOS and other Unix systems; Windows has no sysconf.
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _installed_on_windows() if sys.platform == "win32" else None


def _installed_on_windows() -> int | None:
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    found = ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))  # type: ignore[attr-defined,unused-ignore]
    return kilobytes.value * 1024 if found else None


def _meminfo(root: Path) -> dict[str, int]:
    found = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found


def _group_limits(root: Path) -> Iterator[int]:
    """Memory limits of this process's control group and its parent groups, for cgroups v2 and v1."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        # In a container, the path may be the host's path, while the mounted folder is already the group's own.
        for folder in (group, *group.parents):
            text = _text(folder / file).strip()
            # Without a limit, cgroups v1 reports a number larger than any memory.
            if text.isdecimal() and int(text) < 1 << 60:
                yield int(text)
            if folder == top:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
