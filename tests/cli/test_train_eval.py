"""`hrm train`, `hrm eval` and `hrm params` as scripts use them: exit status, stdout, stderr and files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

MODEL = [
    "arch.hidden_size=16",
    "arch.num_heads=2",
    "arch.forward_dtype=float32",
    "train.global_batch_size=16",
    "train.lr_warmup_steps=2",
    "train.log_interval=2",
]
SMALL = [
    *MODEL, "data.size=4", "data.clues=6-10", "data.num_train=64", "data.num_test=16", "data.augment=stored",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(run_hrm, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    done = run_hrm(
        "train", "--preset", "tiny", "--output-dir", folder, *SMALL, "train.max_steps=6", "eval_interval=1"
    )
    assert done.status == 0, done.stderr
    return folder


def test_a_run_folder_holds_what_the_documentation_names(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "checkpoints", "best", "latest", "dataset"} <= names
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [2, 4, 6]
    assert [line["step"] for line in lines if line["kind"] == "eval"] == [4, 6]
    assert yaml.safe_load((run / "config.yaml").read_text())["arch"]["hidden_size"] == 16
    assert not list(run.rglob(".partial*"))


def test_training_prints_one_json_document_and_nothing_else_on_stdout(
    run_hrm, tmp_path: Path, run: Path
) -> None:
    done = run_hrm(
        "train",
        "--preset",
        "tiny",
        "--data",
        run / "dataset",
        "--output-dir",
        tmp_path / "r",
        "--json",
        *MODEL,
        "train.max_steps=3",
    )
    assert done.status == 0
    document = json.loads(done.stdout)
    assert {
        "run",
        "steps",
        "epochs",
        "seconds",
        "examples_per_second",
        "best",
        "checkpoint",
    } <= document.keys()
    assert document["steps"] == 3
    assert document["epochs"] == pytest.approx(3 * 16 / 64)
    assert Path(document["checkpoint"], "model.safetensors").is_file()
    assert "\x1b" not in done.stderr


def test_a_non_empty_output_folder_is_refused_and_left_unchanged(run_hrm, run: Path) -> None:
    before = (run / "metrics.jsonl").read_text()
    done = run_hrm("train", "--preset", "tiny", "--output-dir", run, *SMALL)
    assert done.status == 2
    assert "already exists" in done.stderr
    assert "--resume" in done.stderr
    assert (run / "metrics.jsonl").read_text() == before


def test_resume_continues_from_the_latest_checkpoint_to_a_later_end(
    run_hrm, run: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    done = run_hrm("train", "--resume", copy, "--json", "train.max_steps=8")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 8
    steps = [json.loads(line)["step"] for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps.count(6) == 2  # one line of training and one of the evaluation, neither repeated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "nonesuch"], "nonesuch"),
        (["--preset", "tiny", "hiden_size=3"], "did you mean arch.hidden_size"),
        (["--preset", "tiny", "num_heads=7"], "multiple of num_heads"),
        (["--preset", "tiny", "--data", "nowhere"], "nowhere"),
        (["--preset", "tiny", "train.device=tpu"], "tpu"),
        (["--resume", "nowhere"], "neither a run folder"),
        (["--preset", "tiny", "data.size=7"], "7"),
    ],
)
def test_wrong_requests_end_with_status_2_one_message_and_no_folder(
    run_hrm, tmp_path, arguments, message
) -> None:
    done = run_hrm(
        "train",
        *arguments,
        "--output-dir" if "--resume" not in arguments else "--json",
        *(["out"] if "--resume" not in arguments else []),
        cwd=tmp_path,
    )
    assert done.status == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_model_and_data_of_a_resumed_run_stay_as_they_are(run_hrm, run: Path) -> None:
    done = run_hrm("train", "--resume", run, "arch.hidden_size=32")
    assert done.status == 2
    assert "keeps its model and data" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_saves_first_and_says_so_by_its_status(
    tmp_path: Path, run: Path, number, status
) -> None:
    folder = tmp_path / "long"
    command = [
        sys.executable,
        "-m",
        "hrm_cli",
        "train",
        "--preset",
        "tiny",
        "--data",
        run / "dataset",
        "--output-dir",
        folder,
    ]
    process = subprocess.Popen(
        [str(part) for part in [*command, *MODEL, "--no-report", "epochs=100000"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    metrics = folder / "metrics.jsonl"
    # The first step's line: the run is in the middle of training.
    while not (metrics.exists() and metrics.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no step was logged"
        time.sleep(0.05)
    os.kill(process.pid, number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    assert "Traceback" not in error
    assert (folder / "latest").is_file()
    assert f"--resume {folder}" in out


def test_eval_prints_exact_accuracy_first_and_baselines_next_to_cell_accuracy(run_hrm, run: Path) -> None:
    done = run_hrm("eval", run)
    assert done.status == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows[2].startswith("exact accuracy")
    assert "most frequent" in done.stdout
    assert "copy input" in done.stdout
    figures = json.loads(run_hrm("eval", run, "--json").stdout)
    is_trivial = figures["cell_accuracy"] <= max(figures["baselines"].values()) + 0.02
    assert ("it says nothing about solving puzzles" in done.stdout) == is_trivial


def test_eval_json_has_the_documented_keys(run_hrm, run: Path) -> None:
    done = run_hrm(
        "eval",
        run / "latest",
        "--split",
        "train",
        "--max-steps",
        9,
        "--halt",
        "full",
        "--max-puzzles",
        10,
        "--json",
    )
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert {
        "checkpoint", "split", "puzzles", "exact_accuracy", "cell_accuracy", "baselines", "mean_steps", "efficiency",
        "q_halt_accuracy", "puzzles_per_second",
    } <= document.keys()  # fmt: skip
    assert (document["split"], document["puzzles"], document["mean_steps"]) == ("train", 10, 9)
    assert {"most_frequent", "copy_input"} <= document["baselines"].keys()


def test_eval_halts_at_another_threshold(run_hrm, run: Path) -> None:
    steps = {}
    for threshold in (0.0001, 0.9999):
        done = run_hrm(
            "eval",
            run / "latest",
            "--halt-threshold",
            threshold,
            "--max-steps",
            3,
            "--max-puzzles",
            5,
            "--json",
        )
        assert done.status == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["halt_threshold"] == threshold
        assert f"adaptive halting at {threshold:g}" in json.dumps(document["regime"])
        steps[threshold] = document["mean_steps"]
    assert steps == {0.0001: 1, 0.9999: 3}
    for options, message in (((1,), "above 0 and below 1"), ((0.5, "--halt", "full"), "--halt full")):
        refused = run_hrm("eval", run / "latest", "--halt-threshold", *options)
        assert refused.status == 2
        assert message in refused.stderr


def test_eval_refuses_a_dataset_that_does_not_fit_the_checkpoint(run_hrm, run: Path, tmp_path: Path) -> None:
    build = run_hrm(
        "build-dataset",
        "sudoku",
        "--size",
        6,
        "--num-train",
        5,
        "--num-test",
        5,
        "--output-dir",
        tmp_path / "six",
    )
    assert build.status == 0, build.stderr
    done = run_hrm("eval", run, "--data", tmp_path / "six")
    assert done.status == 2
    assert "vocab_size is 8" in done.stderr


def test_eval_refuses_damaged_datasets_and_checkpoints(run_hrm, run: Path, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(run / "dataset", data)
    inputs = data / "test" / "all__inputs.npy"
    inputs.write_bytes(inputs.read_bytes()[:-20])
    done = run_hrm("eval", run, "--data", data)
    assert done.status == 2
    assert "all__inputs.npy" in done.stderr
    junk = tmp_path / "model.safetensors"
    junk.write_bytes(b"junk")
    done = run_hrm("eval", junk)
    assert done.status == 2
    assert "not a complete safetensors file" in done.stderr


def test_params_json_has_the_published_figures(run_hrm) -> None:
    done = run_hrm("params", "--preset", "base", "--json")
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["exact"]["trainable"] == 27_275_266
    assert (document["approx"]["guide"], document["approx"]["rule_of_thumb"]) == (27_275_776, 25_178_624)
    assert sum(module["trainable"] for module in document["modules"]) == 27_275_266


def test_a_mixture_is_trained_on_chosen_by_its_validation_set_and_measured_by_source(
    run_hrm, tmp_path: Path
) -> None:
    also = "[{clues: minimal, num_train: 20, num_test: 8}, {clues: 15, num_train: 0, num_test: 5, name: one-empty}]"
    settings = [*SMALL, "augment=online", "hints=0.5", f"data.also={also}", "num_validation=12"]
    folder = tmp_path / "run"
    done = run_hrm("train", "--preset", "tiny", "--output-dir", folder, *settings, "train.max_steps=3")
    assert done.status == 0, done.stderr
    evaluated = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"eval"' in line]
    assert [json.loads(line)["puzzles"] for line in evaluated] == [12] * len(evaluated) != []
    done = run_hrm("eval", folder, "--json")
    by_set = json.loads(done.stdout)["by_set"]
    assert {name: part["puzzles"] for name, part in by_set.items()} == {
        "builtin-6-10": 16, "builtin-minimal": 8, "one-empty": 5
    }  # fmt: skip
    done = run_hrm("eval", folder)
    assert "builtin-minimal" in done.stdout
    assert run_hrm("eval", folder, "--split", "validation").status == 0
