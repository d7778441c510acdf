"""Datasets on disk: sources, build, format, batches."""
