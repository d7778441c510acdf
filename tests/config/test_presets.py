from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.config.presets import list_presets, load_preset, preset_text
from hrm_cli.config.resolved import commented_yaml, diff_presets, resolved_yaml
from hrm_cli.config.schema import InvalidConfigError, Preset, dotted_keys
from hrm_cli.errors import ConfigError

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "presets").glob("**/*.yaml"))


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def message(name_or_path: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_preset(name_or_path, overrides)
    return str(caught.value)


# What is shipped


def test_the_walk_over_shipped_presets_finds_them_all() -> None:
    assert sorted(path.stem for path in SHIPPED) == list_presets()
    assert {"tiny", "small", "medium", "base", "large", "sudoku-extreme", "sudoku-full"} <= set(
        list_presets()
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_preset_passes_the_real_parser_and_says_what_it_is_for(path: Path) -> None:
    assert load_preset(path.stem).purpose
    assert load_preset(str(path)) == load_preset(path.stem)
    assert f"hrm train --preset {path.stem}" in preset_text(path.stem), (
        "the exact command belongs at its head"
    )
    assert preset_text(path.stem).startswith("# ")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_a_shipped_preset_resolves_to_loads_as_the_same_preset(path: Path, tmp_path: Path) -> None:
    preset = load_preset(path.stem)
    assert load_preset(written(tmp_path, resolved_yaml(preset))) == preset
    assert load_preset(written(tmp_path, commented_yaml(preset))) == preset


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("tiny", (128, 4, 1, 1, 1, 1)),
        ("small", (256, 8, 2, 2, 2, 2)),
        ("medium", (384, 6, 3, 3, 2, 2)),
        ("base", (512, 8, 4, 4, 2, 2)),
        ("large", (768, 12, 6, 6, 2, 2)),
    ],
)
def test_sizes_are_those_of_the_size_guide_because_parameter_counts_are_compared(
    name: str, shape: tuple[int, ...]
) -> None:
    arch = load_preset(name).arch
    assert shape == (
        arch.hidden_size, arch.num_heads, arch.H_layers, arch.L_layers, arch.H_cycles, arch.L_cycles
    )  # fmt: skip
    assert (arch.expansion, arch.pos_encodings, arch.puzzle_emb_ndim) == (4.0, "rope", arch.hidden_size)


def test_sudoku_extreme_is_the_published_run() -> None:
    preset = load_preset("sudoku-extreme")
    train, data = preset.train, preset.data
    assert (train.epochs, train.global_batch_size, train.lr, train.puzzle_emb_lr) == (20000, 768, 1e-4, 1e-4)
    assert (train.weight_decay, train.puzzle_emb_weight_decay, train.lr_min_ratio) == (1.0, 1.0, 1.0)
    assert (train.loss, train.lr_warmup_steps) == ("stablemax_cross_entropy", 2000)
    assert (data.source, data.subsample_size, data.num_aug) == ("hf:sapientinc/sudoku-extreme", 1000, 1000)
    assert (data.augment, preset.arch.halt_max_steps, preset.arch.forward_dtype) == ("stored", 16, "bfloat16")


def test_sudoku_full_is_the_published_run() -> None:
    preset = load_preset("sudoku-full")
    train, arch = preset.train, preset.arch
    assert (train.epochs, train.global_batch_size, train.lr, train.puzzle_emb_lr) == (100, 2304, 3e-4, 3e-4)
    assert (train.weight_decay, train.puzzle_emb_weight_decay, train.lr_min_ratio) == (0.1, 0.1, 0.1)
    assert (train.loss, arch.L_cycles, arch.halt_max_steps) == ("softmax_cross_entropy", 8, 8)
    assert (arch.pos_encodings, preset.data.subsample_size, preset.data.num_aug) == ("learned", None, 0)


# Users' files


def test_user_file_changes_only_what_it_names(tmp_path: Path) -> None:
    mine = load_preset(written(tmp_path, "extends: base\narch: {hidden_size: 256}\n"))
    assert diff_presets(load_preset("base"), mine) == [
        ("arch.hidden_size", 512, 256),
        ("arch.puzzle_emb_ndim", 512, 256),
    ]


