"""`hrm convert` as scripts use it: a checkpoint in the reference's layout is converted, evaluated, and written back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hrm_cli.data.writer import DatasetWriter

from .conftest import CONFIG, PREFIX, reference_state, same_bits


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("theirs") / "Sudoku ACT-torch"
    folder.mkdir()
    torch.save(reference_state(identifiers=1), folder / "step_52080")
    (folder / "all_config.yaml").write_text(yaml.dump(CONFIG))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sudoku"
    rng = np.random.default_rng(0)
    with DatasetWriter(folder) as writer:
        for split in ("train", "test"):
            inputs, labels = (rng.integers(1, 6, (12, 16), dtype=np.uint8) for _ in range(2))
            labels = labels.clip(2)
            writer.split(split, seq_len=16).append(inputs, labels, group_sizes=np.ones(12, int))
        writer.commit({"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 6})
    return folder


def test_a_checkpoint_of_the_reference_is_converted_evaluated_and_written_back(
    run_hrm, reference: Path, dataset: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "models" / "sudoku.safetensors"
    done = run_hrm("convert", reference, ours, "--data", dataset, "--json")
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["direction"], document["core"], document["step"]) == ("to_hrm", "hrm", 52080)
    assert document["settings"]["H_cycles"] == {"value": 2, "from": "all_config.yaml"}
    assert document["settings"]["seq_len"]["from"] == f"--data {dataset}"

    figures = run_hrm("eval", ours, "--halt", "full", "--json")  # its dataset is in its header
    assert figures.status == 0, figures.stderr
    evaluated = json.loads(figures.stdout)
    assert (evaluated["puzzles"], evaluated["mean_steps"], evaluated["step"]) == (12, 5, 52080)

    back = tmp_path / "back" / "step_52080"
    done = run_hrm("convert", ours, back)
    assert done.status == 0, done.stderr
    assert "unchanged bit for bit" in done.stdout
    state = torch.load(reference / "step_52080", weights_only=True)
    again = torch.load(back, weights_only=True)
    assert set(again) == set(state)
    assert all(same_bits(again[name], tensor) for name, tensor in state.items())
    assert (back.parent / "all_config.yaml").read_bytes() == (reference / "all_config.yaml").read_bytes()
    assert sorted(path.name for path in back.parent.iterdir()) == ["all_config.yaml", "step_52080"]


def test_assumptions_are_reported_in_plain_words(in_process, tmp_path: Path) -> None:
    torch.save(reference_state(hidden=64, vocab=11), tmp_path / "step_3")
    status, printed, errors = in_process("convert", "step_3", "ours")
    assert status == 0, errors
    assert "assumed: head_dim 64; --num-heads overrides it" in printed
    assert "assumed: 11 tokens are 9×9 Sudoku; --data overrides it" in printed
    assert "H_cycles            2         assumed: the default" in printed
    stored = load_file(tmp_path / "ours" / "model.safetensors")
    assert set(stored) == {name.removeprefix(PREFIX) for name in reference_state()}


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "FILE"),
        ("solve", "puzzles.txt", "--checkpoint", "FILE"),
        ("params", "--checkpoint", "FOLDER"),
    ],
)
def test_a_checkpoint_of_the_reference_given_directly_is_to_be_converted_first(
    in_process, reference: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "puzzles.txt").write_text("1.3..4.12.4.4..2\n")
    places = {"FILE": reference / "step_52080", "FOLDER": reference}
    status, _, errors = in_process(*(places.get(word, word) for word in words))
    assert status == 2
    assert "convert it first: hrm convert" in errors


def test_wrong_requests_end_with_status_2_and_one_message(
    in_process, reference: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "there.safetensors").write_text("mine")
    cases = {
        ("text", "x.safetensors"): "neither a reference checkpoint",
        ("nowhere", "x.safetensors"): "no such file or folder",
        ("hf:someone/model", "x.safetensors"): "does not read pickled files from the hub",
        (reference, "there.safetensors"): "already exists; --force replaces it",
        (reference, "x.safetensors", "hiden_size=3"): "did you mean arch.hidden_size",
        (reference, "x.safetensors", "--seq-len", "16", "--preset", "nonesuch"): "unknown preset 'nonesuch'",
    }
    for words, message in cases.items():
        status, _, errors = in_process("convert", *words)
        assert status == 2, words
        assert message in errors
        assert errors.count("Error:") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text", "there.safetensors"]


def test_a_resumed_run_takes_no_other_weights_and_a_missing_checkpoint_builds_nothing(
    in_process, tmp_path: Path
) -> None:
    status, _, errors = in_process("train", "--resume", "runs/x", "--checkpoint", "runs/y")
    assert (status, "give only one of them" in errors) == (2, True)
    for words in (["--checkpoint", "nowhere"], ["--preset", "demo", "train.init_from=nowhere"]):
        status, _, errors = in_process("train", *words, "--output-dir", "out")
        assert (status, "nowhere: no such checkpoint" in errors) == (2, True)
    assert list(tmp_path.iterdir()) == []
