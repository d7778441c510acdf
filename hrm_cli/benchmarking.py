"""Benchmarks of training, evaluation, solving and building, each compared with a large matrix multiplication."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import StepFlops, step_flops, training_flops
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.data import DataConfig
from hrm_cli.config.schema import EvalConfig, Preset
from hrm_cli.config.train import depth_fractions
from hrm_cli.data.batches import Batch
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset, ExampleSet
from hrm_cli.data.metadata import SplitMetadata
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import evaluate
from hrm_cli.files import peak_memory_mb
from hrm_cli.models.choices import choices, device_name
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import Domain, Puzzle
from hrm_cli.solving.solver import solve_puzzles
from hrm_cli.training.optimizers import optimizer_choice
from hrm_cli.training.prefetch import as_tensors, on_device
from hrm_cli.training.state import initial_state
from hrm_cli.training.step import train_one_step

SIZE_ON_CPU = 2048
SIZE_ELSEWHERE = 8192
"""Matrix size. An accelerator needs larger matrices to reach its peak throughput."""


class LargeMatmul:
    """A matmul of two square matrices in a given dtype on a device, with torch's current number of threads."""

    def __init__(self, device: torch.device, dtype: torch.dtype, size: int | None = None) -> None:
        self.size = size or (SIZE_ON_CPU if device.type == "cpu" else SIZE_ELSEWHERE)
        generator = torch.Generator().manual_seed(0)
        shape = (self.size, self.size)
        self._a, self._b = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
        self._device = device

    def gflops(self, times: int = 2) -> float:
        """Measures the throughput in GFLOP/s: the mean of `times` matmuls, each a·bᵀ as in a linear layer."""
        wait_for(self._device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(self._a, self._b.T)
        wait_for(self._device)
        return times * 2 * self.size**3 / (time.perf_counter() - started) / 1e9


def wait_for(device: torch.device) -> None:
    """Waits until all work queued on an accelerator is done; returns at once on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class Workload:
    """A piece of work to time."""

    what: str
    preset: str
    examples: int
    """Number of puzzles that one round processes."""
    run: Callable[[], None]
    """Runs one round."""
    device: torch.device
    dtype: torch.dtype | None = None
    """The forward dtype; None for a workload without a model."""
    flops_per_example: int | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    """Implementations that the model uses: attention, blocks, compilation, optimizer."""

    @property
    def device_name(self) -> str:
        """The device, with the accelerator's name."""
        return device_name(self.device)


def training(name: str, preset: Preset, domain: Domain, batch: int | None, device: torch.device) -> Workload:
    """Benchmarks training steps on `batch` puzzles; None takes the preset's global batch size.

    With a depth schedule, the steps are those of its last stage, the deepest of the run.
    """
    config = preset.train
    update: dict[str, object] = {} if batch is None else {"global_batch_size": batch}
    if config.depth_schedule is not None:
        H_cycles, L_cycles, _ = depth_fractions(config.depth_schedule)[-1]
        update["depth_schedule"] = f"{H_cycles}x{L_cycles}@0"
    config = config.model_copy(update=update)
    preset = preset.model_copy(update={"train": config})
    rows = config.global_batch_size
    state = initial_state(preset, DatasetFacts(domain.vocab_size, domain.seq_len, 1, _stated(domain)), device)
    # As a run's prefetcher provides them: copies from pinned memory are asynchronous.
    ready = as_tensors(_made_up(domain, rows), device)

    def run() -> None:
        train_one_step(state, on_device(ready, device), config, total_steps=1_000_000)

    flops = training_flops(preset.arch, config, domain.vocab_size, domain.seq_len)
    used = {**choices(state.model), "optimizer": optimizer_choice(state.network)}
    return Workload("train", name, rows, run, device, state.model.core.dtype, flops, used)


def evaluation(
    name: str, preset: Preset, domain: Domain, batch: int | None, device: torch.device
) -> Workload:
    """Benchmarks evaluation of one batch, with all steps for every puzzle. `batch` None takes the preset's size."""
    rows = batch or preset.eval.batch_size
    config = EvalConfig(batch_size=rows, halt="full", max_steps=preset.eval.max_steps)
    model = build_model(
        preset.arch, domain.vocab_size, domain.seq_len, 1, domain=_stated(domain), device=device
    )
    model.core.initialize(torch.Generator().manual_seed(0))
    compile_updates(model, preset.train.compile)
    dataset = _as_dataset(domain, _made_up(domain, rows))

    def run() -> None:
        evaluate(model, dataset, config)

    steps = config.max_steps or preset.arch.halt_max_steps
    flops = steps * _flops(preset, domain).forward
    return Workload("eval", name, rows, run, device, model.core.dtype, flops, choices(model))


def solving(name: str, preset: Preset, domain: Domain, batch: int | None, device: torch.device) -> Workload:
    """Benchmarks solving of `batch` generated puzzles (default 1), verified, with all steps for every puzzle.

    Raises ConfigError if the domain's puzzles cannot be generated.
    """
    rows = batch or 1
    puzzles = _generated(preset.data, domain, rows)
    model = build_model(
        preset.arch, domain.vocab_size, domain.seq_len, 1, domain=_stated(domain), device=device
    )
    model.core.initialize(torch.Generator().manual_seed(0))
    steps = preset.eval.max_steps or preset.arch.halt_max_steps
    fixed = FixedModel(model)

    def run() -> None:
        for _ in solve_puzzles(fixed, domain, puzzles, max_steps=steps, adaptive=False, batch_size=rows):
            pass

    flops = steps * _flops(preset, domain).forward
    return Workload("solve", name, rows, run, device, model.core.dtype, flops, choices(model))


def building(name: str, preset: Preset) -> Workload:
    """Benchmarks building the preset's dataset in a temporary folder.

    Builds it once here to count its examples.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = build_dataset(preset.data, Path(folder) / "dataset")

    def run() -> None:
        with tempfile.TemporaryDirectory() as again:
            build_dataset(preset.data, Path(again) / "dataset")

    examples = first.train.examples + first.test.examples
    return Workload("build", name, examples, run, torch.device("cpu"))


def _flops(preset: Preset, domain: Domain) -> StepFlops:
    return step_flops(components(preset.arch, domain.vocab_size, domain.seq_len))


def _stated(domain: Domain) -> dict[str, object]:
    """The domain as files state it."""
    return {"name": domain.name, **domain.facts()}


def _made_up(domain: Domain, rows: int) -> Batch:
    rng = np.random.default_rng(0)
    inputs, labels = (
        rng.integers(1, domain.vocab_size, (rows, domain.seq_len), dtype=np.int32) for _ in range(2)
    )
    return Batch(inputs, labels, np.zeros(rows, dtype=np.int32))


def _as_dataset(domain: Domain, batch: Batch) -> Dataset:
    count = len(batch.inputs)
    metadata = SplitMetadata(
        pad_id=0, ignore_label_id=None, blank_identifier_id=0, vocab_size=domain.vocab_size,
        seq_len=domain.seq_len, num_puzzle_identifiers=1, total_groups=count, mean_puzzle_examples=1.0,
        sets=("all",),
    )  # fmt: skip
    every: NDArray[np.int64] = np.arange(count + 1)
    examples = ExampleSet("all", batch.inputs, batch.labels, np.zeros(count, dtype=np.int64), every, every)
    return Dataset(Path("made-up"), "test", metadata, (examples,))


def _generated(data: DataConfig, domain: Domain, count: int) -> list[Puzzle]:
    if data.domain == "arc":
        raise ConfigError(
            "hrm bench solve: ARC tasks cannot be generated; use a preset for Sudoku or mazes, or `hrm bench eval`"
        )
    config = DataConfig(
        domain=data.domain,
        size=data.size,
        columns=data.columns,
        num_train=1,
        num_test=count,
        clues=data.clues,
        min_path=data.min_path,
        style=data.style,
    )
    with tempfile.TemporaryDirectory() as folder:
        build_dataset(config, Path(folder) / "dataset")
        dataset = Dataset.open(Path(folder) / "dataset", "test")
        tokens, _ = dataset.gather(np.arange(count))
    return [Puzzle(domain.decode(row.astype(np.uint8)), domain=domain.name) for row in tokens]


_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Measurement:
    """The measurements of a workload. The fields are the keys of `hrm bench --json`."""

    what: str
    preset: str
    batch: int
    """Batch size in puzzles; for a build, its number of examples."""
    dtype: str | None
    device: str
    threads: int
    examples_per_second: float
    """Computed from the median round."""
    seconds: float
    """Duration of the median round."""
    spread: float
    """Interquartile range of the rounds' durations ÷ the median."""
    rounds: int
    first_seconds: float
    """Duration of the first, uncounted round. It includes one-time costs, mainly compilation."""
    flops_per_example: int | None
    """FLOPs of the model's matmuls; None for a build, which has no model."""
    gflops: float | None
    product_gflops: float | None
    """Throughput of a large matmul in this process, with the same dtype and threads: the median over the run."""
    product_size: int | None
    share: float | None
    """Fraction of the large matmul's throughput: gflops ÷ product_gflops."""
    peak_memory_mb: float | None
    """Peak memory of the process; on CUDA, of torch's tensors on the device."""
    choices: dict[str, str]
    """Implementations that the model uses: attention, blocks, compilation, optimizer. Empty for a build."""

    def document(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return dict(self.__dict__)


def measure(workload: Workload, *, seconds: float, rounds: int | None = None) -> Measurement:
    """Measures a workload after two warm-up rounds: for about `seconds`, at least three rounds, or exactly `rounds`."""
    device = workload.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # The first round may compile, the second fills caches and allocators.
    first = _timed(workload)
    _timed(workload)
    # Read before the matmul's matrices are allocated, because they do not belong to the workload.
    held = _peak_memory(device)
    matmul = None if workload.dtype is None else LargeMatmul(device, workload.dtype)
    if matmul is not None:
        matmul.gflops()
    times: list[float] = []
    rates: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < (rounds or _FEWEST_ROUNDS) or (rounds is None and time.perf_counter() < ends):
        if matmul is not None:
            rates.append(matmul.gflops())
        times.append(_timed(workload))
    if matmul is not None:
        rates.append(matmul.gflops())
    return _summary(workload, first, times, rates, matmul, held)


def _timed(workload: Workload) -> float:
    wait_for(workload.device)
    started = time.perf_counter()
    workload.run()
    wait_for(workload.device)
    return time.perf_counter() - started


def _peak_memory(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_memory_mb()


def _summary(
    workload: Workload,
    first: float,
    times: list[float],
    rates: list[float],
    matmul: LargeMatmul | None,
    peak_memory: float | None,
) -> Measurement:
    median = statistics.median(times)
    quartiles = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [median] * 3
    per_second = workload.examples / median
    flops = workload.flops_per_example
    gflops = None if flops is None else flops * per_second / 1e9
    rate = statistics.median(rates) if rates else None
    return Measurement(
        what=workload.what,
        preset=workload.preset,
        batch=workload.examples,
        dtype=None if workload.dtype is None else str(workload.dtype).removeprefix("torch."),
        device=workload.device_name,
        threads=torch.get_num_threads(),
        examples_per_second=per_second,
        seconds=median,
        spread=(quartiles[2] - quartiles[0]) / median,
        rounds=len(times),
        first_seconds=first,
        flops_per_example=flops,
        gflops=gflops,
        product_gflops=rate,
        product_size=None if matmul is None else matmul.size,
        share=None if gflops is None or rate is None else gflops / rate,
        peak_memory_mb=peak_memory,
        choices=dict(workload.choices),
    )
