"""Layers, mixers, cores, ACT, losses, inference; cpu/ and cuda/ for fused kernels."""
