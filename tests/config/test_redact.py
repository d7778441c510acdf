"""No private path leaves this machine: every text field of the schema is walked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hrm_cli.checkpoints.bundled import BundledFacts, Measured
from hrm_cli.checkpoints.bundling import add_bundled
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import read_header, write_model_file
from hrm_cli.config.data import AdditionalSource
from hrm_cli.config.presets import load_preset
from hrm_cli.config.redact import redact_text, redact_yaml, redacted
from hrm_cli.config.schema import SECTIONS, Preset
from hrm_cli.evaluation.publishing import CardOptions, write_publication
from hrm_cli.models.registry import build_model

SECRETS = (
    "/home/alice/secret/one.csv",
    "~/secret/two",
    "../secret/three",
    r"C:\Users\alice\secret\four",
    "/home/alice smith/secret folder/five.txt",
    "file:///home/alice/secret/six",
)
FACTS = DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4})
SMALL = ("hidden_size=16", "num_heads=2", "data.size=4", "forward_dtype=float32")


def text_fields() -> Iterator[tuple[str, ...]]:
    """Every field of a preset that may hold text: `("data", "source")`, `("data", "also", "source")`."""
    for name, field in Preset.model_fields.items():
        if field.annotation is str:
            yield (name,)
    for section, model in SECTIONS.items():
        yield from (
            (section, name) for name, field in model.model_fields.items() if "str" in str(field.annotation)
        )
    yield from (
        ("data", "also", name)
        for name, field in AdditionalSource.model_fields.items()
        if "str" in str(field.annotation)
    )


def with_text(field: tuple[str, ...], text: str) -> Preset | None:
    """A small preset with `text` in that field; None where the field takes no such text."""
    document: dict[str, Any] = load_preset("tiny", SMALL).model_dump()
    if len(field) == 1:
        document[field[0]] = text
    elif len(field) == 2:
        document[field[0]][field[1]] = text
    else:
        document["data"]["also"] = [{field[2]: text, "num_train": 5}]
    try:
        return Preset.model_validate(document)
    except ValueError:
        return None


def test_the_walk_finds_the_fields_that_are_known_to_hold_paths() -> None:
    found = set(text_fields())
    assert {("data", "path"), ("data", "source"), ("data", "also", "source"), ("train", "init_from")} <= found
    assert {("purpose",), ("train", "distill_from"), ("train", "device")} <= found


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("field", list(text_fields()), ids=".".join)
def test_no_text_field_of_a_configuration_publishes_a_path(field: tuple[str, ...], secret: str) -> None:
    preset = with_text(field, secret)
    if preset is None or field == ("arch", "core"):
        return
    text = redacted(preset).model_dump_json()
    assert "secret" not in text
    assert "alice" not in text


def test_settings_that_mean_the_same_on_every_machine_are_published() -> None:
    preset = load_preset("tiny", ["data.source=hf:a/b", "init_from=hf:a/c"])
    preset = preset.model_copy(update={"purpose": "6×6 and/or 9/9 puzzles at 1/2"})
    shown = redacted(preset)
    assert (shown.data.source, shown.train.init_from, shown.purpose) == ("hf:a/b", "hf:a/c", preset.purpose)
    assert redact_text("trained on /data/x/y.csv, 3/4 of it (see ~/notes.md)") == (
        "trained on y.csv, 3/4 of it (see notes.md)"
    )


def test_the_origin_of_a_converted_model_keeps_its_settings_and_loses_its_paths() -> None:
    origin = {
        "arch": {"name": "trm@TinyRecursiveReasoningModel_ACTV1", "hidden_size": 64},
        "data_paths": ["secret/sudoku"],
        "checkpoint_path": "checkpoints/secret/run",
        "project_name": "ACT-torch",
        "notes": "see /home/alice/secret",
        "lr": 1e-4,
    }
    shown = redact_yaml(yaml.safe_dump(origin))
    assert shown is not None
    assert yaml.safe_load(shown) == {
        **origin,
        "data_paths": ["sudoku"],
        "checkpoint_path": "run",
        "notes": "see secret",
    }
    clean = "arch: {name: x}   # as it was\nlr: 1e-4\n"
    assert redact_yaml(clean) == clean
    assert redact_yaml("[" * 1000) is None


def model_file(folder: Path, extra: dict[str, str] | None = None) -> Path:
    preset = load_preset("tiny", SMALL)
    secret = SECRETS[0]
    document = preset.model_dump()
    document["data"] |= {
        "source": secret,
        "path": "/home/alice/secret",
        "also": [{"source": secret, "num_train": 5}],
    }
    document["train"] |= {"init_from": secret, "distill_from": secret}
    document["purpose"] = f"from {secret}"
    preset = Preset.model_validate(document)
    model = build_model(preset.arch, 6, 16, 1, generator=torch.Generator().manual_seed(0))
    write_model_file(folder / "m.safetensors", model.state_dict(), preset, 40, FACTS, extra)
    return folder / "m.safetensors"


def test_nothing_that_push_publishes_has_a_private_path(tmp_path: Path) -> None:
    origin = {"prefix": "", "config": "data_path: /home/alice/secret/d\narch: {name: x}\n"}
    extra = {"reference": json.dumps(origin), "unknown": "/home/alice/secret"}
    file = model_file(tmp_path, extra)
    (tmp_path / "out").mkdir()
    write_publication(read_header(file), tmp_path / "out", CardOptions("hf:a/b", "b"))
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {"README.md", "config.yaml", "model.safetensors"}
    for content in written.values():
        assert b"alice" not in content
        assert b"secret/" not in content
    published = read_header(tmp_path / "out" / "model.safetensors").metadata
    assert yaml.safe_load(json.loads(published["reference"])["config"])["data_path"] == "d"


def test_nothing_in_a_bundled_model_has_a_private_path(tmp_path: Path) -> None:
    measured = Measured("puzzles of /home/alice/secret/p.csv", 3, 0.5, 0.5, 8, 2.0)
    facts = BundledFacts("files in /home/alice/secret/train", measured=(measured,))
    model = add_bundled(model_file(tmp_path), "small", facts, tmp_path / "models")
    assert b"alice" not in model.path.read_bytes()
    assert (model.facts.trained_on, model.facts.measured[0].on) == ("files in train", "puzzles of p.csv")
