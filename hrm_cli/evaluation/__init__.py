"""Loops over datasets, inference-time search and selection, ARC voting, trivial predictors."""
