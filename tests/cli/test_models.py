"""Models that come with the package, with a stand-in folder: found by size, listed, measured, made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hrm_cli.checkpoints import bundled
from hrm_cli.checkpoints.bundled import (
    REPLACED,
    BundledFacts,
    Measured,
    bundled_models,
    model_for,
    named_model,
)
from hrm_cli.checkpoints.bundling import add_bundled
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import load_model, write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.data import DataConfig
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

COMPLETE = {
    4: "1234341221434321",
    9: "862934751519672834734851296478523169956418327321796548293167485145289673687345912",
}
"""Puzzles without blanks: the models below, which repeat their input, solve them."""


def copying_checkpoint(path: Path, size: int, identifiers: int = 1, puzzle_emb_ndim: int = 0) -> Path:
    """A real model file whose weights are set so that the model answers what it is asked, in one step."""
    arch = ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1,
        puzzle_emb_ndim=puzzle_emb_ndim, halt_max_steps=4, forward_dtype="float32",
    )  # fmt: skip
    vocabulary, cells = size + 2, size * size
    model = build_model(arch, vocabulary, cells, identifiers, initialize=False)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(vocabulary, 32)
    tensors["inner.lm_head.weight"] = torch.eye(vocabulary, 32)
    tensors["inner.q_head.bias"] = torch.tensor([6.0, -3.0])
    preset = Preset(
        arch=arch,
        data=DataConfig(path="/home/somebody/data"),
        train=TrainConfig(distill_from="/home/teacher"),
    )
    facts = DatasetFacts(vocabulary, cells, identifiers, {"name": "sudoku", "size": size})
    write_model_file(path, tensors, preset, 7, facts)
    return path


def measured(share: float) -> tuple[Measured, ...]:
    return (Measured("held-out puzzles", 1000, share, min(1.0, share + 0.2), 8, 3.5),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for the package's models: 4×4 and 9×9."""
    work = tmp_path_factory.mktemp("bundled")
    target = work / "models"
    for size in COMPLETE:
        source = copying_checkpoint(work / f"{size}.safetensors", size)
        facts = BundledFacts(f"nothing: a stand-in for {size}", measured=measured(0.7))
        add_bundled(source, f"sudoku-{size}x{size}", facts, target)
    return target


