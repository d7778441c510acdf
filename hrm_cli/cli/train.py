"""`hrm train`: from a preset to a run folder with checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli.launching import (
    BackendOption,
    EndpointOption,
    HostOption,
    HostsOption,
    Processes,
    ProcessesOption,
    RestartsOption,
    train_on_processes,
)
from hrm_cli.cli.options import (
    START,
    CheckOption,
    JsonOption,
    Overrides,
    QuietOption,
    complete_models,
    preset_option,
    refuse_preset_names,
    run_folder_option,
    seed_option,
)
from hrm_cli.errors import ConfigError

if TYPE_CHECKING:
    from hrm_cli.evaluation.results import Measurement
    from hrm_cli.runs.execution import RunOutcome
    from hrm_cli.runs.request import TrainRequest


def train(
    overrides: Overrides = None,
    preset: Annotated[str | None, preset_option("tiny, or the configuration of --checkpoint")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="CHECKPOINT",
            autocompletion=complete_models,
            help="Start from these weights: a run, a checkpoint, a .safetensors file, hf:OWNER/NAME.",
            show_default=False,
            rich_help_panel=START,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Dataset folder; without it, the preset's dataset is built."
        ),
    ] = None,
    output_dir: Annotated[Path | None, run_folder_option("runs/PRESET-DATE-TIME")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN|CHECKPOINT|latest",
            autocompletion=complete_models,
            help="Resume a run from its latest checkpoint, or from one of its checkpoints.",
            rich_help_panel=START,
        ),
    ] = None,
    seed: Annotated[int | None, seed_option("the preset's")] = None,
    check: CheckOption = None,
    nproc_per_node: ProcessesOption = 1,
    nnodes: HostsOption = 1,
    node_rank: HostOption = 0,
    rdzv_endpoint: EndpointOption = None,
    max_restarts: RestartsOption = 0,
    backend: BackendOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the time, memory and disk that the run needs, measured over at most "
            "20 steps; keep no files.",
        ),
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html into the run's folder at the end (see hrm report).",
        ),
    ] = True,
    force: Annotated[
        bool,
        typer.Option("--force", help="Train even if the plan does not fit this machine's memory or disk."),
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train a model.

    \b
    Examples:
      hrm train --preset tiny
      hrm train --preset small --data data/sudoku epochs=100 lr=5e-4
      hrm train --checkpoint hf:someone/sudoku --data data/sudoku train.epochs=50
      hrm train --preset small --dry-run
      hrm train --resume latest
      hrm train mine.csv train.max_minutes=5
      hrm train --preset base --nproc-per-node 8

    A file of your own pairs (see hrm build-dataset grids) is built into a dataset, trained on and evaluated.

    Ctrl-C saves a checkpoint and stops; --resume continues from there.
    """
    from hrm_cli.runs.own_file import own_request, own_source

    source, overrides = own_source(overrides or ())
    if not any((source, overrides, preset, checkpoint, data, resume, dry_run)):
        raise ConfigError(_usage_message())
    refuse_preset_names(overrides or ())
    for word in overrides or ():
        if "=" not in word and Path(word, "config.yaml").is_file():
            raise ConfigError(f"{word!r}: to continue a run, use --resume {word}")
    processes = Processes(nproc_per_node, nnodes, node_rank, rdzv_endpoint, max_restarts, backend)
    processes.check()
    processes.keep_torch_quiet()
    from hrm_cli.runs.request import TrainRequest

    request = TrainRequest(preset, overrides or (), data, output_dir, checkpoint, resume, seed, force)
    request.check()
    if check is not None:
        _refuse_check(check, source, launched=processes.are_launched)
    if source is not None:
        from hrm_cli.cli.console import ConsoleReporter

        request = own_request(source, request, ConsoleReporter(quiet=quiet))
    if dry_run:
        _show_plan(request, processes, json=json, quiet=quiet)
    elif processes.are_launched:
        raise typer.Exit(train_on_processes(processes, request, json=json, quiet=quiet, report=report))
    else:
        from hrm_cli.cli.console import ConsoleReporter
        from hrm_cli.cli.options import device_of_command
        from hrm_cli.cli.render.figures import show_outcome
        from hrm_cli.cli.studying.report import report_run
        from hrm_cli.runs.execution import train_run

        reporter = ConsoleReporter(quiet=quiet)
        outcome = train_run(request, reporter, find_device=device_of_command)
        page = report_run(outcome.folder, reporter, interrupted=_is_interrupted(outcome)) if report else None
        is_own = source is not None and outcome.result.signal_number is None
        measured = _measure_own(outcome, check) if is_own and json else None
        show_outcome(outcome, json=json, page=page, measured=measured)
        if is_own and not json:
            _show_own(outcome, check)
        if outcome.result.signal_number is not None:
            raise typer.Exit(128 + outcome.result.signal_number)


