"""Freed memory is kept: pages that a step gave back are not faulted in again by the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Prints the page faults of ten tensors of 64 MB, one after the other, for each call: in a child of a process that has
# imported torch and nothing else, so that no call sees the malloc that another has set.
FAULTS = """
import json, os, resource, sys, torch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for call in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        from hrm_cli.environment import keep_freed_memory
        exec(call)
        for _ in range(10):
            faults()
        print(sum(faults() for _ in range(10)), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, call
"""
BUILD = """
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.registry import build_model
build_model(ArchConfig(hidden_size=32, num_heads=4), 6, 16, 1)
"""
KEEP = "assert keep_freed_memory()"
COMMAND = "from hrm_cli.cli.options import device_of_command; device_of_command('cpu')"
SET_BY_USER = "os.environ['MALLOC_ARENA_MAX'] = '2'; assert not keep_freed_memory()"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")


@pytest.fixture(scope="module")
def faults() -> dict[str, int]:
    """Page faults after each call; "" is no call."""
    calls = ["", KEEP, BUILD, COMMAND, SET_BY_USER]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, json.dumps(calls)],
        capture_output=True,
        text=True,
        check=True,
        env=clean,
    )
    return dict(zip(calls, map(int, done.stdout.split()), strict=True))


def test_memory_that_was_freed_is_used_again_without_page_faults(faults: dict[str, int]) -> None:
    assert faults[KEEP] < faults[""] / 10


def test_building_a_model_leaves_the_malloc_of_its_process_alone_and_a_command_does_not(
    faults: dict[str, int],
) -> None:
    assert faults[BUILD] > 1000
    assert faults[COMMAND] < faults[BUILD] / 10


def test_settings_of_the_user_are_unchanged(faults: dict[str, int]) -> None:
    assert faults[SET_BY_USER] > 1000
