"""Interprets the data section for each domain: which puzzles to generate, and which puzzles of a file to accept.

The data section has fields for all domains. A recipe reads the fields of its domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, cast

import numpy as np

from hrm_cli.config.schema import DataConfig
from hrm_cli.config.values import parse_clues
from hrm_cli.errors import ConfigError
from hrm_cli.machine import granted_cores
from hrm_cli.printable import cut
from hrm_cli.puzzles.domain import BulkDomain, Grid, make_domain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.plain_text import PlainText
from hrm_cli.puzzles.reading import TextReader
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

    @property
    def reads(self) -> str | TextReader:
        """The name of a domain with text formats, or the reader of its puzzles."""

    def generate(self, count: int, rng: np.random.Generator, chunk: int) -> Iterator[tuple[Grid, Grid]]:
        """Generates different puzzles and answers, as cells `[n ≤ chunk, S]`. Raises ConfigError or PuzzleError."""


@dataclass(frozen=True)
class SudokuRecipe:
    """Sudoku by its size, clues and difficulty."""

    config: DataConfig
    domain_name: str = "sudoku"
    reads: str = "sudoku"
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
    reads: str = "maze"
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


@dataclass(frozen=True)
class PluginRecipe:
    """Puzzles of a domain that a plugin adds. Raises ConfigError if datasets cannot be built for it."""

    config: DataConfig
    measure: str = "difficulty"
    least_difficulty: int = 0
    keep_several: bool = False

    def __post_init__(self) -> None:
        missing = [name for name in _BULK if not hasattr(self.domain(), name)]
        if missing:
            raise ConfigError(
                f"domain {self.domain_name}: datasets cannot be built, because it lacks {', '.join(missing)}"
            )

    @property
    def domain_name(self) -> str:
        """The name of its entry point."""
        return self.config.domain

    @property
    def reads(self) -> TextReader:
        """The reader of the domain's one-line text."""
        return PlainText(self.domain())

    def domain(self) -> BulkDomain:
        """The domain of the configured size, or of its default size."""
        size = {} if self.config.size is None else {"size": self.config.size}
        return cast(BulkDomain, make_domain(self.config.domain, **size))

    def domain_of_grid(self, grid: Grid) -> BulkDomain:
        """The same domain: its parser refuses other sizes."""
        return self.domain()

    def generate(self, count: int, rng: np.random.Generator, chunk: int) -> Iterator[tuple[Grid, Grid]]:
        """The puzzles that the domain generates. Raises ConfigError if one is wrong."""
        domain = self.domain()
        generate = getattr(domain, "generate", None)
        if generate is None:
            raise ConfigError(f"domain {self.domain_name}: generates no puzzles; give a file (data.source)")
        pairs = iter(generate(count, rng))
        while waiting := list(islice(pairs, chunk)):
            puzzles, answers = (
                np.stack([np.asarray(pair[part], np.uint8).reshape(-1) for pair in waiting])
                for part in (0, 1)
            )
            right = domain.verify_all(domain.encode_all(puzzles), domain.encode_all(answers))
            if not right.all():
                text = domain.text(domain.decode(domain.encode_all(puzzles[~right])[0]))
                raise ConfigError(
                    f"domain {self.domain_name}: generated a puzzle with a wrong answer: {cut(text, 200)}"
                )
            yield puzzles, answers


_BULK = ("encode_all", "solve_all", "verify_all", "violations", "canonical", "solver_is_fast")

RECIPES: dict[str, Callable[[DataConfig], Recipe]] = {"sudoku": SudokuRecipe, "maze": MazeRecipe}


def recipe_of(config: DataConfig) -> Recipe:
    """The recipe of `config.domain`. Raises ConfigError for an unknown domain."""
    if config.columns is not None and config.domain != "maze":
        raise ConfigError(f"data.columns {config.columns}: only mazes need not be square; omit it")
    return RECIPES.get(config.domain, PluginRecipe)(config)
