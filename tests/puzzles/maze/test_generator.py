"""Built-in mazes: one shortest path, long enough, seeded, no two alike."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.maze.domain import FREE, MARK, WALL, MazeDomain
from hrm_cli.puzzles.maze.generator import STYLES, generate, longest_possible


def some(size: int, count: int, seed: int = 0, **options) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(generate(size, count, np.random.default_rng(seed), **options))
    mazes, answers = zip(*pairs, strict=True)
    return np.concatenate(mazes), np.concatenate(answers)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("size", "min_path"), [(4, 3), (5, 4), (10, 20), (11, 20), (30, 110)])
def test_mazes_have_one_shortest_path_of_the_requested_length_and_it_is_the_answer(style, size, min_path):
    domain = MazeDomain(size=size)
    mazes, answers = some(size, 12, style=style, min_path=min_path)
    found = domain.solve_all(domain.encode_all(mazes))
    assert (found.counts == 1).all()
    assert found.difficulties.min() >= min_path
    assert (found.answers == domain.encode_all(answers)).all()
    assert (np.where(answers == MARK, FREE, answers) == mazes).all()
    assert len(np.unique(mazes, axis=0)) == 12


@pytest.mark.parametrize("style", STYLES)
def test_the_same_seed_makes_the_same_mazes_for_any_chunk_size_and_threads(style):
    whole, _ = some(10, 700, seed=5, style=style)
    other, _ = some(10, 700, seed=6, style=style)
    for chunk, threads in ((7, 1), (1000, 2), (50, 5)):
        assert (whole == some(10, 700, seed=5, style=style, chunk=chunk, threads=threads)[0]).all()
    assert not (whole == other).all()


def free_edges(mazes: np.ndarray, size: int) -> np.ndarray:
    """Free cells minus pairs of free neighbors: 1 for a tree."""
    free = mazes.reshape(-1, size, size) != WALL
    pairs = (free[:, 1:] & free[:, :-1]).sum(axis=(1, 2)) + (free[:, :, 1:] & free[:, :, :-1]).sum(
        axis=(1, 2)
    )
    return free.sum(axis=(1, 2)) - pairs


@pytest.mark.parametrize("size", [10, 11, 30])
def test_perfect_mazes_are_trees_and_braided_ones_have_loops(size):
    perfect, _ = some(size, 8, style="perfect")
    braided, _ = some(size, 8, style="braided")
    assert (free_edges(perfect, size) == 1).all()
    assert free_edges(braided, size).mean() < 1


def test_even_sizes_use_the_whole_square_because_the_public_mazes_are_thirty_wide():
    mazes, _ = some(30, 40, style="perfect")
    walls = mazes.reshape(-1, 30, 30) == WALL
    # Walled on two sides only, and not on the same two always.
    sides = np.stack([walls[:, 0].all(1), walls[:, -1].all(1), walls[:, :, 0].all(1), walls[:, :, -1].all(1)])
    assert (sides.sum(axis=0) == 2).all()
    assert (sides.sum(axis=1) > 5).all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (9, 4), (11, 20), (20, 40)])
def test_mazes_of_any_rectangle_have_one_shortest_path_which_is_the_answer(style, rows, columns):
    domain, rng = MazeDomain(rows, columns), np.random.default_rng(1)
    (cells, answers), *_ = generate(rows, 6, rng, columns=columns, style=style, min_path=4)
    assert cells.shape == (6, rows * columns)
    found = domain.solve_all(domain.encode_all(cells))
    assert found.counts.tolist() == [1] * 6
    assert found.difficulties.min() >= 4
    np.testing.assert_array_equal(found.answers, domain.encode_all(answers))


def test_ties_come_only_when_they_are_allowed():
    domain = MazeDomain(size=12)
    mazes, answers = some(12, 40, style="walls", allow_ties=True)
    assert domain.solve_all(domain.encode_all(mazes)).counts.max() == 2
    assert domain.verify_all(domain.encode_all(mazes), domain.encode_all(answers)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "perfct"}, "did you mean perfect"),
        ({"rows": 3}, "size 3: choose one from 4 to 180"),
        ({"rows": 181}, "from 4 to 180"),
        ({"min_path": 0}, "shortest path 0"),
        ({"rows": 10, "min_path": 49}, "perfect mazes of 10×10 have at most 48"),
        ({"rows": 10, "min_path": 75, "style": "walls"}, "walls mazes of 10×10 have at most 74"),
    ],
)
def test_impossible_maze_settings_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        generate(**{"rows": 10, "count": 1, "rng": np.random.default_rng(0), **options})


@pytest.mark.parametrize("style", STYLES)
def test_an_unreachable_path_length_is_an_error_that_names_the_longest_found(style):
    bound = longest_possible(20, 20, style)
    started = time.process_time()
    with pytest.raises(PuzzleError, match=r"0 found.*longest path found: \d+ moves"):
        some(20, 1, style=style, min_path=bound)
    assert time.process_time() - started < 30


def test_when_there_are_no_more_different_mazes_those_found_come_before_the_error():
    pairs = generate(4, 100_000, np.random.default_rng(0), style="perfect", min_path=6)
    found: list[np.ndarray] = []
    with pytest.raises(PuzzleError, match="were requested"):
        found.extend(mazes for mazes, _ in pairs)
    mazes = np.concatenate(found)
    assert 0 < len(np.unique(mazes, axis=0)) == len(mazes) < 100_000


def test_a_thousand_hard_mazes_take_seconds():
    some(30, 1, min_path=110)
    started = time.process_time()
    some(30, 1000, min_path=110)
    assert time.process_time() - started < 30
