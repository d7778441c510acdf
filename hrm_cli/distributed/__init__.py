"""Processes of a job: the world of ranks, process groups, the launcher."""
