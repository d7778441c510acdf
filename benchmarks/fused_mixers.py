"""CPU time of one step with the fused kernels of a structured mixer, and with its portable form in the same blocks.

    python benchmarks/fused_mixers.py [--preset edges-maze] [--rounds 7] [--save benchmarks/results/fused_mixers.txt]

Both forms run in turns in one process on one thread, and CPU time is measured, so other load on the machine affects
both alike. Medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from hrm_cli.config.presets import load_preset
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.cpu import blocks
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import Domain, make_domain

SIZES = {
    "edges-maze": (("training", 64, 6), ("training", 8, 20), ("inference", 1, 20), ("inference", 1, 30),
                   ("inference", 64, 20), ("inference", 32, 30)),
    "sudoku-units": (("training", 16, 9), ("inference", 1, 9), ("inference", 64, 9), ("inference", 4, 16)),
}  # fmt: skip
"""For each preset: training or inference, number of puzzles, and their size."""


def domain_of_size(name: str, size: int) -> Domain:
    """Mazes or Sudoku of this size."""
    return make_domain(name, rows=size, columns=size) if name == "maze" else make_domain(name, size=size)


def one_step(model: ACTModel, domain: Domain, rows: int, *, training: bool) -> Callable[[], None]:
    """A function that runs one ACT step on random tokens, with its backward pass in training."""
    generator = np.random.default_rng(0)
    tokens = torch.from_numpy(
        generator.integers(1, domain.vocab_size, (rows, domain.seq_len)).astype(np.int32)
    )
    puzzles = PuzzleBatch(tokens, tokens, torch.zeros(rows, dtype=torch.int32))
    carry = model.core.initial_carry(tokens)

    def train() -> None:
        _, out = model.core(carry, puzzles.inputs, None)
        out.logits.float().square().mean().backward()
        model.zero_grad()

    def infer() -> None:
        with torch.inference_mode():
            model.core(carry, puzzles.inputs, None)

    return train if training else infer


def seconds(step: Callable[[], None], least: float = 0.2) -> float:
    """CPU seconds of one step, over as many as take `least` seconds."""
    count, start = 0, time.process_time()
    while time.process_time() - start < least:
        step()
        count += 1
    return (time.process_time() - start) / count


def compared(preset_name: str, kind: str, rows: int, size: int, rounds: int) -> tuple[float, float]:
    """Median CPU milliseconds of a step: portable, fused."""
    preset = load_preset(preset_name)
    domain = domain_of_size(preset.data.domain, size)
    found: dict[bool, list[float]] = {False: [], True: []}
    steps = {}
    for fused in found:
        with without_fused_mixers(not fused):
            model = build_model(
                preset.arch, domain.vocab_size, domain.seq_len, 1, domain={"name": domain.name, **domain.facts()},
                generator=torch.Generator().manual_seed(0),
            ).train(kind == "training")  # fmt: skip
            steps[fused] = one_step(model, domain, rows, training=kind == "training")
            steps[fused]()  # compiles the kernels
    for _ in range(rounds):
        for fused, step in steps.items():
            with without_fused_mixers(not fused):
                found[fused].append(1000 * seconds(step))
    return statistics.median(found[False]), statistics.median(found[True])


def without_fused_mixers(apply: bool) -> mock._patch_dict:
    """Within this context, blocks use the portable form of structured mixers, if `apply`."""
    return mock.patch.dict(blocks._FUSED, clear=apply)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=SIZES, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", type=Path, help="file to which the table is also written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"{'CPU time of one step in ms, one thread':<44}{'portable mixer':>16}{'fused':>10}{'ratio':>8}"]
    print(lines[0], flush=True)
    for preset in options.preset or SIZES:
        for kind, rows, size in SIZES[preset]:
            portable, fused = compared(preset, kind, rows, size, options.rounds)
            name = f"{preset}, {kind}, {rows} of {size}×{size}"
            lines.append(f"{name:<44}{portable:>16.2f}{fused:>10.2f}{portable / fused:>8.2f}")
            print(lines[-1], flush=True)
    if options.save:
        options.save.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
