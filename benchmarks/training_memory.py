"""Memory of a training step: plain, with micro-batches, with activation checkpointing, and with both.

    python benchmarks/training_memory.py [--rounds 2] [--save benchmarks/results/training_memory.txt]

Every variant runs in a separate process (Linux: the peak of resident memory is reset before the measured steps).
*Held* is the memory that stays between steps: weights, moments, carry. *Peak* is the additional memory of the largest
step. Time is CPU time of a step. The variants take turns for `--rounds` rounds; the minimum counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "in one piece": {},
    "accumulation_steps=4": {"accumulation_steps": 4},
    "activation_checkpointing": {"activation_checkpointing": True},
    "both": {"accumulation_steps": 4, "activation_checkpointing": True},
}
MODELS = {
    "HRM, H 256, 4 + 4 layers, batch 16": {
        "core": "hrm",
        "H_layers": 4,
        "L_layers": 4,
        "H_cycles": 2,
        "L_cycles": 2,
    },
    "TRM, H 256, 2 layers, 6 cycles, batch 16": {"core": "trm", "L_layers": 2, "H_cycles": 2, "L_cycles": 6},
}
BATCH = 16


def resident_mb(name: str) -> float:
    """VmRSS (now) or VmHWM (the most since the last reset) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {name}")


def measure(arch: dict[str, Any], settings: dict[str, Any]) -> dict[str, float]:
    """Held and peak memory (MB), and seconds of a step, in this process."""
    import torch

    from hrm_cli.checkpoints.dataset_facts import DatasetFacts
    from hrm_cli.config.arch import ArchConfig
    from hrm_cli.config.schema import Preset
    from hrm_cli.config.train import TrainConfig
    from hrm_cli.models.act import PuzzleBatch
    from hrm_cli.training.state import initial_state
    from hrm_cli.training.step import train_one_step

    torch.set_num_threads(1)
    arch = {"hidden_size": 256, "num_heads": 8, "forward_dtype": "float32", **arch}
    preset = Preset(arch=ArchConfig(**arch), train=TrainConfig(global_batch_size=BATCH, **settings))
    state = initial_state(preset, DatasetFacts(11, 81, 1, {}), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    grids = torch.randint(1, 11, (2, BATCH, 81), generator=generator, dtype=torch.int32)
    batch = PuzzleBatch(grids[0], grids[1], torch.zeros(BATCH, dtype=torch.int32))
    train_one_step(state, batch, preset.train, 10)
    held = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    started = time.process_time()
    for _ in range(2):
        train_one_step(state, batch, preset.train, 10)
    seconds = (time.process_time() - started) / 2
    return {"held": held, "peak": resident_mb("VmHWM") - held, "seconds": seconds}


def in_own_process(arch: dict[str, Any], settings: dict[str, Any]) -> dict[str, float]:
    # Freed blocks are returned to the system immediately, so resident memory is memory in use.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "0",
    }
    words = [sys.executable, __file__, "--measure", json.dumps([arch, settings])]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def table(arch: dict[str, Any], rounds: int) -> list[str]:
    """The output lines for one model."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, settings in VARIANTS.items():
            found[name].append(in_own_process(arch, settings))
    least = {name: {key: min(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    whole = least["in one piece"]
    lines = [f"{'':26} {'held MB':>8} {'peak MB':>8} {'ratio':>6} {'s a step':>9} {'ratio':>6}"]
    for name, figures in least.items():
        lines.append(
            f"{name:26} {figures['held']:8.0f} {figures['peak']:8.0f} {figures['peak'] / whole['peak']:6.2f} "
            f"{figures['seconds']:9.2f} {figures['seconds'] / whole['seconds']:6.2f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", type=Path, help="also write the text to this file")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return

    from reporting import keep, machine_line

    lines = [
        f"Machine: {machine_line()}",
        f"float32, 81 tokens, one thread, least of {options.rounds}, a process each",
    ]
    for name, arch in MODELS.items():
        lines += ["", name, *table(arch, options.rounds)]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    keep(text, options.save)


if __name__ == "__main__":
    main()
