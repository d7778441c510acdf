"""ARC grids: symmetries invert, names parse back, fields round-trip, and the crop equals a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.fields import CELLS, Fields, random_places
from hrm_cli.puzzles.arc.names import pack_names, unpack_names
from hrm_cli.puzzles.arc.symmetry import ArcSymmetries, ArcSymmetry, parse_name
from hrm_cli.puzzles.domain import Grid, infer_domain, make_domain

SIDES = st.integers(1, 30)
GRIDS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 9)))
SYMMETRIES = st.builds(
    lambda transform, colors: ArcSymmetry(transform, (0, *colors)),
    st.integers(0, 7),
    st.permutations(range(1, 10)),
)
MALFORMED = arrays(np.uint8, CELLS, elements=st.sampled_from([0, 1, 2, 3, 11, 12, 255]))


def slow_crop(tokens: np.ndarray) -> Grid:
    """Every rectangle at the corner, tried one by one; the flattest of the largest."""
    field, best = tokens.reshape(30, 30), (0, 0)
    for rows in range(1, 31):
        for columns in range(1, 31):
            part = field[:rows, :columns]
            if ((part >= 2) & (part <= 11)).all() and rows * columns > best[0] * best[1]:
                best = rows, columns
    return field[: best[0], : best[1]] - np.uint8(2)


@given(GRIDS, SYMMETRIES)
def test_every_symmetry_is_undone_by_its_inverse(grid: Grid, symmetry: ArcSymmetry) -> None:
    copy = symmetry.apply(grid)
    assert np.array_equal(symmetry.inverse().apply(copy), grid)
    assert np.array_equal(copy == 0, ArcSymmetry(symmetry.transform).apply(grid) == 0)


@given(SYMMETRIES)
def test_names_parse_back_because_voting_needs_the_symmetry_of_a_copy(symmetry: ArcSymmetry) -> None:
    name = symmetry.name("0520fde7")
    assert parse_name(name) == ("0520fde7", symmetry)
    assert ArcSymmetries.of([symmetry]).names("0520fde7") == [name]


def test_names_are_the_reference_implementations() -> None:
    quarter_turn = ArcSymmetry(1, (0, 2, 1, 3, 4, 5, 6, 7, 8, 9))
    assert quarter_turn.name("a") == "a|||t1|||0213456789"
    assert quarter_turn.apply(np.array([[1, 2], [3, 4]], np.uint8)).tolist() == [[1, 4], [2, 3]]
    assert ArcSymmetry().name("a") == "a"


@pytest.mark.parametrize(
    "name", ["a|||t8|||0123456789", "a|||t1|||1023456789", "a|||t1", "a|||t1|||012345678"]
)
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected TASK"):
        parse_name(name)


@given(st.lists(st.text(max_size=30), min_size=1))
def test_packed_names_come_back(names: list[str]) -> None:
    assert unpack_names(pack_names(names)) == names


def test_damaged_packed_names_are_an_error_and_an_empty_text_is_not() -> None:
    assert unpack_names("") == []
    with pytest.raises(ValueError, match="damaged"):
        unpack_names(pack_names(["a"] * 100)[:-8])


@given(GRIDS)
def test_encoding_round_trips_for_every_grid(grid: Grid) -> None:
    domain = ArcDomain()
    tokens = domain.encode(grid)
    assert tokens.shape == (900,)
    assert np.array_equal(domain.decode(tokens), grid)
    assert np.array_equal(domain.parse(domain.text(grid)).grid, grid)


def test_end_marks_are_below_and_to_the_right_if_there_is_room() -> None:
    field = ArcDomain().encode(np.zeros((2, 3), np.uint8)).reshape(30, 30)
    assert field[:4, :5].tolist() == [[2, 2, 2, 1, 0], [2, 2, 2, 1, 0], [1, 1, 1, 0, 0], [0] * 5]
    full = ArcDomain().encode(np.full((30, 30), 9, np.uint8))
    assert (full == 11).all()


@settings(max_examples=60)
@given(MALFORMED, st.integers(0, 12), st.integers(0, 12))
def test_crop_of_malformed_predictions_equals_a_slow_reference(
    tokens: np.ndarray, rows: int, columns: int
) -> None:
    # A corner of colors, so that there is something to be cropped.
    tokens.reshape(30, 30)[:rows, :columns] |= 2
    assert np.array_equal(ArcDomain().decode(tokens), slow_crop(tokens))


def test_crop_of_nothing_but_padding_is_an_empty_grid_and_of_nothing_but_colors_a_full_one() -> None:
    assert ArcDomain().decode(np.zeros(900, np.uint8)).shape == (0, 0)
    assert ArcDomain().decode(np.full(900, 5, np.uint8)).shape == (30, 30)


@settings(max_examples=40)
@given(st.lists(st.tuples(GRIDS, SYMMETRIES), min_size=1, max_size=4), st.integers(0, 2**32))
def test_copies_in_the_field_are_those_of_the_grids_wherever_they_are_put(
    pairs: list[tuple[Grid, ArcSymmetry]], seed: int
) -> None:
    fields = Fields.from_grids([grid for grid, _ in pairs])
    symmetries = ArcSymmetries.of([symmetry for _, symmetry in pairs])
    owners = np.arange(len(pairs))
    expected = [symmetry.apply(grid) for grid, symmetry in pairs]
    assert np.array_equal(fields.copies(owners, symmetries), Fields.from_grids(expected).tokens)
    tops, lefts = random_places(fields, fields, owners, symmetries.transforms, np.random.default_rng(seed))
    moved = fields.copies(owners, symmetries, tops, lefts).reshape(-1, 30, 30)
    for field, grid, top, left in zip(moved, expected, tops, lefts, strict=True):
        rows, columns = grid.shape
        assert np.array_equal(field[top : top + rows, left : left + columns], grid + 2)
        assert (field >= 2).sum() == grid.size
        assert (field == 1).sum() == (top + rows < 30) * columns + (left + columns < 30) * rows


def test_the_domain_is_found_by_name_and_by_the_shape_of_a_foreign_dataset() -> None:
    assert make_domain("arc").describe().startswith("ARC")
    found = infer_domain(12, 900)
    assert found is not None
    assert found.name == "arc"
    with pytest.raises(ConfigError, match="every size"):
        make_domain("arc", size=9)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.zeros((31, 2), int), "31 rows; 1 to 30"),
        (np.zeros((2, 31), int), "31 columns; 1 to 30"),
        (np.array([[0, 10]]), "column 2: found 10"),
        (np.array([[0.5]]), "found 0.5"),
    ],
)
def test_invalid_grids_are_refused_with_what_is_accepted(grid: np.ndarray, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        ArcDomain().encode(grid)


def test_no_answer_is_ever_verified_by_rules_because_there_are_none() -> None:
    grid = np.zeros((2, 2), np.uint8)
    assert not ArcDomain().verify(grid, grid).ok
