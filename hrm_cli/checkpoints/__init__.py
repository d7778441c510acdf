"""Model files, bundled models, model cards, the pointers best and latest; convert/ for other programs' files."""
