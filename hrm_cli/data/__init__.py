"""Datasets: sources of puzzles, build, format on disk, and batches."""
