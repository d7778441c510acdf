"""A random subset of a split that stays the same: the same puzzles on every machine and at any time.

Letters in shapes: N examples of a split, n of the sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_examples(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """Numbers of `count` of `total` examples, ascending, `[n]`; all of them where there are no more.

    They follow from the total and the seed alone. A smaller sample with the same seed is part of a larger one.
    """
    # Raw output of a bit generator, which NumPy promises to keep; `Generator.choice` may change between versions.
    keys = np.random.PCG64(np.random.SeedSequence([seed, total])).random_raw(total)
    return np.sort(np.argsort(keys, kind="stable")[:count]).astype(np.int64)
