"""How much the kernels take at once."""

NUMBERS_PER_ROW = 4096
"""Of a tensor without rows: so many float32 of a few tensors stay in the nearest cache."""
