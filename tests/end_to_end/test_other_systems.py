"""Under Windows' rules, and in a network folder, everything works that writes files: datasets, runs, checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the simulation stands on Linux")


@pytest.fixture(params=["windows", "network"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Hrm:
    """`hrm` under the rules of a system, in a folder; gives back its standard output."""

    def __init__(self, system: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "other_systems.py"), system, str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, *arguments: object, status: int = 0) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(argument) for argument in arguments]), file=self.process.stdin, flush=True)
        found, out, error = json.loads(self.process.stdout.readline())
        assert found == status, error
        assert "Traceback" not in error, error
        return str(out)


@pytest.fixture
def hrm(system: str, tmp_path: Path) -> Iterator[Hrm]:
    hrm = Hrm(system, tmp_path)
    yield hrm
    hrm.process.communicate(timeout=60)
    assert hrm.process.returncode == 0


SHORT = ("train.epochs=100", "train.eval_interval=2", "train.global_batch_size=16", "arch.hidden_size=32",
         "arch.num_heads=4", "train.device=cpu")  # fmt: skip


@pytest.mark.slow
def test_a_run_is_trained_resumed_evaluated_solved_with_and_converted(hrm: Hrm, tmp_path: Path) -> None:
    data = ("build-dataset", "sudoku", "--size", 4, "--num-train", 20, "--num-test", 5, "--output-dir", "d")
    hrm(*data)
    train = (
        "train", "--data", "d", "--output-dir", "run", "train.max_steps=4", "--json", "--no-report", *SHORT,
    )  # fmt: skip
    document = json.loads(hrm(*train))
    assert document["steps"] == 4
    assert document["best"] is not None
    resumed = json.loads(hrm("train", "--resume", "run", "--no-report", "train.max_steps=6", "--json"))
    assert resumed["steps"] == 6
    run = tmp_path / "run"
    assert (run / "latest").read_text() == "checkpoints/step-000000006\n"
    assert (run / (run / "best").read_text().strip() / "model.safetensors").is_file()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "eval"][-1] == 6
    assert not list(run.rglob(".partial-*"))
    assert not (run / ".running").exists()
    assert json.loads(hrm("eval", "run", "--data", "d", "--json"))["puzzles"] == 5
    assert "finished" in hrm("runs", "run")
    (tmp_path / "puzzle.txt").write_text("1234341221434320\n")
    solve = ("solve", "puzzle.txt", "--checkpoint", "run", "--output", "answers.txt", "--json")
    # Six steps of training solve nothing: a negative answer, written whole.
    hrm(*solve, status=1)
    assert (tmp_path / "answers.txt").read_text() == "\n"
    hrm("convert", "run", "reference/step_6")
    hrm("convert", "reference/step_6", "back.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {
        "d", "run", "puzzle.txt", "answers.txt", "reference", "back.safetensors",
    }  # fmt: skip


@pytest.mark.slow
def test_a_dataset_that_is_being_built_is_left_alone_by_the_next_build(
    hrm: Hrm, system: str, tmp_path: Path
) -> None:
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
    hrm(*data)
    assert {path.name for path in tmp_path.iterdir()} == before | {"d"}
    build.kill()
    build.communicate()
    hrm(*data, "--force")
    assert {path.name for path in tmp_path.iterdir()} == {"d"}
