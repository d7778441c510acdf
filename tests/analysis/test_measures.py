"""The formulas of the analysis, on cases that can be computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hrm_cli.analysis.measures import (
    calibration,
    decline,
    entropy,
    group_edges,
    last_change,
    participation_ratio,
    principal_components,
    separation,
    shares_by_kind,
    uniform_shares,
)


def test_the_participation_ratio_of_points_on_a_line_is_1() -> None:
    line = np.arange(7)[:, None] * np.array([[1.0, -2.0, 0.5]])
    assert participation_ratio(line) == pytest.approx(1)


def test_the_participation_ratio_of_a_cross_in_three_equal_directions_is_3() -> None:
    cross = np.concatenate([np.eye(3), -np.eye(3)])
    assert participation_ratio(cross) == pytest.approx(3)
    # Variances 4, 1, 1: (4 + 1 + 1)² ÷ (16 + 1 + 1) = 2.
    assert participation_ratio(cross * np.array([2.0, 1, 1])) == pytest.approx(2)


def test_the_participation_ratio_is_the_same_for_more_directions_than_points() -> None:
    points = np.random.default_rng(0).normal(size=(5, 4))
    wide = np.concatenate([points, np.zeros((5, 20))], axis=1)
    assert participation_ratio(wide) == pytest.approx(participation_ratio(points))


def test_the_participation_ratio_of_equal_states_is_0() -> None:
    assert participation_ratio(np.ones((4, 3))) == 0


def test_principal_components_of_points_on_two_axes() -> None:
    points = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    found = principal_components(points)
    assert found.shares == pytest.approx([0.9, 0.1])
    assert found.places[:, 0] == pytest.approx([3, -3, 0, 0])
    assert found.places[:, 1] == pytest.approx([0, 0, 1, -1])


def test_components_that_do_not_exist_are_zero() -> None:
    found = principal_components(np.array([[1.0, 2.0]]))
    assert found.places.shape == (1, 2)
    assert found.shares == [0, 0]


def test_the_calibration_error_of_two_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.25, 0.25])
    correct = np.array([True, True, True, False, False, False])
    found = calibration(confidence, correct)
    # Four answers at 0.95 of which 0.75 are correct, two at 0.25 of which none is.
    assert found.error == pytest.approx((4 * 0.2 + 2 * 0.25) / 6)
    assert [one.count for one in found.bins] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 4]
    assert found.bins[9].accuracy == 0.75
    assert found.count == 6


def test_a_confidence_of_1_belongs_to_the_last_bin_and_perfect_answers_have_no_error() -> None:
    found = calibration(np.array([1.0, 1.0]), np.array([True, True]))
    assert found.bins[-1].count == 2
    assert found.error == 0


def test_calibration_without_answers_has_a_count_of_0() -> None:
    assert calibration(np.zeros(0), np.zeros(0, bool)).count == 0


def test_separation_is_the_fraction_of_pairs_in_the_right_order() -> None:
    correct = np.array([True, True, False, False])
    assert separation(np.array([0.9, 0.4, 0.5, 0.1]), correct) == pytest.approx(3 / 4)
    assert separation(np.array([0.5, 0.5, 0.5, 0.5]), correct) == pytest.approx(0.5)
    assert separation(np.array([0.9, 0.8]), np.array([True, True])) is None


def test_few_values_get_a_group_each_and_many_are_gathered() -> None:
    assert group_edges(np.array([3, 5, 3])) == [(3, 3), (5, 5)]
    edges = group_edges(np.arange(100), 4)
    assert edges == [(0, 24), (25, 49), (50, 74), (75, 99)]


def test_every_value_belongs_to_exactly_one_group() -> None:
    values = np.random.default_rng(1).poisson(20, 500)
    edges = group_edges(values, 8)
    assert len(edges) <= 8
    assert all(sum(low <= value <= high for low, high in edges) == 1 for value in values)


def test_shares_of_attention_sum_over_the_keys_of_a_kind() -> None:
    kinds = np.array([[0, 1], [1, 0]])
    weights = np.array([[[0.75, 0.25], [0.5, 0.5]]])
    assert shares_by_kind(weights, kinds, 2)[0] == pytest.approx([0.625, 0.375])
    assert uniform_shares(kinds, 3) == pytest.approx([0.5, 0.5, 0])


def test_uniform_attention_has_the_uniform_shares() -> None:
    kinds = np.array([[0, 1, 1], [2, 0, 1], [2, 2, 0]])
    assert shares_by_kind(np.full((3, 3), 1 / 3), kinds, 3) == pytest.approx(uniform_shares(kinds, 3))


def test_the_last_change_of_answers() -> None:
    answers = np.array([[[1, 1], [1, 2], [0, 0]], [[1, 1], [2, 2], [0, 1]], [[1, 1], [2, 2], [0, 0]]])
    assert last_change(answers).tolist() == [1, 2, 3]
    assert last_change(answers[:1]).tolist() == [1, 1, 1]


def test_the_entropy_of_uniform_attention_over_8_keys_is_3_bits() -> None:
    assert entropy(np.full((2, 8), 1 / 8)) == pytest.approx(3)
    assert entropy(np.eye(4)) == pytest.approx(0)


def test_a_series_that_halves_declines_by_a_half() -> None:
    assert decline([8, 4, 2, 1]) == pytest.approx(0.5)
    assert decline([1.0]) is None
    assert decline([1.0, 0.0]) is None
    assert math.isclose(decline([1, 3, 4]) or 0, 2)