@pytest.fixture
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(bundled.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def hrm(installed: Path, run_hrm: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with the stand-ins in the place of the package's models."""
    return run_hrm


def test_solve_without_a_checkpoint_takes_the_model_of_each_puzzles_size_in_the_files_order(
    hrm: Any, tmp_path: Path
) -> None:
    lines = [COMPLETE[9], COMPLETE[4], "1234", COMPLETE[9], "123456" * 6, COMPLETE[4][:-1] + "."]
    (tmp_path / "puzzles.txt").write_text("\n".join(lines))
    done = hrm("solve", "puzzles.txt", "--effort", "low", "--json", cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["index"] for record in found] == [1, 2, 3, 4, 5, 6]
    assert [record["status"] for record in found] == [
        "solved",
        "solved",
        "invalid",
        "solved",
        "invalid",
        "unsolved",
    ]
    assert [record["answer"] for record in found][:2] == [COMPLETE[9], COMPLETE[4]]
    assert (
        "no bundled model for 6×6 sudoku puzzles: there are models for 4×4 Sudoku, 9×9 Sudoku"
        in found[4]["reason"]
    )
    assert "hrm train --preset small data.size=6" in found[4]["reason"]
    assert done.status == 2
    assert (found[0]["attempts"], found[0]["one_pass"]) == (1, True)
    assert (found[5]["attempts"], found[5]["one_pass"]) == (8, False), "eight attempts unless said"
    assert "no answer of 8 attempts obeys the rules; the best" in found[5]["reason"]
    assert (found[0]["how"], found[5]["nodes"]) == ("pass", 0)


def test_without_a_checkpoint_what_a_pass_and_copies_leave_is_searched(hrm: Any, tmp_path: Path) -> None:
    (tmp_path / "puzzles.txt").write_text(f"{COMPLETE[4]}\n{COMPLETE[4][:-1]}.\n")
    done = hrm("solve", "puzzles.txt", "--json", cwd=tmp_path)
    assert done.status == 0
    passed, searched = [json.loads(line) for line in done.stdout.splitlines()]
    assert (passed["how"], passed["nodes"], passed["total_steps"]) == ("pass", 0, passed["steps"])
    assert (searched["how"], searched["attempts"], searched["answer"]) == ("search", 8, COMPLETE[4])
    assert searched["nodes"] > 1
    assert searched["flops"] == passed["flops"] // passed["total_steps"] * searched["total_steps"]
    shown = hrm("solve", "puzzles.txt", cwd=tmp_path)
    assert f"search of {searched['nodes']} nodes" in shown.stdout
    assert "Solved 2 of 2 puzzles, 1 in one pass, 1 by search in" in shown.stderr


def test_solve_without_a_model_for_the_size_says_which_there_are_and_how_to_train_one(
    hrm: Any, tmp_path: Path
) -> None:
    (tmp_path / "puzzles.txt").write_text("123456" * 6)
    done = hrm("solve", "puzzles.txt", cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "")
    assert "no bundled model for 6×6" in done.stderr
    assert "4×4 Sudoku, 9×9 Sudoku" in done.stderr
    assert "hrm train --preset small data.size=6" in done.stderr


def test_summary_says_what_one_pass_and_what_attempts_solved(hrm: Any, tmp_path: Path) -> None:
    (tmp_path / "puzzles.txt").write_text(f"{COMPLETE[4]}\n{COMPLETE[4][:-1]}.\n")
    done = hrm("solve", "puzzles.txt", "--attempts", 3, cwd=tmp_path)
    assert done.status == 1
    assert "of 3  " in done.stdout
    assert "Solved 1 of 2 puzzles, 1 in one pass (1 unsolved)" in done.stderr


def test_models_are_listed_from_their_own_headers(hrm: Any, folder: Path) -> None:
    done = hrm("models", "--json")
    assert done.status == 0, done.stderr
    models = json.loads(done.stdout)["models"]
    assert [model["name"] for model in models] == ["sudoku-4x4", "sudoku-9x9"]
    assert models[0]["puzzles"] == "4×4 Sudoku"
    assert models[0]["bytes"] == (folder / "sudoku-4x4.safetensors").stat().st_size
    assert models[0]["measured"][0]["exact_accuracy"] == 0.7
    plain = hrm("models")
    assert "70.0%" in plain.stdout
    assert "90.0% (8)" in plain.stdout
    assert "a stand-in for 9" in plain.stdout


def test_listing_models_needs_no_torch_because_headers_are_text(installed: Path) -> None:
    program = (
        "import sys; from hrm_cli.checkpoints.bundled import bundled_models; "
        "print(len(bundled_models()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_eval_of_a_bundled_model_reports_one_pass_and_attempts_side_by_side(hrm: Any, tmp_path: Path) -> None:
    build = hrm(
        "build-dataset",
        "sudoku",
        "--size",
        4,
        "--num-train",
        4,
        "--num-test",
        20,
        "--output-dir",
        tmp_path / "four",
    )
    assert build.status == 0, build.stderr
    done = hrm("eval", "bundled:sudoku-4x4", "--data", tmp_path / "four", "--json")
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["attempts"], document["exact_accuracy"], document["exact_accuracy_with_attempts"]) == (
        8,
        0,
        0,
    )
    assert document["tried_again"] == 20
    again = hrm("eval", "bundled:sudoku-4x4", "--data", tmp_path / "four", "--attempts", 2)
    assert "with 2 copies" in again.stdout
    one = json.loads(
        hrm("eval", "bundled:sudoku-4x4", "--data", tmp_path / "four", "--attempts", 1, "--json").stdout
    )
    assert (one["attempts"], one["exact_accuracy_with_attempts"]) == (1, one["exact_accuracy"])


def test_params_and_cards_know_bundled_names_and_a_wrong_name_is_reported(hrm: Any) -> None:
    counted = hrm("params", "--checkpoint", "bundled:sudoku-4x4", "--json")
    assert counted.status == 0, counted.stderr
    listed = json.loads(hrm("models", "show", "sudoku-4x4", "--json").stdout)
    assert json.loads(counted.stdout)["exact"]["trainable"] == listed["parameters"]
    wrong = hrm("params", "--checkpoint", "bundled:sudoku-4x5")
    assert wrong.status == 2
    assert "did you mean sudoku-4x4?" in wrong.stderr


def test_add_measures_the_bundled_file_and_writes_its_card(hrm: Any, folder: Path, tmp_path: Path) -> None:
    figures = {
        "puzzles": 1000,
        "exact_accuracy": 0.5,
        "exact_accuracy_with_attempts": 0.75,
        "attempts": 8,
        "mean_steps": 2,
    }
    (tmp_path / "four.json").write_text(json.dumps(figures))
    easy = {"puzzles": 600, "exact_accuracy": 0.9, "exact_accuracy_with_attempts": 1.0, "mean_steps": 1.5}
    by_set = {"easy": easy, "hard": {**easy, "puzzles": 400, "exact_accuracy": 0.0}}
    (tmp_path / "sets.json").write_text(json.dumps({**figures, "by_set": by_set}))
    (tmp_path / "notes.md").write_text("## Failures\n\nThis one fails often.\n")
    done = hrm(
        "models", "add", "bundled:sudoku-4x4", "--name", "mine", "--trained-on", "ten puzzles",
        "--measured", "held-out=puzzles=four.json", "--measured", "mixed=sets.json", "--notes", "notes.md",
        "--output-dir", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    card = (tmp_path / "out" / "mine.md").read_text()
    assert (
        "| held-out=puzzles | 1,000 | 50.0% (46.9% to 53.1%) | 75.0% (72.2% to 77.6%), 8 copies | 2.00 |"
        in card
    )
    assert "| mixed, easy | 600 | 90.0%" in card
    assert "| mixed, hard | 400 | 0.0%" in card, "figures of several sets are kept apart"
    assert "| mixed |" not in card
    assert "This one fails often." in card
    before, after = (
        load_file(path / f"{name}.safetensors")
        for path, name in ((folder, "sudoku-4x4"), (tmp_path / "out", "mine"))
    )
    assert all(torch.equal(before[name], after[name]) for name in before), (
        "other facts leave the weights alone"
    )
    bad = hrm(
        "models",
        "add",
        "bundled:sudoku-4x4",
        "--name",
        "x",
        "--trained-on",
        "t",
        "--measured",
        "a=notes.md",
        cwd=tmp_path,
    )
    assert bad.status == 2
    assert "not what `hrm eval --json` prints" in bad.stderr


def test_a_bundled_file_is_bfloat16_without_needless_embeddings_or_traces_of_the_machine(
    tmp_path: Path,
) -> None:
    source = copying_checkpoint(tmp_path / "many.safetensors", 4, identifiers=500, puzzle_emb_ndim=32)
    model = add_bundled(source, "many", BundledFacts("t"), tmp_path / "out")
    tensors = load_file(model.path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert tensors["inner.puzzle_emb.weights"].shape == (1, 32)
    with safe_open(model.path, framework="pt") as file:
        assert "/home" not in json.dumps(file.metadata())
    loaded, card = load_model(model.path)
    assert card.facts.num_puzzle_identifiers == 1
    assert next(loaded.parameters()).dtype == torch.float32


def test_files_that_are_too_large_are_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copying_checkpoint(tmp_path / "m.safetensors", 4)
    monkeypatch.setattr("hrm_cli.checkpoints.bundling.MAX_FILE_BYTES", 1000)
    with pytest.raises(ConfigError, match="at most 0 MB"):
        add_bundled(source, "large", BundledFacts("t"), tmp_path / "out")
    with pytest.raises(ConfigError, match="--name"):
        add_bundled(source, "../outside", BundledFacts("t"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_models_that_does_not_exist_is_named(
    run_hrm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(bundled.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    done = run_hrm("models", "--json")
    assert done.status == 2
    assert "nowhere: no such folder; create it, or unset the variable" in done.stderr
    assert done.stdout == ""


def test_of_two_models_for_a_size_the_more_accurate_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copying_checkpoint(tmp_path / "m.safetensors", 4)
    for name, share in (("a", 0.5), ("b", 0.9), ("c", 0.8)):
        add_bundled(source, name, BundledFacts("t", measured=measured(share)), tmp_path / "out")
    monkeypatch.setenv(bundled.FOLDER_VARIABLE, str(tmp_path / "out"))
    assert model_for(SudokuDomain(4).parse(COMPLETE[4])).name == "b"


@pytest.mark.parametrize(
    "content", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"]
)
def test_a_damaged_bundled_file_is_named_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    sound = next(model for model in bundled_models() if model.name == "sudoku-4x4")
    (tmp_path / "good.safetensors").write_bytes(sound.path.read_bytes())
    (tmp_path / "bad.safetensors").write_bytes(content)
    monkeypatch.setenv(bundled.FOLDER_VARIABLE, str(tmp_path))
    damaged: list[str] = []
    assert [model.name for model in bundled_models(damaged)] == ["good"]
    assert "bad.safetensors" in damaged[0]
    assert model_for(SudokuDomain(4).parse(COMPLETE[4])).name == "good"
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        named_model("bundled:bad")


@pytest.mark.parametrize(("name", "instead"), REPLACED.items())
def test_a_former_model_is_refused_with_the_one_that_replaces_it(name: str, instead: str) -> None:
    assert named_model(instead).name == instead
    with pytest.raises(
        CheckpointError, match=f"^bundled:{name}: no longer bundled; use bundled:{instead} instead$"
    ):
        load_model(Path(f"bundled:{name}"))


def test_a_model_called_like_a_former_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = named_model("sudoku-4x4")
    monkeypatch.setenv(bundled.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(CheckpointError, match="no such bundled model"):
        named_model("maze-10x10")
    (tmp_path / "maze-10x10.safetensors").write_bytes(sound.path.read_bytes())
    assert named_model("maze-10x10").path.parent == tmp_path


def test_the_models_in_the_package_are_within_their_limits_measured_and_carded() -> None:
    models = bundled_models()
    assert len(models) >= 3
    assert sum(model.bytes for model in models) <= 4_000_000
    for model in models:
        assert model.facts.measured, f"{model.name} ships without a figure"
        assert model.card.is_file(), f"{model.name} ships without a card"
        load_model(model.path)


@pytest.mark.parametrize(
    "document",
    ["[1]", "[" * 5000, '{"attempts": 1e999}', '{"attempts": 8, "by_set": [1]}', '{"attempts": 8, "by_set": {"a": 1}}',
     '{"attempts":8,"puzzles":5,"exact_accuracy":2,"exact_accuracy_with_attempts":1,"mean_steps":2}', "\udcff"],
)  # fmt: skip
def test_invalid_figures_are_refused_with_the_file(hrm: Any, tmp_path: Path, document: str) -> None:
    (tmp_path / "m.json").write_text(document, errors="surrogateescape")
    words = ["--name", "x", "--trained-on", "y", "--measured", "a=m.json", "--output-dir", "out"]
    done = hrm("models", "add", "bundled:sudoku-4x4", *words, cwd=tmp_path)
    assert done.status == 2
    assert "--measured m.json: not what `hrm eval --json` prints" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["license", "licence"])
def test_the_license_is_read_in_both_spellings_and_written_in_one(key: str) -> None:
    facts = BundledFacts.parse(json.dumps({"trained_on": "t", key: "MIT", "measured": []}))
    assert facts.license == "MIT"
    assert json.loads(facts.text())["license"] == "MIT"
