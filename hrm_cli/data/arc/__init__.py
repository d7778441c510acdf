"""ARC datasets: sources, build, stored and online augmentation."""
