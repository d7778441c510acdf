"""`hrm build-dataset maze`: mazes from the generator, a file or the hub."""

from __future__ import annotations

from typing import Annotated

import typer

from hrm_cli.cli.building.options import (
    AlsoOption,
    AugmentOption,
    ByCollectionOption,
    NumTestOption,
    NumTrainOption,
    NumValidationOption,
    OutputDirOption,
    StrictSplitOption,
    SubsampleOption,
    TestSubsampleOption,
    build_and_show,
    further_sources,
)
from hrm_cli.cli.options import ForceOption, JsonOption, QuietOption, SeedOption, option
from hrm_cli.errors import ConfigError
from hrm_cli.printable import quoted

ALL_COPIES = 7
"""Augmented copies of a square maze, in addition to itself."""


def maze(
    output_dir: OutputDirOption,
    source: Annotated[
        str | None,
        option(
            "--source",
            "Source of the mazes: the built-in generator, a file (CSV, or text grids), a folder with "
            "train.csv and test.csv, or a dataset on the hub.",
            "builtin",
            metavar="builtin|FILE|DIR|hf:OWNER/NAME",
        ),
    ] = None,
    size: Annotated[
        str | None,
        option(
            "--size",
            "Cells along a side, or rows and columns, from 4 to 180 each (builtin only).",
            "30",
            metavar="N|ROWSxCOLUMNS",
        ),
    ] = None,
    min_path: Annotated[
        int | None, option("--min-path", "Minimum length of the shortest path from S to G, in moves.", "1")
    ] = None,
    style: Annotated[
        str | None,
        option(
            "--style",
            "perfect: corridors without loops; braided: loops in place of dead ends; walls: random cells "
            "made into walls "
            "(builtin only).",
            "perfect",
            metavar="walls|perfect|braided",
        ),
    ] = None,
    allow_ties: Annotated[
        bool,
        typer.Option(
            "--allow-ties", help="Keep mazes with more than one shortest path; the answer marks one of them."
        ),
    ] = False,
    num_train: NumTrainOption = None,
    num_test: NumTestOption = None,
    num_validation: NumValidationOption = None,
    subsample_size: SubsampleOption = None,
    test_subsample_size: TestSubsampleOption = None,
    aug: Annotated[
        bool,
        typer.Option(
            "--aug", help="All rotations and reflections of each training maze; the same as --num-aug 7."
        ),
    ] = False,
    num_aug: Annotated[
        int | None, option("--num-aug", "Rotated and reflected copies of each training maze.", "0")
    ] = None,
    augment: AugmentOption = None,
    also: AlsoOption = None,
    by_collection: ByCollectionOption = False,
    strict_split: StrictSplitOption = False,
    seed: SeedOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Build a dataset of mazes.

    \b
    Examples:
      hrm build-dataset maze --output-dir data/maze --min-path 110 --aug
      hrm build-dataset maze -o data/maze-10 --size 10 --min-path 18 \\
        --style braided --num-train 20000
      hrm build-dataset maze -o data/wide --size 20x40
      hrm build-dataset maze -o data/mine --source mazes.csv --num-test 100 --aug
      hrm build-dataset maze -o data/maze-hard --allow-ties \\
        --source hf:sapientinc/maze-30x30-hard-1k

    Answers are shortest paths, checked or found by breadth-first search. Train and test never share a maze. Mazes
    with more than one shortest path are left out unless --allow-ties is given. A line that is not a maze, a maze
    without a path and a wrong answer are errors.
    """
    if aug and num_aug not in (None, ALL_COPIES):
        raise ConfigError(f"--aug means --num-aug {ALL_COPIES}, but --num-aug is {num_aug}: give one of them")
    from hrm_cli.data.request import BuildRequest

    given = {
        "source": source,
        **_shape(size),
        "min_path": min_path,
        "style": style,
        "allow_ties": allow_ties or None,
        "num_train": num_train,
        "num_test": num_test,
        "num_validation": num_validation,
        "subsample_size": subsample_size,
        "test_subsample_size": test_subsample_size,
        "num_aug": ALL_COPIES if aug else num_aug,
        "augment": augment,
        "also": further_sources(also),
        "by_collection": by_collection or None,
        "strict_split": strict_split or None,
        "seed": seed,
    }
    request = BuildRequest("maze", output_dir, given, force=force, as_options=True)
    build_and_show(request, json=json, quiet=quiet)


def _shape(text: str | None) -> dict[str, int | None]:
    """`size` and `columns` of `30` or `20x40`. Raises ConfigError for anything else."""
    if text is None:
        return {"size": None}
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        raise ConfigError(
            f"--size: found {quoted(text, 60)}; accepted: cells along a side, as in 30, or rows and columns, "
            "as in 20x40"
        )
    rows, *columns = (int(side[:9]) for side in sides)
    return {"size": rows, "columns": columns[0] if columns else None}
