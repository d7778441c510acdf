"""benchmarks/gpu.py, on a CPU that stands in for the GPU: its stages end in time and leave what they found."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hrm_cli.api import load
from hrm_cli.checkpoints.bundled import bundled_folder
from hrm_cli.config.presets import load_preset

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import gpu as script  # noqa: E402
from gpu_stages import check, speed, train  # noqa: E402
from gpu_stages.datasets import Builder, config_of  # noqa: E402
from gpu_stages.machine import unmet  # noqa: E402
from gpu_stages.processes import Deadline  # noqa: E402
from gpu_stages.recipes import RECIPES, Recipe, recipes  # noqa: E402
from gpu_stages.results import Results  # noqa: E402


def gpu(output: Path, *arguments: str) -> str:
    """Runs the script; returns what it printed."""
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *arguments, "--device", "cpu", "--small"]
    done = subprocess.run(
        [*command, "--output", str(output), "--work", str(output / "runs")],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(output: Path, stage: str) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in Results(output).rows() if row["stage"] == stage}


@pytest.mark.slow
def test_the_three_stages_leave_their_results_and_are_not_repeated(tmp_path: Path) -> None:
    recipe = (
        "four tiny 500 data.size=4 data.clues=8-10 data.num_train=32 data.num_test=8 arch.hidden_size=32 "
    )
    recipe += "arch.num_heads=2 arch.halt_max_steps=2 global_batch_size=16 train.max_steps=2"
    tests = "adam_atan2_is_that_of_a_cpu or sign_descent"
    stages = ["check", "speed", "train", "--check-select", tests, "--recipe", recipe]
    printed = gpu(
        tmp_path, *stages, "--modes", "off", "--rows", "tiny", "broken", "--row-seconds", "600",
        "--check-seconds", "600", "--speed-seconds", "800", "--train-seconds", "600",
        "--row", "broken=tiny arch.hidden_size=7", "--warm", "0",
    )  # fmt: skip

    checked = rows(tmp_path, "check")
    assert [row["status"] for row in checked.values()] == ["ok", "ok"]
    measured = rows(tmp_path, "speed")
    assert measured["device"]["matmul_tflops"] > 0
    assert measured["broken [off]"]["status"] == "failed"
    assert "hidden_size 7 is not a multiple" in measured["broken [off]"]["error"][-1]
    timed = measured["tiny, Sudoku, batch 128 [off]"]
    assert timed["status"] == "ok"
    assert timed["puzzles_per_s"] == pytest.approx(4 * timed["steps_per_s"])
    assert 0 < timed["of_matmul"] < 1
    profile = (tmp_path / "profile.txt").read_text(encoding="utf-8")
    assert "aten::mm" in profile
    assert profile.startswith("tiny, Sudoku, batch 128 [off]")
    trained = rows(tmp_path, "train")["four"]
    assert (trained["status"], trained["steps"]) == ("ok", 2)
    with safe_open(tmp_path / "four.safetensors", framework="np") as weights:
        assert weights.metadata()["step"] in ("1", "2")
    assert (tmp_path / "four.metrics.jsonl").read_text(encoding="utf-8").count("\n") >= 2
    assert (tmp_path / "results.txt").read_text(encoding="utf-8") == printed

    weights_file = tmp_path / "four.safetensors"
    before = weights_file.stat().st_mtime_ns
    again = gpu(tmp_path, "train", "--recipe", recipe)
    assert "four:" not in again
    assert weights_file.stat().st_mtime_ns == before
    assert rows(tmp_path, "train") == {"four": trained}


WORKER = """
import json, os, sys, time
for row in json.loads(sys.argv[1])["rows"]:
    name = row["what"]
    print(json.dumps({"row": f"{name} [off]", "status": "begun"}), flush=True)
    if name == "hangs":
        time.sleep(600)
    if name == "dies":
        print("illegal memory access", file=sys.stderr, flush=True)
        os._exit(139)
    outcome = {"status": "failed", "error": ["CUDA error"]} if name == "breaks" else {
        "status": "ok", "kind": "training", "what": name, "mode": "off", "ready_seconds": 0, "steps_per_s": 1,
        "puzzles_per_s": 1, "tflops": 1, "of_matmul": 0.5, "memory_gib": 1}
    print("not JSON", flush=True)
    print(json.dumps({"row": f"{name} [off]", **outcome}), flush=True)
    if name == "breaks":
        sys.exit(3)
