"""Converts checkpoints of the reference implementations to model files and back."""
