"""Several processes: ranks, process groups, the launcher."""
