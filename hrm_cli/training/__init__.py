"""The training loop and what it needs: optimisers, schedule, state, checkpoints."""
