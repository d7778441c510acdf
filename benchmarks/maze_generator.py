"""Speed of generating, solving and checking mazes, compared with plain Python.

python benchmarks/maze_generator.py
"""

from __future__ import annotations

import argparse
import time
from collections import deque

import numpy as np
from reporting import Work, machine_line, print_rates

from hrm_cli.puzzles.maze.domain import FREE, GOAL, START, WALL, MazeDomain
from hrm_cli.puzzles.maze.generator import STYLES, generate


def plain_moves(cells: list[int], columns: int) -> int:
    """Moves of the shortest path by breadth-first search in plain Python, -1 without one."""
    start, goal = cells.index(START), cells.index(GOAL)
    distances = {start: 0}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        if cell == goal:
            return distances[cell]
        column = cell % columns
        beside = [cell - columns, cell + columns]
        beside += [cell - 1] * (column > 0) + [cell + 1] * (column < columns - 1)
        for other in beside:
            if 0 <= other < len(cells) and cells[other] != WALL and other not in distances:
                distances[other] = distances[cell] + 1
                queue.append(other)
    return -1


def plain_perfect(size: int, rng: np.random.Generator) -> list[int]:
    """A perfect maze by depth-first search in plain Python, without start and goal."""
    cells = [WALL] * (size * size)
    stack = [(0, 0)]
    cells[0] = FREE
    while stack:
        row, column = stack[-1]
        rooms = [
            (r, c)
            for r, c in ((row - 2, column), (row + 2, column), (row, column - 2), (row, column + 2))
            if 0 <= r < size and 0 <= c < size and cells[r * size + c] == WALL
        ]
        if not rooms:
            stack.pop()
            continue
        r, c = rooms[int(rng.integers(len(rooms)))]
        cells[r * size + c] = cells[(row + r) // 2 * size + (column + c) // 2] = FREE
        stack.append((r, c))
    return cells


def generating(size: int, style: str, min_path: int, batch: int) -> Work:
    """Generates `batch` mazes per call, different ones each time."""
    rng = np.random.default_rng(0)
    return lambda: sum(len(m) for m, _ in generate(size, batch, rng, style=style, min_path=min_path))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=1, help="length of one run")
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    print(f"Maze generator and solver, one core of: {machine_line()}")
    print(f"Median (least - greatest) of {given.runs} runs of {given.seconds:g} s of CPU time, warm.\n")

    domain = MazeDomain(size=30)
    mazes, _ = next(generate(30, 1000, np.random.default_rng(1), min_path=110))
    tokens = domain.encode_all(mazes)
    lists = [row.tolist() for row in mazes[:50]]
    rng = np.random.default_rng(2)

    rows: list[tuple[str, Work]] = [
        ("30×30 perfect, shortest path ≥ 110", generating(30, "perfect", 110, 1000)),
        ("  plain Python, carving alone", lambda: bool(plain_perfect(30, rng))),
        ("30×30 braided, shortest path ≥ 110", generating(30, "braided", 110, 500)),
        ("30×30 walls, shortest path ≥ 110", generating(30, "walls", 110, 50)),
        *((f"10×10 {style}, shortest path ≥ 20", generating(10, style, 20, 500)) for style in STYLES),
        ("30×30 solved: moves, ties, path marked", lambda: len(domain.solve_all(tokens).counts)),
        ("  plain Python, moves alone", lambda: sum(plain_moves(cells, 30) > 0 for cells in lists)),
        ("30×30 canonical forms", lambda: len(domain.canonical(tokens))),
    ]
    print_rates(rows, given.runs, given.seconds)

    print("\n1000 different mazes of 30×30 with one shortest path of 110 moves or more:")
    for style in STYLES:
        started = time.perf_counter()
        made, _ = next(generate(30, 1000, np.random.default_rng(3), style=style, min_path=110))
        seconds = time.perf_counter() - started
        found = domain.solve_all(domain.encode_all(made))
        moves = found.difficulties
        print(f"  {style:<8} {seconds:6.2f} s; moves {moves.min()} - {moves.max()}, mean {moves.mean():.0f}")


if __name__ == "__main__":
    main()
