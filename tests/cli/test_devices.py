"""Freed memory is kept: pages that a step gave back are not faulted in again by the next."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

# Prints the page faults of ten tensors of 64 MB, one after the other.
FAULTS = """
import resource, torch
from hrm_cli.environment import keep_freed_memory
{call}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(10):
    faults()
print(sum(faults() for _ in range(10)))
"""


@cache
def faults(call: str, **environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(call=call)],
        capture_output=True, text=True, check=True, env=clean | environment,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    assert faults("assert keep_freed_memory()") < faults("") / 10


BUILD = """
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.registry import build_model
build_model(ArchConfig(hidden_size=32, num_heads=4), 6, 16, 1)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_building_a_model_leaves_the_malloc_of_its_process_alone_and_a_command_does_not() -> None:
    assert faults(BUILD) > 1000
    command = "from hrm_cli.cli.options import device_of_command; device_of_command('cpu')"
    assert faults(command) < faults(BUILD) / 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_settings_of_the_user_are_unchanged() -> None:
    assert faults("assert not keep_freed_memory()", MALLOC_ARENA_MAX="2") > 1000
