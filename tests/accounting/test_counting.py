"""Counts agree with instantiated models, and with the published exact figures."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.accounting.components import COMPONENTS, components, trainable_in_closed_form
from hrm_cli.accounting.counting import GroupCount, count_exactly, count_stored
from hrm_cli.accounting.kinds import Part
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.models.registry import CORES, build_model


@st.composite
def architectures(draw: st.DrawFn) -> ArchConfig:
    """Every core in every shape that changes what it is made of."""
    core = draw(st.sampled_from(sorted(CORES)))
    heads, head_size = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([8, 16]))
    return ArchConfig(
        core=core,
        hidden_size=heads * head_size,
        num_heads=heads,
        H_layers=draw(st.integers(1, 3)),
        L_layers=draw(st.integers(1, 3)),
        expansion=draw(st.sampled_from([1.0, 2.5, 4.0])),
        pos_encodings=draw(st.sampled_from(["rope", "learned", "none"])),
        puzzle_emb_ndim=draw(st.sampled_from([0, 5, 40])),
        puzzle_emb_len=draw(st.sampled_from([0, 6])),
        mlp_t=core in ("hrm", "trm") and draw(st.booleans()),
    )


def sums(parts: list[Part], key: str) -> dict[str, tuple[int, int]]:
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part in parts:
        found[getattr(part, key)][0] += part.trainable
        found[getattr(part, key)][1] += part.buffers
    return {name: (trainable, buffers) for name, (trainable, buffers) in found.items()}


def counted(groups: tuple[GroupCount, ...]) -> dict[str, tuple[int, int]]:
    return {group.name: (group.trainable, group.buffers) for group in groups}


@settings(max_examples=40)
@given(
    arch=architectures(),
    vocabulary=st.integers(2, 12),
    cells=st.sampled_from([4, 16]),
    identifiers=st.integers(1, 9),
)
def test_every_count_is_that_of_the_real_model(arch, vocabulary, cells, identifiers) -> None:
    model = build_model(arch, vocabulary, cells, identifiers)
    count = count_exactly(arch, vocabulary, cells, identifiers)
    assert count.trainable == sum(p.numel() for p in model.parameters())
    assert count.state_dict == sum(t.numel() for t in model.state_dict().values())
    assert count.trainable + count.puzzle_embedding + count.buffers == count.state_dict
    for groups in (count.modules, count.kinds):
        assert sum(group.trainable for group in groups) == count.trainable
        assert sum(group.trainable + group.buffers for group in groups) == count.state_dict
    # A file does not say what is trained: the tensors' names must tell the same as the modules.
    assert count_stored({name: t.shape for name, t in model.state_dict().items()}) == count
    parts = components(arch, vocabulary, cells, identifiers)
    assert sums(parts, "module") == counted(count.modules)
    assert sums(parts, "kind") == counted(count.kinds)


def test_no_tensor_of_any_core_is_of_an_unknown_kind() -> None:
    assert set(COMPONENTS) == set(CORES), "a new core needs its components"
    for core in CORES:
        for positions in ("rope", "learned"):
            arch = ArchConfig(core=core, hidden_size=16, num_heads=2, pos_encodings=positions)
            assert "other" not in counted(count_exactly(arch, 5, 4).kinds)


@pytest.mark.parametrize(
    ("preset", "vocabulary", "trainable"),
    [
        ("tiny", 11, 527_362),
        ("small", 11, 3_414_018),
        ("medium", 11, 10_626_050),
        ("base", 11, 27_275_266),
        ("large", 11, 84_953_090),
        ("legion", 11, 34_091_010),
        ("nova", 12, 5_667_597),
    ],
)
def test_the_published_exact_figures_are_computed(preset: str, vocabulary: int, trainable: int) -> None:
    arch = load_preset(preset).arch
    assert count_exactly(arch, vocabulary, 81).trainable == trainable
    assert trainable_in_closed_form(arch, vocabulary, 81) == trainable


def test_nova_also_stores_its_position_table() -> None:
    count = count_exactly(load_preset("nova").arch, 12, 900)
    assert (count.state_dict, count.buffers, count.puzzle_embedding) == (6_947_597, 1_280_000, 0)


def test_only_the_puzzle_table_of_legion_grows_with_the_identifiers() -> None:
    arch = load_preset("legion").arch
    one, thousand = count_exactly(arch, 11, 81, 1), count_exactly(arch, 11, 81, 1000)
    assert thousand.puzzle_embedding == 128_000
    assert thousand.trainable == one.trainable
    assert thousand.state_dict - one.state_dict == 128_000 - 128


def test_neither_heads_nor_cycles_change_the_count() -> None:
    counts = {
        count_exactly(ArchConfig(hidden_size=64, num_heads=n, H_cycles=c, L_cycles=c), 11, 81).trainable
        for n in (2, 4, 8)
        for c in (1, 3)
    }
    assert len(counts) == 1


def test_names_of_the_reference_and_of_wrapped_models_are_understood() -> None:
    shapes = {
        "_orig_mod.model.inner.puzzle_emb.weights": (10, 4),
        "_orig_mod.model.inner.H_init": (4,),
        "_orig_mod.model.inner.H_level.layers.0.self_attn.qkv_proj.weight": (12, 4),
        "_orig_mod.model.inner.lm_head.weight": (3, 4),
    }
    count = count_stored(shapes)
    assert (count.trainable, count.puzzle_embedding, count.buffers) == (60, 40, 4)
    assert {group.name for group in count.modules} == {"puzzle_emb", "H_init", "H_level", "lm_head"}
    assert {group.name for group in count.kinds} == {
        "puzzle embedding",
        "initial states",
        "attention",
        "heads",
    }
