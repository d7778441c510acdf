"""The planned memory of runs, compared with the measured memory of training.

    python benchmarks/memory_plan.py [--device cpu] [--only NAME …] [--save benchmarks/results/memory_plan.txt]

Every case is a preset with some settings, trained for a few steps on synthetic puzzles in a separate process.
*Planned* is the figure that `hrm train`, `--dry-run` and `hrm params` print. *Measured* on CUDA is torch's peak
allocation. On a CPU it is the peak of resident memory minus that before the model was built (Linux); freed blocks are
returned to the system immediately, so that resident memory is memory in use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

CASES: dict[str, tuple[str, list[str]]] = {
    "small, batch 64": ("small", ["train.global_batch_size=64"]),
    "base, batch 32": ("base", ["train.global_batch_size=32"]),
    "base, batch 32 in 4 parts": ("base", ["train.global_batch_size=32", "train.accumulation_steps=4"]),
    "base, batch 32, checkpointing": (
        "base",
        ["train.global_batch_size=32", "train.activation_checkpointing=true"],
    ),
    "base, batch 16, float32": ("base", ["train.global_batch_size=16", "arch.forward_dtype=float32"]),
    "base, batch 16, average": ("base", ["train.global_batch_size=16", "train.ema_decay=0.999"]),
    "base, batch 16, rsm": ("base", ["train.global_batch_size=16", "train.objective=rsm"]),
    "trm-sudoku, batch 16": ("trm-sudoku", ["train.global_batch_size=16"]),
    "trm-maze, batch 1": ("trm-maze", ["train.global_batch_size=1"]),
    "maze-hard, batch 2": ("maze-hard", ["train.global_batch_size=2"]),
}
STEPS = 3


def resident(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since the last reset) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def measure(name: str, overrides: list[str], device_name: str) -> dict[str, float]:
    """Planned and measured bytes of a case, in this process."""
    import torch

    from hrm_cli.accounting.memory import memory_in_training
    from hrm_cli.checkpoints.dataset_facts import DatasetFacts
    from hrm_cli.data.batches import Batch
    from hrm_cli.runs.configuration import domain_of, load_configuration
    from hrm_cli.training.prefetch import as_tensors, on_device
    from hrm_cli.training.state import initial_state
    from hrm_cli.training.step import train_one_step

    preset = load_configuration(name, overrides)
    domain, config, device = domain_of(preset.data), preset.train, torch.device(device_name)
    facts = DatasetFacts(domain.vocab_size, domain.seq_len, 1, {})
    rows = config.global_batch_size
    grid = torch.randint(1, domain.vocab_size, (rows, domain.seq_len), dtype=torch.int32).numpy()
    batch = as_tensors(Batch(grid, grid, grid[:, 0] * 0), device)

    # Run a tiny model first, so that the memory of libraries, kernels and threads is not counted.
    shrunk = preset.arch.model_copy(update={"hidden_size": 32, "num_heads": 1, "H_layers": 1, "L_layers": 1})
    few = config.model_copy(update={"global_batch_size": 1, "accumulation_steps": 1})
    little = initial_state(preset.model_copy(update={"arch": shrunk, "train": few}), facts, device)
    for _ in range(2):
        train_one_step(little, on_device(batch.select(slice(0, 1)), device), few, 10)
    del little
    before = resident("VmRSS") if device.type == "cpu" else 0
    state = initial_state(preset, facts, device)
    for step in range(STEPS):
        if step == 1:
            # The first step allocates the optimizer moments and compiles; compilation memory must not be counted.
            if device.type == "cpu":
                Path("/proc/self/clear_refs").write_text("5")
            else:
                torch.cuda.reset_peak_memory_stats(device)
        train_one_step(state, on_device(batch, device), config, 10)
    measured = resident("VmHWM") - before if device.type == "cpu" else torch.cuda.max_memory_allocated(device)
    dtype = str(state.model.core.dtype).removeprefix("torch.")
    planned = memory_in_training(
        preset.arch, config, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, rows, dtype
    )
    return {"planned": planned.on(device.type), "measured": measured}


def in_own_process(name: str, overrides: list[str], device: str) -> dict[str, float]:
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    words = [sys.executable, __file__, "--measure", json.dumps([name, overrides]), "--device", device]
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} {overrides}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", type=Path, help="also write the text to this file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", help="cases whose names begin so")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure), options.device)))
        return

    from reporting import keep, machine_line

    where = machine_line()
    if options.device != "cpu":
        import torch

        where = torch.cuda.get_device_name(options.device)
    lines = [
        f"Machine: {where}",
        f"torch {version('torch')}, a process each",
        "",
        f"{'':32} {'planned MB':>10} {'measured MB':>11} {'ratio':>6}",
    ]
    print("\n".join(lines), flush=True)
    for case, (name, overrides) in CASES.items():
        if options.only and not case.startswith(tuple(options.only)):
            continue
        found = in_own_process(name, overrides, options.device)
        ratio = found["planned"] / found["measured"]
        lines.append(
            f"{case:32} {found['planned'] / 1e6:10,.0f} {found['measured'] / 1e6:11,.0f} {ratio:6.2f}"
        )
        print(lines[-1], flush=True)
    keep("\n".join(lines), options.save)


if __name__ == "__main__":
    main()
