"""Datasets of own puzzles."""
