"""A run folder: lock, configuration, status, records, plan, what it takes of the machine."""
