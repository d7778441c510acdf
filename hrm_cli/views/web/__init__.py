"""Puzzles in a browser: one drawing model as JSON, and the script and style that draw it."""
