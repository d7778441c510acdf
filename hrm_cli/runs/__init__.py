"""A run folder: its request, lock, configuration, status, records, plan, and the run itself."""
