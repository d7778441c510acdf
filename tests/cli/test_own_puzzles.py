"""Own puzzles on the command line: from a file to a dataset, a trained model, its figures and its answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from .conftest import MODEL

SYMBOLS = ("🟥", "🟦", "🟩")
TINY = [
    *MODEL,
    "train.global_batch_size=32",
    "train.lr=5e-3",
    "arch.pos_encodings=learned",
    "arch.halt_max_steps=2",
]


def row(numbers: list[int]) -> str:
    return "".join(SYMBOLS[number] for number in numbers)


def pairs() -> list[tuple[str, str]]:
    """Sequences of 1 to 4 symbols, each replaced by the next one."""
    rng = np.random.default_rng(3)
    made = [rng.integers(0, 3, rng.integers(1, 5)).tolist() for _ in range(400)]
    return [(row(numbers), row([(number + 1) % 3 for number in numbers])) for numbers in made]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "shift.csv"
    path.write_text("question,answer\n" + "\n".join(",".join(pair) for pair in pairs()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dataset(run_hrm, source) -> Path:
    folder = source.parent / "data"
    done = run_hrm("build-dataset", "grids", "--source", source, "--output-dir", folder, "--num-test", "20")
    assert done.status == 0, done.stderr
    assert "duplicates left out" in done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def run(run_hrm, dataset) -> Path:
    folder = dataset.parent / "run"
    done = run_hrm(
        "train", "--preset", "tiny", "--data", dataset, "--output-dir", folder, *TINY,
        "train.max_steps=400", "train.epochs=6000", "train.eval_interval=null",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    return folder


def solved(run_hrm, run: Path, *sources: object, options: tuple[object, ...] = ()) -> tuple[list[dict], int]:
    done = run_hrm("solve", *sources, "--checkpoint", run, "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()], done.status


@pytest.mark.slow(seconds=20)
def test_a_model_learns_own_puzzles_and_answers_new_ones_in_their_symbols(run_hrm, run, tmp_path):
    done = run_hrm("eval", run, "--json")
    figures = json.loads(done.stdout)
    assert figures["exact_accuracy"] > 0.9
    assert figures["baselines_exact"]["copy_input"] == 0
    new = tmp_path / "new.jsonl"
    new.write_text(
        json.dumps({"question": "🟥🟦🟩"}) + "\n" + json.dumps({"input": [["🟩", "🟩"]], "output": "🟥🟥"})
    )
    records, status = solved(run_hrm, run, new, options=("--output", tmp_path / "answers.txt"))
    assert status == 0
    assert [record["status"] for record in records] == ["answered", "answered"]
    assert [record["verified"] for record in records] == [False, False]
    assert records[0]["output"] == [["🟦", "🟩", "🟥"]]
    assert records[0]["answer"] == "🟦🟩🟥"
    assert "as_expected" not in records[0]
    assert records[1]["as_expected"] is True
    assert (tmp_path / "answers.txt").read_text(encoding="utf-8") == "🟦🟩🟥\n🟥🟥\n"


@pytest.mark.slow(seconds=5)
def test_text_files_typed_puzzles_and_standard_input_are_answered_too(run_hrm, run, tmp_path):
    (tmp_path / "new.txt").write_text("🟥🟦\n\n🟩\n", encoding="utf-8")
    records, status = solved(run_hrm, run, tmp_path / "new.txt", "🟥🟥🟥")
    assert status == 0
    assert [len(record["output"][0]) for record in records] == [2, 1, 3]
    done = run_hrm("solve", tmp_path / "new.txt", "--checkpoint", run)
    assert re.search(r"Answered 2 of 2 puzzles in", done.stderr)


@pytest.mark.slow(seconds=5)
def test_what_is_no_input_of_the_model_is_named_and_the_others_are_answered(run_hrm, run, tmp_path):
    new = tmp_path / "new.csv"
    new.write_text("input\n🟥\n🟥x\n🟥🟥🟥🟥🟥\n🟦\n", encoding="utf-8")
    records, status = solved(run_hrm, run, new)
    assert status == 2
    assert [record["status"] for record in records] == ["answered", "invalid", "invalid", "answered"]
    assert "the symbol 'x' is not one of the 3 known symbols (🟥 🟦 🟩)" in records[1]["reason"]
    assert "an input of 1×5 cells; expected at most 1×4" in records[2]["reason"]
    (tmp_path / "cut.jsonl").write_text('{"input": "🟥"}\n{"inp', encoding="utf-8")
    records, status = solved(run_hrm, run, tmp_path / "cut.jsonl")
    assert status == 2
    assert [record["status"] for record in records] == ["answered", "invalid"]
    assert "cut.jsonl:2: not valid JSON" in records[1]["reason"]


@pytest.mark.slow(seconds=5)
def test_the_reasoning_on_own_puzzles_can_be_seen(run_hrm, run, tmp_path):
    pictures = {option: tmp_path / f"a.{option}" for option in ("gif", "png", "html")}
    options = [word for option, path in pictures.items() for word in (f"--{option}", path)]
    done = run_hrm("solve", "🟥🟦🟩", "--checkpoint", run, "--trace", "--heatmap", *options)
    assert done.status == 0
    assert "step 1: halt" in done.stdout
    assert "  🟦 🟩 🟥" in done.stdout
    assert "confidence of each cell" in done.stdout
    page = pictures["html"].read_text(encoding="utf-8")
    assert '"symbols":"🟥🟦🟩"' in page
    assert '"symbols":"🟦🟩🟥"' in page


@pytest.mark.slow(seconds=5)
def test_options_that_need_rules_are_refused(run_hrm, run):
    for options in (("--search", "4"), ("--effort", "high"), ("--max-seconds", "3"), ("--picture", "a.svg")):
        done = run_hrm("solve", "🟥", "--checkpoint", run, *options)
        assert done.status == 2
        reason = (
            "own puzzles have no rules"
            if options[0] in ("--effort", "--max-seconds")
            else "not for own puzzles"
        )
        assert f"{options[0]}: {reason}" in done.stderr
    done = run_hrm("solve", "🟥", "--checkpoint", run, "--attempts", "8")
    assert done.status == 2
    assert "--attempts 8: grids (up to 1×4 cells, 3 symbols) claims no symmetries" in done.stderr
    done = run_hrm("solve", "absent.jsonl", "--checkpoint", run)
    assert done.status == 2
    assert "absent.jsonl: no such file" in done.stderr


@pytest.mark.slow(seconds=8)
def test_restarts_choose_an_answer_by_agreement_and_say_so(run_hrm, run, tmp_path):
    new = tmp_path / "new.txt"
    new.write_text("🟥🟦🟩\n🟩🟩\n", encoding="utf-8")
    records, status = solved(run_hrm, run, new, options=("--restarts", "3", "--noise-init", "0.01"))
    assert status == 0
    assert [record["output"] for record in records] == [[["🟦", "🟩", "🟥"]], [["🟥", "🟥"]]]
    for record in records:
        assert (record["status"], record["how"], record["select"]) == ("answered", "restarts", "agreement")
        assert record["attempts"] == 4
        assert 2 <= record["agreeing"] <= 4
        assert record["total_steps"] >= 4
    again, _ = solved(
        run_hrm, run, new, options=("--restarts", "3", "--noise-init", "0.01", "--batch-size", "1")
    )
    assert [record["output"] for record in again] == [record["output"] for record in records]
    done = run_hrm("solve", new, "--checkpoint", run, "--restarts", "3", "--select", "confidence")
    assert re.search(r"attempt \d of 4 by confidence, \d agree", done.stdout)
    evaluated = json.loads(run_hrm("eval", run, "--restarts", "2", "--noise-init", "0.01", "--json").stdout)[
        "select"
    ]
    assert (evaluated["selector"], evaluated["attempts"]) == ("agreement", 3)
    assert set(evaluated["by_selector"]) == {"confidence", "q_halt", "residual", "agreement"}
    assert evaluated["among_candidates"] >= evaluated["exact_accuracy"] > 0.5


@pytest.mark.slow(seconds=5)
def test_own_puzzles_are_answered_from_python(run):
    import hrm_cli as hrm

    model = hrm.load(run)
    found = list(model.solve(["🟥🟦", [["🟩"]], "🟥x"]))
    assert [one.status for one in found] == ["answered", "answered", "invalid"]
    assert [None if one.text is None else len(one.text) for one in found] == [2, 1, None]
    assert found[0]._repr_svg_() is None


@pytest.mark.slow(seconds=20)
def test_one_command_trains_on_a_file_and_says_what_comes_next(run_hrm, source, tmp_path):
    done = run_hrm(
        "train", source, "--output-dir", tmp_path / "run", *MODEL, "train.max_steps=3", "data.num_test=10"
    )
    assert done.status == 0, done.stderr
    assert "400 pairs, grids of up to 1×4 cells" in done.stderr
    assert "Plan:" in done.stderr
    assert "copy input" in done.stdout
    assert "symmetry at every visit" not in done.stdout
    assert f"hrm solve NEW.jsonl --checkpoint {tmp_path / 'run'}" in done.stdout
    records, status = solved(run_hrm, tmp_path / "run", "🟥🟦")
    # After three steps the model may well answer with no cells at all.
    assert (records[0]["status"], status) in {("answered", 0), ("unsolved", 1)}


def test_a_file_that_cannot_be_trained_on_is_refused_before_a_run_is_made(run_hrm, source, tmp_path):
    (tmp_path / "bad.csv").write_text("first,second\n1,2\n")
    for words, message in (
        ([tmp_path / "bad.csv"], "bad.csv:1: the columns are first, second"),
        ([tmp_path / "absent.csv"], "does not exist"),
        ([source, "other.csv"], "expected one source of pairs"),
        ([source, "--data", tmp_path], "a new model is trained on"),
        ([source, "--check", "rules.py:is_right"], "rules.py: no such file"),
        ([source, "--check", "gym"], "--check gym: only for a source gym:NAME"),
        (["--preset", "tiny", "--check", "gym"], "use hrm eval RUN --check gym"),
    ):
        done = run_hrm("train", *words, "--output-dir", tmp_path / "run")
        assert done.status == 2
        assert message in done.stderr
        assert not (tmp_path / "run").exists()


def test_a_handful_of_pairs_gets_a_warning_and_a_given_time_limit_is_not_contradicted(run_hrm, tmp_path):
    (tmp_path / "few.csv").write_text("input,output\n12/34,13/24\n56/78,57/68\n11/22,12/12\n")
    done = run_hrm("train", tmp_path / "few.csv", "--dry-run", "train.max_minutes=1")
    assert done.status == 0, done.stderr
    assert "3 pairs are few: a model may memorize them" in done.stderr
    assert "at most 10 minutes" not in done.stderr


@pytest.mark.slow(seconds=8)
def test_answers_are_verified_by_a_function_that_the_user_names(run_hrm, run, tmp_path):
    rules = tmp_path / "rules.py"
    rules.write_text(
        "NEXT = {'🟥': '🟦', '🟦': '🟩', '🟩': '🟥'}\n"
        "def is_right(given, output): return output == [[NEXT[cell] for cell in row] for row in given]\n"
        "def never(given, output): return False\n"
        "def broken(given, output): return 1 / 0\n",
        encoding="utf-8",
    )
    records, status = solved(run_hrm, run, "🟥🟦", options=("--check", f"{rules}:is_right"))
    assert (records[0]["status"], records[0]["verified"], status) == ("solved", True, 0)
    records, status = solved(run_hrm, run, "🟥🟦", options=("--check", f"{rules}:never", "--restarts", "2"))
    assert (records[0]["status"], records[0]["verified"], status) == ("unsolved", False, 1)
    assert (records[0]["attempts"], records[0]["select"]) == (3, "verify")
    done = run_hrm("eval", run, "--check", f"{rules}:is_right", "--json", "--fail-under", "0.9")
    figures = json.loads(done.stdout)
    assert (figures["accepted"], done.status) == (figures["exact_accuracy"], 0)
    done = run_hrm("eval", run, "--check", f"{rules}:never", "--fail-under", "0.9")
    assert done.status == 1
    assert re.search(r"accepted +0\.00%", done.stdout)
    done = run_hrm("eval", run, "--check", f"{rules}:never", "--restarts", "2")
    assert "--check judges the first answers" in done.stderr
    for check, message in (
        (f"{rules}:absent", "has no function absent"),
        (f"{rules}:broken", "ZeroDivisionError: division by zero"),
        ("rules", "expected FILE.py:FUNCTION"),
        ("nowhere.py:is_right", "no such file"),
    ):
        done = run_hrm("solve", "🟥🟦", "--checkpoint", run, "--check", check)
        assert done.status == 2
        assert message in done.stderr
    done = run_hrm("solve", "1234", "--check", f"{rules}:is_right")
    assert "--check: only for own puzzles" in done.stderr
