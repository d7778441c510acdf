"""Everything measured on a GPU, by one command: training speed, its profile, the largest batches, evaluation.

    python benchmarks/gpu.py --output benchmarks/results

Speeds are given as the share of what an 8192³ product in bfloat16 reaches in the same run. Training steps are those
of `hrm train`; their batches are random tokens, already on the device. Writes `gpu.txt` and `gpu_profile.txt`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import Preset
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.flops import training_flops
from hrm_cli.training.state import DatasetFacts, TrainState, initial_state
from hrm_cli.training.step import train_one_step

SUDOKU = DatasetFacts(vocab_size=11, seq_len=81, num_puzzle_identifiers=1, domain={})
MAZE = DatasetFacts(vocab_size=6, seq_len=900, num_puzzle_identifiers=1, domain={})

REFERENCE_STEPS_PER_SECOND = 7.2
"""26,041 steps of 768 puzzles in an hour: what is reported of the reference on one H200."""

TRAINING: dict[str, tuple[str, DatasetFacts, Sequence[str]]] = {
    "HRM, Sudoku-Extreme, batch 768": ("sudoku-extreme", SUDOKU, ()),
    "HRM, no value of going on": ("sudoku-extreme", SUDOKU, ("arch.q_continue=false",)),
    "HRM, 30×30 mazes, batch 96": ("maze-hard", MAZE, ("global_batch_size=96",)),
    "TRM (MLP), Sudoku-Extreme, batch 768": ("trm-sudoku", SUDOKU, ()),
    "TRM (attention), mazes, batch 96": ("trm-maze", MAZE, ("global_batch_size=96",)),
    "RSM, depth 8×6, batch 512": ("rsm-sudoku", SUDOKU, ("train.depth_schedule=8x6@0",)),
}
"""What is trained: a preset, the data's shape, overrides."""


class Report:
    """Lines on stdout and in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_text("", encoding="utf-8")

    def __call__(self, line: str = "") -> None:
        """Writes a line."""
        print(line, flush=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def product_rate(size: int = 8192, repeats: int = 10) -> float:
    """FLOP/s of a product of two size×size matrices in bfloat16, on random numbers."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds_each(lambda: a @ b, repeats)


