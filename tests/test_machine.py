"""How much memory there is: the machine's, or what a container is granted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hrm_cli import machine
from hrm_cli.machine import available_bytes, memory_bytes

MEMINFO = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\nHugePages_Total: 0\n"
GB = 10**9
FOUR = f"{4 * GB}"


def make(root: Path, **files: str) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_machine_has_its_physical_memory(tmp_path: Path) -> None:
    make(tmp_path)
    assert memory_bytes(tmp_path) == 24000000 * 1024
    assert available_bytes(tmp_path) == 20000000 * 1024


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{4 * GB}\n"},
        {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": FOUR},
        {"proc/self/cgroup": "3:cpu,memory:/x\n1:cpu:/", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": f"{4 * GB}"},
        # The path is that of the host; the container sees its own group at the top.
        {"proc/self/cgroup": "3:memory:/docker/abc\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GB}\n"},
    ],
    ids=["version 2", "a group around", "version 1", "inside a container"],
)  # fmt: skip
def test_a_container_has_the_memory_of_its_limit(tmp_path: Path, files: dict[str, str]) -> None:
    make(tmp_path, **files)
    assert memory_bytes(tmp_path) == available_bytes(tmp_path) == 4 * GB


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "nonsense\n", ""])
def test_a_cgroup_without_a_limit_grants_the_whole_machine(tmp_path: Path, text: str) -> None:
    for line, file in (("0::/", "memory.max"), ("4:memory:/", "memory/memory.limit_in_bytes")):
        make(tmp_path, **{"proc/self/cgroup": line, f"sys/fs/cgroup/{file}": text})
        assert memory_bytes(tmp_path) == 24000000 * 1024


def test_without_proc_memory_comes_from_the_system_or_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "win32":
        found = memory_bytes(tmp_path)
        assert found is not None
        assert found > GB / 10
    monkeypatch.delattr(machine.os, "sysconf", raising=False)
    assert memory_bytes(tmp_path) is None
    assert available_bytes(tmp_path) is None
