"""Files of the reference that are hostile, damaged or of something else, its layouts, and its configurations."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hrm_cli.checkpoints.convert.reference_files import find_reference_file, read_reference
from hrm_cli.checkpoints.convert.torch_files import is_torch_file
from hrm_cli.errors import CheckpointError, ConfigError

from .conftest import CONFIG, PREFIX, reference_state, same_bits
from .converting import converted


class Runs:
    """Unpickling one makes a file: what a malicious checkpoint would do is worse."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["torch", "old torch", "plain pickle", "beside a state dict"])
def test_a_file_that_would_run_code_is_refused_and_nothing_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    # Which must not help it.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    mark, file = tmp_path / "it-ran", tmp_path / "step_5"
    state = reference_state()
    if form == "plain pickle":
        file.write_bytes(pickle.dumps({"a": Runs(mark)}))
    elif form == "beside a state dict":
        torch.save({"model": state, "optimizers": [Runs(mark)], "step": 3}, file)
    else:
        torch.save({**state, "x": Runs(mark)}, file, _use_new_zipfile_serialization=form == "torch")
    assert find_reference_file(file) == file
    with pytest.raises(
        CheckpointError, match=r"refused: .*system.* never runs code from a file.* Nothing was run"
    ):
        read_reference(file)
    assert not mark.exists()
    with file.open("rb") as stream:  # the mark would have been made
        (torch.load if form != "plain pickle" else lambda s, **_: pickle.load(s))(stream, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "contains list; expected a state dict"),
        ({}, "contains no tensors"),
        ({"a": 3}, "contains 'a', which is int, not a tensor"),
        ({"inner.x": torch.arange(3)}, "inner.x has dtype int64"),
        ({"model": {"x": "text"}}, "contains 'x', which is str"),
        (OrderedDict(a=torch.zeros(2)), "L_level.layers.0 is missing"),
    ],
)
def test_a_torch_file_of_something_else_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "step_5")
    with pytest.raises(CheckpointError, match=message):
        converted(tmp_path / "step_5")


@pytest.mark.parametrize("cut", [10, 500, -20])
def test_a_truncated_file_is_reported(tmp_path: Path, write_reference, cut: int) -> None:
    source = write_reference(reference_state())
    source.write_bytes(source.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="not a complete torch file"):
        read_reference(source)


def test_the_later_layout_of_trm_gives_its_averaged_weights_and_step(write_reference) -> None:
    state = reference_state(core="trm", layers=(0, 2))
    name = f"{PREFIX}inner.lm_head.weight"
    average = {name: torch.full((6, 32), 0.5)}
    content = {
        "model": state,
        "optimizers": [{"state": {}, "param_groups": []}],
        "step": 41,
        "ema_helper": average,
    }
    done = converted(write_reference(content, name="anything.pt"), num_heads=4, seq_len=16)
    stored = load_file(done.destination)
    assert done.step == 41
    assert torch.equal(stored["inner.lm_head.weight"], average[name])
    assert same_bits(stored["inner.q_head.weight"], state[f"{PREFIX}inner.q_head.weight"])
    assert any("ema_helper" in note for note in done.notes)


def test_a_folder_stands_for_its_newest_step(write_reference) -> None:
    old = write_reference(reference_state(seed=1), name="step_900")
    new = write_reference(reference_state(seed=2), name="step_1000")
    write_reference([1], name="step_1000_all_preds.0")
    assert find_reference_file(old.parent) == new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch: 3", "mapping with the key arch"),
        ("arch: {name: 'x@Transformer'}", "arch.name: found x@Transformer; accepted: Hier"),
        ("arch: {hidden_size: 3}", "arch.name is missing"),
        ("arch: [", "not valid YAML"),
        (yaml.dump({**CONFIG, "lr": "fast"}), r"all_config\.yaml: train\.lr: found 'fast'"),
    ],
)
def test_a_configuration_that_cannot_be_understood_is_named(write_reference, text: str, message: str) -> None:
    source = write_reference(reference_state())
    (source.parent / "all_config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        converted(source, seq_len=16)


@pytest.mark.parametrize("length", [0x80, 0x280, 0x480, 0x1480])
def test_a_safetensors_file_whose_header_length_begins_like_a_pickle_is_no_torch_file(
    tmp_path: Path, length: int
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + b"{}".ljust(length))
    assert not is_torch_file(file)
