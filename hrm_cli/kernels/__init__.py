"""Kernels for a CPU: each one pass over memory where torch's operators would take several, on torch's own threads."""
