"""Training puzzles made from a source's own: more of what is too rare to generate, such as the hardest Sudoku.

They are made from puzzles already chosen for training, so nothing of a held-out puzzle gets into them; those that
come out equal to one (or symmetric to one, with a strict split) are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.schema import DataConfig
from hrm_cli.data.sources import BUILTIN, Report, Rows, Source
from hrm_cli.machine import granted_cores
from hrm_cli.puzzles.domain import Tokens
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain

_CHUNK = 256


def add_variations(
    source: Source,
    config: DataConfig,
    rows: Rows,
    rng: np.random.Generator,
    is_apart: Callable[[Tokens], NDArray[np.bool_]],
    report: Report,
) -> None:
    """Appends `config.variations` variations of the training puzzles `rows` to their pool.

    Of a source with more puzzles than that, as many are varied: rating millions for a few thousand would take hours.
    `is_apart` says which puzzles `[n, S]` are neither held out nor trained on already. Raises PuzzleError where fewer
    are found.
    """
    from hrm_cli.puzzles.sudoku.variations import vary

    domain = source.domain
    assert isinstance(domain, SudokuDomain)  # the configuration allows no other
    wanted, done = config.variations, 0
    varied = rows if len(rows) <= wanted else np.sort(rng.permutation(rows)[:wanted])
    puzzles, answers = (tokens - np.uint8(BLANK) for tokens in source.train.rows(varied))
    report("making variations", done, wanted)
    for made, solved in vary(
        domain.size,
        puzzles,
        answers,
        wanted,
        rng,
        min_difficulty=config.min_difficulty if config.source == BUILTIN else 0,
        allowed=lambda cells: is_apart(domain.encode_all(cells)),
        threads=granted_cores(),
        chunk=_CHUNK,
    ):
        source.train.append(domain.encode_all(made), domain.encode_all(solved))
        done += len(made)
        report("making variations", done, wanted)
    source.notes.append(f"{wanted:,} of the training puzzles are variations of the other {len(rows):,}")
