from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.data.augmentation import Copies, with_copies
from hrm_cli.data.fingerprints import fingerprints, first_occurrences, occurs_in
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain
from hrm_cli.puzzles.sudoku.generator import generate

NONE = np.empty(0, np.uint64)


def puzzles(size: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    parts = list(generate(size, count, np.random.default_rng(seed)))
    return tuple(np.concatenate(side) + np.uint8(BLANK) for side in zip(*parts, strict=True))


def blocks(size: int, count: int, copies: int, held_out: np.ndarray = NONE) -> list[Copies]:
    rng = np.random.default_rng(5)
    return list(with_copies(SudokuDomain(size), *puzzles(size, count), copies, held_out=held_out, rng=rng))


def groups(block: Copies) -> list[tuple[np.ndarray, np.ndarray]]:
    ends = [0, *np.cumsum(block.group_sizes)]
    return [(block.inputs[a:b], block.labels[a:b]) for a, b in pairwise(ends)]


@pytest.mark.parametrize(("size", "copies"), [(4, 100), (6, 50), (9, 300)])
def test_every_copy_is_a_valid_puzzle_with_its_answer(size: int, copies: int) -> None:
    domain = SudokuDomain(size)
    originals = puzzles(size, 5)
    found = [group for block in blocks(size, 5, copies) for group in groups(block)]
    assert len(found) == 5
    for i, (inputs, labels) in enumerate(found):
        assert len(inputs) == copies + 1
        assert np.array_equal(inputs[0], originals[0][i])
        assert np.array_equal(labels[0], originals[1][i])
        assert len({row.tobytes() for row in inputs}) == copies + 1
        for puzzle, answer in zip(inputs, labels, strict=True):
            assert domain.verify(domain.decode(puzzle), domain.decode(answer)).ok
        assert len(set(domain.canonical(inputs[:20]))) == 1


def test_a_puzzle_with_few_copies_gets_all_of_them() -> None:
    (block,) = blocks(4, 2, 5000)
    # The group of 4×4 Sudoku has 24 · 128 = 3072 elements, so a puzzle has that many copies or a divisor of it.
    for size, (inputs, _) in zip(block.group_sizes, groups(block), strict=True):
        assert 3072 % size == 0
        assert len({row.tobytes() for row in inputs}) == size


def test_requesting_exactly_as_many_copies_as_exist_gives_all_of_them() -> None:
    (all_copies,) = blocks(4, 1, 5000)
    wanted = len(all_copies.inputs) - 1
    (again,) = blocks(4, 1, wanted)
    assert {row.tobytes() for row in again.inputs} == {row.tobytes() for row in all_copies.inputs}


def test_held_out_puzzles_never_come_up_as_copies() -> None:
    (all_copies,) = blocks(4, 1, 5000)
    held_out = all_copies.inputs[1:1001]
    (rest,) = blocks(4, 1, 5000, np.sort(fingerprints(held_out)))
    assert len(rest.inputs) == len(all_copies.inputs) - 1000
    assert not {row.tobytes() for row in rest.inputs} & {row.tobytes() for row in held_out}


def test_requesting_no_copies_gives_the_originals() -> None:
    (block,) = blocks(9, 7, 0)
    assert np.array_equal(block.inputs, puzzles(9, 7)[0])
    assert block.group_sizes.tolist() == [1] * 7


rows = st.integers(1, 20).flatmap(
    lambda width: st.lists(st.binary(min_size=width, max_size=width), min_size=1, max_size=40)
)


@settings(max_examples=60)
@given(rows)
def test_fingerprints_are_equal_exactly_where_rows_are(texts: list[bytes]) -> None:
    array = np.frombuffer(b"".join(texts), np.uint8).reshape(len(texts), -1)
    prints = fingerprints(array)
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            assert (prints[i] == prints[j]) == (a == b)


def test_fingerprints_do_not_collide_on_rows_that_differ_in_one_cell() -> None:
    row = np.zeros((81 * 255 + 1, 81), np.uint8)
    for cell in range(81):
        row[1 + cell * 255 : 1 + (cell + 1) * 255, cell] = np.arange(1, 256)
    assert len(np.unique(fingerprints(row))) == len(row)


def test_fingerprints_stay_the_same_over_releases() -> None:
    # Stored nowhere so far, but a changed value would change every dataset that is built from a seed.
    assert fingerprints(np.arange(81, dtype=np.uint8)[None])[0] == np.uint64(0x45ECC2E92D638863)


@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), max_size=10))
def test_membership_and_first_occurrences_agree_with_plain_python(
    values: list[int], known: list[int]
) -> None:
    array = np.array(values, np.uint64)
    assert occurs_in(array, np.array(sorted(known), np.uint64)).tolist() == [v in known for v in values]
    assert first_occurrences(array).tolist() == [v not in values[:i] for i, v in enumerate(values)]
