"""Reads and writes checkpoints of the reference implementations."""
