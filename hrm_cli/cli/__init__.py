"""The `hrm` command: one thin module per command. It turns options into a request, runs it and renders the result."""
