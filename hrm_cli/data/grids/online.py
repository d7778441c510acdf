"""Augmented copies of own puzzles made while training: the symmetries that the user claims of them.

Letters in shapes: B rows of a batch, S tokens of an example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.format import Dataset
from hrm_cli.puzzles.domain import parse_domain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.symmetry import relabel_fields, transforms_of, turn_fields


@dataclass(frozen=True)
class GridCopies:
    """A random claimed symmetry for every row."""

    domain: GridsDomain

    @classmethod
    def of(cls, dataset: Dataset) -> GridCopies | None:
        """The copies of a dataset that claims symmetries of own puzzles; None for every other."""
        domain = parse_domain(dataset.metadata.domain)
        return cls(domain) if isinstance(domain, GridsDomain) else None

    def apply(
        self, inputs: NDArray[np.int32], labels: NDArray[np.int32], rng: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Inputs and labels `[B, S]`, both of a row under the same symmetry."""
        transforms = transforms_of(self.domain.symmetries)
        grids: list[NDArray[np.integer]] = [inputs, labels]
        if len(transforms) > 1:
            drawn = rng.choice(np.array(transforms), len(inputs))
            grids = [turn_fields(grid, self.domain, drawn) for grid in grids]
        if "symbols" in self.domain.symmetries:
            grids = relabel_fields(grids, self.domain, rng)
        return grids[0].astype(np.int32), grids[1].astype(np.int32)
