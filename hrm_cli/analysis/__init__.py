"""Studies of a trained model: calibration, accuracy by difficulty, and what its states do while it reasons."""
