"""`hrm bench`: how fast this machine trains, evaluates, solves and builds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hrm_cli.cli.options import DeviceOption, JsonOption, Overrides, PresetOption
from hrm_cli.printable import counted

if TYPE_CHECKING:
    import torch

    from hrm_cli.benchmarking import Measurement, Workload
    from hrm_cli.config.schema import Preset


def bench(
    what: Annotated[
        Literal["train", "eval", "solve", "build"],
        typer.Argument(help="What to measure.", show_default=False),
    ],
    overrides: Overrides = None,
    preset: PresetOption = "tiny",
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            help="Batch size.",
            show_default="the preset's; 1 for solve",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Number of torch threads.", show_default="torch's default"),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Seconds to measure; at least three rounds.")
    ] = 10.0,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure speed: examples per second, and the fraction of peak matmul throughput.

    \b
    Examples:
      hrm bench train --preset base --batch 16
      hrm bench eval --preset small --threads 1 arch.halt_max_steps=16
      hrm bench solve --preset base --json
      hrm bench build --preset tiny num_train=10000

    Runs the same code as the other commands, on synthetic puzzles, with an untrained model. No puzzle halts early.
    """
    import torch

    from hrm_cli.benchmarking import measure
    from hrm_cli.cli import console
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.runs.configuration import load_configuration

    configuration = load_configuration(preset, overrides)
    if threads is not None:
        torch.set_num_threads(threads)
    workload = _workload(what, preset, configuration, batch, device_of_command(device))
    measurement = measure(workload, seconds=seconds)
    if json:
        console.print_json(measurement.document())
    else:
        _render(measurement)


def _workload(what: str, name: str, preset: Preset, batch: int | None, device: torch.device) -> Workload:
    from hrm_cli import benchmarking as workloads
    from hrm_cli.runs.configuration import domain_of

    if what == "build":
        return workloads.building(Path(name).stem, preset)
    make = {"train": workloads.training, "eval": workloads.evaluation, "solve": workloads.solving}[what]
    return make(Path(name).stem, preset, domain_of(preset.data), batch, device)


def _render(measurement: Measurement) -> None:
    from hrm_cli.cli import console
    from hrm_cli.cli.render.paragraphs import print_fitting

    found = measurement
    where = f"{found.device}, {counted(found.threads, 'thread')}"
    at_once = "examples in a build" if found.what == "build" else "at once"
    kind = "" if found.dtype is None else f", {found.dtype}"
    print_fitting(f"{found.what} {found.preset}: {found.batch:,} {at_once}{kind} on {where}")
    rows = [
        ["examples per second", f"{found.examples_per_second:,.4g}"],
        ["seconds per round", f"{found.seconds:.4g} (median of {found.rounds}, spread {found.spread:.0%})"],
        ["first round", f"{found.first_seconds:.4g} s"],
    ]
    if found.gflops is not None and found.product_gflops is not None and found.share is not None:
        rows += [
            ["model GFLOP/s", f"{found.gflops:,.0f}"],
            [f"matmul of {found.product_size}³", f"{found.product_gflops:,.0f} GFLOP/s"],
            ["fraction of that matmul", f"{found.share:.0%}"],
        ]
    if found.peak_memory_mb is not None:
        rows.append(["peak memory", f"{found.peak_memory_mb:,.0f} MB"])
    console.print_table(["figure", "value"], rows)
    used = [f"{name} {value}" for name, value in found.choices.items() if name not in ("device", "dtype")]
    if used:
        print_fitting(f"Using {'; '.join(used)}")
