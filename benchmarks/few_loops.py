"""Mazes with few loops, in the layout of Maze-Hard: perfect mazes from which some walls are removed.

    python benchmarks/few_loops.py 3000 --size 30 --walls 12 --least 60 --seed 11 > mazes.csv

Every maze has exactly one shortest path, of at least `--least` moves. The columns are question and answer, so that
`hrm build-dataset maze --source mazes.csv` reads them.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections import deque

WALL, FREE, START, GOAL, PATH = "# SGo"
Cell = tuple[int, int]
Grid = list[list[str]]


def beside(cell: Cell, distance: int = 1) -> list[Cell]:
    """The cells at this distance to the right, below, to the left and above."""
    row, column = cell
    return [
        (row, column + distance),
        (row + distance, column),
        (row, column - distance),
        (row - distance, column),
    ]


def perfect(size: int, source: random.Random) -> Grid:
    """A perfect maze by depth-first search, rooms at even rows and columns, mirrored at random."""
    grid = [[WALL] * size for _ in range(size)]
    rooms = (size + 1) // 2
    stack = [(2 * source.randrange(rooms), 2 * source.randrange(rooms))]
    grid[stack[0][0]][stack[0][1]] = FREE
    while stack:
        row, column = stack[-1]
        new = [
            (r, c)
            for r, c in beside((row, column), 2)
            if 0 <= r < size and 0 <= c < size and grid[r][c] == WALL
        ]
        if not new:
            stack.pop()
            continue
        r, c = source.choice(new)
        grid[r][c] = grid[(row + r) // 2][(column + c) // 2] = FREE
        stack.append((r, c))
    if source.random() < 0.5:
        grid.reverse()
    return [row[::-1] for row in grid] if source.random() < 0.5 else grid


def remove_walls(grid: Grid, number: int, source: random.Random) -> None:
    """Opens walls between two free cells."""
    size = len(grid)

    def separates(row: int, column: int) -> bool:
        vertical = 0 < row < size - 1 and grid[row - 1][column] == FREE == grid[row + 1][column]
        return vertical or (0 < column < size - 1 and grid[row][column - 1] == FREE == grid[row][column + 1])

    places = [(r, c) for r in range(size) for c in range(size) if grid[r][c] == WALL and separates(r, c)]
    for row, column in source.sample(places, min(number, len(places))):
        grid[row][column] = FREE


def explore(grid: Grid, start: Cell) -> tuple[dict[Cell, int], dict[Cell, int]]:
    """Distances from `start`, and the numbers of shortest paths."""
    distances, paths, waiting = {start: 0}, {start: 1}, deque([start])
    while waiting:
        cell = waiting.popleft()
        for r, c in beside(cell):
            if not (0 <= r < len(grid) and 0 <= c < len(grid)) or grid[r][c] == WALL:
                continue
            if (r, c) not in distances:
                distances[r, c], paths[r, c] = distances[cell] + 1, paths[cell]
                waiting.append((r, c))
            elif distances[r, c] == distances[cell] + 1:
                paths[r, c] += paths[cell]
    return distances, paths


def maze(size: int, walls: int, least: int, source: random.Random) -> tuple[str, str] | None:
    """A question and its answer; None if six starts find no unique path that is long enough."""
    grid = perfect(size, source)
    remove_walls(grid, walls, source)
    free = [(r, c) for r in range(size) for c in range(size) if grid[r][c] == FREE]
    for _ in range(6):
        start = source.choice(free)
        distances, paths = explore(grid, start)
        far = [cell for cell in distances if distances[cell] >= least and paths[cell] == 1]
        if not far:
            continue
        goal = cell = source.choice(far)
        path = set()
        while cell != start:
            cell = next(one for one in beside(cell) if distances.get(one) == distances[cell] - 1)
            path.add(cell)
        ends = {start: START, goal: GOAL}
        question = [ends.get((r, c), grid[r][c]) for r in range(size) for c in range(size)]
        answer = [PATH if divmod(i, size) in path - {start} else token for i, token in enumerate(question)]
        return "".join(question), "".join(answer)
    return None


def main() -> None:
    """Writes the mazes to standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("number", type=int)
    parser.add_argument("--size", type=int, default=30)
    parser.add_argument("--walls", type=int, default=12, help="number of walls removed")
    parser.add_argument("--least", type=int, default=60, help="least moves of the shortest path")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    source, out = random.Random(given.seed), csv.writer(sys.stdout)
    out.writerow(["question", "answer"])
    made = 0
    while made < given.number:
        found = maze(given.size, given.walls, given.least, source)
        if found is not None:
            out.writerow(found)
            made += 1


if __name__ == "__main__":
    main()
