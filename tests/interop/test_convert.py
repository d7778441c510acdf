"""Checkpoints of the reference and ours, either way, bit for bit; what tensors tell and what they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hrm_cli.checkpoints.convert.conversion import to_model_file, to_reference
from hrm_cli.checkpoints.convert.infer_dataset import ConversionOptions
from hrm_cli.checkpoints.convert.reference_files import read_reference
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import load_model, read_model_card, write_model_file
from hrm_cli.config.presets import load_preset
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.models.registry import build_model

from .conftest import CONFIG, PREFIX, reference_state, same_bits
from .converting import converted


def read(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


VARIANTS: dict[str, dict[str, Any]] = {
    "hrm": {},
    "hrm, learned positions": {"learned": 17},
    "hrm without puzzle embeddings": {"identifiers": 0},
    "hrm, not compiled": {"prefix": "model."},
    "hrm, the model alone": {"prefix": ""},
    "trm, attention": {"core": "trm", "layers": (0, 2)},
    "trm, token mixing": {"core": "trm", "layers": (0, 2), "mixed": 16 + 16},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_there_and_back_every_bit_of_every_tensor_is_kept(name: str, write_reference) -> None:
    state = reference_state(**VARIANTS[name])
    state[next(iter(state))].view(-1)[:2] = torch.tensor([-0.0, float("inf")])
    source = write_reference(state)
    ours = converted(source, num_heads=4, seq_len=16)
    stored = load_file(ours.destination)
    prefix = VARIANTS[name].get("prefix", PREFIX)
    assert {f"{prefix}{name}" for name in stored} == set(state)
    assert all(same_bits(stored[name.removeprefix(prefix)], tensor) for name, tensor in state.items())

    back = source.parent.parent / "back" / "step_52080"
    back.parent.mkdir()
    to_reference(ours.destination, back)
    again = read(back)
    assert set(again) == set(state)
    assert all(same_bits(again[name], tensor) for name, tensor in state.items())


def native(tmp_path: Path, preset_name: str, *settings: str) -> tuple[Path, DatasetFacts]:
    preset = load_preset(preset_name, ["hidden_size=32", "num_heads=4", *settings])
    facts = DatasetFacts(11, 81, 2, {"name": "sudoku", "size": 9})
    model = build_model(preset.arch, 11, 81, 2, generator=torch.Generator().manual_seed(5))
    path = tmp_path / "ours.safetensors"
    write_model_file(path, model.state_dict(), preset, 77, facts)
    return path, facts


@pytest.mark.parametrize(
    ("preset", "dtype"), [("base", "bfloat16"), ("trm-sudoku", "float32"), ("tiny", "auto")]
)
def test_ours_and_back_keeps_every_bit_and_the_whole_header(tmp_path: Path, preset: str, dtype: str) -> None:
    path, facts = native(tmp_path, preset, f"forward_dtype={dtype}", "train.epochs=9")
    theirs = tmp_path / "theirs" / "step_77"
    theirs.parent.mkdir()
    to_reference(path, theirs)
    written, stored = read(theirs), load_file(path)
    for name, tensor in stored.items():
        # The reference adds the initial states to a carry in the forward dtype, and its attention takes no other.
        is_state = name.endswith("_init") and dtype != "float32"
        expected = tensor.to(torch.bfloat16) if is_state else tensor
        assert same_bits(written[f"{PREFIX}{name}"], expected), name
    again = tmp_path / "again.safetensors"
    to_model_file(read_reference(theirs), again, ConversionOptions())
    assert all(same_bits(tensor, stored[name]) for name, tensor in load_file(again).items())
    first, second = read_model_card(path), read_model_card(again)
    assert (second.preset, second.facts, second.step) == (first.preset, facts, 77)


def test_a_companion_file_that_no_longer_matches_the_tensors_does_not_override_them(tmp_path: Path) -> None:
    path, _ = native(tmp_path, "base")
    theirs = tmp_path / "step_77"
    to_reference(path, theirs)
    state = read(theirs)
    state[f"{PREFIX}inner.H_init"] = torch.ones(32, dtype=torch.bfloat16)
    torch.save(state, theirs)
    to_model_file(read_reference(theirs), tmp_path / "again.safetensors", ConversionOptions())
    again = load_file(tmp_path / "again.safetensors")
    assert same_bits(again["inner.H_init"], state[f"{PREFIX}inner.H_init"])
    assert same_bits(again["inner.L_init"], load_file(path)["inner.L_init"])


def test_the_configuration_next_to_the_file_is_used_and_written_back_unchanged(write_reference) -> None:
    source = write_reference(reference_state(), CONFIG)
    done = converted(source, seq_len=16)
    arch, train = done.preset.arch, done.preset.train
    assert (arch.num_heads, arch.H_cycles, arch.L_cycles, arch.halt_max_steps) == (4, 2, 3, 5)
    assert (train.lr, train.puzzle_emb_weight_decay, train.seed) == (3e-4, 0.5, 3)
    assert (train.loss, train.eval_interval, done.step) == ("softmax_cross_entropy", 100, 52080)
    assert done.sources["H_cycles"] == (2, "all_config.yaml")
    back = source.parent.parent / "back"
    back.mkdir()
    to_reference(done.destination, back / "step_1")
    assert (back / "all_config.yaml").read_bytes() == (source.parent / "all_config.yaml").read_bytes()


def test_a_setting_changed_during_conversion_is_changed_in_the_configuration_written_back(
    write_reference,
) -> None:
    source = write_reference(reference_state(), CONFIG)
    done = converted(source, "halt_max_steps=9", seq_len=16)
    to_reference(done.destination, source.parent.parent / "step_1")
    config = yaml.safe_load((source.parent.parent / "all_config.yaml").read_text())
    assert config["arch"]["halt_max_steps"] == 9
    assert config["arch"]["name"] == CONFIG["arch"]["name"]
    assert config["eval_save_outputs"] == []


@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_the_configuration_of_ours_has_what_the_references_own_needs(tmp_path: Path, core: str) -> None:
    path, _ = native(tmp_path, "base" if core == "hrm" else "trm-sudoku")
    to_reference(path, tmp_path / "step_77")
    config = yaml.safe_load((tmp_path / "all_config.yaml").read_text())
    # The fields without a default in the reference's configuration classes.
    required = {
        "global_batch_size", "epochs", "lr", "lr_min_ratio", "lr_warmup_steps", "weight_decay", "beta1", "beta2",
        "puzzle_emb_lr", "puzzle_emb_weight_decay", "arch", "data_path" if core == "hrm" else "data_paths",
    }  # fmt: skip
    assert required <= set(config)
    inside = {
        "H_cycles", "L_cycles", "H_layers", "L_layers", "hidden_size", "expansion", "num_heads", "pos_encodings",
        "halt_max_steps", "halt_exploration_prob", "name", "loss", "puzzle_emb_ndim",
    }  # fmt: skip
    assert inside <= set(config["arch"])
    assert config["arch"]["forward_dtype"] == "bfloat16"
    assert config["arch"]["puzzle_emb_ndim"] == 32


def test_the_architecture_is_inferred_from_shapes_without_a_configuration(write_reference) -> None:
    source = write_reference(reference_state(hidden=128, inner=512, layers=(3, 2), vocab=11, identifiers=7))
    done = converted(source)
    arch = done.preset.arch
    assert (arch.core, arch.hidden_size, arch.H_layers, arch.L_layers) == ("hrm", 128, 3, 2)
    assert (arch.num_heads, arch.expansion, arch.puzzle_emb_ndim) == (2, 4.0, 128)
    assert (done.facts.vocab_size, done.facts.seq_len, done.facts.num_puzzle_identifiers) == (11, 81, 7)
    assert done.facts.domain == {"name": "sudoku", "size": 9}
    assert {name for name, (_, source) in done.sources.items() if source.startswith("assumed")} == {
        "num_heads", "seq_len", "H_cycles", "L_cycles", "halt_max_steps", "pos_encodings", "forward_dtype",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "seq_len", "fields"),
    [
        ({"learned": 17, "vocab": 6}, 16, {"pos_encodings": "learned", "core": "hrm"}),
        (
            {"core": "trm", "layers": (0, 2), "mixed": 97, "vocab": 11}, 81,
            {"mlp_t": True, "L_cycles": 6, "pos_encodings": "none"},
        ),
        ({"core": "trm", "layers": (0, 2), "vocab": 12}, 900, {"mlp_t": False, "L_cycles": 4, "pos_encodings": "rope"}),
        ({"inner": 512, "vocab": 11}, 81, {"expansion": 12.5}),
    ],
)  # fmt: skip
def test_length_positions_and_widths_are_read_off_the_tensors(
    write_reference, state, seq_len, fields
) -> None:
    done = converted(write_reference(reference_state(**state)), num_heads=4)
    assert done.facts.seq_len == seq_len
    assert {name: getattr(done.preset.arch, name) for name in fields} == fields
    load_model(done.destination)


def test_a_preset_says_what_tensors_cannot_and_settings_overrule_it(write_reference) -> None:
    source = write_reference(reference_state(hidden=64, vocab=6))
    done = converted(source, "L_cycles=7", preset=load_preset("maze-hard"), preset_name="maze-hard")
    assert (done.facts.seq_len, done.facts.domain["name"]) == (900, "maze")
    assert done.sources["num_heads"][0] == 1  # a head_dim of 64; the preset's own heads are for its own width
    assert done.sources["L_cycles"] == (7, "given")
    assert done.sources["H_cycles"] == (2, "--preset maze-hard")


@pytest.mark.parametrize(
    ("state", "settings", "options", "message"),
    [
        ({}, [], {"seq_len": 16}, "32 is not a multiple of the usual head_dim 64; set it with --num-heads"),
        ({"hidden": 64}, [], {}, "6 tokens may be 4×4 Sudoku or 30×30 maze; set it with --data"),
        ({"hidden": 64, "vocab": 99}, [], {}, "99 tokens may be no known kind of puzzle"),
        ({"hidden": 64}, ["data.domain=arc"], {}, "a vocabulary of 6 tokens, but ARC"),
        ({"hidden": 64}, ["num_heads=2"], {"num_heads": 4, "seq_len": 16}, "contradicts arch.num_heads=2"),
        ({"hidden": 64}, ["num_heads=5"], {"seq_len": 16}, "hidden_size 64 is not a multiple of num_heads 5"),
        ({"hidden": 64, "learned": 17}, [], {"seq_len": 20}, "17 positions minus 1 .* are 16 cells, not 20"),
        ({"hidden": 64}, ["hidden_size=32"], {"seq_len": 16, "num_heads": 4}, r"shape \[6, 64\], expected \[6, 32\]"),
        ({"hidden": 64, "identifiers": 0}, [], {"seq_len": 16, "resize_puzzle_embedding": 5}, "embedding table"),
    ],
)  # fmt: skip
def test_what_cannot_be_inferred_or_does_not_match_is_reported_with_the_option_that_sets_it(
    write_reference, state, settings, options, message
) -> None:
    source = write_reference(reference_state(**state))
    with pytest.raises((CheckpointError, ConfigError), match=message):
        converted(source, *settings, **options)
    assert not (source.parent.parent / "ours.safetensors").exists()


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize("damage", ["missing", "extra", "misshaped", "a whole layer"])
def test_a_missing_extra_or_misshaped_tensor_is_named_as_the_file_has_it(
    write_reference, damage: str, with_config: bool
) -> None:
    state = reference_state()
    name = f"{PREFIX}inner.H_level.layers.0.mlp.down_proj.weight"
    expected = rf"{name} is missing"
    if damage == "missing":
        del state[name]
    elif damage == "extra":
        state[f"{PREFIX}inner.bonus"] = torch.zeros(3)
        expected = rf"{PREFIX}inner\.bonus is not part of this architecture"
    elif damage == "misshaped":
        state[name] = state[name][:-1]
        expected = rf"{name} has shape \[31, 256\], expected \[32, 256\]"
    else:
        for key in [key for key in state if "H_level.layers.0" in key]:
            del state[key]
        expected = r"H_level\.layers\.0\.self_attn\.qkv_proj\.weight is missing"
    source = write_reference(state, CONFIG if with_config else None)
    with pytest.raises(CheckpointError, match=expected):
        converted(source, num_heads=4, seq_len=16)


def test_a_puzzle_table_of_another_size_gets_the_mean_of_the_rows(write_reference) -> None:
    state = reference_state(identifiers=3)
    done = converted(write_reference(state), num_heads=4, seq_len=16, resize_puzzle_embedding=5)
    table = load_file(done.destination)["inner.puzzle_emb.weights"]
    old = state[f"{PREFIX}inner.puzzle_emb.weights"]
    assert table.shape == (5, 32)
    assert torch.equal(table, torch.mean(old, dim=0, keepdim=True).expand(5, 32))
    assert done.facts.num_puzzle_identifiers == 5
    same = converted(write_reference(state), num_heads=4, seq_len=16, resize_puzzle_embedding=3)
    assert torch.equal(load_file(same.destination)["inner.puzzle_emb.weights"], old)


def test_the_dataset_must_have_as_many_identifiers_as_the_table_has_rows(write_reference) -> None:
    source = write_reference(reference_state(identifiers=3))
    facts = DatasetFacts(6, 16, 8, {"name": "sudoku", "size": 4})
    with pytest.raises(
        CheckpointError, match=r"3 rows, .* 8 puzzle identifiers; --resize-puzzle-embedding 8"
    ):
        converted(source, num_heads=4, facts=facts, data=Path("d"))
    done = converted(source, num_heads=4, facts=facts, data=Path("d"), resize_puzzle_embedding=8)
    assert (done.facts.seq_len, done.facts.domain) == (16, facts.domain)


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("nova", "core nova does not exist in the reference"),
        ("base", "The reference does not have this variant of hrm"),
    ],
)
def test_a_model_that_the_reference_does_not_have_is_not_written(
    tmp_path: Path, preset: str, message: str
) -> None:
    path, _ = native(tmp_path, preset)
    if preset == "base":
        tensors = load_file(path)
        del tensors["inner.lm_head.weight"]
        card = read_model_card(path)
        write_model_file(path, tensors, card.preset, card.step, card.facts)
    with pytest.raises(CheckpointError, match=message):
        to_reference(path, tmp_path / "step_1")
    assert not (tmp_path / "step_1").exists()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("initial_state", "random", "random; the reference supports only fixed"),
        ("damping", 0.9, r"0\.9; the reference supports only 1"),
        ("state_dtype", "float32", "float32; the reference supports only forward"),
        ("position_tables", True, "true; the reference supports only false"),
        ("qk_norm", True, "true; the reference supports only false"),
        ("fusion", "gated", "gated; the reference supports only add"),
        ("middle_cycles", (2,), r"\[2\]; the reference supports only \[\]"),
    ],
)
def test_settings_that_the_reference_does_not_have_are_named(
    tmp_path: Path, setting: str, value: object, message: str
) -> None:
    path, _ = native(tmp_path, "base")
    card = read_model_card(path)
    arch = card.preset.arch.model_copy(update={setting: value})
    preset = card.preset.model_copy(update={"arch": arch})
    write_model_file(path, load_file(path), preset, card.step, card.facts)
    with pytest.raises(CheckpointError, match=f"arch.{setting} is {message}"):
        to_reference(path, tmp_path / "step_1")
    assert not (tmp_path / "step_1").exists()


def test_the_configuration_of_another_model_is_not_overwritten(tmp_path: Path, write_reference) -> None:
    path, _ = native(tmp_path, "base")
    source = write_reference(reference_state(), CONFIG)
    before = (source.parent / "all_config.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=r"all_config\.yaml: already exists"):
        to_reference(path, source.parent / "step_77")
    assert (source.parent / "all_config.yaml").read_bytes() == before
    assert not (source.parent / "step_77").exists()
    to_reference(path, source.parent / "step_77", force=True)
    assert (source.parent / "all_config.yaml").read_bytes() != before


@pytest.mark.parametrize(
    "name", ["hrm_forward_rope", "hrm_forward_learned_nopuzzle", "trm_forward_attn", "trm_forward_mlp"]
)
def test_a_recorded_model_of_the_reference_answers_as_recorded_once_converted(
    shared: Path, write_reference, name: str
) -> None:
    from safetensors import safe_open

    with safe_open(shared / "golden" / f"{name}.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        recorded = yaml.safe_load(file.metadata()["config"])
    state = {f"{PREFIX}{key[6:]}": tensor for key, tensor in tensors.items() if key.startswith("state/")}
    kind = (
        CONFIG["arch"]["name"]
        if name.startswith("hrm")
        else "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1"
    )
    arch = {**recorded, "name": kind, "loss": CONFIG["arch"]["loss"]}
    done = converted(write_reference(state, {**CONFIG, "arch": arch}), seq_len=recorded["seq_len"])
    model, _ = load_model(done.destination)
    inputs, identifiers = tensors["batch/inputs"], tensors["batch/puzzle_identifiers"]
    compared = 0
    for step in model.infer(inputs, identifiers, recorded["halt_max_steps"], adaptive=False):
        if step.logits is not None:
            wanted = tensors[f"step{step.step}/logits"]
            assert torch.allclose(step.logits, wanted, rtol=1e-4, atol=1e-4)
            compared += 1
    assert compared
