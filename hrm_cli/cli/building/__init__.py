"""`hrm build-dataset`: one command for each kind of puzzles, and the options they share."""