def seconds_each(run: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, by the device's clock."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times)


def prepared(
    preset: str, facts: DatasetFacts, overrides: Sequence[str]
) -> tuple[Preset, TrainState, PuzzleBatch]:
    """A run at its first step, and a batch of random tokens."""
    loaded = load_preset(preset, list(overrides))
    state = initial_state(loaded, facts, torch.device("cuda"))
    size = loaded.train.global_batch_size
    tokens = torch.randint(1, facts.vocab_size, (2, size, facts.seq_len), device="cuda", dtype=torch.int32)
    return (
        loaded,
        state,
        PuzzleBatch(tokens[0], tokens[1], torch.zeros(size, dtype=torch.int32, device="cuda")),
    )


def step_of(preset: Preset, state: TrainState, batch: PuzzleBatch) -> Callable[[], object]:
    """One training step, as a call."""
    return lambda: train_one_step(state, batch, preset.train, 10**6)


def steps_per_second(preset: Preset, state: TrainState, batch: PuzzleBatch, steps: int) -> float:
    """Training steps in a second of wall-clock time, one after the other as in a run."""
    run = step_of(preset, state, batch)
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        run()
    torch.cuda.synchronize()
    return steps / (time.perf_counter() - started)


def training_table(report: Report, compile_modes: Sequence[str], names: Sequence[str], steps: int) -> None:
    """Steps per second, compiled or not, and the share of the product rate."""
    report(f"{'training':<40} {'compile':<13} {'ready in':>9} {'steps/s':>8} {'puzzles/s':>10} "
           f"{'TFLOP/s':>8} {'share':>6} {'memory':>8}")  # fmt: skip
    for name in names:
        for mode in compile_modes:
            preset_name, facts, overrides = TRAINING[name]
            with fresh_memory():
                preset, state, batch = prepared(preset_name, facts, [*overrides, f"train.compile={mode}"])
                started = time.perf_counter()
                step_of(preset, state, batch)()
                torch.cuda.synchronize()
                ready = time.perf_counter() - started
                speed = steps_per_second(preset, state, batch, steps)
                rate = product_rate()
                memory = torch.cuda.max_memory_allocated() / 2**30
            size = preset.train.global_batch_size
            flops = speed * size * training_flops(preset.arch, preset.train, facts.vocab_size, facts.seq_len)
            report(
                f"{name:<40} {mode:<13} {ready:7.1f} s {speed:8.2f} {speed * size:10.0f} {flops / 1e12:8.1f} "
                f"{flops / rate:6.1%} {memory:4.1f} GiB"
            )


@contextmanager
def fresh_memory() -> Iterator[None]:
    """Peak memory and compiled graphs counted from here."""
    torch.compiler.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.empty_cache()


def largest_batches(report: Report) -> None:
    """The largest batch of `base` that trains, for 81 and 900 tokens, by doubling and halving the interval."""
    report(f"{'largest batch of base':<40} {'activation checkpointing':<26} {'batch':>7} {'memory':>9}")
    for tokens, facts in ((81, SUDOKU), (900, MAZE)):
        for checkpointing in ("false", "true"):
            overrides = (f"train.activation_checkpointing={checkpointing}", "train.compile=off")
            batch = _largest(facts, overrides)
            memory = torch.cuda.max_memory_allocated() / 2**30
            report(f"{tokens} tokens{'':<31} {checkpointing:<26} {batch:>7} {memory:5.1f} GiB")


def _largest(facts: DatasetFacts, overrides: Sequence[str]) -> int:
    fits, too_many = 0, None
    size = 512 if facts.seq_len < 100 else 32
    while too_many is None or too_many - fits > max(8, fits // 32):
        try:
            with fresh_memory():
                preset, state, batch = prepared("base", facts, [*overrides, f"global_batch_size={size}"])
                step_of(preset, state, batch)()
                torch.cuda.synchronize()
            fits = size
        except torch.cuda.OutOfMemoryError:
            too_many = size
        preset = state = batch = None  # type: ignore[assignment]
        size = 2 * fits if too_many is None else (fits + too_many) // 2
    return fits


def evaluation_table(report: Report) -> None:
    """Puzzles per second through `base`, all 16 steps, and one puzzle alone."""
    report(f"{'evaluating base, 16 steps':<40} {'puzzles/s':>10} {'one batch':>11}")
    _, state, _ = prepared("base", SUDOKU, ("global_batch_size=8",))
    for size in (1, 256, 1024):
        inputs = torch.randint(1, 11, (size, 81), device="cuda", dtype=torch.int32)
        identifiers = torch.zeros(size, dtype=torch.int32, device="cuda")
        each = seconds_each(partial(_all_steps, state.model, inputs, identifiers), 3)
        report(f"batch {size:<34} {size / each:10.1f} {1000 * each:8.1f} ms")


def _all_steps(model: ACTModel, inputs: Tensor, identifiers: Tensor) -> None:
    for _ in model.infer(inputs, identifiers, model.arch.halt_max_steps, adaptive=False):
        pass


def write_profile(file: Path, name: str, mode: str) -> None:
    """The costliest kernels of five training steps, as text."""
    preset_name, facts, overrides = TRAINING[name]
    preset, state, batch = prepared(preset_name, facts, [*overrides, f"train.compile={mode}"])
    steps_per_second(preset, state, batch, 3)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(5):
            step_of(preset, state, batch)()
        torch.cuda.synchronize()
    table = profile.key_averages().table(
        sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=90
    )
    file.write_text(f"{name}, train.compile={mode}, 5 steps\n{table}\n", encoding="utf-8")


def main() -> None:
    """Runs what is asked for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options.add_argument("--parts", nargs="+", default=["training", "evaluation", "memory", "profile"])
    options.add_argument(
        "--compile", nargs="+", default=["off", "on"], help="train.compile values to compare"
    )
    options.add_argument(
        "--only", nargs="+", default=[""], help="rows of the training table that contain this"
    )
    options.add_argument("--steps", type=int, default=30)
    given = options.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py measures a CUDA device, and there is none")
    given.output.mkdir(parents=True, exist_ok=True)
    report = Report(given.output / "gpu.txt")
    names = [name for name in TRAINING if any(part in name for part in given.only)]
    report(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; "
           f"8192³ products in bfloat16: {product_rate() / 1e12:.0f} TFLOP/s")  # fmt: skip
    if "training" in given.parts:
        report(
            f"\nThe reference is reported at {REFERENCE_STEPS_PER_SECOND} steps/s (H200, Sudoku-Extreme, batch 768)."
        )
        training_table(report, given.compile, names, given.steps)
    if "evaluation" in given.parts:
        report()
        evaluation_table(report)
    if "memory" in given.parts:
        report()
        largest_batches(report)
    if "profile" in given.parts:
        write_profile(given.output / "gpu_profile.txt", names[0], given.compile[-1])


if __name__ == "__main__":
    main()
