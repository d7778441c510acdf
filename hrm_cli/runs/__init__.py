"""Training runs: request, folder and lock, configuration, status, records, plan and execution."""