def _is_interrupted(outcome: RunOutcome) -> bool:
    return outcome.result.reason == "interrupted"


def _refuse_check(check: str, source: str | None, *, launched: bool) -> None:
    """Raises ConfigError, before any training, for a check that cannot be used at the end of the run."""
    from hrm_cli.puzzles.grids.own_code import OwnCheck

    if source is None or launched:
        raise ConfigError(
            f"--check {check}: only for the evaluation at the end of hrm train FILE, in one process; otherwise use "
            f"hrm eval RUN --check {check}"
        )
    if check != "gym":
        OwnCheck.load(check)
    elif not source.startswith("gym:"):
        raise ConfigError(f"--check gym: only for a source gym:NAME, not for {source}")


def _measure_own(outcome: RunOutcome, check: str | None) -> Measurement:
    """The figures of a run on own puzzles on its test pairs."""
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.evaluation.measuring import measure
    from hrm_cli.evaluation.request import EvalRequest

    return measure(EvalRequest(str(outcome.folder), check_with=check), find_device=device_of_command)


def _show_own(outcome: RunOutcome, check: str | None) -> None:
    """Prints the end of a run on a file of pairs: its figures on the test pairs, and the next commands."""
    from hrm_cli.cli import console
    from hrm_cli.cli.render import figures

    figures.render(_measure_own(outcome, check))
    console.print_line(f"Answer new inputs with: hrm solve NEW.jsonl --checkpoint {outcome.folder}")
    console.print_line(f"Train longer with: hrm train --resume {outcome.folder} train.max_minutes=60")


def _usage_message() -> str:
    """The message of `hrm train` without arguments. A run takes minutes, so none is started by accident."""
    from hrm_cli.runs.configuration import DEFAULT_PRESET, load_configuration

    preset = load_configuration(DEFAULT_PRESET)
    steps = preset.data.num_train * preset.train.epochs // preset.train.global_batch_size
    return f"""name a preset, a file of pairs or a run to resume. The default preset is `{DEFAULT_PRESET}`:
  {preset.purpose}; about {steps:,} steps, about ten minutes on two CPU cores
For example:
  hrm train --preset {DEFAULT_PRESET}
  hrm train --preset {DEFAULT_PRESET} --dry-run  (measures the time that it needs on this machine)
  hrm train --preset demo            (4×4 Sudoku, solved in about a minute)
`hrm presets` lists all presets, `hrm train --help` the options."""


def _show_plan(request: TrainRequest, processes: Processes, *, json: bool, quiet: bool) -> None:
    from hrm_cli.cli import console
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.cli.render.paragraphs import print_fitting
    from hrm_cli.runs.execution import plan_and_measure
    from hrm_cli.runs.plan import RunPlan, plan_lines

    if processes.are_launched:
        raise ConfigError("--dry-run: plans a run of one process; omit --nproc-per-node and --nnodes")

    def show(plan: RunPlan) -> None:
        if not json:
            for line in plan_lines(plan):
                print_fitting(line)

    reporter = console.ConsoleReporter(quiet=quiet)
    measured = plan_and_measure(request, reporter, on_plan=show, find_device=device_of_command)
    if json:
        console.print_json(measured.document())
    else:
        print_fitting(measured.time_line())
        console.print_line("Dry run: nothing was kept.")
