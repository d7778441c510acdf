"""Easier versions of puzzles: givens added from the answer, from one of them up to all.

Only for domains in which an input is its answer with cells left blank (`Domain.blank_token`). A model that meets
nearly solved and solved puzzles in training learns to leave them alone: without, a solved state need not be a fixed
point (arXiv 2601.10679).

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

import numpy as np

from hrm_cli.errors import ConfigError
from hrm_cli.puzzles.domain import Domain, Tokens


def check_hints(domain: Domain, share: float) -> None:
    """Raises ConfigError where hints are asked for of a domain that has no blank cells to fill."""
    if share and domain.blank_token is None:
        raise ConfigError(
            f"data.hints: {domain.describe()} has no empty cells that the answer fills, so nothing can be given "
            "away; hints are for Sudoku"
        )


def with_hints(inputs: Tokens, labels: Tokens, blank: int, share: float, rng: np.random.Generator) -> Tokens:
    """Copies of `inputs` `[n, S]`, of which each row has hints with probability `share`.

    A row with e blank cells gets k more givens from its answer, k drawn uniformly from 1..e, at random places: e − k
    cells stay blank, none where k = e.
    """
    hinted = inputs.copy()
    rows = np.flatnonzero(rng.random(len(inputs)) < share)
    empty = inputs[rows] == blank
    counts = empty.sum(axis=1)
    added = (rng.random(len(rows)) * counts).astype(np.int64) + (counts > 0)
    # Blank cells in random order: places of the smallest of random keys, which are 2 and more elsewhere.
    keys = rng.random(empty.shape, dtype=np.float32) + np.float32(2) * ~empty
    order = np.argsort(keys, axis=1)
    chosen = np.empty_like(empty)
    np.put_along_axis(chosen, order, np.arange(empty.shape[1]) < added[:, None], axis=1)
    hinted[rows] = np.where(chosen, labels[rows], inputs[rows])
    return hinted
