"""Mazes: rules, paths, texts, a generator."""
