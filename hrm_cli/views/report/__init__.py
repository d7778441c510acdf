"""The page of `hrm report`, and the page of `hrm analyze`."""
