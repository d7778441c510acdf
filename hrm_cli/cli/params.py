"""`hrm params`: exact parameter counts of configurations, and an explanation of all published counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import JsonOption, complete_settings, preset_option, refuse_preset_names
from hrm_cli.errors import ConfigError

if TYPE_CHECKING:
    from hrm_cli.runs.subjects import AssumedSizes

DEFAULT_PRESET = "base"
_SHOWN_CANDIDATES = 6


def params(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            autocompletion=complete_settings,
            help="Settings to change, as in arch.hidden_size=256; after --compare also the models to compare.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[str | None, preset_option(DEFAULT_PRESET)] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="PATH", help="Count a run, a checkpoint or a .safetensors file."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain what each published figure counts.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare presets, YAML files or checkpoints side by side.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="N", help="Configurations nearest to N parameters: 7M, 500k, …"),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            "--vary",
            metavar="KEYS",
            help="With --budget: the settings to vary, chosen from hidden_size,H_layers,L_layers,expansion.",
        ),
    ] = None,
    puzzle_identifiers: Annotated[
        int | None, typer.Option("--puzzle-identifiers", min=1, help="Rows of the puzzle-embedding table.")
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option("--vocab-size", min=1, help="Vocabulary size, if not that of the preset's puzzles."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Batch size to estimate training memory for.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Count a model's parameters exactly; estimate its memory and FLOPs.

    \b
    Examples:
      hrm params --preset base
      hrm params --preset small arch.hidden_size=320 arch.num_heads=10 --json
      hrm params --checkpoint runs/mine
      hrm params --explain
      hrm params --compare base large trm-sudoku
      hrm params --budget 7M

    Modules are instantiated on the meta device, so any size can be counted on any machine.
    """
    from hrm_cli.runs.subjects import AssumedSizes

    given = arguments or []
    modes = (("--explain", explain), ("--compare", compare), ("--budget", budget is not None))
    asked = [name for name, wanted in modes if wanted]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} cannot be combined; give one of them")
    if vary is not None and budget is None:
        raise ConfigError("--vary needs --budget, as in --budget 7M")
    if explain and (given or preset or checkpoint):
        raise ConfigError(
            "--explain is about published figures and counts no other model; omit the other options"
        )
    if checkpoint is not None and (vocab_size or puzzle_identifiers or budget):
        raise ConfigError("--checkpoint fixes tokens and identifiers; omit the options that change them")
    assumed = AssumedSizes(vocab_size, puzzle_identifiers, batch_size)
    if explain:
        _explain(json)
    elif compare:
        _compare(given, preset, checkpoint, assumed, json)
    elif budget is not None:
        _search(preset or DEFAULT_PRESET, given, budget, vary, assumed, json)
    else:
        refuse_preset_names(given)
        for word in given:
            if "=" not in word and os.path.exists(word):
                raise ConfigError(f"{word!r}: to name a run or a model file, use --checkpoint {word}")
        _count(given, preset, checkpoint, assumed, json)


def _count(
    overrides: list[str], preset: str | None, checkpoint: Path | None, assumed: AssumedSizes, json: bool
) -> None:
    from hrm_cli.cli.render.parameters import show_report
    from hrm_cli.runs.subjects import report_of_checkpoint, report_of_preset

    if checkpoint is None:
        report = report_of_preset(preset or DEFAULT_PRESET, overrides, assumed)
    elif preset is not None or overrides:
        raise ConfigError("--checkpoint contains its configuration; omit --preset and KEY=VALUE")
    else:
        report = report_of_checkpoint(checkpoint, assumed)
    if json:
        console.print_json(report.document())
    else:
        show_report(report)


def _explain(json: bool) -> None:
    from hrm_cli.accounting.ledger import ledger, ledger_document
    from hrm_cli.cli.render.parameters import show_ledger

    if json:
        console.print_json(ledger_document())
    else:
        show_ledger(ledger())


def _compare(
    given: list[str], preset: str | None, checkpoint: Path | None, assumed: AssumedSizes, json: bool
) -> None:
    from hrm_cli.cli.render.parameters import show_comparison
    from hrm_cli.runs.subjects import report_of

    overrides = [argument for argument in given if "=" in argument]
    names = [argument for argument in given if "=" not in argument]
    names = [str(name) for name in (preset, checkpoint) if name is not None] + names
    if not names:
        raise ConfigError(
            "--compare needs the names of presets, YAML files or checkpoints, as in --compare base large"
        )
    reports = [report_of(name, overrides, assumed) for name in names]
    if json:
        console.print_json({"compared": [report.document() for report in reports]})
    else:
        show_comparison(reports)


def _search(
    preset: str, overrides: list[str], budget: str, vary: str | None, assumed: AssumedSizes, json: bool
) -> None:
    from hrm_cli.accounting.budget import DEFAULT_VARY, nearest, parse_amount, parse_vary
    from hrm_cli.cli.render.parameters import show_candidates
    from hrm_cli.runs.subjects import shape_of_preset

    shape = shape_of_preset(preset, overrides, assumed)
    wanted = parse_amount(budget)
    fields = parse_vary(vary or DEFAULT_VARY, shape.arch)
    found = nearest(
        shape.arch, shape.vocab_size, shape.seq_len, wanted, fields, _SHOWN_CANDIDATES, shape.domain
    )
    if json:
        configurations = [
            {
                "trainable": candidate.trainable,
                "error": candidate.error,
                "overrides": list(candidate.overrides),
                "arch": candidate.arch.model_dump(),
            }
            for candidate in found
        ]
        console.print_json(
            {"preset": preset, "budget": wanted, "vary": fields, "configurations": configurations}
        )
    else:
        show_candidates(" ".join([preset, *overrides]), wanted, found)
