"""Layers, cores, adaptive computation, losses and parameter counting."""
