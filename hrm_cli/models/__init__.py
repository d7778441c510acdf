"""Layers, mixers, cores, ACT, losses, inference; cpu/ for fused kernels."""
