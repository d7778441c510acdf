"""Attention on the CPU: our explicit attention against torch's fused kernel, in one run.

    python benchmarks/attention.py

Prints milliseconds of CPU time for one call, forward alone and forward with backward, and their ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.layers import attend

SHAPES = {
    "4×4 Sudoku, H 128": (256, 16, 4, 32),
    "9×9 Sudoku, H 128": (64, 81, 4, 32),
    "9×9 Sudoku, H 512": (16, 81, 8, 64),
    "30×30 grid, H 512": (2, 900, 8, 64),
}
"""Batch, tokens, heads, head size."""

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch's fused attention."""
    return F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)


def milliseconds(attention: Attention, shape: tuple[int, ...], repeats: int, *, backward: bool) -> float:
    """CPU time of one call in bfloat16, the minimum of `repeats`."""
    batch, tokens, heads, size = shape
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(batch, tokens, 3, heads, size, generator=generator).to(torch.bfloat16)
    times = []
    for _ in range(repeats + 1):
        leaf = source.clone().requires_grad_(backward)
        started = time.process_time()
        with nullcontext() if backward else torch.no_grad():
            out = attention(*leaf.unbind(2))
            if backward:
                out.sum().backward()
        times.append(time.process_time() - started)
    return 1000 * min(times[1:])


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeats", type=int, default=10)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    print(f"bfloat16, {given.threads} thread, torch {torch.__version__}, least of {given.repeats} calls\n")
    print(f"{'':20} {'forward':>28} {'forward and backward':>34}")
    print(f"{'':20} {'fused':>9} {'ours':>9} {'ratio':>8} {'fused':>15} {'ours':>9} {'ratio':>8}")
    for name, shape in SHAPES.items():
        cells = []
        for backward in (False, True):
            theirs = milliseconds(fused, shape, given.repeats, backward=backward)
            ours = milliseconds(attend, shape, given.repeats, backward=backward)
            cells.append(f"{theirs:9.2f} {ours:9.2f} {theirs / ours:8.2f}")
        print(f"{name:20} {cells[0]}      {cells[1]}")


if __name__ == "__main__":
    main()
