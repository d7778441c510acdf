"""The ledger of published figures: computed each time, to the digit."""

from __future__ import annotations

import shlex

import pytest

from hrm_cli.accounting import ledger as module
from hrm_cli.accounting.counting import count_exactly
from hrm_cli.accounting.ledger import ARC_TOKENS, SUDOKU_TOKENS, Entry, ledger
from hrm_cli.config.presets import load_preset


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return ledger()


def row(entries: list[Entry], claimed: str) -> Entry:
    (found,) = (entry for entry in entries if entry.claimed == claimed)
    return found


@pytest.mark.parametrize(
    ("claimed", "computed", "reproduced", "verdict"),
    [
        ("27M", 27_275_266, 27_275_266, "right"),
        ("~25M", 27_275_266, 25_178_624, "7.7% low"),
        ("~0.40M", 527_362, 396_416, "24.8% low"),
        ("~3.2M", 3_414_018, 3_152_128, "7.7% low"),
        ("~7–8M", 10_626_050, None, "24.7% low"),
        ("~85M", 84_953_090, 84_953_090, "right"),
        ("31,463,808", 34_091_010, 31_463_808, "7.7% low"),
        ("6.95M", 5_667_597, 6_947_597, "22.6% high"),
        ("~5–6M", 5_667_597, 5_667_597, "right"),
        ("~25%", pytest.approx(1 / 3), 0.25, "8 points low"),
        ("no change", 0, None, "right"),
        ("none", 0, None, "right"),
    ],
)
def test_every_published_claim_is_recomputed_with_a_verdict(
    entries: list[Entry], claimed: str, computed: float, reproduced: float | None, verdict: str
) -> None:
    entry = row(entries, claimed)
    assert (entry.computed, entry.reproduced, entry.verdict) == (computed, reproduced, verdict)


def test_the_counted_tensors_explain_the_published_figure(entries: list[Entry]) -> None:
    claims = {claim.claimed: claim for claim, _ in module._CLAIMS}
    for entry in entries:
        if entry.reproduced is not None:
            claim = claims[entry.claimed]
            assert claim.low <= entry.reproduced <= claim.high, (
                "a reproduction that misses the claim explains nothing"
            )
        if entry.unit == "parameters" and entry.reproduced not in (None, entry.computed):
            assert f"{entry.reproduced:,}" in entry.counted
    assert "128,000 at 1,000 identifiers" in row(entries, "31,463,808").counted
    assert "1,280,000" in row(entries, "6.95M").counted
    assert "5,970,434" in row(entries, "~5–6M").counted
    assert "2+2 layers instead of 3+3 it has 7,087,106" in row(entries, "~7–8M").counted
    assert "from 1,536 to 1,024" in row(entries, "~25%").counted


def test_the_command_of_an_entry_shows_its_figure(entries: list[Entry]) -> None:
    counted = [entry for entry in entries if entry.unit == "parameters"]
    assert len(counted) >= 5
    for entry in counted:
        *_, preset = words = shlex.split(entry.command)
        assert words[:3] == ["hrm", "params", "--preset"]
        tokens = ARC_TOKENS if preset == "nova" else SUDOKU_TOKENS
        assert count_exactly(load_preset(preset).arch, tokens, 81).trainable == entry.computed


def test_counts_are_computed_and_change_with_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    def wider(name: str, overrides: tuple[str, ...] = ()) -> object:
        return load_preset(name, ["hidden_size=1024", "num_heads=16", *overrides])

    monkeypatch.setattr(module, "load_preset", wider)
    module._count.cache_clear()
    changed = {entry.claimed: entry for entry in ledger()}
    module._count.cache_clear()
    assert changed["27M"].computed == count_exactly(wider("base").arch, 11, 81).trainable
    assert changed["27M"].verdict != "right"
    assert changed["6.95M"].reproduced != 6_947_597