def test_extends_takes_paths_relative_to_the_file_so_that_folders_can_move(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    written(tmp_path, "extends: tiny\ntrain: {epochs: 7}\n", "parent.yaml")
    child = written(tmp_path / "sub", "extends: ../parent.yaml\ntrain: {lr: 1e-5}\n")
    preset = load_preset(child)
    assert (preset.train.epochs, preset.train.lr, preset.arch.hidden_size) == (7, 1e-5, 128)


def test_overrides_stand_above_the_file_which_stands_above_what_it_extends(tmp_path: Path) -> None:
    mine = written(tmp_path, "extends: tiny\ntrain: {epochs: 7, lr: 0.5}\n")
    preset = load_preset(mine, ["EPOCHS=9"])
    assert (preset.train.epochs, preset.train.lr, preset.train.global_batch_size) == (9, 0.5, 128)


def test_purpose_is_not_inherited_because_it_would_describe_another_preset(tmp_path: Path) -> None:
    assert load_preset(written(tmp_path, "extends: tiny\n")).purpose == ""


def test_exponents_without_a_point_are_numbers_though_yaml_reads_text(tmp_path: Path) -> None:
    preset = load_preset(written(tmp_path, "train: {lr: 7e-5, epochs: 2e3}\n"))
    assert (preset.train.lr, preset.train.epochs) == (7e-5, 2000)


@pytest.mark.parametrize(
    ("word", "meant"), [("on", "on"), ("off", "off"), ('"off"', "off"), ("auto", "auto")]
)
def test_on_and_off_are_words_although_yaml_reads_booleans(word: str, meant: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"extends: tiny\ntrain:\n  compile: {word}\n")
    assert load_preset(file).train.compile == meant
    assert load_preset("tiny", [f"train.compile={word}"]).train.compile == meant
    again = written(tmp_path, resolved_yaml(load_preset(file)), "again.yaml")
    assert load_preset(again).train.compile == meant


def test_section_left_empty_changes_nothing(tmp_path: Path) -> None:
    assert load_preset(written(tmp_path, "extends: tiny\narch:\n")).arch == load_preset("tiny").arch


def test_byte_order_mark_windows_lines_and_yaml_anchors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("\ufefftrain: &t\r\n  epochs: 3\r\neval: {batch_size: 5}\r\n".encode())
    assert load_preset(str(path)).train.epochs == 3


def test_a_cycle_of_extends_is_refused_with_the_chain(tmp_path: Path) -> None:
    a = written(tmp_path, "extends: b.yaml\n", "a.yaml")
    b = written(tmp_path, "extends: ./a.yaml\n", "b.yaml")
    assert message(a) == f"extends is circular: {a} → {b} → {a}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("arch: {hiden_size: 1}", "{file}: arch.hiden_size: unknown key; did you mean arch.hidden_size?"),
        ("hidden_size: 1", "{file}: hidden_size: unknown key; did you mean arch.hidden_size?"),
        ("arhc: {}", "{file}: arhc: unknown key; did you mean arch?"),
        ("arch: {hidden_size: 0}", "{file}: arch.hidden_size: found 0; accepted: a whole number, at least 2"),
        ("arch: {hidden_size: 9.5}", "{file}: arch.hidden_size: found 9.5; accepted: a whole number"),
        ("arch: {hidden_size: wide}", "{file}: arch.hidden_size: found 'wide'; accepted: a whole number"),
        ("arch: {hidden_size: null}", "{file}: arch.hidden_size: found null; accepted: a whole number"),
        ("train: {epochs: true}", "{file}: train.epochs: found true; accepted: a whole number, at least 1"),
        ("train: {lr: 0}", "{file}: train.lr: found 0; accepted: a number, above 0"),
        ("train: {lr: .nan}", "{file}: train.lr: found nan; accepted: a number, above 0"),
        ("train: {lr: inf}", "{file}: train.lr: found inf; accepted: a number, above 0"),
        ("train: {beta1: 1}", "train.beta1: found 1; accepted: a number, at least 0, below 1"),
        ("train: {patience: 0}", "train.patience: found 0; accepted: a whole number, at least 1, or null"),
        ("arch: {pos_encodings: ropes}", "accepted: rope, learned or none; did you mean rope?"),
        ("arch: {core: 3}", "{file}: arch.core: found 3; accepted: text"),
        ("data: {strict_split: maybe}", "data.strict_split: found 'maybe'; accepted: true or false"),
        (
            "data: {clues: few}",
            "{file}: data.clues: found 'few'; accepted: minimal, a number such as 30, or a range",
        ),
        ("data: {clues: 40-30}", "data.clues: found '40-30'; accepted: minimal"),
        ("arch: [1]", "{file}: arch: found [1]; accepted: a mapping of keys to values"),
        ("arch: {hidden_size: 130}", "{file}: arch: hidden_size 130 is not a multiple of num_heads 8"),
        ("arch: {hidden_size: 24}", "{file}: arch: pos_encodings rope needs an even head_dim"),
        ("purpose: [1]", "purpose: found [1]; accepted: text"),
        ("extends: 3", "{file}: extends: found 3; accepted: a preset's name or a path"),
        ("extends: bsae", "{file}: extends: unknown preset 'bsae'; did you mean base?"),
        ("extends: ./gone.yaml", "gone.yaml: no such file"),
        ("train:\n  lr: 1\n  lr: 2\n", "{file}:3: not valid YAML: the key lr is written twice"),
        ("arch: {}\narch: {}\n", "{file}:2: not valid YAML: the key arch is written twice"),
        ("arch:\n  yes: 1\n", "{file}:2: not valid YAML: the key True is not text"),
        ("arch:\n\thidden_size: 1\n", "{file}:2: not valid YAML: "),
        ("train: [1\n", "{file}:2: not valid YAML: "),
        ("x: !!python/object:os.system 1\n", "not valid YAML: could not determine a constructor"),
        ("[" * 5000, "{file}: not valid YAML: "),
        ("", "{file}: is empty; expected a mapping with the sections arch, data, train, eval"),
        ("# nothing\n", "{file}: is empty"),
        ("- 1\n", "{file}: found a list; expected a mapping"),
        ("tiny\n", "{file}: found the value 'tiny'; expected a mapping"),
        ("a: 1\n---\nb: 2\n", "{file}:2: not valid YAML: but found another document"),
        ("a\0b: 1", "{file}: is not a text file (it contains NUL bytes)"),
    ],
)
def test_wrong_file_is_refused_with_file_key_and_what_is_accepted(
    tmp_path: Path, text: str, found: str
) -> None:
    file = written(tmp_path, text)
    assert found.format(file=file) in message(file)


