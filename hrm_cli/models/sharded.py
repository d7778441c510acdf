"""One ACT step at inference on shards of the rows at the same time, each on its own threads (CPU only).

Rows do not depend on each other, and the threads wait for each other once per step instead of after every operator
(benchmarks/inference_speed.py).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from hrm_cli.models.core import Core, CoreOutput, InnerCarry
from hrm_cli.models.cpu.workers import run_shards, threads_to_divide
from hrm_cli.models.recurrent import RecurrentCore

NUMBERS_PER_SHARD = 3_000_000
"""Numbers in a state `[b, P+S, H]` of a large shard. Shards of half or a quarter of it were 5 to 10 % slower."""
FEWEST_NUMBERS = 75_000
"""Numbers in a state of a shard that is worth it: calling the operators several times takes time, too."""


def inference_shards(core: Core, rows: int) -> int:
    """The number of shards for `rows` rows: a multiple of the threads, or 1 where shards are not possible or too small.

    A multiple, so that no thread is idle; each worker has one thread.
    """
    if not isinstance(core, RecurrentCore) or core.training or not core.takes_cpu_blocks:
        return 1
    threads, numbers = threads_to_divide(), rows * core.positions * core.arch.hidden_size
    if threads == 1 or rows < threads or numbers < threads * FEWEST_NUMBERS:
        return 1
    return min(threads * max(1, round(numbers / (threads * NUMBERS_PER_SHARD))), rows // threads * threads)


def sharded_step(
    core: Core, carry: InnerCarry, inputs: Tensor, puzzle_rows: Tensor | None, weights: Any
) -> tuple[InnerCarry, CoreOutput]:
    """Same as `core(carry, inputs, puzzle_rows, weights)` without gradient, on shards if that is faster."""
    count = 1 if torch.is_grad_enabled() else inference_shards(core, len(inputs))
    if count == 1:
        return core(carry, inputs, puzzle_rows, weights)
    bounds = [len(inputs) * i // count for i in range(count + 1)]
    inference = torch.is_inference_mode_enabled()

    def step(shard: int) -> tuple[InnerCarry, CoreOutput]:
        rows = slice(bounds[shard], bounds[shard + 1])
        # Workers are threads of their own, and these modes are those of a thread.
        with torch.inference_mode(inference), torch.no_grad():
            embedded = None if puzzle_rows is None else puzzle_rows[rows]
            return core(carry.select(rows), inputs[rows], embedded, weights)

    found = run_shards(step, count)
    return InnerCarry.joined([one for one, _ in found]), _joined([out for _, out in found])


def _joined(parts: list[CoreOutput]) -> CoreOutput:
    def together(name: str) -> Any:
        tensors = [getattr(part, name) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    return CoreOutput(**{field.name: together(field.name) for field in fields(CoreOutput)})
