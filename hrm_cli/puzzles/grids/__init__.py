"""Own puzzles: pairs of grids over any symbols."""
