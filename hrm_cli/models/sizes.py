"""Widths that follow from a configuration, for modules and for counts that must not wait for torch."""

from __future__ import annotations

NOVA_POSITIONS = 5000
"""Rows of nova's fixed position table: stored, never trained, and counted in the published 6.95M."""
CPU_VECTOR = 32
"""Numbers in bfloat16 of a CPU's widest vector register: attention is padded to whole ones there."""


def swiglu_width(size: int, expansion: float) -> int:
    """Inner width of a SwiGLU over `size` numbers: round(expansion · size · 2/3), rounded up to a multiple of 256."""
    return -(-round(expansion * size * 2 / 3) // 256) * 256


def encoder_width(hidden_size: int, expansion: float) -> int:
    """Inner width of nova's feed-forward layers: round(expansion · H)."""
    return round(expansion * hidden_size)
