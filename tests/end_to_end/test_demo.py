"""From nothing to solved puzzles: the demo's own run must solve puzzles that it has never seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hrm_cli.data.format import Dataset
from hrm_cli.puzzles.domain import make_domain


@pytest.mark.slow(seconds=90)
def test_the_demo_trains_a_model_that_solves_held_out_puzzles(run_hrm, tmp_path: Path) -> None:
    run = tmp_path / "demo"
    done = run_hrm("demo", "--output-dir", run, "--json")
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["puzzles"] == 500
    assert document["exact_accuracy"] >= 0.98

    trained, held_out = (Dataset.open(run / "dataset", split) for split in ("train", "test"))
    seen = {row.tobytes() for row in trained.sets[0].inputs}
    unseen = [row for row in held_out.sets[0].inputs if row.tobytes() not in seen]
    assert len(unseen) == 500

    domain = make_domain("sudoku", size=4)
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("".join(f"{domain.text(domain.decode(row))}\n" for row in unseen[:100]))
    solved = run_hrm("solve", puzzles, "--checkpoint", run, "--json", "--attempts", 4)
    records = [json.loads(line) for line in solved.stdout.splitlines()]
    assert len(records) == 100
    assert sum(record["status"] == "solved" and record["verified"] for record in records) >= 97

    evaluated = run_hrm("eval", run, "--json")
    assert json.loads(evaluated.stdout)["exact_accuracy"] == document["exact_accuracy"]
