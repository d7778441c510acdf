"""Environment variables that every part of the toolkit may read."""

from __future__ import annotations

import os

from hrm_cli.errors import ConfigError

CPU_KERNELS = "HRM_CPU_KERNELS"
_ON, _OFF = ("", "on", "1", "true", "yes"), ("off", "0", "false", "no")


def cpu_kernels_enabled() -> bool:
    """Whether the fused CPU kernels may be used: `HRM_CPU_KERNELS`, on unless set to `off`.

    Raises ConfigError for any other value.
    """
    value = os.environ.get(CPU_KERNELS, "").strip().lower()
    if value not in _ON + _OFF:
        raise ConfigError(f"environment variable {CPU_KERNELS}: expected on or off, got {value!r}")
    return value not in _OFF


SPINS = "1000"
"""Some tens of microseconds: longer than torch needs from one operator to the next (benchmarks/busy_machine.py)."""
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def limit_spinning() -> None:
    """Has OpenMP's threads sleep soon after they run out of work; only before torch is loaded.

    By default GNU's OpenMP, which torch's Linux builds use, has them spin for milliseconds: a thread that waits keeps
    a core from one that has work, where another program is busy. Nothing is changed where the user has set how
    threads wait.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS
