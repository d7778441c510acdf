"""What a process has used of its machine."""

from __future__ import annotations

import sys


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far, in MB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