"""


def test_a_benchmark_row_that_hangs_crashes_or_breaks_the_device_affects_no_other(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER, encoding="utf-8")
    names = ("first", "hangs", "second", "dies", "third", "breaks", "fourth")
    listed = [speed.Row("training", name, "tiny", "off") for name in names]
    results = Results(tmp_path / "out")
    speed.measure(results, speed.Wanted("cpu", modes=("off",)), listed, Deadline(120), 1.0, [str(worker)])
    found = {name.split()[0]: row for name, row in rows(tmp_path / "out", "speed").items()}
    assert {name: found[name]["status"] for name in names} == {
        name: "failed" if name in ("hangs", "dies", "breaks") else "ok" for name in names
    }
    assert "hung for 1 s" in found["hangs"]["error"][0]
    assert found["dies"]["error"][-1] == "illegal memory access"
    assert results.finished("speed") == {f"{name} [off]" for name in ("first", "second", "third", "fourth")}


def test_a_stage_ends_when_its_time_is_over_and_names_what_it_did_not_reach(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER, encoding="utf-8")
    listed = [speed.Row("training", name, "tiny", "off") for name in ("hangs", "first")]
    results, before = Results(tmp_path / "out"), time.monotonic()
    speed.measure(results, speed.Wanted("cpu", modes=("off",)), listed, Deadline(6), 300.0, [str(worker)])
    assert time.monotonic() - before < 100, "the row sleeps 600 s"
    assert "the stage's time was over" in rows(tmp_path / "out", "speed")["hangs [off]"]["error"][0]
    assert "first [off]" in (tmp_path / "out" / "results.txt").read_text(encoding="utf-8")


def test_a_process_that_cannot_even_start_ends_the_stage_with_its_error(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import no_such_module_at_all", encoding="utf-8")
    listed = [speed.Row("training", name, "tiny", "off") for name in ("first", "second")]
    results = Results(tmp_path / "out")
    speed.measure(results, speed.Wanted("cpu", modes=("off",)), listed, Deadline(60), 30.0, [str(worker)])
    failed, missed = results.rows()
    assert (failed["row"], failed["status"]) == ("start of the process", "failed")
    assert "No module named 'no_such_module_at_all'" in failed["error"][-1]
    assert missed["rows"] == ["first [off]", "second [off]"]
    assert missed["why"] == "the process that measures failed: its process ended, status 1"


def test_a_process_still_starting_when_the_time_is_over_counts_against_no_row(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import time\ntime.sleep(600)", encoding="utf-8")
    listed = [speed.Row("training", name, "tiny", "off") for name in ("first", "second")]
    results = Results(tmp_path / "out")
    speed.measure(results, speed.Wanted("cpu", modes=("off",)), listed, Deadline(6), 1.0, [str(worker)])
    found = rows(tmp_path / "out", "speed")
    assert "the stage's time was over" in found["start of the process"]["error"][0]
    assert set(found) == {"start of the process", "not reached"}, (
        "1 s is the limit of a row, not of the start"
    )
    assert found["not reached"]["rows"] == ["first [off]", "second [off]"]
    assert found["not reached"]["why"] == "the stage's 6 s were over"
    assert "speed: 2 not reached" in (tmp_path / "out" / "results.txt").read_text(encoding="utf-8")


SLOW_TESTS = """
import os, time
import pytest

pytestmark = pytest.mark.cuda

def test_first():
    pass

def test_that_is_slow_the_first_time():
    if not os.path.exists("SEEN"):
        open("SEEN", "w").close()
        time.sleep(600)

def test_last():
    pass

@pytest.mark.skip(reason="no such card")
def test_skipped():
    pass
