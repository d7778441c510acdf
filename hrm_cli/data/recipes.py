"""Interprets the data section for each domain: which puzzles to generate, and which puzzles of a file to accept.

The data section has fields for all domains. A recipe reads the fields of its domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hrm_cli.config.schema import DataConfig
from hrm_cli.config.values import parse_clues
from hrm_cli.errors import ConfigError
from hrm_cli.machine import granted_cores
from hrm_cli.puzzles.domain import BulkDomain, Grid
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain


class Recipe(Protocol):
    """How to obtain the puzzles of one domain."""

    @property
    def domain_name(self) -> str:
        """The name in the domain registry."""

    @property
    def measure(self) -> str:
        """The measure of `least_difficulty`, for messages."""

    @property
    def least_difficulty(self) -> int:
        """Puzzles with a lower difficulty are left out."""

    @property
    def keep_several(self) -> bool:
        """Whether to accept puzzles with more than one solution."""

    def domain(self) -> BulkDomain:
        """The domain of built-in puzzles. Raises ConfigError for an unsupported size."""

    def domain_of_grid(self, grid: Grid) -> BulkDomain:
        """The domain of a puzzle from a file."""

    def generate(self, count: int, rng: np.random.Generator, chunk: int) -> Iterator[tuple[Grid, Grid]]:
        """Generates different puzzles and answers, as cells `[n ≤ chunk, S]`. Raises ConfigError or PuzzleError."""


@dataclass(frozen=True)
class SudokuRecipe:
    """Sudoku by its size, clues and difficulty."""

    config: DataConfig
    domain_name: str = "sudoku"
    measure: str = "difficulty"
    keep_several: bool = False

    @property
    def least_difficulty(self) -> int:
        """Branches of the exact solver, or the source's own rating."""
        return self.config.min_difficulty

    def domain(self) -> SudokuDomain:
        """Sudoku of the configured size."""
        return SudokuDomain(9 if self.config.size is None else self.config.size)

    def domain_of_grid(self, grid: Grid) -> SudokuDomain:
        """Sudoku of the size of `grid`."""
        return SudokuDomain(len(grid))

    def generate(self, count: int, rng: np.random.Generator, chunk: int) -> Iterator[tuple[Grid, Grid]]:
        """Puzzles with the configured number of clues."""
        from hrm_cli.puzzles.sudoku.generator import generate

        clues = parse_clues(self.config.clues)
        least = self.config.min_difficulty
        return generate(
            self.domain().size,
            count,
            rng,
            clues=clues,
            min_difficulty=least,
            chunk=chunk,
            threads=granted_cores(),
        )


@dataclass(frozen=True)
class MazeRecipe:
    """Mazes by their size, style and shortest path."""

    config: DataConfig
    domain_name: str = "maze"
    measure: str = "a shortest path of"

    @property
    def least_difficulty(self) -> int:
        """Moves of the shortest path."""
        return self.config.min_path

    @property
    def keep_several(self) -> bool:
        """Whether a maze may have more than one shortest path."""
        return self.config.allow_ties

    def domain(self) -> MazeDomain:
        """Mazes of the configured size: `size` rows, `columns` columns."""
        return MazeDomain(columns=self.config.columns, size=self.config.size)

    def domain_of_grid(self, grid: Grid) -> MazeDomain:
        """Mazes of the shape of `grid`."""
        return MazeDomain(*grid.shape)

    def generate(self, count: int, rng: np.random.Generator, chunk: int) -> Iterator[tuple[Grid, Grid]]:
        """Mazes of the configured style."""
        from hrm_cli.puzzles.maze.generator import generate

        config, domain = self.config, self.domain()
        return generate(
            domain.rows,
            count,
            rng,
            columns=domain.columns,
            min_path=config.min_path,
            style=config.style,
            allow_ties=config.allow_ties,
            chunk=chunk,
            threads=granted_cores(),
        )


RECIPES: dict[str, Callable[[DataConfig], Recipe]] = {"sudoku": SudokuRecipe, "maze": MazeRecipe}


def recipe_of(config: DataConfig) -> Recipe:
    """The recipe of `config.domain`. Raises ConfigError for a domain without one."""
    recipe = RECIPES.get(config.domain)
    if config.columns is not None and config.domain != "maze":
        raise ConfigError(f"data.columns {config.columns}: only mazes may be other than square; leave it out")
    if recipe is None:
        raise ConfigError(f"data.domain {config.domain!r}: has no recipe; accepted: {', '.join(RECIPES)}")
    return recipe(config)
