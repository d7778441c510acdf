"""ARC datasets: sources, build, augmentation in place and online."""
