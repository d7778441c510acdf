"""Models for other programs: ONNX files, and one HTML page that solves puzzles by itself."""
