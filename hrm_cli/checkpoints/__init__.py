"""Model files, bundled models, cards, and how runs point to their checkpoints."""
