"""`hrm inspect`."""
