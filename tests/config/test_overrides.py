from __future__ import annotations

import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hrm_cli.config.data import DataConfig
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.schema import dotted_keys
from hrm_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("arch.hidden_size=256", {"arch": {"hidden_size": 256}}),
        ("hidden_size=256", {"arch": {"hidden_size": 256}}),
        ("EPOCHS=20", {"train": {"epochs": 20}}),
        ("h_layers=2", {"arch": {"H_layers": 2}}),
        ("Train.LR=0.1", {"train": {"lr": 0.1}}),
        ("data.source=hf:owner/name", {"data": {"source": "hf:owner/name"}}),
        ("data.source=a=b=c", {"data": {"source": "a=b=c"}}),
        ("size=4", {"data": {"size": 4}}),
        ("patience=null", {"train": {"patience": None}}),
        ("strict_split=true", {"data": {"strict_split": True}}),
        ("pos_encodings=none", {"arch": {"pos_encodings": "none"}}),
        ("data.source='*.csv'", {"data": {"source": "*.csv"}}),
        (" lr = 0.1", {"train": {"lr": 0.1}}),
    ],
)
def test_override_names_one_setting_and_gives_it_a_yaml_value(override: str, expected: object) -> None:
    assert parse_overrides([override]) == expected


def test_the_later_of_two_overrides_holds_because_scripts_append() -> None:
    assert parse_overrides(["epochs=1", "train.epochs=2"]) == {"train": {"epochs": 2}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("arch.hiden_size=1", "arch.hiden_size: unknown key; did you mean arch.hidden_size?"),
        ("hiden_size=1", "hiden_size: unknown key; did you mean arch.hidden_size?"),
        ("arhc.hidden_size=1", "arhc.hidden_size: unknown key; did you mean arch.hidden_size?"),
        ("arch.epochs=1", "arch.epochs: unknown key; did you mean train.epochs?"),
        ("eval.zzz=1", "eval.zzz: unknown key; accepted in eval: batch_size, max_steps, halt, max_puzzles"),
        ("zzz=1", "zzz: unknown key; the sections are arch, data, train, eval"),
        ("max_steps=1", "max_steps: ambiguous; write train.max_steps or eval.max_steps"),
        ("batch_size=1", "batch_size: ambiguous; write eval.batch_size or train.global_batch_size"),
        ("Batch_Size=1", "Batch_Size: ambiguous; write eval.batch_size or train.global_batch_size"),
        ("arch=1", "arch: is a section; use one of its keys, as in arch.core=…"),
        ("epochs", "'epochs': = is missing; expected KEY=VALUE, as in epochs=20"),
        ("=3", "'=3': the key before = is missing; expected KEY=VALUE, as in epochs=20"),
        ("data.path=*a", "data.path: not valid YAML: found undefined alias 'a'; quote text"),
        ("lr=[1", "train.lr: not valid YAML: "),
        ("source=2020-13-45", "data.source: not valid YAML: month must be in 1..12"),
        ("seed=!!bool maybe", "data.seed or train.seed"),
        ("strict_split=!!bool maybe", "data.strict_split: not valid YAML: 'maybe'"),
        ("path={a: 1, a: 2}", "data.path: not valid YAML: the key a is written twice"),
    ],
)
def test_unreadable_override_is_refused_with_what_would_be_accepted(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides([override])
    assert message in str(caught.value)


def test_all_bad_overrides_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(["lrr=1", "epochs=3", "max_steps=1"])
    assert str(caught.value).startswith(
        "2 problems:\n  lrr: unknown key; did you mean train.lr?\n  max_steps:"
    )


@given(st.lists(st.text(max_size=40), max_size=4))
def test_junk_raises_nothing_but_config_errors(overrides: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        parse_overrides(overrides)


@given(st.sampled_from(dotted_keys()), st.text(max_size=40))
def test_junk_values_of_real_keys_raise_nothing_but_config_errors(key: str, text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_overrides([f"{key}={text}"])


# YAML folds its own line break U+0085 in a plain text into a space: nothing that a shell would pass on.
TEXT = st.text(st.characters(exclude_characters="\x85", exclude_categories=["Cs"]), max_size=20)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT


@given(
    st.sampled_from(dotted_keys()),
    PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(TEXT, PLAIN, max_size=3),
)
def test_a_value_written_as_yaml_is_read_back_unchanged(key: str, value: object) -> None:
    section, _, field = key.partition(".")
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)
    assert parse_overrides([f"{key}={text}"]) == {section: {field: value}}


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"size": "9x9"}, {"size": 9}),
        ({"size": " 16 × 16 "}, {"size": 16}),
        ({"domain": "maze", "size": "20x40"}, {"size": 20, "columns": 40}),
        ({"domain": "maze", "size": "20X20"}, {"size": 20}),
        ({"domain": "maze", "size": "20x40", "columns": 40}, {"size": 20, "columns": 40}),
    ],
)
def test_a_size_may_be_written_as_rows_and_columns(settings: dict[str, object], shape: object) -> None:
    assert DataConfig.model_validate(settings).shape == shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "9x8"}, "size is '9x8', but the grids are square: 9 or 8"),
        ({"domain": "maze", "size": "20x40", "columns": 30}, "size is '20x40', but columns is 30"),
        ({"size": "9x"}, "size"),
    ],
)
def test_a_size_that_contradicts_itself_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate(settings)
