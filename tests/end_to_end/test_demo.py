"""From nothing to solved puzzles: `hrm demo`, of which only the training is cut short.

`.ci/run` runs the quickstart, which runs `hrm demo` as it is and then trains its preset again: there the models must
solve 98 % of the held-out puzzles.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from hrm_cli.data.format import Dataset
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.runs import request


@pytest.mark.slow(seconds=15)
def test_the_demo_builds_trains_evaluates_and_solves_with_what_it_made(
    run_hrm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short = partial(request.TrainRequest, overrides=("train.max_steps=20",))
    monkeypatch.setattr(request, "TrainRequest", short)
    run = tmp_path / "demo"
    done = run_hrm("demo", "--output-dir", run, "--json")
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["puzzles"] == 500

    trained, held_out = (Dataset.open(run / "dataset", split) for split in ("train", "test"))
    seen = {row.tobytes() for row in trained.sets[0].inputs}
    unseen = [row for row in held_out.sets[0].inputs if row.tobytes() not in seen]
    assert len(unseen) == 500

    domain = make_domain("sudoku", size=4)
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("".join(f"{domain.text(domain.decode(row))}\n" for row in unseen[:20]))
    solved = run_hrm("solve", puzzles, "--checkpoint", run, "--json", "--attempts", 4)
    records = [json.loads(line) for line in solved.stdout.splitlines()]
    assert len(records) == 20
    # Twenty steps teach little: an answer is verified or refused.
    assert all(record["verified"] == (record["status"] == "solved") for record in records)

    evaluated = run_hrm("eval", run, "--json")
    assert json.loads(evaluated.stdout)["exact_accuracy"] == document["exact_accuracy"]