"""


def test_tests_that_the_time_limit_stops_are_named_and_run_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = tmp_path / "test_slow.py"
    tests.write_text(SLOW_TESTS.replace("SEEN", str(tmp_path / "seen")), encoding="utf-8")
    monkeypatch.setattr(check, "files_with_cuda_tests", lambda: [str(tests)])
    results, first = Results(tmp_path / "out"), "test_slow.py::test_first"
    slow, last = "test_slow.py::test_that_is_slow_the_first_time", "test_slow.py::test_last"
    skipped = "test_slow.py::test_skipped"
    check.run(results, "cpu", 25.0, None)
    found = rows(tmp_path / "out", "check")
    assert (found[first]["status"], set(found)) == ("ok", {first, "not reached"})
    assert found["not reached"]["rows"] == [slow, last, skipped]
    assert found["not reached"]["why"] == "the stage's 25 s were over"
    printed = (tmp_path / "out" / "results.txt").read_text(encoding="utf-8")
    assert "check: 3 not reached (the stage's 25 s were over)" in printed

    check.run(results, "cpu", 200.0, None, processes=2)
    names = [row["row"] for row in results.rows()]
    assert set(names[2:]) == {slow, last, skipped}, "the first is not repeated, and nothing is missing now"
    printed = (tmp_path / "out" / "results.txt").read_text(encoding="utf-8")
    assert "2 passed, 0 failed, 1 skipped" in printed
    assert "skipped, 1 tests: no such card" in printed

    tests.write_text(SLOW_TESTS.partition("@pytest.mark.skip")[0], encoding="utf-8")
    check.run(results, "cpu", 200.0, None)
    printed = (tmp_path / "out" / "results.txt").read_text(encoding="utf-8")
    assert "all tests that were selected have passed before" in printed


def test_a_check_too_short_for_any_test_says_so(tmp_path: Path) -> None:
    check.run(Results(tmp_path), "cpu", 0.1, None)
    printed = (tmp_path / "results.txt").read_text(encoding="utf-8")
    assert "no test has run, because pytest had not collected them (the stage's 0 s were over)" in printed
    assert rows(tmp_path, "check")["start of pytest"]["status"] == "failed"


def test_a_stage_without_anything_to_do_says_so(tmp_path: Path) -> None:
    results = Results(tmp_path)
    speed.run(results, speed.Wanted("cpu", modes=("off",), only=("no such",)), 10, 10)
    train.run(results, [], "cpu", 10, tmp_path)
    printed = (tmp_path / "results.txt").read_text(encoding="utf-8")
    assert "no row with 'no such' in its name in the modes off" in printed
    assert "name a recipe with --recipe" in printed


def test_datasets_of_a_recipe_are_built_while_another_stage_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []

    class Recorder:
        def __init__(self, results: Results, folder: Path, names: list[str], part: float) -> None:
            done.append((names, part))

        def end(self) -> None:
            done.append("ended")

    monkeypatch.setattr(script, "Builder", Recorder)
    monkeypatch.setattr(script.check, "run", lambda *_: done.append("checked"))
    given = ["check", "--output", str(tmp_path), "--work", str(tmp_path), "--recipe", "maze-30x30", "--small"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *given])
    script.main()
    assert done == [(["maze-30x30"], 0.01), "checked", "ended"]


def test_a_recipe_is_measured_in_another_mode_if_its_own_is_not_asked_for() -> None:
    (recipe,) = RECIPES["units"]
    given = argparse.Namespace(device="cpu", small=True, modes=["off"], rows=[""], row=[], more=[])
    names = [row.name for row in speed.Wanted.of(given, [recipe]).rows()]
    assert names[0] == "units [off]"


def test_a_line_that_was_cut_off_is_left_out_and_earlier_results_count(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.jsonl"
    earlier.write_text(
        json.dumps({"stage": "speed", "row": "a", "status": "ok"}) + '\n{"stage": "sp', encoding="utf-8"
    )
    results = Results(tmp_path / "out", earlier)
    results.add("speed", "b", "failed", error=["no"])
    results.add("check", "c", "ok")
    results.add("check", "d", "skipped")
    assert results.finished("speed") == {"a"}
    assert results.finished("check") == {"c"}, (
        "what was missing for a skipped test may be there the next time"
    )


def test_benchmark_rows_are_compiled_in_advance_by_separate_processes(tmp_path: Path) -> None:
    modes = speed.Wanted(
        "cpu", True, ("on",), ("no such row",), (("no such row", "tiny", ("arch.hidden_size=7",), None),)
    )
    results = Results(tmp_path)
    warmers = speed.Warmers(results, modes, 3)
    warmers.finish(120)
    # On a CPU compiling takes minutes: a row that cannot be built shows that one was built at all.
    (told,) = results.rows()
    assert told["rows"] == {"no such row [on]": "failed"}


def test_the_most_important_rows_come_first_and_none_twice() -> None:
    modes = tuple(speed.compile_modes())
    assert {"on", "off"} <= set(modes)
    assert "auto" not in modes
    names = [row.name for row in speed.Wanted("cuda", modes=modes).rows()]
    assert {mode for mode in modes if any(f"[{mode}]" in name for name in names)} == set(modes)
    assert len(names) == len(set(names))
    assert names[0] == "HRM 27M, Sudoku, 16 steps, evaluating 1024 [on]"
    for must in ("TRM (MLP) 5M, Sudoku, batch 768 [on]", "HRM 27M, Sudoku, batch 768 [cudagraphs]"):
        assert must in names[:4]
    assert names[-1].startswith("profile: the slowest")
    own = speed.Wanted("cuda", modes=modes, more=(("mine", "tiny", ("lr=1",), None),)).rows()[0]
    assert (own.name, own.overrides) == ("mine [on]", ("lr=1",))


@pytest.mark.parametrize("text", ["name", "name tiny", "name tiny soon lr=1"])
def test_an_invalid_recipe_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(SystemExit, match="expected"):
        recipes([text])
    assert recipes(["a tiny - lr=1"]) == [Recipe("a", "tiny", None, ("lr=1",))]


@pytest.mark.parametrize("name", RECIPES)
def test_the_settings_of_a_named_recipe_exist_and_fit_its_datasets(name: str) -> None:
    trained: list[str] = []
    assert recipes([name]) == list(RECIPES[name])
    assert recipes([f"{name} 60"])[-1].seconds == 60
    for recipe in RECIPES[name]:
        words = [word for word in (*recipe.overrides, *recipe.trial) if not word.startswith("--")]
        preset = load_preset(recipe.preset, words)
        assert preset.train.eval_interval is None, "evaluations by the clock"
        assert preset.train.max_steps is not None
        assert all(f"--checkpoint={earlier}" in recipe.overrides for earlier in trained[-1:])
        configs = [config_of(dataset) for dataset in recipe.datasets]
        assert {config.domain for config in configs} == {preset.data.domain}
        assert len({config.size for config in configs}) == len(configs)
        assert config_of(recipe.datasets[0], 0.01).num_train <= max(1, configs[0].num_train // 100)
        trained.append(recipe.name)


@pytest.mark.slow
def test_recipes_train_on_datasets_built_before_and_from_the_weights_of_earlier_ones(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    builder = Builder(results, tmp_path / "data", ["sudoku-4", "sudoku-6"], 0.01)
    assert builder.wait(200)
    built = rows(tmp_path / "out", "datasets")
    assert [built[name]["status"] for name in ("sudoku-4", "sudoku-6")] == ["ok", "ok"]
    small = (
        "arch.hidden_size=32", "arch.num_heads=2", "arch.halt_max_steps=2", "train.global_batch_size=8",
        "eval.max_steps=2", "train.log_interval=1", "train.compile=off",
    )  # fmt: skip
    wanted = [
        Recipe("both", "sudoku-units", 280, small, "sudoku-4", ("sudoku-6",), ("train.max_steps=3",), published=True),
        Recipe("after", "sudoku-units", 280, (*small, "--checkpoint=both"), "sudoku-4", (), ("train.max_steps=2",)),
        Recipe("no data", "sudoku-units", 280, small, "no such data"),
    ]  # fmt: skip
    train.run(results, wanted, "cpu", 600, tmp_path, trial=True)
    found = rows(tmp_path / "out", "train")
    assert (found["both"]["status"], found["both"]["steps"]) == ("ok", 3)
    whole = found["both"]["whole_run"]
    assert (whole["batch"], whole["of_batch"]) == (384, 8)
    log = tmp_path / "both" / "metrics.jsonl"
    log.write_text(
        '{"kind": "train", "step": 1, "seconds": 0}\n{"kind": "train", "step": 3, "seconds": 7200}\n',
        encoding="utf-8",
    )
    whole = train._whole_run(wanted[0], log.parent, tmp_path, trial=True)["whole_run"]
    assert whole["hours"] == whole["steps"] * 384 / 8, "3600 s for a step of 8"
    assert found["after"]["status"] == "ok"
    assert "both" in (tmp_path / "after" / "config.yaml").read_text(encoding="utf-8")
    assert found["no data"]["status"] == "failed"
    assert "no such data" in " ".join(found["no data"]["error"])


def test_weights_too_large_to_be_brought_back_are_brought_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = bundled_folder() / "sudoku-4x4.safetensors"
    source, (recipe,) = tmp_path / "best.safetensors", recipes(["four tiny -"])
    with safe_open(bundled, framework="pt") as file:
        metadata = file.metadata()
    exact = load_file(bundled)
    save_file({name: tensor.float() for name, tensor in exact.items()}, source, metadata)
    monkeypatch.setattr(train, "_best_weights", lambda folder: source)
    monkeypatch.setattr(train, "LARGEST", source.stat().st_size - 1)

    brought = train._bring(tmp_path, recipe, tmp_path)
    target = tmp_path / "four.safetensors"
    assert brought["four.safetensors"] == f"{target.stat().st_size} bytes, in bfloat16"
    found = load_file(target)
    assert found.keys() == exact.keys()
    assert all(torch.equal(found[name], exact[name]) for name in exact)
    assert load(target).loaded.card.preset == load(source).loaded.card.preset

    before = target.stat().st_ino
    train._bring(tmp_path, recipe, tmp_path)
    assert target.stat().st_ino == before, "not written again as long as there are no better weights"
    monkeypatch.setattr(train, "LARGEST", 10)
    assert train._bring(tmp_path, recipe, tmp_path)["four.safetensors"].startswith("left out")


def test_missing_and_old_packages_are_named() -> None:
    assert unmet() == []
    missing = unmet(["pytest>=1", "pytest>=1000", "not-a-package-of-anyone>=2"])
    assert missing == [
        f"pytest>=1000 (here: {pytest.__version__})",
        "not-a-package-of-anyone>=2 (here: none)",
    ]
