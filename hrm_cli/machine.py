"""What the system says of this machine: processor, cores, memory. Nothing here loads torch."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Where `proc` and `sys` lie."""


def granted_cores() -> int:
    """Cores that this process may use: fewer than the machine has under taskset, in containers, in batch systems."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name, as its maker writes it; the architecture where the system tells no more."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_bytes(root: Path = ROOT) -> int | None:
    """Bytes that all processes here may hold together, swap left out; None where the system does not tell."""
    limits = [*_group_limits(root)]
    if (installed := _installed(root)) is not None:
        limits.append(installed)
    return min(limits, default=None)


def available_bytes(root: Path = ROOT) -> int | None:
    """Bytes of it that are not in use now, file caches counted as free (Linux); None elsewhere."""
    free = _meminfo(root).get("MemAvailable")
    limit = memory_bytes(root)
    return free if limit is None or free is None else min(free, limit)


def _installed(root: Path) -> int | None:
    if (found := _meminfo(root).get("MemTotal")) is not None:
        return found
    # macOS and other Unixes; Windows has no sysconf.
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
    """Limits of this process's control group and of those around it, in version 2 and in version 1."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        # In a container the path may be the host's, and the folder is the group's own.
        for folder in (group, *group.parents):
            text = _text(folder / file).strip()
            # Version 1 writes a number beyond any memory where there is no limit.
            if text.isdecimal() and int(text) < 1 << 60:
                yield int(text)
            if folder == top:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
