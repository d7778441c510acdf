"""Sudoku: rules, symmetries, texts, a solver, generators."""
