"""Kernels of our own for CUDA, in Triton."""
