"""Puzzle domains: rules, tokens, parsing, symmetries, verification. Knows no torch and no models."""
