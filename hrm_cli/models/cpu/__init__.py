"""What a CPU runs: fused blocks, prepacked weights, compiled kernels."""
