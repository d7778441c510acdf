"""Memory and time of inspecting a dataset of a million examples.

    python benchmarks/inspection.py [--examples 1000000] [--save benchmarks/results/inspection.txt]

The examples are random symmetric copies of 64 puzzles, each stored as an original. They are written in the layout of a
dataset directly, because generating a million puzzles would take hours. The inspection, with a page, runs in a process
of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from reporting import keep, machine_line

from hrm_cli.data.writer import DatasetWriter
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

PIECE = 20_000
INSPECT = """
import json, sys
from hrm_cli.files import peak_memory_mb
from hrm_cli.inspection.report import InspectRequest, inspect_source
from hrm_cli.views.dataset_page import write_page
from pathlib import Path
found = inspect_source(InspectRequest(sys.argv[1], examples=60))
write_page(found, Path(sys.argv[2]))
print(json.dumps({"memory": peak_memory_mb(), "page": Path(sys.argv[2]).stat().st_size,
                  "findings": [one["text"] for one in found.document()["findings"]]}))
"""


def write(folder: Path, examples: int) -> None:
    """A dataset of copies of a few generated puzzles."""
    from hrm_cli.puzzles.sudoku.generator import generate

    domain, rng = SudokuDomain(9), np.random.default_rng(0)
    puzzles, answers = (
        domain.encode_all(np.concatenate(part))
        for part in zip(*generate(9, 64, rng, clues=(30, 50)), strict=True)
    )
    facts = {"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": domain.vocab_size}
    with DatasetWriter(folder) as writer:
        for split, count in (("train", examples), ("test", examples // 100)):
            writing = writer.split(split, seq_len=domain.seq_len)
            for start in range(0, count, PIECE):
                chosen = rng.integers(0, len(puzzles), min(PIECE, count - start))
                moved = domain.sample_symmetries(rng, len(chosen)).apply_both(
                    puzzles[chosen], answers[chosen]
                )
                writing.append(*moved, group_sizes=np.ones(len(chosen), np.int64))
        writer.commit({**facts, "domain": {"name": "sudoku", "size": 9}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        write(folder, options.examples)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        started = time.perf_counter()
        command = [sys.executable, "-c", INSPECT, str(folder), str(Path(scratch) / "page.html")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
    found = json.loads(done.stdout.splitlines()[-1])
    lines = [
        machine_line(),
        f"{options.examples:,} training and {options.examples // 100:,} test examples of 9×9 Sudoku, "
        f"{size / 1e6:,.0f} MB",
        f"inspection with a page: {seconds:.0f} s, peak memory {found['memory']:,.0f} MB, "
        f"page of {found['page'] / 1e3:,.0f} kB",
        *found["findings"],
    ]
    print("\n".join(lines))
    keep("\n".join(lines), options.save)


if __name__ == "__main__":
    main()
