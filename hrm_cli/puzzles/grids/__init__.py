"""Own puzzles: pairs of input and output grids over any symbols."""
