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
