"""Datasets to inspect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hrm_cli as hrm


@pytest.fixture(scope="session")
def sudoku(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4×4 Sudoku with three stored copies of each training puzzle."""
    folder = tmp_path_factory.mktemp("sudoku") / "data"
    hrm.build_dataset("sudoku", output_dir=folder, size=4, num_train=40, num_test=20, num_aug=3)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of transposed 3×3 grids: line 62 repeats line 2; line 63 has another output for line 3's input."""
    rng = np.random.default_rng(0)
    lines = ["input,output"]
    while len(lines) < 61:
        grid = rng.integers(0, 3, (3, 3))
        text, turned = ("/".join("".join(map(str, row)) for row in one) for one in (grid, grid.T))
        if f"{text},{turned}" not in lines:
            lines.append(f"{text},{turned}")
    lines += [lines[1], f"{lines[2].partition(',')[0]},000/000/000"]
    file = tmp_path_factory.mktemp("pairs") / "mine.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
