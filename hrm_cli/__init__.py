"""hrm: datasets, parameter counts, training, evaluation and solving for the Hierarchical Reasoning Model."""

__version__ = "0.1.0"
