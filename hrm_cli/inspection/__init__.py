"""Inspection of datasets: contents, duplicates, leaks, claimed symmetries."""
