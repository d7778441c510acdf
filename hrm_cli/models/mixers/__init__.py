"""Mixers that are built on the structure of a domain. `hrm_cli.config.arch` registers them."""
