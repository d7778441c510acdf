"""Widths derived from a configuration, and sizes of chunks. Does not import torch: parameter counts start quickly."""

from __future__ import annotations

NOVA_POSITIONS = 5000
"""Rows of nova's fixed position table: stored, never trained, and counted in the published 6.95M."""
CPU_VECTOR = 32
"""bfloat16 numbers in a CPU's widest vector register. On a CPU, attention is padded to a multiple of it."""
NUMBERS_PER_ROW = 4096
"""Chunk size of CPU kernels for tensors without rows: this many float32 from a few tensors fit in the L1 cache."""


def swiglu_width(size: int, expansion: float, multiple: int = 256) -> int:
    """Inner width of a SwiGLU over `size` features: round(expansion · size · 2/3), rounded up to a `multiple`."""
    return -(-round(expansion * size * 2 / 3) // multiple) * multiple


def encoder_width(hidden_size: int, expansion: float) -> int:
    """Inner width of nova's feed-forward layers: round(expansion · H)."""
    return round(expansion * hidden_size)
