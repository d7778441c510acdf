"""Mazes as a domain: tokens, text, verification, diagnosis, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import DOMAINS, infer_domain, make_domain
from hrm_cli.puzzles.maze.domain import CHARACTERS, MazeDomain, grid_of
from hrm_cli.puzzles.maze.generator import STYLES, generate
from hrm_cli.puzzles.reading import read_puzzles

PLAIN = ("#####", "#S  #", "# # #", "#  G#", "#####")
"""Two ways of the same length."""
ONE_WAY = ("S  #", "## #", "G   ")
LOOP = ("S    ", " ### ", " ### ", " ### ", "  G  ")
"""4 + 2 moves down and right; 4 + 4 + 2 the other way round."""


def domain_of(rows: tuple[str, ...]) -> MazeDomain:
    return MazeDomain(len(rows), len(rows[0]))


def verdict(maze: tuple[str, ...], answer: tuple[str, ...]):
    return domain_of(maze).verify(grid_of(maze), grid_of(answer))


def test_tokens_are_the_characters_in_the_order_of_the_published_datasets():
    domain = MazeDomain(1, 5)
    assert domain.encode(grid_of(["# SGo"])).tolist() == [1, 2, 3, 4, 5]
    assert (domain.vocab_size, CHARACTERS) == (6, "# SGo")


def test_padding_and_unknown_tokens_become_free_cells_so_that_any_prediction_is_a_grid():
    assert MazeDomain(1, 3).decode(np.array([0, 200, 1], np.uint8)).tolist() == [[1, 1, 0]]


@given(st.integers(1, 6), st.integers(2, 6), st.data())
def test_every_grid_survives_a_round_trip_through_text_and_tokens(rows, columns, data):
    domain = MazeDomain(rows, columns)
    cells = data.draw(st.lists(st.integers(0, 4), min_size=rows * columns, max_size=rows * columns))
    grid = np.array(cells, np.uint8).reshape(rows, columns)
    assert (domain.decode(domain.encode(grid)) == grid).all()
    assert (grid_of([domain.text(grid)]).reshape(rows, columns) == grid).all()
    assert [len(line) for line in domain.lines(grid)] == [2 * columns - 1] * rows


def test_the_registry_builds_a_domain_from_its_metadata():
    assert "maze" in DOMAINS
    assert make_domain("maze").facts() == {"rows": 30, "columns": 30}
    assert make_domain("maze", size=10).facts() == {"rows": 10, "columns": 10}
    assert make_domain("maze", **MazeDomain(3, 7).facts()).seq_len == 21


def test_a_dataset_that_names_no_domain_is_known_by_its_shape():
    found = infer_domain(6, 900)
    assert found is not None
    assert found.describe() == "30×30 maze"
    assert infer_domain(6, 901) is None


@pytest.mark.parametrize(
    "facts", [{"size": 0}, {"rows": 0, "columns": 3}, {"size": 1}, {"rows": 2000, "columns": 2000}]
)
def test_impossible_sizes_are_refused(facts):
    with pytest.raises(ConfigError, match="maze"):
        MazeDomain(**facts)


def test_another_size_is_refused_with_both_sizes():
    with pytest.raises(PuzzleError, match=r"5×5 cells; expected a maze of 30×30"):
        MazeDomain(30, 30).encode(grid_of(PLAIN))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("S G", "3 characters; mazes of 2×2 have 4"),
        ("S xG", "'x' in row 2, column 1"),
        ("SG  ", None),
        ("S   ", "no G"),
        ("G   ", "no S"),
        ("SSG ", r"2 cells with S \(row 1, column 1 and row 1, column 2\)"),
        ("SGGG", r"3 cells with G .*…"),
        ("SGo ", "'o' in row 2, column 1"),
    ],
)
def test_parsing_says_what_is_wrong_and_where(text, reason):
    domain = MazeDomain(2, 2)
    if reason is None:
        assert domain.parse(text).domain == "maze"
        return
    with pytest.raises(PuzzleError, match=f"file:7: .*{reason}"):
        domain.parse(text, "file:7")


def test_the_shortest_path_is_right_and_the_note_says_so():
    found = verdict(ONE_WAY, ("Soo#", "##o#", "Goo "))
    assert (found.ok, found.note) == (True, "the shortest path, 6 moves")
    assert verdict(PLAIN, ("#####", "#Soo#", "# #o#", "#  G#", "#####")).note == "a shortest path, 4 moves"


def test_a_longer_path_obeys_the_rules_but_the_note_names_the_shorter():
    found = verdict(LOOP, ("Soooo", " ###o", " ###o", " ###o", "  Goo"))
    assert (found.ok, found.reason, found.note) == (True, "", "a path of 10 moves; the shortest has 6")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PLAIN, "no path: no cell next to S is marked"),
        (("#####", "#So #", "# # #", "#  G#", "#####"), "ends at row 2, column 3 after 1 move, not at G"),
        (("#####", "#Soo#", "#o#o#", "#ooG#", "#####"), "branches or touches itself at row 2, column 2"),
        (("#####", "#Soo#", "# #o#", "# oG#", "#####"), "more than one marked cell touches G"),
        (("#####", "#Soo#", "# #o#", "#o G#", "#####"), "1 marked cell is not on the path"),
        (("#####", "#So #", "# oo#", "#  G#", "#####"), "goes through the wall at row 3, column 3"),
        (("#####", "#So #", "#   #", "#  G#", "#####"), "the wall at row 3, column 3 is missing"),
        (("#####", "#Soo#", "# #o#", "#  o#", "#####"), "G at row 4, column 4 is missing"),
        (("#####", "#o  #", "# # #", "#  G#", "#####"), "S at row 2, column 2 is missing"),
        (
            ("#####", "#S# #", "# # #", "#  G#", "#####"),
            "row 2, column 3 is free, but the answer has '#' there",
        ),
    ],
)
def test_verification_names_the_first_violated_rule(answer, reason):
    found = verdict(PLAIN, answer)
    assert not found.ok
    assert reason in found.reason


def test_an_answer_of_another_size_is_wrong_rather_than_an_error():
    assert not domain_of(PLAIN).verify(grid_of(PLAIN), grid_of(ONE_WAY)).ok


def test_start_and_goal_side_by_side_need_no_marks():
    assert verdict(("SG",), ("SG",)).note == "the shortest path, 1 move"


@pytest.mark.parametrize(
    ("maze", "solutions", "difficulty", "reason"),
    [
        (ONE_WAY, 1, 6, ""),
        (PLAIN, 2, 4, "more than one shortest path, of 4 moves each"),
        (("S#G",), 0, 0, "no path leads from S to G"),
    ],
)
def test_diagnosis_counts_shortest_paths_and_their_moves(maze, solutions, difficulty, reason):
    found = domain_of(maze).diagnose(grid_of(maze))
    assert (found.solutions, found.difficulty, found.reason) == (solutions, difficulty, reason)
    assert (found.solution is not None) == (solutions == 1)


def mazes(size: int, style: str, seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    domain = MazeDomain(size=size)
    pairs = list(generate(size, count, np.random.default_rng(seed), style=style))
    puzzles, answers = (np.concatenate(half) for half in zip(*pairs, strict=True))
    return domain.encode_all(puzzles), domain.encode_all(answers)


@given(st.integers(5, 12), st.sampled_from(STYLES), st.integers(0, 2**32))
@settings(max_examples=25)
def test_symmetries_invert_and_map_mazes_with_their_answers(size, style, seed):
    domain = MazeDomain(size=size)
    puzzles, answers = mazes(size, style, seed)
    symmetries = domain.sample_symmetries(np.random.default_rng(seed), len(puzzles))
    moved, solved = symmetries.apply(puzzles), symmetries.apply(answers)
    assert (symmetries.inverse().apply(moved) == puzzles).all()
    assert domain.verify_all(moved, solved).all()
    assert (domain.solve_all(moved).answers == solved).all()
    assert domain.canonical(moved) == domain.canonical(puzzles)


@pytest.mark.parametrize(("rows", "columns", "images"), [(4, 4, 8), (4, 6, 4), (1, 5, 4)])
def test_squares_have_eight_symmetries_and_other_rectangles_the_four_that_keep_their_shape(
    rows, columns, images
):
    domain = MazeDomain(rows, columns)
    drawn = domain.sample_symmetries(np.random.default_rng(0), 4000)
    _, counts = np.unique(drawn.cells, axis=0, return_counts=True)
    # Of a single row, mirroring up and down changes nothing.
    expected = images if rows > 1 else images // 2
    assert len(counts) == expected
    assert counts.min() > 0.8 * 4000 / expected
    assert (drawn.tokens == np.arange(6)).all()


@given(st.integers(5, 9), st.sampled_from(STYLES), st.integers(0, 2**32), st.integers(0, 80))
@settings(max_examples=25)
def test_checking_many_answers_agrees_with_verifying_each(size, style, seed, changed):
    domain = MazeDomain(size=size)
    puzzles, answers = mazes(size, style, seed)
    answers = answers.copy()
    place = changed % domain.seq_len
    answers[0, place] = {1: 1, 2: 5, 3: 3, 4: 4, 5: 2}[int(answers[0, place])]
    verdicts = [
        domain.verify(domain.decode(puzzle), domain.decode(answer))
        for puzzle, answer in zip(puzzles, answers, strict=True)
    ]
    shortest = [found.ok and "shortest path," in found.note for found in verdicts]
    assert domain.verify_all(puzzles, answers).tolist() == shortest


def test_every_real_maze_parses_and_its_answer_is_its_only_shortest_path(shared):
    count = 0
    for puzzle in read_puzzles(shared / "data/maze/test.csv"):
        domain = MazeDomain(*puzzle.grid.shape)
        assert (
            domain.verify(puzzle.grid, puzzle.solution).note
            == f"the shortest path, {int(puzzle.rating)} moves"
        )
        found = domain.diagnose(puzzle.grid)
        assert (found.solutions, found.difficulty) == (1, puzzle.rating)
        assert (found.solution == puzzle.solution).all()
        count += 1
    assert count == 150
