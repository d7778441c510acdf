"""`hrm report` and `hrm analyze`: what a model's scores rest on."""
