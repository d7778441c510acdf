"""Evaluation loops, inference-time search and selection, ARC voting, trivial baselines."""
