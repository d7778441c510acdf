"""Own puzzles as a domain: symbols, text, tokens, sizes, symmetries."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.puzzles.grids.domain import SYMMETRIES, GridsDomain
from hrm_cli.puzzles.grids.symbols import cells_of_json, cells_of_text, graphemes, holds_words
from hrm_cli.puzzles.grids.symmetry import (
    GridSymmetries,
    shift_fields,
    shifts_to_compare,
    transforms_of,
    turn_fields,
    turned,
)

EMOJI = ("🟥", "🟦", "👩‍🚀", "🇩🇪", "👍🏽", "❤️", "é")
SYMBOL_SETS = (("0", "1", "2"), EMOJI, ("red", "blue", "10"), ("a/b", "c d", "[", ","), ("[", "x"))


@st.composite
def domains(draw) -> GridsDomain:
    symbols = draw(st.sampled_from(SYMBOL_SETS))
    words = int(any(len(graphemes(symbol)) > 1 for symbol in symbols))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    if draw(st.booleans()):
        return GridsDomain(rows, columns, symbols, words)
    sizes = [draw(st.integers(1, limit)) for limit in (rows, columns, rows, columns)]
    return GridsDomain(rows, columns, symbols, words, *sizes)


def some_grid(draw, domain: GridsDomain, rows: int, columns: int) -> np.ndarray:
    height = rows or draw(st.integers(1, domain.rows))
    width = columns or draw(st.integers(1, domain.columns))
    cells = st.lists(
        st.integers(0, len(domain.symbols) - 1), min_size=height * width, max_size=height * width
    )
    return np.array(draw(cells), domain.token_type).reshape(height, width)


@given(domains(), st.data())
def test_an_output_comes_back_from_its_tokens_and_from_its_text(domain, data):
    output = some_grid(data.draw, domain, domain.output_rows, domain.output_columns)
    decoded = domain.decode(domain.encode_output(output))
    assert decoded.tolist() == output.tolist()
    read = domain.grid_of(cells_of_text(domain.text(output), words=bool(domain.words)))
    assert read.tolist() == output.tolist()
    assert domain.fault(decoded) == ""
    assert len(domain.lines(output)) == len(output)
    again = domain.grid_of(cells_of_json(json.loads(json.dumps(domain.record(output))), words=False))
    assert again.tolist() == output.tolist()


@given(domains(), st.data())
def test_cells_after_the_end_mark_of_an_output_do_not_matter(domain, data):
    output = some_grid(data.draw, domain, domain.output_rows, domain.output_columns)
    tokens = domain.encode_output(output)
    ignored = tokens == 0
    garbage = data.draw(
        st.lists(st.integers(0, domain.vocab_size - 1), min_size=len(tokens), max_size=len(tokens))
    )
    tokens[ignored] = np.array(garbage)[ignored]
    assert domain.decode(tokens).tolist() == output.tolist()


@given(domains(), st.data())
def test_a_domain_is_rebuilt_from_its_metadata_also_through_json(domain, data):
    again = make_domain("grids", **json.loads(json.dumps(domain.facts())))
    assert again == domain
    grid = some_grid(data.draw, domain, domain.input_rows, domain.input_columns)
    assert again.encode(grid).tolist() == domain.encode(grid).tolist()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 7), st.data())
def test_grids_are_rotated_in_the_corner_of_their_canvas(rows, columns, transform, data):
    domain = GridsDomain(5, 5, ("a", "b", "c"))
    grid = some_grid(data.draw, domain, rows, columns)
    moved = turn_fields(domain.encode(grid)[None], domain, np.array([transform]))
    assert moved[0].tolist() == domain.encode(turned(grid, transform)).tolist()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.data())
def test_grids_are_shifted_cyclically_in_the_corner_of_their_canvas(rows, columns, down, right, data):
    domain = GridsDomain(5, 5, ("a", "b", "c"))
    grid = some_grid(data.draw, domain, rows, columns)
    fractions = np.array([[(down % rows + 0.5) / rows, (right % columns + 0.5) / columns]])
    moved = shift_fields(domain.encode(grid)[None], domain, fractions)
    assert moved[0].tolist() == domain.encode(np.roll(grid, (down, right), (0, 1))).tolist()


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(0, 7), st.integers(0, 9), st.integers(0, 9), st.data()
)
def test_shifted_turned_and_relabeled_grids_have_the_same_shifts_to_compare(
    rows, columns, transform, down, right, data
):
    domain = GridsDomain(5, 5, ("a", "b", "c"))
    grid = some_grid(data.draw, domain, rows, columns)
    other = np.roll(turned(grid, transform), (down, right), (0, 1))
    relabeled = np.array([2, 0, 1])[other]

    def all_shifts(one):
        return {(*two.shape, *two.ravel().tolist()) for two in shifts_to_compare(one)}

    assert all_shifts(other) == all_shifts(turned(grid, transform))
    expected = {(*one[:2], *(int((cell + 2) % 3) for cell in one[2:])) for one in all_shifts(other)}
    assert all_shifts(relabeled) == expected


@pytest.mark.parametrize("claim", [["rotations"], ["reflections"], ["rotations", "reflections"], ["symbols"]])
def test_claimed_transforms_form_a_group(claim):
    grid = np.arange(9).reshape(3, 3)
    made = {turned(grid, t).tobytes() for t in transforms_of(claim)}
    twice = {turned(turned(grid, s), t).tobytes() for s in transforms_of(claim) for t in transforms_of(claim)}
    assert made == twice
    assert len(made) == len(transforms_of(claim))
    if claim == ["rotations"]:
        assert made == {np.rot90(grid, k).tobytes() for k in range(4)}


def test_one_thousand_symbols_take_two_bytes_each():
    symbols = tuple(f"s{n}" for n in range(1000))
    domain = GridsDomain(64, 64, symbols, 1)
    grid = np.arange(4096).reshape(64, 64) % 1000
    tokens = domain.encode_output(grid)
    assert tokens.dtype == np.uint16
    assert domain.decode(tokens).tolist() == grid.tolist()
    assert domain.sample_symmetries(np.random.default_rng(0), 2).tokens.dtype == np.uint16


def test_same_sizes_need_no_end_marks_and_others_do():
    assert GridsDomain(2, 3, ("a", "b"), 0, 2, 3, 2, 3).encode(np.array([[0, 1, 0], [1, 1, 1]])).tolist() == [
        1, 2, 1, 2, 2, 2
    ]  # fmt: skip
    assert GridsDomain(2, 3, ("a", "b")).encode(np.array([[0, 1]])).tolist() == [2, 3, 1, 1, 1, 0]


def test_a_cell_without_a_symbol_is_null_and_a_violation():
    domain = GridsDomain(1, 2, ("a", "b"), 0, 1, 2, 1, 2)
    answer = domain.decode(np.array([0, 2], np.uint8))
    assert domain.text(answer) == '[[null,"b"]]'
    assert domain.fault(answer) == "1 cells of the answer have no symbol"
    marked = GridsDomain(1, 2, ("a", "b"))
    empty = marked.decode(np.array([1, 2]))
    assert marked.fault(empty) == "the answer has no cells"
    assert (marked.text(empty), marked.record(empty), list(marked.lines(empty))) == ("[]", [], [])


@pytest.mark.parametrize(
    ("text", "words", "cells"),
    [
        ("012/345", False, [["0", "1", "2"], ["3", "4", "5"]]),
        ("ab\r\ncd", False, [["a", "b"], ["c", "d"]]),
        ("a/b\nc/d", False, [["a", "/", "b"], ["c", "/", "d"]]),
        ("10 2,3 / 4 5 6", True, [["10", "2", "3"], ["4", "5", "6"]]),
        ("[[1, 2], [3, 4]]", False, [["1", "2"], ["3", "4"]]),
        ("[1, 2]", False, [["1", "2"]]),
        ("🟥👩‍🚀🇩🇪🇫🇷👍🏽", False, [["🟥", "👩‍🚀", "🇩🇪", "🇫🇷", "👍🏽"]]),
    ],
)
def test_rows_and_cells_are_found_in_text(text, words, cells):
    assert cells_of_text(text, words=words) == cells


def test_spaces_and_commas_between_symbols_make_words_of_them():
    assert holds_words("1 2/3 4")
    assert holds_words("red,blue")
    assert not any(map(holds_words, ["12/34", " 12 ", "[[1, 2]]", "12 / 34", ""]))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("12/3", "rows differ in length: row 2 has 1 cell"),
        ("", "empty grid"),
        ([], "empty grid"),
        ([[1, 2], 3], "row 2: found 3; expected a list, as in the other rows"),
        ([[1, None]], "a cell is null"),
        ([[1, True]], "a cell is true"),
        ([[1.5]], "a cell is 1.5"),
        ([[1, ""]], "row 1, column 2 is empty"),
        ("[[1, 2], [3", "not a JSON list"),
        ([[0] * 65], "at most 64×64"),
        ([["x" * 65]], "has 65 characters"),
        ({"a": 1}, "a cell is"),
    ],
)
def test_what_is_not_a_grid_is_named(value, reason):
    with pytest.raises(PuzzleError, match=reason.replace("(", r"\(")):
        cells_of_json(value, words=False)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "are missing"),
        ({"rows": 65, "columns": 1, "symbols": ["a"]}, "rows: found 65"),
        ({"rows": 1, "columns": 1, "symbols": ["a", "a"]}, "appears twice"),
        ({"rows": 1, "columns": 1, "symbols": "ab"}, "a list of strings"),
        ({"rows": 1, "columns": 1, "symbols": [1]}, "a list of strings"),
        ({"rows": 1, "columns": 1, "symbols": [str(n) for n in range(1001)]}, "at most 1,000"),
        (
            {"rows": 1, "columns": 1, "symbols": ["a"], "input_rows": 1},
            "both input and output sizes, or neither",
        ),
        ({"rows": 1, "columns": 1, "symbols": ["a"], "symmetries": ["time"]}, "unknown symmetry"),
        ({"rows": True, "columns": 1, "symbols": ["a"]}, "whole number"),
    ],
)
def test_metadata_that_describes_no_domain_is_refused(facts, reason):
    with pytest.raises(ConfigError, match=reason):
        make_domain("grids", **facts)


def test_puzzles_of_another_size_or_symbol_are_refused_with_what_is_expected():
    domain = GridsDomain(2, 2, ("a", "b"), 0, 2, 2, 2, 2, list(SYMMETRIES))
    with pytest.raises(PuzzleError, match="x:1: the symbol 'c' is not one of the 2 known symbols"):
        domain.parse("ac/ab", "x:1")
    with pytest.raises(PuzzleError, match="an input of 1×2 cells; expected 2×2"):
        domain.checked([["a", "b"]], "x:1")


@given(domains(), st.data())
def test_a_copy_of_a_grid_is_mapped_back_to_it(domain: GridsDomain, data) -> None:
    claimed = data.draw(st.sets(st.sampled_from(SYMMETRIES)))
    if domain.rows != domain.columns or not domain.marked:
        claimed -= {"rotations"}
    domain = make_domain("grids", **{**domain.facts(), "symmetries": sorted(claimed)})
    rows = domain.output_rows or data.draw(st.integers(1, domain.rows))
    columns = domain.output_columns or data.draw(st.integers(1, domain.columns))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    answer = rng.integers(0, len(domain.symbols), (rows, columns)).astype(domain.token_type)
    symmetries = GridSymmetries.sample(domain, rng, 6)
    copies = symmetries.apply(domain.encode_output(answer))
    assert len(set(symmetries.names())) >= len({copy.tobytes() for copy in copies})
    for back in symmetries.inverse().apply(copies):
        assert np.array_equal(domain.decode(back), answer)
    for some, fields in ((symmetries, domain.encode_output(answer)[None]), (symmetries.inverse(), copies)):
        sources, moved = some.sources(fields), some.apply(fields)
        taken = np.take_along_axis(np.broadcast_to(fields, moved.shape), np.maximum(sources, 0), axis=1)
        renamed = np.take_along_axis(some.tokens, taken.astype(np.intp), axis=1)
        assert np.array_equal(moved[sources >= 0], renamed[sources >= 0])
        assert (moved[sources < 0] < domain.first).all()
    known = symmetries.identity().joined([symmetries])
    assert len(known) == 7
    assert np.array_equal(known.apply(domain.encode_output(answer))[1:], copies)


def test_cells_outside_the_output_do_not_make_two_answers_of_one() -> None:
    domain = make_domain(
        "grids",
        rows=2,
        columns=3,
        symbols=["a", "b"],
        input_rows=2,
        input_columns=3,
        output_rows=1,
        output_columns=2,
    )
    answers = np.array([[1, 2, 1, 2, 2, 2], [1, 2, 0, 1, 0, 0]], domain.token_type)
    back = GridSymmetries.sample(domain, np.random.default_rng(0), 2).inverse().apply(answers)
    assert np.array_equal(back[0], back[1])
    assert domain.text(domain.decode(back[0])) == "ab"


def test_an_input_is_decoded_as_it_was_encoded() -> None:
    for text, sizes in (("ab/ba", {}), ("aab", dict.fromkeys(("input_rows", "output_rows"), 1))):
        if sizes:
            sizes |= {"input_columns": 3, "output_columns": 2}
        domain = make_domain("grids", rows=3, columns=3, symbols=["a", "b"], **sizes)
        grid = domain.parse(text).grid
        assert np.array_equal(domain.decode_input(domain.encode(grid)), grid)
