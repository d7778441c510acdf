"""The training loop: step, objectives, state, optimizers, checkpointing, divergence."""
