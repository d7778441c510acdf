"""The `hrm` command: one thin file per command, options → request → call → render."""
