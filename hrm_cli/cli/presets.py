"""`hrm presets`: shows, copies, compares and validates configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import ForceOption, JsonOption, Overrides, PresetArgument, preset_argument
from hrm_cli.cli.render.help import ListingGroup, PlainCommand
from hrm_cli.cli.render.paragraphs import print_fitting
from hrm_cli.config.presets import first_comment, list_presets
from hrm_cli.config.resolved import commented_yaml, diff_presets, resolved_yaml
from hrm_cli.config.schema import InvalidConfigError, Preset
from hrm_cli.errors import ConfigError
from hrm_cli.files import whole_file
from hrm_cli.runs.configuration import domain_of, load_configuration

app = typer.Typer(cls=ListingGroup, add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def list_all(context: typer.Context, json: JsonOption = False) -> None:
    """List the packaged configurations, or show, copy, compare and check them.

    \b
    Examples:
      hrm presets
      hrm presets show tiny epochs=20
      hrm presets copy base mine.yaml
    """
    if context.invoked_subcommand is not None:
        return
    presets = [(name, preset, _trainable(preset)) for name, preset in _packaged().items()]
    by_size = sorted(presets, key=lambda item: (item[2], item[0]))
    if json:
        console.print_json({"presets": [_summary(*item) for item in by_size]})
        return
    rows = [
        (
            name,
            trainable,
            preset.arch.hidden_size,
            preset.arch.num_heads,
            f"{preset.arch.H_layers}+{preset.arch.L_layers}",
            f"{preset.arch.H_cycles}/{preset.arch.L_cycles}",
            preset.purpose,
        )
        for name, preset, trainable in by_size
    ]
    console.print_table(
        ("preset", "parameters", "hidden", "heads", "layers", "cycles", "purpose"), rows, prose=True
    )


@app.command(cls=PlainCommand)
def show(name: PresetArgument, overrides: Overrides = None, json: JsonOption = False) -> None:
    """Print a configuration with everything resolved, below its comment.

    \b
    Example:
      hrm presets show base arch.hidden_size=256 epochs=20
    """
    preset = load_configuration(name, overrides)
    if json:
        console.print_json(preset.model_dump())
    else:
        for line in first_comment(name):
            console.print_line(line)
        console.print_line(resolved_yaml(preset).rstrip("\n"))


@app.command(cls=PlainCommand)
def copy(
    name: PresetArgument,
    destination: Annotated[
        Path | None,
        typer.Argument(metavar="DEST", help="File or folder to write to.", show_default="NAME.yaml"),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a configuration to a file, with every setting explained.

    \b
    Example:
      hrm presets copy base mine.yaml
    """
    preset = load_configuration(name)
    path = destination or Path()
    if path.is_dir():
        path /= f"{Path(name).stem}.yaml"
    if path.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"{path}: a preset's file name ends in .yaml")
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists; --force overwrites it")
    header = f"# From preset {name}. Check it: hrm presets validate {path}\n#   hrm train --preset {path}\n"
    with whole_file(path) as stream:
        stream.write(header + commented_yaml(preset))
    print_fitting(f"{path} written; train with: hrm train --preset {path}")


@app.command(cls=PlainCommand)
def diff(
    a: Annotated[str, preset_argument("A")],
    b: Annotated[str, preset_argument("B")],
    json: JsonOption = False,
) -> None:
    """Show the settings in which two configurations differ.

    \b
    Example:
      hrm presets diff base sudoku-extreme
    """
    from hrm_cli.cli.render.comparing import json_value, setting_value

    differences = diff_presets(load_configuration(a), load_configuration(b))
    if json:
        documents = [{"key": key, "a": json_value(x), "b": json_value(y)} for key, x, y in differences]
        console.print_json({"differences": documents})
    elif differences:
        console.print_table(
            ("setting", a, b), [(key, setting_value(x), setting_value(y)) for key, x, y in differences]
        )
    else:
        print_fitting(f"{a} and {b} have the same settings.")


@app.command(cls=PlainCommand)
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="YAML files, or names of presets.")],
    json: JsonOption = False,
) -> None:
    """Check files and report all problems at once.

    \b
    Example:
      hrm presets validate mine.yaml
    """
    problems = {file: _problems(file) for file in files}
    found = [problem for of_file in problems.values() for problem in of_file]
    if json:
        reports = [{"file": file, "problems": of_file} for file, of_file in problems.items()]
        console.print_json({"valid": not found, "files": reports})
        raise typer.Exit(InvalidConfigError.exit_status if found else 0)
    for file, of_file in problems.items():
        if not of_file:
            console.print_line(f"{file}: ok")
    if found:
        raise InvalidConfigError(found)


def _problems(file: str) -> list[str]:
    try:
        load_configuration(file)
    except InvalidConfigError as error:
        return error.problems
    except ConfigError as error:
        return [str(error)]
    return []


def _packaged() -> dict[str, Preset]:
    return {name: load_configuration(name) for name in list_presets()}


def _trainable(preset: Preset) -> int:
    from hrm_cli.accounting.components import trainable_in_closed_form

    domain = domain_of(preset.data)
    return trainable_in_closed_form(preset.arch, domain.vocab_size, domain.seq_len)


def _summary(name: str, preset: Preset, trainable: int) -> dict[str, Any]:
    shape = preset.arch.model_dump(
        include={"hidden_size", "num_heads", "H_layers", "L_layers", "H_cycles", "L_cycles"}
    )
    return {"name": name, "purpose": preset.purpose, "trainable": trainable, **shape}
