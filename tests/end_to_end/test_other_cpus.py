"""Commands work where oneDNN may use older instructions than the processor has, in every number format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
from hrm_cli.cli.app import main

for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        print("STATUS", end.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["SSE41", "AVX2"])
def test_training_evaluating_and_solving_work_with_older_cpu_instructions(limit: str, tmp_path: Path) -> None:
    puzzle = tmp_path / "puzzle.txt"
    puzzle.write_text("12343412214.4321\n")
    commands = [
        words
        for dtype in ("bfloat16", "float32")
        for words in (
            [
                "train", "--no-report", "--preset", "demo", "--output-dir", dtype, "data.num_train=64",
                "data.num_test=8",
                "global_batch_size=32", "train.max_steps=3", "hidden_size=32", "num_heads=2", f"forward_dtype={dtype}",
            ],
            ["eval", dtype],
            ["solve", str(puzzle), "--checkpoint", dtype],
        )
    ]  # fmt: skip
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit, "HRM_CPU_KERNELS": "on"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=tmp_path, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    statuses = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("STATUS")]
    assert len(statuses) == 6, done.stderr
    for trained, evaluated, solved in (statuses[:3], statuses[3:]):
        assert (trained, evaluated) == ("0", "0"), done.stderr
        # The model has hardly been trained: the puzzle may be solved or not.
        assert solved in ("0", "1"), done.stderr
