"""Settings of this process: environment variables that any part of the toolkit may read, signals, threads, memory."""

from __future__ import annotations

import functools
import os
import signal
import sys

from hrm_cli.errors import ConfigError

CPU_KERNELS = "HRM_CPU_KERNELS"
CPU_INT8 = "HRM_CPU_INT8"
_ON, _OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")


def cpu_kernels_enabled() -> bool:
    """Whether `HRM_CPU_KERNELS` allows the fused CPU kernels. They are on by default.

    Raises ConfigError if the value means neither on nor off.
    """
    return _switch(CPU_KERNELS) is not False


def cpu_int8_switch() -> bool | None:
    """What `HRM_CPU_INT8` says about int8 matmuls at inference; None leaves it to the model (`arch.inference_dtype`).

    Raises ConfigError if the value means neither on nor off.
    """
    return _switch(CPU_INT8)


def _switch(name: str) -> bool | None:
    value = os.environ.get(name, "").strip().lower()
    if value not in ("", *_ON, *_OFF):
        raise ConfigError(f"environment variable {name}: expected on or off, got {value!r}")
    return None if not value else value in _ON


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask a command to stop: Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal or lost SSH sends.

    SIGHUP is left out where it is ignored, as under `nohup`, and on Windows, which does not have it.
    """
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hangup)


def exit_on_signals() -> None:
    """Makes these signals raise SystemExit with the usual status, except SIGINT, which raises KeyboardInterrupt."""
    for number in stop_signals():
        if number != signal.SIGINT:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


SPINS = "1000"
"""Spin count: a few tens of microseconds, longer than torch needs between operators (benchmarks/busy_machine.py)."""
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def limit_spinning() -> None:
    """Makes idle OpenMP threads sleep after a short spin. Must be called before torch is imported.

    By default GNU OpenMP, which torch's Linux builds use, lets idle threads spin for milliseconds. If another program
    is busy, a spinning thread takes a core from a thread that has work. The user's own settings are left unchanged.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


# Constants from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROWS_BY = 64 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Makes the C library keep up to 2 GB of freed memory. Returns whether it accepted the settings (glibc only).

    By default it returns large blocks to the system as soon as they are freed, and later gets zeroed pages one by one.
    With many megabytes of activations per step, this takes 4 to 5 % of the time (benchmarks/results). Without trimming,
    memory freed by CPU tensors is reused. This affects the whole process, so only commands call it, never the library.
    It does nothing if the user has set MALLOC_… or GLIBC_TUNABLES in the environment.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return False
    import ctypes  # only commands on Linux need it

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWS_BY))
    accepted = [mallopt(option, value) == 1 for option, value in settings]
    return all(accepted)
