"""Built-in puzzle generators: every puzzle they make has exactly one solution."""
