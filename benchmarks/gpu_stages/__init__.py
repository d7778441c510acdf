"""The stages of `benchmarks/gpu.py`, one module each, and their shared code."""
