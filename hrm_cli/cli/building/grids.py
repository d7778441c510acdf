"""`hrm build-dataset grids`: pairs of grids from a file, a folder, the hub, reasoning-gym or a function."""

from __future__ import annotations

from typing import Annotated

import typer

from hrm_cli.cli.building.options import OutputDirOption, build_and_show
from hrm_cli.cli.options import ForceOption, JsonOption, QuietOption, SeedOption, option
from hrm_cli.errors import ConfigError


def _list(name: str | None) -> None:
    if name is None:
        return
    if name != "gym":
        raise ConfigError(f"--list {name}: expected gym")
    from hrm_cli.cli.render.paragraphs import print_paragraph
    from hrm_cli.data.grids.gym import TASKS

    width = max(map(len, TASKS))
    for task in sorted(TASKS):
        print_paragraph(f"gym:{task:<{width}}  {TASKS[task].summary}", hanging=width + 6)
    raise typer.Exit


def grids(
    output_dir: OutputDirOption,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="FILE|DIR|hf:OWNER/NAME|gym:NAME|FILE.py:FUNCTION",
            help="Your pairs: .csv, .tsv, .jsonl, .json, .npz or .parquet, a folder with train, validation and test "
            "files, a dataset on the hub, a task of reasoning-gym, or a function that makes pairs.",
        ),
    ],
    input_column: Annotated[
        str | None,
        option("--input-column", "Column or key of the input.", "input, question or puzzle", metavar="NAME"),
    ] = None,
    output_column: Annotated[
        str | None,
        option(
            "--output-column", "Column or key of the output.", "output, answer or solution", metavar="NAME"
        ),
    ] = None,
    symmetries: Annotated[
        str | None,
        option(
            "--symmetries",
            "Transformations that keep a pair correct when applied to both input and output; training then samples "
            "augmented copies.",
            "none",
            metavar="rotations,reflections,symbols,translations",
        ),
    ] = None,
    num_train: Annotated[
        int | None,
        option("--num-train", "Training pairs to make (gym:NAME and FILE.py:FUNCTION only).", "1000", min=1),
    ] = None,
    num_test: Annotated[
        int | None,
        option("--num-test", "Test pairs, if the source has none of its own.", "a tenth, at most 500"),
    ] = None,
    num_validation: Annotated[
        int | None,
        option(
            "--num-validation",
            "Pairs for evaluation during training, if the source has none.",
            "a tenth, at most 500",
        ),
    ] = None,
    subsample_size: Annotated[
        int | None, option("--subsample-size", "Training pairs sampled from the source.", "all")
    ] = None,
    test_subsample_size: Annotated[
        int | None,
        option("--test-subsample-size", "Test pairs sampled from the source's own test split.", "all"),
    ] = None,
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="gym",
            is_eager=True,
            callback=_list,
            help="List the tasks of reasoning-gym, and exit.",
        ),
    ] = None,
    seed: SeedOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Build a dataset of your own puzzles: pairs of an input grid and an output grid.

    \b
    Examples:
      hrm build-dataset grids --output-dir data/mine --source mine.csv
      hrm build-dataset grids --output-dir data/mine --source mine.jsonl \\
        --symmetries rotations,reflections
      hrm build-dataset grids --output-dir data/mine --source pairs.csv \\
        --input-column before --output-column after
      hrm build-dataset grids --output-dir data/maze --source gym:maze
      hrm build-dataset grids --output-dir data/mine --source make.py:pair

    In text, / or line ends separate rows. A row is a symbol for each character (012/345), or symbols separated by
    spaces or commas (red blue/blue red). A function gets a random.Random and returns (input,
    output), or yields such pairs. Train, validation and test never share an input. Duplicates, conflicting
    outputs and leaks between splits are left out and named with their lines.
    """
    from hrm_cli.data.request import BuildRequest

    given = {
        "source": source,
        "input_column": input_column,
        "output_column": output_column,
        "symmetries": [name.strip() for name in symmetries.split(",")] if symmetries else None,
        "num_train": num_train,
        "num_test": num_test,
        "num_validation": num_validation,
        "subsample_size": subsample_size,
        "test_subsample_size": test_subsample_size,
        "seed": seed,
    }
    request = BuildRequest("grids", output_dir, given, force=force, as_options=True)
    build_and_show(request, json=json, quiet=quiet)
