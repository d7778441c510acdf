"""What a model's scores rest on: calibration, difficulty, and what its states do while it reasons."""
