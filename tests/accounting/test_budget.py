"""Configurations near a budget: real, sensible, nearest first."""

from __future__ import annotations

import pytest

from hrm_cli.accounting.budget import DEFAULT_VARY, Candidate, nearest, parse_amount, parse_vary
from hrm_cli.accounting.counting import count_exactly
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.errors import ConfigError


def search(preset: str, budget: str, vary: str = DEFAULT_VARY) -> list[Candidate]:
    arch = load_preset(preset).arch
    return nearest(arch, 11, 81, parse_amount(budget), parse_vary(vary, arch), 5)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("7M", 7_000_000), ("7.5m", 7_500_000), ("500k", 500_000), ("1B", 10**9), ("27,275,266", 27_275_266)],
)
def test_amounts_are_read_as_people_write_them(text: str, amount: int) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["", "seven", "7G", "-7M", "0", "7MM", "1e6", "0.0000001k"])
def test_other_amounts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="accepted: a number of parameters such as 7M"):
        parse_amount(text)


@pytest.mark.parametrize("preset", ["base", "trm-sudoku", "nova"])
@pytest.mark.parametrize("vary", [DEFAULT_VARY, "hidden_size", "L_layers", "hidden_size,expansion"])
def test_every_configuration_loads_with_its_overrides_and_has_the_stated_count(
    preset: str, vary: str
) -> None:
    found = search(preset, "7M", vary)
    assert len(found) == 5
    assert [abs(c.error) for c in found] == sorted(abs(c.error) for c in found)
    for candidate in found[:3]:
        arch = load_preset(preset, candidate.overrides).arch
        assert arch == candidate.arch
        assert count_exactly(arch, 11, 81).trainable == candidate.trainable
        assert candidate.error == pytest.approx(candidate.trainable / 7e6 - 1)


def test_widths_are_multiples_of_64_and_heads_have_sensible_sizes() -> None:
    found = search("base", "40M")
    assert len(found) >= 3
    for candidate in found:
        assert candidate.arch.hidden_size % 64 == 0
        assert 32 <= candidate.arch.head_dim <= 128


def test_a_presets_own_count_finds_the_preset_itself_first() -> None:
    best = search("base", "27275266")[0]
    assert (best.arch, best.error) == (load_preset("base").arch, 0)


def test_only_what_may_vary_does() -> None:
    given = load_preset("base").arch
    found = search("base", "40M", "L_layers")
    assert len(found) >= 3
    for candidate in found:
        assert candidate.arch.model_copy(update={"L_layers": given.L_layers}) == given
        assert candidate.overrides == (f"L_layers={candidate.arch.L_layers}",)


def test_names_are_checked_and_the_nearest_is_proposed() -> None:
    given = ArchConfig()
    assert parse_vary("arch.hidden_size, L_LAYERS", given) == ["hidden_size", "L_layers"]
    assert parse_vary(DEFAULT_VARY, ArchConfig(core="trm")) == ["hidden_size", "L_layers"]
    for text, message in (
        ("hiden_size", "--vary: hiden_size: unknown key; did you mean arch.hidden_size"),
        (
            "num_heads",
            "num_heads does not change the parameter count, or depends on another setting; accepted: hidden_size",
        ),
        ("", "found '', which does not change the parameter count"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_vary(text, given)
    with pytest.raises(
        ConfigError, match="does not change the parameter count of core trm; accepted: hidden_size, L_layers"
    ):
        parse_vary("H_layers", ArchConfig(core="trm"))
