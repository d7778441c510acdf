"""Puzzles to start from. All are generated; none is copied from a collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hrm_cli.errors import ConfigError
from hrm_cli.printable import cut, quoted
from hrm_cli.puzzles.domain import OWN_PUZZLES, Domain, Grid
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.sudoku.layout import layout

LEVELS = {"easy": 0.55, "medium": 0.42, "hard": None}
"""Fraction of given cells; None: minimal, no clue can be removed."""
LARGEST_MINIMAL = 12
LARGE_LEVELS = {"easy": 0.62, "medium": 0.57, "hard": 0.52}
"""The same above 12×12, where generating a puzzle of few clues takes minutes."""
STYLES = {"easy": "perfect", "medium": "braided", "hard": "walls"}
_DEMONSTRATIONS = 3


def example(
    kind: str, rows: int, columns: int, level: str, seed: int, trained: Domain | None
) -> Mapping[str, Any]:
    """A puzzle as the page draws it. Raises ConfigError for a size that cannot be generated."""
    if level not in LEVELS:
        raise ConfigError(f"level {quoted(level, 40)}; known: {', '.join(LEVELS)}")
    rng = np.random.default_rng(seed)
    if kind == "sudoku":
        return {"kind": kind, "grid": _sudoku(rows, level, rng)}
    if kind == "maze":
        return {"kind": kind, "grid": _maze(rows, columns, level, rng)}
    if kind == "arc":
        return _task(rng)
    if kind == OWN_PUZZLES and isinstance(trained, GridsDomain):
        return {"kind": kind, "grid": rng.integers(0, len(trained.symbols), (rows, columns)).tolist()}
    raise ConfigError(f"{cut(kind, 80)}: no examples can be generated for this kind; paste a puzzle")


def _sudoku(size: int, level: str, rng: np.random.Generator) -> list[list[int]]:
    from hrm_cli.puzzles.sudoku.generator import generate

    cells = layout(size).size ** 2
    fraction = (LEVELS if size <= LARGEST_MINIMAL else LARGE_LEVELS)[level]
    clues = None if fraction is None else round(fraction * cells)
    puzzles, _ = next(iter(generate(size, 1, rng, clues=clues)))
    found: list[list[int]] = puzzles[0].reshape(size, size).tolist()
    return found


def _maze(rows: int, columns: int, level: str, rng: np.random.Generator) -> list[list[int]]:
    from hrm_cli.puzzles.maze.generator import generate

    mazes, _ = next(iter(generate(rows, 1, rng, columns=columns, style=STYLES[level])))
    found: list[list[int]] = mazes[0].reshape(rows, columns).tolist()
    return found


def _task(rng: np.random.Generator) -> Mapping[str, Any]:
    """A task with one of a few simple rules."""
    names = list(_RULES)
    name = names[int(rng.integers(len(names)))]
    rule = _RULES[name]
    grids = [_colored(rng) for _ in range(_DEMONSTRATIONS + 1)]
    return {
        "kind": "arc",
        "name": name,
        "task": {
            "train": [{"input": grid.tolist(), "output": rule(grid).tolist()} for grid in grids[:-1]],
            "test": [{"input": grids[-1].tolist()}],
        },
    }


def _colored(rng: np.random.Generator) -> Grid:
    """A black grid with a few colored cells."""
    rows, columns = rng.integers(3, 8, 2)
    grid: Grid = rng.integers(1, 10, (rows, columns)).astype(np.uint8)
    grid[rng.random((rows, columns)) < 0.6] = 0
    grid[rng.integers(rows), rng.integers(columns)] = rng.integers(1, 10)
    return grid


def _fallen(grid: Grid) -> Grid:
    """Colored cells fall to the bottom of their columns."""
    order = np.argsort(grid > 0, axis=0, kind="stable")
    return np.take_along_axis(grid, order, axis=0)


def _framed(grid: Grid) -> Grid:
    """A frame of blue cells around the grid."""
    return np.pad(grid, 1, constant_values=1)


_RULES: Mapping[str, Callable[[Grid], Grid]] = {
    "mirrored": lambda grid: grid[:, ::-1],
    "turned": np.rot90,
    "fallen": _fallen,
    "framed": _framed,
    "doubled": lambda grid: np.concatenate([grid, grid[:, ::-1]], axis=1),
}
