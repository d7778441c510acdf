"""Under Windows' rules, and in a network folder, everything works that writes files: datasets, runs, checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the simulation stands on Linux")


@pytest.fixture(params=["windows", "network"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hrm(system: str, *arguments: object, cwd: Path, status: int = 0) -> str:
    """Runs `hrm` under the rules of a system; gives back its standard output."""
    command = [sys.executable, str(HERE / "other_systems.py"), system, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


SHORT = ("train.epochs=100", "train.eval_interval=2", "train.global_batch_size=16", "arch.hidden_size=32",
         "arch.num_heads=4", "train.device=cpu")  # fmt: skip


@pytest.mark.slow
def test_a_run_is_trained_resumed_evaluated_solved_with_and_converted(system: str, tmp_path: Path) -> None:
    data = ("build-dataset", "sudoku", "--size", 4, "--num-train", 20, "--num-test", 5, "--output-dir", "d")
    hrm(system, *data, cwd=tmp_path)
    train = ("train", "--data", "d", "--output-dir", "run", "train.max_steps=4", "--json", *SHORT)
    document = json.loads(hrm(system, *train, cwd=tmp_path))
    assert document["steps"] == 4
    assert document["best"] is not None
    resumed = json.loads(hrm(system, "train", "--resume", "run", "train.max_steps=6", "--json", cwd=tmp_path))
    assert resumed["steps"] == 6
    run = tmp_path / "run"
    assert (run / "latest").read_text() == "checkpoints/step-000000006\n"
    assert (run / (run / "best").read_text().strip() / "model.safetensors").is_file()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "eval"][-1] == 6
    assert not list(run.rglob(".partial-*"))
    assert not (run / ".running").exists()
    assert json.loads(hrm(system, "eval", "run", "--data", "d", "--json", cwd=tmp_path))["puzzles"] == 5
    assert "finished" in hrm(system, "runs", "run", cwd=tmp_path)
    (tmp_path / "puzzle.txt").write_text("1234341221434320\n")
    solve = ("solve", "puzzle.txt", "--checkpoint", "run", "--output", "answers.txt", "--json")
    # Six steps of training solve nothing: a negative answer, written whole.
    hrm(system, *solve, cwd=tmp_path, status=1)
    assert (tmp_path / "answers.txt").read_text() == "\n"
    hrm(system, "convert", "run", "reference/step_6", cwd=tmp_path)
    hrm(system, "convert", "reference/step_6", "back.safetensors", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "d", "run", "puzzle.txt", "answers.txt", "reference", "back.safetensors",
    }  # fmt: skip


@pytest.mark.slow
def test_a_dataset_that_is_being_built_is_left_alone_by_the_next_build(system: str, tmp_path: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['x']; "
        f"m = runpy.run_path({str(HERE / 'other_systems.py')!r}); "
        f"m['as_on_windows' if {system!r} == 'windows' else 'as_on_a_network_folder'](); "
        "from hrm_cli.data.writer import DatasetWriter; from pathlib import Path; "
        "writer = DatasetWriter(Path('d')).__enter__(); print('building', flush=True); sys.stdin.read(); "
        "sys.exit(writer.__exit__(None, None, None))"
    )
    build = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert build.stdout is not None
    assert build.stdout.readline() == "building\n"
    before = {path.name for path in tmp_path.iterdir()}
    data = ("build-dataset", "sudoku", "--size", 4, "--num-train", 5, "--num-test", 5, "--output-dir", "d")
    hrm(system, *data, cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before | {"d"}
    build.kill()
    build.communicate()
    hrm(system, *data, "--force", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"d"}
