"""Environment variables that any part of the toolkit may read."""

from __future__ import annotations

import os

from hrm_cli.errors import ConfigError

CPU_KERNELS = "HRM_CPU_KERNELS"
_ON, _OFF = ("", "on", "1", "true", "yes"), ("off", "0", "false", "no")


def cpu_kernels_enabled() -> bool:
    """Whether `HRM_CPU_KERNELS` allows the fused CPU kernels. They are on by default.

    Raises ConfigError if the value means neither on nor off.
    """
    value = os.environ.get(CPU_KERNELS, "").strip().lower()
    if value not in _ON + _OFF:
        raise ConfigError(f"environment variable {CPU_KERNELS}: expected on or off, got {value!r}")
    return value not in _OFF


SPINS = "1000"
"""Spin count: some tens of microseconds, longer than torch takes between two operators (benchmarks/busy_machine.py)."""
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def limit_spinning() -> None:
    """Makes idle OpenMP threads sleep after a short spin. Must be called before torch is imported.

    By default GNU OpenMP, which torch's Linux builds use, lets idle threads spin for milliseconds. If another program
    is busy, a spinning thread takes a core from a thread that has work. The user's own settings are left unchanged.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS
