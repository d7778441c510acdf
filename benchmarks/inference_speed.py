"""Speed of an inference step: the batch whole or in shards, matmuls in the forward dtype or in int8.

    python benchmarks/inference_speed.py [--rounds 7] [--save benchmarks/results/inference_speed.txt]

All kinds compute the same step of a model in turns, in one process, on all of torch's threads. Medians of wall-clock
time are printed, so run it on an idle machine. Batches too small for shards are computed whole in both columns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from hrm_cli.environment import CPU_INT8, keep_freed_memory, limit_spinning

if __name__ == "__main__":
    limit_spinning()  # before torch is imported, as commands do

import numpy as np
import torch
from reporting import keep, machine_line
from timed_training import aligned

from hrm_cli.checkpoints.model_files import load_model
from hrm_cli.config.presets import load_preset
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model, inference_matmuls
from hrm_cli.models.sharded import sharded_step
from hrm_cli.puzzles.domain import make_domain

CPU = torch.device("cpu")
SUDOKU = "bundled:sudoku-any-size"
CASES = (
    (SUDOKU, 9, 1), (SUDOKU, 9, 8), (SUDOKU, 9, 64), (SUDOKU, 9, 256), (SUDOKU, 16, 1), (SUDOKU, 16, 16),
    ("preset base", 9, 16), ("preset tiny", 9, 64), ("preset tiny", 9, 1),
)  # fmt: skip
"""The model, the size of the Sudoku, and the number of puzzles."""


def model_of(name: str, size: int) -> ACTModel:
    """A bundled model, or a preset's with random weights, for Sudoku of this size."""
    domain = make_domain("sudoku", size=size)
    if name.startswith("bundled:"):
        return load_model(Path(name), CPU, domain=domain)[0].eval()
    arch = load_preset(name.removeprefix("preset ")).arch
    return build_model(
        arch, domain.vocab_size, domain.seq_len, 1, generator=torch.Generator().manual_seed(0)
    ).eval()


def stepping(model: ACTModel, size: int, puzzles: int, switch: str, *, shards: bool) -> Callable[[], object]:
    """A function that runs one ACT step on random tokens, with int8 matmuls on or off."""
    generator = np.random.default_rng(0)
    tokens = torch.from_numpy(generator.integers(1, size + 2, (puzzles, size * size)).astype(np.int32))
    carry = model.core.initial_carry(tokens)
    with mock.patch.dict(os.environ, {CPU_INT8: switch}), torch.inference_mode():
        dtype, reason = inference_matmuls(model.inner, CPU)
        if (dtype == "int8") != (switch == "on"):
            raise SystemExit(f"int8 matmuls cannot be switched {switch} here: {reason}")
        weights = model.core.cast_weights()
    embedded = model.puzzle_rows(torch.zeros(puzzles, dtype=torch.int32))

    def step() -> object:
        with torch.inference_mode():
            if shards:
                return sharded_step(model.core, carry, tokens, embedded, weights)
            return model.core(carry, tokens, embedded, weights)

    return step


def milliseconds(step: Callable[[], object], least: float = 0.3) -> float:
    """Wall-clock time of one step, over as many as take `least` seconds."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < least:
        step()
        count += 1
    return 1000 * (time.perf_counter() - start) / count


def compared(name: str, size: int, puzzles: int, rounds: int) -> list[str]:
    """One row of the table."""
    model = model_of(name, size)
    steps = [
        stepping(model, size, puzzles, switch, shards=shards)
        for switch in ("off", "on")
        for shards in (False, True)
    ]
    found: list[list[float]] = [[] for _ in steps]
    for step in steps:
        step()  # compiles the kernels
    for _ in range(rounds):
        for times, step in zip(found, steps, strict=True):
            times.append(milliseconds(step))
    took = [statistics.median(times) for times in found]
    dtype = str(model.core.dtype).removeprefix("torch.")
    shown = [f"{one:.1f}" for one in took]
    return [f"{name}, {puzzles} of {size}×{size}", dtype, *shown, f"{took[0] / took[3]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    keep_freed_memory()
    rows = [
        ["one ACT step, ms", "dtype", "whole", "in shards", "int8, whole", "int8, in shards", "first ÷ last"]
    ]
    for case in CASES:
        rows.append(compared(*case, given.rounds))
        print(*rows[-1], sep="  ", flush=True)
    text = "\n".join(
        [
            f"Machine: {machine_line()}, {torch.get_num_threads()} threads",
            f"Medians of {given.rounds} turns of 0.3 s",
            "",
            aligned(rows),
        ]
    )
    print(text)
    keep(text, given.save)


if __name__ == "__main__":
    main()
