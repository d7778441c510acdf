"""`hrm report` and `hrm analyze`: studies of a trained model."""
