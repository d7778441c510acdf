"""Counts agree with instantiated models, and with the published exact figures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.config.schema import ArchConfig
from hrm_cli.models.counting import approximate, count_exactly
from hrm_cli.models.registry import build_model


@pytest.mark.parametrize(
    ("hidden", "heads", "layers", "exact", "guide", "rule"),
    [
        (128, 4, 1, 527_362, 527_488, 396_416),
        (256, 8, 2, 3_414_018, 3_414_272, 3_152_128),
        (384, 6, 3, 10_626_050, 10_626_432, 10_626_432),
        (512, 8, 4, 27_275_266, 27_275_776, 25_178_624),
        (768, 12, 6, 84_953_090, 84_953_856, 84_953_856),
    ],
)
def test_the_ledgers_figures_are_computed(
    hidden: int, heads: int, layers: int, exact: int, guide: int, rule: int
) -> None:
    arch = ArchConfig(hidden_size=hidden, num_heads=heads, H_layers=layers, L_layers=layers)
    assert count_exactly(arch, 11, 81).trainable == exact
    found = approximate(arch, 11)
    assert (found.guide, found.rule_of_thumb) == (guide, rule)


@settings(max_examples=25, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([8, 16]),
    layers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    expansion=st.sampled_from([1.0, 3.0, 4.0]),
    positions=st.sampled_from(["rope", "learned", "none"]),
    puzzle=st.sampled_from([0, 5, 40]),
    identifiers=st.integers(1, 9),
)
def test_counting_without_memory_agrees_with_the_real_model(
    heads, head_dim, layers, expansion, positions, puzzle, identifiers
) -> None:
    arch = ArchConfig(
        hidden_size=heads * head_dim, num_heads=heads, H_layers=layers[0], L_layers=layers[1], expansion=expansion,
        pos_encodings=positions, puzzle_emb_ndim=puzzle,
    )  # fmt: skip
    model = build_model(arch, 6, 16, identifiers)
    count = count_exactly(arch, 6, 16, identifiers)
    assert count.trainable == sum(p.numel() for p in model.parameters())
    assert count.state_dict == sum(t.numel() for t in model.state_dict().values())
    assert count.puzzle_embedding == puzzle * identifiers
    assert sum(m.trainable for m in count.modules) == count.trainable
    assert sum(m.trainable + m.buffers for m in count.modules) == count.state_dict


def test_neither_heads_nor_cycles_change_the_count() -> None:
    counts = {
        count_exactly(ArchConfig(hidden_size=64, num_heads=n, H_cycles=c, L_cycles=c), 11, 81).trainable
        for n in (2, 4, 8)
        for c in (1, 3)
    }
    assert len(counts) == 1
