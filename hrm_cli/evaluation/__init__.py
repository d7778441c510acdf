"""Evaluation over datasets, beside the trivial baselines."""
