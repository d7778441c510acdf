"""Passes over memory on a CPU, compiled by numba, run on torch's threads."""
