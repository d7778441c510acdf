"""A local page to play with models: `hrm play`."""
