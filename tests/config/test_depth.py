"""Depth schedules: the published ones at every share of a run, and what is said to those that are none."""

from __future__ import annotations

import pytest

from hrm_cli.config.presets import load_preset
from hrm_cli.config.train import depth_at, parse_schedule
from hrm_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("share", "depth"),
    [(0, (2, 2)), (0.199, (2, 2)), (0.2, (3, 2)), (0.5, (4, 4)), (0.72, (6, 5)), (0.85, (8, 6)), (1, (8, 6))],
)
def test_the_rsm_schedule_deepens_at_the_fractions_of_its_paper(share: float, depth: tuple[int, int]) -> None:
    assert depth_at(share, "rsm") == depth


def test_without_a_schedule_the_model_keeps_its_own_depth() -> None:
    assert depth_at(0.5, None) is None


def test_stages_may_be_written_out() -> None:
    assert depth_at(0.4, "1x1@0 3x2@0.4") == (3, 2)


@pytest.mark.parametrize(
    "text", ["", "deep", "2x2", "2x2@0.5", "2x2@0 3x3@0", "0x2@0", "2x2@0 3x3@1", "2x2@-1"]
)
def test_an_invalid_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"accepted: rsm, cgar|start at 0 and increase"):
        parse_schedule(text)


def test_a_wrong_schedule_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"train\.depth_schedule: found 'deep'; accepted: rsm"):
        load_preset("rsm-sudoku", ["train.depth_schedule=deep"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.objective=null"], "arch.halting settle has no Q head"),
        (["train.objective=whole_forward"], "does not work with arch.core trm; use deep_supervision or rsm"),
        (
            ["train.objective=deep_supervision", "arch.halting=q_learning", "train.carry_over=0.5"],
            "carry_over 0.5 works only with train.objective rsm",
        ),
        (["arch.core=nova", "arch.mlp_t=false"], "train.objective rsm does not work with arch.core nova"),
    ],
)
def test_objectives_that_do_not_fit_the_model_are_refused_before_anything_is_built(overrides, said) -> None:
    with pytest.raises(ConfigError, match=said):
        load_preset("rsm-sudoku", overrides)
