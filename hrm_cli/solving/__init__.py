"""From puzzle files to verified answers."""
