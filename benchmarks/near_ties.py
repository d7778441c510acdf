"""Training mazes whose shortest path is hardly shorter than the next one, from a dataset of `hrm build-dataset maze`.

    hrm build-dataset maze -o mazes --size 10 --style braided --min-path 4 --num-train 80000 --num-test 0
    python benchmarks/near_ties.py mazes > near.csv

Kept are all mazes in which the shortest path that avoids some cell of the solution is at most `--longer` moves longer,
and a quarter of the others. The columns are question and answer, so that `hrm build-dataset maze --source near.csv`
reads them.

Letters in shapes: n mazes, S cells.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hrm_cli.data.format import Dataset
from hrm_cli.puzzles.domain import parse_domain
from hrm_cli.puzzles.maze.domain import FIRST_TOKEN, GOAL, MARK, START, WALL, MazeDomain

NO_OTHER = 1_000_000
"""Additional moves where a cell of the solution cannot be avoided."""


@njit
def distance(maze: NDArray[np.int64], columns: int, start: int, goal: int) -> int:
    """Moves of the shortest path in a maze `[S]` of cell values; −1 if there is none."""
    cells = len(maze)
    moves, queue = np.full(cells, -1), np.empty(cells, np.int64)
    moves[start], queue[0] = 0, start
    first, last = 0, 1
    while first < last:
        cell = queue[first]
        first += 1
        if cell == goal:
            return moves[cell]
        for direction in range(4):
            if direction == 0 and cell >= columns:
                other = cell - columns
            elif direction == 1 and cell < cells - columns:
                other = cell + columns
            elif direction == 2 and cell % columns > 0:
                other = cell - 1
            elif direction == 3 and cell % columns < columns - 1:
                other = cell + 1
            else:
                continue
            if maze[other] != WALL and moves[other] < 0:
                moves[other] = moves[cell] + 1
                queue[last] = other
                last += 1
    return -1


@njit
def detours(mazes: NDArray[np.int64], answers: NDArray[np.int64], columns: int) -> NDArray[np.int64]:
    """Additional moves of the shortest path that avoids some cell of the solution; `[n, S]` twice → `[n]`."""
    found = np.full(len(mazes), NO_OTHER)
    for number in range(len(mazes)):
        maze = mazes[number].copy()
        start, goal = 0, 0
        for cell in range(len(maze)):
            if maze[cell] == START:
                start = cell
            elif maze[cell] == GOAL:
                goal = cell
        shortest = distance(maze, columns, start, goal)
        for cell in range(len(maze)):
            if answers[number, cell] == MARK:
                value = maze[cell]
                maze[cell] = WALL
                moves = distance(maze, columns, start, goal)
                maze[cell] = value
                if moves >= 0:
                    found[number] = min(found[number], moves - shortest)
    return found


def main() -> None:
    """Writes the chosen training mazes as CSV to stdout, and their number to stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--longer", type=int, default=8, metavar="MOVES")
    asked = parser.parse_args()

    dataset = Dataset.open(asked.dataset)
    domain = parse_domain(dataset.metadata.domain)
    if not isinstance(domain, MazeDomain):
        parser.error(f"{asked.dataset}: not a dataset of mazes")
    mazes, answers = (
        tokens.astype(np.int64) - FIRST_TOKEN for tokens in dataset.gather(np.arange(dataset.num_examples))
    )
    close = detours(mazes, answers, domain.columns) <= asked.longer
    kept = np.flatnonzero(close | (np.random.default_rng(0).random(len(mazes)) < 0.25))
    rows = csv.writer(sys.stdout)
    rows.writerow(["question", "answer"])
    shape = (domain.rows, domain.columns)
    for number in kept:
        rows.writerow([domain.text(one[number].astype(np.uint8).reshape(shape)) for one in (mazes, answers)])
    print(f"{len(kept):,} of {len(mazes):,} mazes, {close.sum():,} of them near ties", file=sys.stderr)


if __name__ == "__main__":
    main()
