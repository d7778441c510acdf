from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.presets import load_preset
from hrm_cli.models.registry import build_model

RunHrm = Callable[..., Any]


def document(done: Any) -> dict[str, Any]:
    assert (done.status, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize(("preset", "trainable"), [("tiny", 527_362), ("legion", 34_091_010)])
def test_json_has_the_keys_that_scripts_rely_on(run_hrm: RunHrm, preset: str, trainable: int) -> None:
    told = document(run_hrm("params", "--preset", preset, "--json"))
    assert told["preset"] == preset
    assert told["arch"]["hidden_size"] == load_preset(preset).arch.hidden_size
    assert told["exact"]["trainable"] == trainable
    assert set(told["exact"]) == {"trainable", "puzzle_embedding", "buffers", "state_dict"}
    assert {"guide", "rule_of_thumb"} <= set(told["approx"])
    assert sum(module["trainable"] for module in told["modules"]) == trainable
    assert sum(kind["trainable"] for kind in told["kinds"]) == trainable
    assert told["flops"]["step"]["training"] > told["flops"]["step"]["forward"] > 0


def test_nova_has_both_disputed_figures(run_hrm: RunHrm) -> None:
    exact = document(run_hrm("params", "--preset", "nova", "--json"))["exact"]
    assert (exact["trainable"], exact["state_dict"]) == (5_667_597, 6_947_597)


def test_tables_give_whole_numbers_to_grep_and_say_why_a_formula_misses(run_hrm: RunHrm) -> None:
    shown = run_hrm("params").stdout
    assert shown.startswith(
        "base (9×9 Sudoku, 11 tokens, 1 puzzle identifier): 27,275,266 trainable parameters\n"
    )
    for text in (
        "27,275,776",
        "25,178,624",
        "-7.69%",
        "the model rounds it up to 1,536, a multiple of 256",
        "18,874,368",
    ):
        assert text in shown
    assert "why" in shown
    assert "A whole run: " in shown


def test_overrides_a_file_and_other_tokens_are_counted(run_hrm: RunHrm, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: tiny\narch: {L_layers: 2}\n", encoding="utf-8")
    base = document(run_hrm("params", "--preset", mine, "--json"))["exact"]["trainable"]
    changed = document(
        run_hrm(
            "params", "--preset", mine, "L_layers=1", "--vocab-size", 12, "--puzzle-identifiers", 5, "--json"
        )
    )
    assert base - changed["exact"]["trainable"] == 262_144 - 2 * 128
    assert changed["exact"]["puzzle_embedding"] == 5 * 128


def test_memory_grows_with_the_batch_and_a_run_with_its_epochs(run_hrm: RunHrm) -> None:
    few = document(run_hrm("params", "--preset", "tiny", "--batch-size", 1, "epochs=10", "--json"))
    many = document(run_hrm("params", "--preset", "tiny", "--batch-size", 10, "epochs=20", "--json"))
    held = [told["memory"]["training"]["float32"] for told in (few, many)]
    assert held[1]["activations"] == 10 * held[0]["activations"]
    assert held[1]["gradients"] == held[0]["gradients"] == 4 * few["exact"]["trainable"]
    # 1000 puzzles, 128 a step: 78.1 and 156.2 steps.
    assert [told["flops"]["run"]["steps"] for told in (few, many)] == [78, 156]


def test_an_unknown_run_length_is_reported_and_not_guessed(run_hrm: RunHrm) -> None:
    told = document(run_hrm("params", "--preset", "sudoku-full", "--json"))["flops"]
    assert told["run"] is None
    assert "data.path=DIR" in told["run_assumes"]


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    preset = load_preset("tiny")
    model = build_model(preset.arch, 11, 81, 7)
    file = tmp_path / "model.safetensors"
    write_model_file(
        file, model.state_dict(), preset, 500, DatasetFacts(11, 81, 7, {"name": "sudoku", "size": 9})
    )
    return file


def test_a_checkpoint_is_counted_from_its_header_alone(run_hrm: RunHrm, model_file: Path) -> None:
    told = document(run_hrm("params", "--checkpoint", model_file, "--json"))
    assert told["exact"] == {
        "trainable": 527_362, "puzzle_embedding": 7 * 128, "buffers": 256, "state_dict": 527_362 + 9 * 128,
    }  # fmt: skip
    assert told["flops"]["run"]["steps"] == 500
    # The weights themselves are never read: a header says all.
    header = int.from_bytes(model_file.read_bytes()[:8], "little") + 8
    size = model_file.stat().st_size
    with model_file.open("r+b") as file:
        file.truncate(header)
        file.truncate(size)
    assert document(run_hrm("params", "--checkpoint", model_file, "--json")) == told


def test_foreign_weights_are_counted_too_and_guesses_are_reported(run_hrm: RunHrm, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"encoder.attention.w": torch.zeros(3, 4), "encoder.b": torch.zeros(4)}, file)
    told = document(run_hrm("params", "--checkpoint", file, "--json"))
    assert (told["exact"]["state_dict"], told["arch"], told["approx"], told["flops"]) == (
        16,
        None,
        None,
        None,
    )
    assert "the tensors' names show which are trained" in run_hrm("params", "--checkpoint", file).stdout


def test_compare_sets_presets_files_and_checkpoints_side_by_side(run_hrm: RunHrm, model_file: Path) -> None:
    lines = run_hrm("params", "--compare", "base", "nova", model_file).stdout.splitlines()
    assert lines[0].split() == ["base", "nova", str(model_file)]
    rows = {line[:22].strip(): line[22:].split() for line in lines[1:]}
    assert rows["trainable"] == ["27,275,266", "5,667,597", "527,362"]
    told = document(run_hrm("params", "--preset", "base", "--compare", "large", "H_layers=1", "--json"))[
        "compared"
    ]
    assert [model["arch"]["H_layers"] for model in told] == [1, 1]
    assert [model["arch"]["hidden_size"] for model in told] == [512, 768]


def test_budget_prints_overrides_that_give_the_count_it_says(run_hrm: RunHrm) -> None:
    found = document(run_hrm("params", "--budget", "7M", "--vary", "hidden_size,H_layers,L_layers", "--json"))
    assert (found["preset"], found["budget"]) == ("base", 7_000_000)
    best = found["configurations"][0]
    assert abs(best["error"]) < 0.01
    told = document(run_hrm("params", "--preset", "base", *best["overrides"], "--json"))
    assert told["exact"]["trainable"] == best["trainable"]
    shown = run_hrm("params", "--budget", "7M").stdout
    assert f"{best['trainable']:,}" in shown
    assert " ".join(best["overrides"]) in shown


def test_explain_gives_a_verdict_on_every_claim(run_hrm: RunHrm) -> None:
    claims = document(run_hrm("params", "--explain", "--json"))["claims"]
    assert len(claims) == 12
    for claim in claims:
        assert {"claim", "source", "claimed", "computed", "counted", "verdict"} <= set(claim)
    computed = {claim["claimed"]: claim["computed"] for claim in claims}
    assert (computed["27M"], computed["31,463,808"], computed["6.95M"]) == (27_275_266, 34_091_010, 5_667_597)


def test_explain_in_a_pipe_has_whole_lines_and_every_source(run_hrm: RunHrm) -> None:
    shown = run_hrm("params", "--explain").stdout
    assert "\x1b" not in shown
    for text in (
        "HRM paper (arXiv 2506.21734)",
        "size guide",
        "parameter clarification",
        "architecture innovations",
    ):
        assert text in shown
    assert "hrm params --preset nova\n" in shown
    assert any(
        "31,463,808, by a hand formula" in line and "are stored" not in line for line in shown.splitlines()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "bas"], "unknown preset 'bas'; did you mean base?"),
        (["hiden_size=3"], "hiden_size: unknown key; did you mean arch.hidden_size?"),
        (["."], "'.': to name a run or a model file, use --checkpoint ."),
        (["base"], "'base': to name a preset, use --preset base"),
        (["--checkpoint", "none"], "none: no such checkpoint"),
        (["--checkpoint", "x", "epochs=3"], "--checkpoint contains its configuration"),
        (["--checkpoint", "x", "--vocab-size", "3"], "--checkpoint fixes tokens"),
        (["--explain", "--compare"], "--explain and --compare cannot be combined"),
        (["--explain", "--preset", "base"], "--explain is about published figures"),
        (["--compare"], "--compare needs the names"),
        (["--budget", "much"], "--budget: found 'much'"),
        (["--budget", "7M", "--vary", "num_heads"], "--vary: num_heads does not change the parameter count"),
        (["--vary", "H_layers"], "--vary needs --budget"),
        (["data.path=nowhere"], "nowhere: does not exist"),
    ],
)
def test_wrong_input_is_refused_with_status_2(
    run_hrm: RunHrm, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run_hrm("params", *arguments, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr


def modules_after(commands: list[list[str]]) -> set[str]:
    """Names of all modules that a process has imported once it has run the commands."""
    program = (
        "import contextlib, io, json, sys\nfrom hrm_cli.cli.app import main\n"
        f"for command in {commands!r}:\n"
        "    try:\n        with contextlib.redirect_stdout(io.StringIO()):\n            main(command)\n"
        "    except SystemExit as end:\n        assert not end.code, end.code\n"
        "print(json.dumps(list(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_lists_and_searches_do_not_wait_for_torch() -> None:
    assert "torch" not in modules_after([["presets"], ["params", "--budget", "7M"]])


def test_counting_imports_no_compiler_because_that_takes_seconds() -> None:
    program = "import torch, sys; torch.zeros(2, device='meta'); sys.exit('sympy' in sys.modules)"
    if subprocess.run([sys.executable, "-c", program], check=False).returncode:
        pytest.skip("this torch imports them itself for a tensor without memory (2.6 does)")
    imported = modules_after([["params", "--preset", name] for name in ("base", "nova", "trm-sudoku")])
    assert "torch" in imported
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & imported
