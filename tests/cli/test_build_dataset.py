from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hrm_cli.data.format import Dataset

SMALL = ("build-dataset", "sudoku", "--size", "4", "--num-train", "20", "--num-test", "5")


def test_json_is_one_document_with_the_promised_keys(run_hrm: Callable, tmp_path: Path) -> None:
    done = run_hrm(*SMALL, "--num-aug", "3", "--output-dir", tmp_path / "d", "--json", "-q")
    assert done.status == 0
    document = json.loads(done.stdout)
    assert document["train"] == {"groups": 20, "puzzles": 80, "examples": 80}
    assert document["test"] == {"groups": 5, "puzzles": 5, "examples": 5}
    assert (document["vocab_size"], document["seq_len"], document["num_puzzle_identifiers"]) == (6, 16, 1)
    assert document["output_dir"] == str(tmp_path / "d")
    assert document["bytes"] == sum(f.stat().st_size for f in (tmp_path / "d").rglob("*") if f.is_file())
    assert document["seconds"] > 0
    assert document["examples_per_second"] == pytest.approx(85 / document["seconds"])
    if sys.platform != "win32":
        assert document["peak_memory_mb"] > 10
    assert done.stderr == ""


def test_a_build_prints_a_readable_summary(run_hrm: Callable, tmp_path: Path) -> None:
    done = run_hrm(*SMALL, "--output-dir", tmp_path / "d")
    assert done.status == 0
    for words in (
        "train",
        "20",
        "800 tokens of a vocabulary of 6",
        "examples/s",
        f"Dataset: {tmp_path / 'd'}",
    ):
        assert words in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "0.0 MB" not in done.stdout, "a small dataset has its size in kB"


def test_every_documented_option_is_accepted(run_hrm: Callable, csv_source: Path, tmp_path: Path) -> None:
    done = run_hrm(
        "build-dataset", "sudoku", "--source", csv_source, "--num-test", 2, "--subsample-size", 3,
        "--min-difficulty", 2, "--num-aug", 2, "--augment", "stored", "--strict-split", "--seed", 7,
        "--output-dir", tmp_path / "d", "--json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["train"]["groups"], document["train"]["examples"]) == (3, 9)
    assert document["seed"] == 7
    assert "puzzles.csv: left out 1 puzzle below difficulty 2" in document["notes"]


@pytest.fixture
def csv_source(tmp_path: Path) -> Path:
    answers = ("1234341221434321", "1234341243212143", "1243431221343421", "4321214334121234")
    file = tmp_path / "puzzles.csv"
    rows = [
        f"s,{'.' * blanks}{a[blanks:]},{a},{blanks}" for blanks, a in zip((1, 2, 3, 4), answers, strict=True)
    ]
    rows += [f"s,{a[:8]}....{a[12:]},{a},3" for a in answers]
    rows += [f"s,{a[:3]}.{a[4:]},{a},3" for a in answers]
    file.write_text("source,question,answer,rating\n" + "\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "5"), "4, 6, 8, 9"),
        (("--num-train", "0"), "Error: --num-train: found 0; accepted: a whole number, at least 1"),
        (("--clues", "many"), "Error: --clues: found 'many'"),
        (("--size", "9x6"), "'--size': found '9x6'; the grids are square: 9 or 6"),
        (("--size", "nine"), "'--size': found 'nine'; accepted: cells along a side, as in 9 or 9x9"),
        (("--size", "5x5"), "4, 6, 8, 9"),
        (("--source", ""), "--source: is empty"),
        (("--num-train", "1e3"), "'--num-train': found '1e3'; accepted: a whole number; did you mean 1000?"),
        (("--hints", "some"), "'--hints': found 'some'; accepted: a number\n"),
        (("--seed=-1",), "'--seed': found '-1'; accepted: at least 0"),
        (("--clues", "99"), "clues 99"),
        (("--augment", "sometimes"), "stored or online"),
        (("--subsample-size", "5"), "--subsample-size: only for puzzles from a file"),
        (
            ("--source", "x.csv", "--num-train", "5"),
            "--num-train: only for puzzles from the built-in generator",
        ),
        (("--source", "x.csv"), "x.csv: does not exist"),
        (("--source", "hf:nothing"), "hf:OWNER/NAME"),
        (("--augment", "online", "--num-aug", "5"), "--num-aug"),
        (("--test-subsample-size", "5"), "use --num-train and --num-test here"),
        (("--by-collection",), "--by-collection: only for puzzles from a file"),
        (
            ("--also", "{source: x.csv, clues: minimal}"),
            "--also 1: clues: only for puzzles from the built-in",
        ),
        (("--also", "{min_path: 5}"), "--also 1: min_path: has no effect for the domain sudoku"),
    ],
)
def test_a_wrong_request_is_one_message_and_status_2(
    run_hrm: Callable, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run_hrm("build-dataset", "sudoku", *options, "--output-dir", tmp_path / "d")
    assert done.status == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_option_without_effect_is_refused_with_the_one_that_has_it(
    run_hrm: Callable, csv_source: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text(csv_source.read_text().replace("source,", "origin,", 1))
    own = tmp_path / "own"
    own.mkdir()
    for name in ("train.csv", "test.csv"):
        (own / name).write_text(csv_source.read_text())
    cases = {
        (csv_source, "--test-subsample-size", 2): "--num-test sets how many of its puzzles are held out",
        (own, "--num-test", 3): "has its own test set; --test-subsample-size samples from it",
        (plain, "--num-test", 2, "--by-collection"): "--by-collection: has no effect",
    }
    for (source, *options), message in cases.items():
        done = run_hrm(
            "build-dataset", "sudoku", "--source", source, *options, "--output-dir", tmp_path / "d"
        )
        assert (done.status, done.stdout) == (2, ""), options
        assert message in done.stderr
        assert not (tmp_path / "d").exists()


def test_an_existing_dataset_is_kept_without_force(run_hrm: Callable, tmp_path: Path) -> None:
    assert run_hrm(*SMALL, "--output-dir", tmp_path / "d").status == 0
    again = run_hrm(*SMALL, "--output-dir", tmp_path / "d")
    assert again.status == 2
    assert "--force" in again.stderr
    assert run_hrm(*SMALL, "--output-dir", tmp_path / "d", "--force", "--seed", 1).status == 0
    assert Dataset.open(tmp_path / "d").metadata.seed == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing(number: int, status: int, tmp_path: Path) -> None:
    target = tmp_path / "out" / "d"
    process = subprocess.Popen(
        [sys.executable, "-m", "hrm_cli", "build-dataset", "sudoku", "--num-train", "10000000",
         "--output-dir", str(target)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    pools = ".d.building-*/scratch/*/*.pool"
    while not any(file.stat().st_size for file in target.parent.glob(pools)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no puzzle was kept on disk"
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_help_shows_examples_and_loads_nothing_heavy(run_hrm: Callable) -> None:
    done = run_hrm("build-dataset", "sudoku", "--help")
    assert done.status == 0
    assert "hrm build-dataset sudoku -o data/" in done.stdout
    code = (
        "import sys; from hrm_cli.cli.app import main\n"
        "try: main(['build-dataset', 'sudoku', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numba', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stderr.strip() == "[]"