def test_every_problem_is_reported_at_once_with_its_file(tmp_path: Path) -> None:
    parent = written(tmp_path, "train: {lr: -1}\n", "parent.yaml")
    child = written(tmp_path, "extends: parent.yaml\narch: {hidden_size: 1}\ndata: {sizes: 4}\n")
    with pytest.raises(InvalidConfigError) as caught:
        load_preset(child, ["epochs=0"])
    assert caught.value.problems == [
        f"{child}: arch.hidden_size: found 1; accepted: a whole number, at least 2, at most 65536",
        f"{child}: data.sizes: unknown key; did you mean data.size?",
        "train.epochs: found 0; accepted: a whole number, at least 1",
        f"{parent}: train.lr: found -1; accepted: a number, above 0",
    ]


def test_names_in_registries_are_checked_with_the_rest(tmp_path: Path) -> None:
    def check(name: str) -> None:
        raise ConfigError(f"arch.core: unknown core {name!r}")

    file = written(tmp_path, "arch: {core: hmr}\ntrain: {lr: 0}\n")
    with pytest.raises(InvalidConfigError) as caught:
        load_preset(file, name_checks={"arch.core": check})
    assert caught.value.problems[1] == f"{file}: arch.core: unknown core 'hmr'"


# Names and paths


def test_unknown_name_is_refused_with_the_closest_and_the_list() -> None:
    assert message("tinny").startswith("unknown preset 'tinny'; did you mean tiny? (packaged: ")


def test_file_called_by_its_bare_name_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "{}", "mine")
    assert "to use the file of that name, write ./mine" in message("mine")


def test_missing_file_is_refused_with_its_neighbor(tmp_path: Path) -> None:
    written(tmp_path, "{}")
    assert message(f"{tmp_path}/mien.yaml") == f"{tmp_path}/mien.yaml: no such file; did you mean mine.yaml?"


def test_a_run_folder_is_the_preset_of_its_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("extends: tiny\ntrain:\n  lr: 0.25\n")
    assert load_preset(f"{tmp_path}/").train.lr == 0.25
    assert load_preset(str(tmp_path), ["lr=0.5"]).train.lr == 0.5


def test_directory_binary_and_impossible_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    assert message(f"{tmp_path}/") == f"{tmp_path}: is a directory; expected a YAML file or a run folder"
    assert message(f"{tmp_path}/binary.yaml").endswith("is not UTF-8 text (byte 0 cannot be read)")
    assert "cannot be read" in message("./a\0b.yaml")
    assert "cannot be read" in message(f"./{'x' * 500}.yaml")


# Properties


@settings(max_examples=300)
@given(st.sampled_from(dotted_keys()), st.text(max_size=20) | st.integers().map(str) | st.floats().map(str))
def test_any_value_is_either_accepted_or_a_config_error_and_survives_being_written(
    key: str, text: str
) -> None:
    try:
        preset = load_preset("tiny", [f"{key}={text}"])
    except ConfigError:
        return
    assert Preset.model_validate(yaml.safe_load(resolved_yaml(preset))) == preset
    assert Preset.model_validate(yaml.safe_load(commented_yaml(preset))) == preset


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["arch", "train", "lr", "extends", "core", "x"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_any_yaml_document_is_either_a_preset_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    file = written(tmp_path_factory.getbasetemp(), yaml.safe_dump(document, allow_unicode=True))
    with contextlib.suppress(ConfigError):
        load_preset(file)


def test_an_item_of_a_list_of_the_wrong_kind_is_named_with_the_kind_that_is_accepted() -> None:
    with pytest.raises(
        ConfigError, match=r"arch\.middle_cycles: found 'x'; accepted: a list, each item a whole number"
    ):
        load_preset("tiny", ["arch.middle_cycles=[2,x]"])


def test_an_unknown_logger_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"train\.loggers: found 'nothing'; accepted: a list of tensorboard or wandb"
    ):
        load_preset("tiny", ["train.loggers=[nothing]"])


def test_an_explained_preset_with_lists_of_names_is_read_again(tmp_path: Path) -> None:
    preset = load_preset(
        "tiny", ["train.loggers=[tensorboard]", "data.also=[{clues: minimal, num_train: 5}]"]
    )
    (tmp_path / "p.yaml").write_text(commented_yaml(preset))
    assert load_preset(str(tmp_path / "p.yaml")) == preset
