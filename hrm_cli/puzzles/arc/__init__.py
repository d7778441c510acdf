"""ARC tasks: grids, symmetries, names of puzzles."""
