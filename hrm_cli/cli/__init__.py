"""The `hrm` command: one thin file per command, options → call → render."""
