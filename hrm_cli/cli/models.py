"""`hrm models`: lists the models bundled with the package, and bundles new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrm_cli.checkpoints.bundled import (
    BundledFacts,
    BundledModel,
    Measured,
    bundled_folder,
    bundled_models,
    named_model,
)
from hrm_cli.checkpoints.regime import knowledge_text
from hrm_cli.cli import console
from hrm_cli.cli.options import JsonOption, OwnModelArgument
from hrm_cli.cli.render.help import ListingGroup, PlainCommand
from hrm_cli.cli.render.paragraphs import print_fitting, print_markdown, print_paragraph
from hrm_cli.errors import ConfigError, reason_of
from hrm_cli.json_text import load_json
from hrm_cli.regular_files import read_text

_LARGEST_TEXT = 1 << 20
"""Largest size of a model card in bytes."""

app = typer.Typer(cls=ListingGroup, add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def list_all(context: typer.Context, json: JsonOption = False) -> None:
    """List the models that come with the package: puzzles, size, accuracy.

    \b
    Examples:
      hrm models
      hrm models show sudoku-9x9
    """
    if context.invoked_subcommand is not None:
        return
    damaged: list[str] = []
    models = bundled_models(damaged)
    if json:
        console.print_json({"models": [model.document() for model in models], "problems": damaged})
        return
    for problem in damaged:
        console.print_message(problem)
    if not models:
        console.print_message(f"No model is bundled with this installation ({bundled_folder()} holds none).")
        return
    columns = ("model", "puzzles", "parameters", "MB", "measured on", "one pass", "with copies")
    rows = [row for model in models for row in _rows(model)]
    console.print_table(columns, rows, folds=("measured on",), drops=("MB", "parameters", "puzzles"))
    for model in models:
        print_paragraph(
            f"{model.name}: trained on {model.facts.trained_on}; {knowledge_text(model.built_in_knowledge)}",
            hanging=2,
        )
    print_paragraph(
        "Use one: hrm solve FILE (chosen by size), or bundled:NAME wherever a CHECKPOINT is expected."
    )


@app.command(cls=PlainCommand)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that `hrm models` lists.")],
    json: JsonOption = False,
) -> None:
    """Print a model's card: data, configuration, accuracy, failures, license.

    \b
    Example:
      hrm models show sudoku-9x9
    """
    model = named_model(name)
    if json:
        console.print_json(model.document())
    elif model.card.is_file():
        print_markdown(_text(model.card).rstrip("\n"))
    else:
        from hrm_cli.evaluation.publishing import card_text

        print_markdown(card_text(model, "").rstrip("\n"))


@app.command(cls=PlainCommand)
def add(
    checkpoint: OwnModelArgument,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the model, as in sudoku-9x9.")],
    trained_on: Annotated[
        str,
        typer.Option("--trained-on", metavar="TEXT", help="Which puzzles it was trained on, and how many."),
    ],
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--measured",
            metavar="PUZZLES=FILE",
            help="What `hrm eval --json` printed for the bundled model, and on which puzzles; may be repeated.",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            "--notes",
            metavar="FILE.md",
            help="Markdown for the card: commands, time, hardware, failure cases.",
            show_default=False,
        ),
    ] = None,
    every_size: Annotated[
        bool,
        typer.Option(
            "--every-size",
            help="Use it for puzzles of every size, not only of the size it was trained on (arch.mixer units, "
            "neighbors or edges).",
        ),
    ] = False,
    licence: Annotated[
        str, typer.Option("--license", "--licence", help="License of the weights, as in apache-2.0.")
    ] = "Apache-2.0",
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            metavar="DIR",
            help="Folder to write to.",
            show_default="the package's own folder",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bundle a checkpoint: weights in bfloat16, metadata in the header, and a model card.

    Accuracy is measured on the bundled file, not on the checkpoint: add the model, evaluate bundled:NAME, then add
    it again with --measured. CHECKPOINT may then be the bundled file.

    \b
    Examples:
      hrm models add runs/four --name sudoku-4x4 --trained-on "50,000 puzzles"
      hrm eval bundled:sudoku-4x4 --data data/four --json > four.json
      hrm models add bundled:sudoku-4x4 --name sudoku-4x4 \\
        --trained-on "50,000 puzzles" --measured "1,000 held-out=four.json"
    """
    from hrm_cli.checkpoints.bundling import add_bundled
    from hrm_cli.evaluation.publishing import card_text
    from hrm_cli.files import whole_file

    figures = tuple(one for text in measured or () for one in _measured(text))
    words = _text(notes, "--notes ") if notes is not None else ""
    model = add_bundled(checkpoint, name, BundledFacts(trained_on, licence, figures, every_size), output_dir)
    with whole_file(model.card) as stream:
        stream.write(card_text(model, words))
    if json:
        console.print_json(model.document())
    else:
        print_fitting(
            f"{model.path}: {model.bytes:,} bytes, {model.parameters:,} parameters, {model.describe()}"
        )
        console.print_line(f"{model.card}: its card")


def _text(file: Path, option: str = "") -> str:
    """Reads a Markdown file. Raises ConfigError."""
    try:
        return read_text(file, _LARGEST_TEXT)
    except OSError as error:
        raise ConfigError(f"{option}{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{option}{file}: {error}") from error


def _measured(text: str) -> tuple[Measured, ...]:
    """Parses `PUZZLES=FILE` and reads the file. Raises ConfigError."""
    on, _, file = text.rpartition("=")
    if not on:
        raise ConfigError(f"--measured {text}: expected PUZZLES=FILE, as in 'minimal puzzles=minimal.json'")
    try:
        return Measured.all_of(on, load_json(Path(file)))
    except OSError as error:
        raise ConfigError(f"--measured {file}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"--measured {file}: not what `hrm eval --json` prints ({reason_of(error)})"
        ) from None


def _rows(model: BundledModel) -> list[tuple[str, ...]]:
    first = (model.name, model.describe(), f"{model.parameters:,}", model.megabytes)
    figures = [
        (
            f"{one.on} ({one.puzzles:,})",
            f"{one.exact_accuracy:.1%}",
            f"{one.exact_accuracy_with_attempts:.1%} ({one.attempts})" if one.attempts > 1 else "",
        )
        for one in model.facts.measured
    ] or [("not measured", "", "")]
    return [
        ((*first, *line) if not number else ("", "", "", "", *line)) for number, line in enumerate(figures)
    ]
