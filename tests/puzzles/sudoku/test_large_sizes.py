"""Sizes above 9×9: canonical forms, strict splits, and puzzles that the exact solver gives up on."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.puzzles.domain import Diagnosis, Unreadable
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.puzzles.sudoku import canonical_large, solver
from hrm_cli.puzzles.sudoku.canonical import canonical_cells
from hrm_cli.puzzles.sudoku.canonical_large import canonical_keys
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.layout import BOXES, layout
from hrm_cli.puzzles.sudoku.symmetry import sample
from hrm_cli.solving.solution import Solution

LARGE = (10, 12, 15, 16, 20, 25)


def most_symmetric(size: int) -> np.ndarray:
    """A complete grid whose every row is the first one shifted; it is symmetric to itself in many ways."""
    shape = layout(size)
    row, column = np.mgrid[:size, :size]
    shifts = shape.box_columns * (row % shape.box_rows) + row // shape.box_rows
    return ((shifts + column) % size + 1).astype(np.uint8).reshape(-1)


def some_cells(size: int, seed: int, counts: list[int]) -> np.ndarray:
    """Parts of that grid with the given numbers of clues, `[n, N²]`."""
    rng, full = np.random.default_rng(seed), most_symmetric(size)
    puzzles = np.zeros((len(counts), size * size), np.uint8)
    for puzzle, count in zip(puzzles, counts, strict=True):
        cells = rng.permutation(size * size)[:count]
        puzzle[cells] = full[cells]
    return puzzles


def moved(cells: np.ndarray, size: int, seed: int) -> np.ndarray:
    symmetries = sample(size, np.random.default_rng(seed), len(cells))
    return symmetries.apply(np.where(cells > 0, cells + 1, 0).astype(np.uint8)).clip(1) - np.uint8(1)


@given(st.sampled_from(LARGE), st.integers(0, 2**32), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_symmetric_puzzles_share_a_key_and_others_have_different_keys(size, seed, count):
    cells = some_cells(size, seed, [count, size * size // 2, size * size // 2, 1])
    cells[2, np.flatnonzero(cells[2])[0]] = 0
    keys = canonical_keys(cells, size)
    assert canonical_keys(moved(cells, size, seed), size) == keys
    # One clue of the third puzzle is missing, and the fourth has a single one.
    assert len(set(keys[1:])) == 3


@pytest.mark.parametrize("size", [4, 6, 9])
def test_keys_group_puzzles_exactly_as_the_canonical_forms_of_small_sizes_do(size):
    counts = [n for n in (1, 2, 3, 4, 6, size * size // 3, size * size - 4) for _ in range(12)]
    cells = some_cells(size, 5, counts)
    cells = np.concatenate([cells, moved(cells, size, 6)])
    forms = [form.tobytes() for form in canonical_cells(cells, size)]
    keys = canonical_keys(cells, size)
    assert len(set(zip(forms, keys, strict=True))) == len(set(forms)) == len(set(keys)) < len(forms)


def test_the_key_of_a_puzzle_does_not_depend_on_the_puzzles_beside_it():
    cells = some_cells(16, 1, [0, 3, 20, 85, 120])
    alone = [canonical_keys(cells[i : i + 1], 16)[0] for i in range(len(cells))]
    assert canonical_keys(cells, 16) == alone


def test_a_grid_with_too_many_symmetries_still_shares_its_key_with_its_copies(monkeypatch):
    monkeypatch.setattr(canonical_large, "MOST_CHOICES", 20)
    full = most_symmetric(12)[None]
    assert canonical_keys(full, 12) == canonical_keys(moved(full, 12, 3), 12)


def build(run_hrm, path, *options):
    done = run_hrm("build-dataset", "sudoku", *options, "-o", path)
    assert done.status == 0, done.stderr
    return done


def leak_of(run_hrm, path):
    (leak,) = json.loads(run_hrm("inspect", path, "--json").stdout)["leaks"]
    return leak["identical"], leak["up_to_symmetry"]


def test_a_strict_split_works_above_nine_by_nine(run_hrm, tmp_path):
    path = tmp_path / "data"
    build(run_hrm, path, "--size", 10, "--num-train", 6, "--num-test", 2, "--strict-split")
    assert leak_of(run_hrm, path) == (0, 0)


def test_symmetric_copies_are_found_above_nine_by_nine(run_hrm, tmp_path):
    path = tmp_path / "data"
    build(run_hrm, path, "--size", 10, "--num-train", 3, "--num-test", 1)
    (kept,) = (path / "train").glob("*__inputs.npy")
    (held_out,) = (path / "test").glob("*__inputs.npy")
    inputs = np.load(kept)
    copy = moved(inputs[:1] - np.uint8(1), 10, 4) + np.uint8(1)
    np.save(held_out, copy.astype(inputs.dtype))
    assert leak_of(run_hrm, path) == (0, 1)


def nearly_empty() -> np.ndarray:
    """A 9×9 puzzle with several solutions, for which the solver must branch."""
    puzzle = np.zeros(81, np.uint8)
    puzzle[:3] = (1, 2, 3)
    return puzzle


def test_the_solver_gives_up_after_its_budget_and_says_so(monkeypatch):
    found = solver.search(nearly_empty()[None], 9, budget=5)
    assert (found.counts[0], found.branches[0]) == (solver.UNKNOWN, 6)
    assert solver.search(nearly_empty()[None], 9).counts[0] == 2
    monkeypatch.setattr(solver.search, "__defaults__", (2, 5))
    diagnosis = SudokuDomain(9).diagnose(nearly_empty().reshape(9, 9))
    assert diagnosis.solutions is None
    assert "gave up" in diagnosis.reason
    assert "whether there is a solution is unknown" in diagnosis.reason


def test_an_answer_that_obeys_the_rules_is_solved_even_if_the_solver_gave_up(monkeypatch, run_hrm):
    gave_up = Diagnosis(None, "the exact solver gave up after 5 branches")
    monkeypatch.setattr(SudokuDomain, "diagnose", lambda *_: gave_up)
    done = run_hrm("solve", "1....2..4.....3.", "--json")
    record = json.loads(done.stdout)
    assert (done.status, record["status"], record["verified"]) == (0, "solved", True)
    assert record["reason"] == "the exact solver gave up after 5 branches"


def test_a_puzzle_without_an_answer_on_which_the_solver_gave_up_is_named_and_refused(
    monkeypatch, run_hrm, tmp_path
):
    monkeypatch.setattr(solver.search, "__defaults__", (2, 5))
    good = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
    source = tmp_path / "puzzles.txt"
    source.write_text(good + "\n" + "".join(map(str, nearly_empty())).replace("0", ".") + "\n")
    done = run_hrm("build-dataset", "sudoku", "--source", source, "-o", tmp_path / "data")
    assert done.status == 2
    assert "puzzles.txt:2: the exact solver gave up after" in done.stderr


def test_variations_above_twelve_by_twelve_are_refused_before_anything_is_generated(run_hrm, tmp_path):
    refused = run_hrm(
        "build-dataset", "sudoku", "--size", 16, "--num-train", 5, "--variations", 5, "-o", tmp_path / "data"
    )
    assert refused.status == 2
    assert "up to 12×12" in refused.stderr
    assert "generating" not in refused.stderr
    lines = tmp_path / "puzzles.txt"
    lines.write_text("".join("123456789ABCDEFG"[digit - 1] for digit in most_symmetric(16)) + "\n")
    options = ("--variations", 5, "--num-test", 0, "-o", tmp_path / "data")
    refused = run_hrm("build-dataset", "sudoku", "--source", lines, *options)
    assert refused.status == 2
    assert "up to 12×12" in refused.stderr


HEXADECIMAL = "0123456789ABCDEF"


def hexadecimal_rows(blank: str) -> list[str]:
    cells = some_cells(16, 2, [100])[0]
    text = "".join(HEXADECIMAL[cell - 1] if cell else blank for cell in cells)
    return [text[i : i + 16] for i in range(0, 256, 16)]


@pytest.mark.parametrize("blank", [".", "-", "_"])
@pytest.mark.parametrize("between", ["", "\n"])
def test_digits_from_zero_are_read_and_answered_in_the_same_digits(blank, between):
    text = between.join(hexadecimal_rows(blank)) + "\n"
    (puzzle,) = read_puzzles(io.BytesIO(text.encode()))
    assert (puzzle.grid.reshape(-1) == some_cells(16, 2, [100])[0]).all()
    full = most_symmetric(16).reshape(16, 16)
    written = Solution(1, "", "solved", puzzle=puzzle).written(SudokuDomain(16), full)
    assert written[:16] == HEXADECIMAL
    assert set(written) == set(HEXADECIMAL)


def test_zeros_among_other_blanks_and_the_largest_digit_are_refused():
    rows = hexadecimal_rows(".")
    row = next(i for i, row in enumerate(rows) if "." in row)
    rows[row] = rows[row].replace(".", "G", 1)
    (item,) = read_puzzles(io.BytesIO(("".join(rows) + "\n").encode()))
    assert isinstance(item, Unreadable)
    assert "both 0 and G" in item.reason


def test_zeros_alone_are_blanks():
    text = "".join("123456789ABCDEFG"[cell - 1] if cell else "0" for cell in some_cells(16, 2, [100])[0])
    (puzzle,) = read_puzzles(io.BytesIO(f"{text}\n".encode()))
    assert (puzzle.grid.reshape(-1) == some_cells(16, 2, [100])[0]).all()
    assert not puzzle.characters


def test_every_size_has_keys():
    for size in BOXES:
        assert len(SudokuDomain(size).canonical(np.ones((2, size * size), np.uint8))) == 2
