"""Formats the output of commands: tables, grids, paragraphs."""
