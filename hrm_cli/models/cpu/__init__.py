"""CPU implementations: fused blocks, prepacked weights, compiled kernels."""
