"""The page of a published model says what its file says, and its commands are commands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import Preset
from hrm_cli.data.metadata import SplitMetadata
from hrm_cli.evaluation.publishing import Publication, nearest_preset, run_figures, write_card
from hrm_cli.models.registry import build_model

FIGURES = {"exact_accuracy": 0.5, "cell_accuracy": 0.75, "puzzles": 500, "baselines": {"copy_input": 0.4354}}


def card_of(preset: Preset) -> ModelCard:
    model = build_model(preset.arch, 6, 16, 1, device="meta")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return ModelCard(Path("x"), preset, 937, DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4}), shapes)


def split(**more: object) -> SplitMetadata:
    return SplitMetadata.model_validate(
        {
            "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 6, "seq_len": 16,
            "num_puzzle_identifiers": 1, "total_groups": 2000, "mean_puzzle_examples": 1.0, "sets": ["all"],
            "total_puzzles": 8000, "source": "builtin", **more,
        }
    )  # fmt: skip


def test_a_card_holds_data_preset_figures_and_commands() -> None:
    publication = Publication("Small Sudoku", "hf:me/small", FIGURES, {"train": split()}, 300.0, "apache-2.0")
    text = write_card(card_of(load_preset("demo", ["epochs=3"])), publication)
    _, matter, body = text.split("---\n", 2)
    assert yaml.safe_load(matter)["license"] == "apache-2.0"
    for said in (
        "# Small Sudoku", "528,130 trainable parameters", "4×4 Sudoku", "step 937", "the built-in generator",
        "2,000 original puzzles, 8,000 with augmented copies", "| exact accuracy | 50.00% |",
        "| cell accuracy | 75.00% |", "| copy input | 43.54% | cell accuracy of a trivial baseline |",
        "On 500 puzzles", "5 minutes",
        "hrm solve puzzles.txt --checkpoint hf:me/small", "hrm train --preset demo train.epochs=3",
    ):  # fmt: skip
        assert said in body


def test_a_card_claims_no_figures_where_nothing_was_evaluated() -> None:
    text = write_card(card_of(load_preset("demo")), Publication("x", "x.safetensors"))
    assert "was not evaluated" in text
    assert "%" not in text.partition("## Figures")[2].partition("## Use")[0]


@pytest.mark.parametrize("name", ["demo", "trm-sudoku", "arc-2"])
def test_the_command_of_a_card_gives_the_same_configuration_again(name: str) -> None:
    preset = load_preset(
        name, ["hidden_size=64", "num_heads=4", "epochs=7", "patience=3", "data.subsets=a,b c"]
    )
    found, changes = nearest_preset(preset)
    again = load_preset(found, shlex.split(" ".join(map(shlex.quote, changes))))
    assert found == name
    assert again.model_dump() == preset.model_dump()


def test_a_card_names_no_folder_of_the_machine_it_was_written_on() -> None:
    preset = load_preset(
        "demo", ["data.path=/home/someone/secret", "train.distill_from=/home/someone/runs/t"]
    )
    assert "/home" not in write_card(card_of(preset), Publication("x", "hf:me/x"))
    preset = load_preset("demo", ["data.source=/home/someone/puzzles.csv"])
    text = write_card(card_of(preset), Publication("x", "hf:me/x"))
    assert "/home" not in text
    assert "source: puzzles.csv" in text


def test_the_figures_are_those_of_the_step_that_is_published(tmp_path: Path) -> None:
    records = [
        {"kind": "train", "step": 10, "seconds": 5.0},
        {"kind": "eval", "step": 10, "exact_accuracy": 0.25},
        {"kind": "train", "step": 20, "seconds": 9.0},
        {"kind": "eval", "step": 20, "exact_accuracy": 0.5},
    ]
    lines = [json.dumps(record) for record in records]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"kind": "ev']))
    figures, seconds = run_figures(tmp_path, 10)
    assert (figures["exact_accuracy"], seconds) == (0.25, 5.0)
    assert run_figures(tmp_path, 15) == ({}, 5.0)
    assert run_figures(tmp_path / "nowhere", 10) == ({}, None)


def test_a_converted_models_card_claims_neither_a_dataset_nor_a_command_that_made_it() -> None:
    text = write_card(card_of(load_preset("demo")), Publication("x", "hf:me/x", converted=True))
    assert "Trained by the reference implementation" in text
    assert "source:" not in text
    assert "hrm train --preset" not in text
