"""Small datasets and sources that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.data.writer import DatasetWriter

FACTS = {"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 11}
ANSWERS_4 = ("1234341221434321", "1243431221343421", "2143341212344321", "4321214334121234")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """4 groups of 1 to 4 puzzles of 1 to 3 examples; every input row is filled with its example's number mod 11."""
    folder = tmp_path / "dataset"
    puzzle_sizes = np.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1])
    with DatasetWriter(folder) as writer:
        writer.set_identifiers(["<blank>", *(f"puzzle {i}" for i in range(1, 11))])
        for split in ("train", "test"):
            inputs = (np.arange(19) % 11)[:, None].repeat(6, axis=1).astype(np.uint8)
            labels = inputs.copy()
            labels[:, 0] = 0
            writer.split(split, seq_len=6).append(
                inputs,
                labels,
                group_sizes=np.array([1, 2, 3, 4]),
                puzzle_sizes=puzzle_sizes,
                identifiers=np.arange(1, 11),
            )
        writer.commit(FACTS)
    return folder


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes 4×4 puzzles (grids of `ANSWERS_4` with some cells blank) as a CSV file."""

    def write(name: str = "puzzles.csv", rows: list[tuple[str, str, str]] | None = None) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        if rows is None:
            rows = [
                ("." * blanks + answer[blanks:], answer, str(blanks))
                for answer in ANSWERS_4
                for blanks in (1, 2, 3, 4)
            ]
        lines = ["source,question,answer,rating", *(f"t,{q},{a},{r}" for q, a, r in rows)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    return write
