"""Chunk sizes of the kernels."""

NUMBERS_PER_ROW = 4096
"""Chunk size for tensors without rows. Chunks of this many float32 from a few tensors fit in the L1 cache."""
