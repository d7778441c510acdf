"""What predictors without any insight score on ARC's own outputs: grids as they are, not tokens of a field.

Published cell accuracies are of this kind, some on grids padded to 30×30 with the background, which flatters further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hrm_cli.evaluation.baselines import Baseline
from hrm_cli.puzzles.arc.kernels import SIDE
from hrm_cli.puzzles.arc.symmetry import COLOURS
from hrm_cli.puzzles.arc.tasks import Pair, Task
from hrm_cli.puzzles.domain import Grid

BACKGROUND = 0


def measure_output_baselines(tasks: Iterable[Task]) -> tuple[int, Mapping[str, Baseline]]:
    """How many known test outputs there are, and the mean over them of each predictor's share of right cells.

    `all_background`: colour 0 in a grid of the right size; `copy_input`: the input, nothing right where the sizes
    differ; `most_frequent`: the colour that these outputs have most often; `all_background_padded`: colour 0 after
    the outputs were padded to 30×30 with colour 0.
    """
    pairs = [pair for task in tasks for pair in task.test if pair.output is not None]
    outputs = [pair.output for pair in pairs if pair.output is not None]
    counts = sum(
        (np.bincount(grid.ravel(), minlength=COLOURS) for grid in outputs), np.zeros(COLOURS, np.int64)
    )
    frequent = int(counts.argmax())
    predictors: dict[str, Callable[[Pair, Grid], float]] = {
        "most_frequent": lambda pair, output: float((output == frequent).mean()),
        "copy_input": lambda pair, output: _agreement(pair.input, output),
        "all_background": lambda pair, output: float((output == BACKGROUND).mean()),
        "all_background_padded": lambda pair, output: 1 - float((output != BACKGROUND).sum()) / SIDE**2,
    }
    return len(outputs), {
        name: _mean([predict(pair, output) for pair, output in zip(pairs, outputs, strict=True)])
        for name, predict in predictors.items()
    }


def _agreement(answer: Grid, output: Grid) -> float:
    return float((answer == output).mean()) if answer.shape == output.shape else 0.0


def _mean(shares: list[float]) -> Baseline:
    count = max(len(shares), 1)
    return Baseline(sum(shares) / count, sum(share == 1.0 for share in shares) / count)
