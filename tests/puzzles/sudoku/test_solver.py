"""The exact solver against real puzzles, the rules and a plain search."""

from __future__ import annotations

import csv

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.solver import search


def plain_count(cells: list[int], domain: SudokuDomain, limit: int) -> int:
    """Solutions by filling the first blank with every digit."""
    if 0 not in cells:
        return 1
    cell = cells.index(0)
    taken = {cells[peer] for peer in domain.layout.peers[cell]}
    found = 0
    for digit in range(1, domain.size + 1):
        if digit not in taken and found < limit:
            found += plain_count([*cells[:cell], digit, *cells[cell + 1 :]], domain, limit - found)
    return found


@given(st.integers(0, 2**32), st.integers(0, 12))
@settings(max_examples=60)
def test_counts_agree_with_plain_search(seed, blanks):
    rng = np.random.default_rng(seed)
    domain = SudokuDomain(4)
    grids = search(np.zeros((1, 16), np.uint8), 4, limit=288).solutions[0]
    cells = grids[rng.integers(288)].copy()
    cells[rng.permutation(16)[:blanks]] = 0
    found = search(cells[None], 4, limit=50)
    assert found.counts[0] == plain_count(cells.tolist(), domain, 50)
    for solution in found.solutions[0, : found.counts[0]]:
        assert domain.verify(cells.reshape(4, 4), solution.reshape(4, 4)).ok


@given(st.integers(0, 2**32))
@settings(max_examples=60)
def test_random_givens_without_a_solution_are_detected(seed):
    cells = np.random.default_rng(seed).integers(0, 5, 16, dtype=np.uint8)
    domain = SudokuDomain(4)
    givens_agree = all(
        not digit or digit not in cells[domain.layout.peers[cell]] for cell, digit in enumerate(cells)
    )
    expected = plain_count(cells.tolist(), domain, 2) if givens_agree else 0
    assert search(cells[None], 4).counts[0] == expected


def test_nothing_to_search_is_no_error():
    assert len(search(np.zeros((0, 81), np.uint8), 9).counts) == 0


def test_every_real_test_puzzle_has_exactly_its_answer(shared):
    with (shared / "data/sudoku/test.csv").open() as file:
        rows = list(csv.DictReader(file))
    domain = SudokuDomain(9)
    puzzles = np.stack([domain.parse(row["question"]).grid.reshape(-1) for row in rows])
    answers = np.stack([domain.parse(row["answer"]).grid.reshape(-1) for row in rows])
    found = search(puzzles, 9)
    assert (found.counts == 1).all()
    assert (found.solutions[:, 0] == answers).all()
    ratings = np.array([int(row["rating"]) for row in rows])
    assert ((found.branches == 0) == (ratings == 0)).all()
    assert np.corrcoef(np.log1p(found.branches), np.log1p(ratings))[0, 1] > 0.95


def test_every_puzzle_known_to_have_more_than_one_solution_is_detected(shared):
    lines = (shared / "data/sudoku/multi_solution.txt").read_text().split()
    domain = SudokuDomain(9)
    puzzles = np.stack([domain.parse(line).grid.reshape(-1) for line in lines])
    found = search(puzzles, 9)
    assert (found.counts == 2).all()
    assert (found.solutions[:, 0] != found.solutions[:, 1]).any(axis=1).all()
