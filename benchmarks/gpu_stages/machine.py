"""The machine: its GPU and versions, and packages that are missing, before minutes are spent on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version

from gpu_stages.processes import REPOSITORY

_FOR_THE_TESTS = ("pytest", "hypothesis")
_REPORTED = ("torch", "triton", "numpy", "numba", "pydantic", "typer", "flash-attn", "adam-atan2")


def header() -> str:
    """The GPU, its driver and the versions, without initializing CUDA."""
    card = "no GPU"
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            card = subprocess.run(
                query, capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            card = f"nvidia-smi failed ({error})"
    versions = [f"{name} {_version(name)}" if _version(name) else f"no {name}" for name in _REPORTED]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{card}; {cores} CPU cores; Python {platform.python_version()}, {', '.join(versions)}"


def unmet(requirements: list[str] | None = None) -> list[str]:
    """Requirements of `hrm` and of its tests that are not installed here, each with the version that is."""
    from packaging.requirements import Requirement

    if requirements is None:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        requirements = [*project["dependencies"], *_FOR_THE_TESTS]
    found = []
    for requirement in map(Requirement, requirements):
        installed = _version(requirement.name)
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            found.append(f"{requirement} (here: {installed or 'none'})")
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
