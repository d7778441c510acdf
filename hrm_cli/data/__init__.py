"""Datasets on disk: sources, builder, format and batches."""
