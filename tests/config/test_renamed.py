"""Settings that were renamed: the old name is read everywhere, with a note where a user wrote it, and never written."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hrm_cli.checkpoints.bundled import named_model
from hrm_cli.checkpoints.model_files import read_model_card
from hrm_cli.config.presets import load_preset
from hrm_cli.config.renamed_settings import RenamedSettingWarning
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError

RunHrm = Callable[..., Any]


@pytest.mark.parametrize("name", ["contract", "train.contract", "TRAIN.Contract"])
def test_the_old_name_of_the_objective_works_as_an_override_and_is_noted(name: str) -> None:
    with pytest.warns(RenamedSettingWarning, match=rf"^{name} is now called train\.objective"):
        preset = load_preset("tiny", [f"{name}=rsm"])
    assert preset.train.objective == "rsm"


def test_the_old_name_in_a_users_preset_works_and_the_note_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    # The parent sets the objective by its new name: the old name of the child still overrides it.
    file.write_text(
        "extends: rsm-sudoku\ntrain: {contract: deep_supervision}\narch: {halting: q_learning}\n", "utf-8"
    )
    with pytest.warns(
        RenamedSettingWarning, match=rf"^{file}: train\.contract is now called train\.objective"
    ):
        preset = load_preset(str(file))
    assert preset.train.objective == "deep_supervision"
    written = resolved_yaml(preset)
    assert "  objective: deep_supervision" in written
    assert "contract:" not in written


def test_both_names_in_one_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train: {contract: rsm, objective: rsm}\n", "utf-8")
    with pytest.raises(
        ConfigError, match=r"train\.contract is the old name of train\.objective; keep only one"
    ):
        load_preset(str(file))


def test_a_wrong_value_under_the_old_name_is_reported_under_the_new_one(tmp_path: Path) -> None:
    with (
        pytest.warns(RenamedSettingWarning),
        pytest.raises(ConfigError, match=r"train\.objective: found 'rms'.*did you mean rsm"),
    ):
        load_preset("tiny", ["contract=rms"])


def test_stored_configurations_with_the_old_name_are_read_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TrainConfig.model_validate({"contract": "rsm"}).objective == "rsm"
        stored = Preset.model_validate({"train": {"contract": "rsm"}})
    assert stored == Preset.model_validate({"train": {"objective": "rsm"}})


def test_bundled_models_written_before_the_renaming_are_read(tmp_path: Path) -> None:
    path = named_model("sudoku-4x4").path
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    assert {"contract", "objective"} & set(config["train"])
    config["train"]["contract"] = config["train"].pop("objective", None) or config["train"].get("contract")
    old = tmp_path / "old.safetensors"
    save_file(load_file(path), old, {**metadata, "config": json.dumps(config)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_model_card(old).preset.train.objective == "rsm"


def test_the_commands_print_one_note_and_stdout_stays_json(run_hrm: RunHrm) -> None:
    done = run_hrm("params", "--preset", "tiny", "train.contract=rsm", "--json")
    assert done.status == 0
    json.loads(done.stdout)
    assert (
        done.stderr.count("Note: train.contract is now called train.objective; the old name still works") == 1
    )
    assert "Warning" not in done.stderr
