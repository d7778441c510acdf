"""Fixtures for all tests: the command, in this process or in one of its own, and the folder `shared`."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from .processor_time import ProcessorTime
from .running import RunHrm, run_here, run_process
from .scheduling import longest_first, stealing_scheduler

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and every command that a test interrupts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Until the tests are collected, what is created stays: looking for garbage only takes time, 3 s in each worker.
gc.disable()

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("hrm", deadline=None)
settings.load_profile("hrm")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--processor-time`, also for the workers of pytest-xdist."""
    parser.addoption(
        "--processor-time", action="store_true", help="print the processor time of files and tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Measures if that is requested."""
    if config.getoption("--processor-time"):
        config.pluginmanager.register(ProcessorTime())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first."""
    longest_first(items)


def pytest_collection_finish() -> None:
    """From now on garbage is collected, but not among what the collection has created.

    400,000 objects of test modules and torch would be searched again and again: an eighth of the time of short tests.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """Tests of one file stay on one worker, until another one has nothing left."""
    return stealing_scheduler(config, log)


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` next to the checkout."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the recordings and puzzles in `shared` are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def run_hrm() -> RunHrm:
    """`run_hrm("presets", "show", "tiny")` runs the command in this process; a traceback fails the test."""
    return run_here


@pytest.fixture(scope="session")
def hrm_process() -> RunHrm:
    """The same in a process of its own, which takes two seconds longer: where the process is what is tested."""
    return run_process


@pytest.fixture(scope="session")
def arc_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the ARC task `copy`, and answers every test input with itself."""
    from .copying_models import arc_model  # torch is not needed by every test

    return arc_model(tmp_path_factory.mktemp("arc_model"))


@pytest.fixture(scope="session")
def own_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for own puzzles of 2×3 cells over the symbols a, b and <c>; every answer is the input."""
    from .copying_models import own_model

    return own_model(tmp_path_factory.mktemp("own_model"))
