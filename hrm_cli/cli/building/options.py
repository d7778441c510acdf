"""Shared parts of the `hrm build-dataset` commands: options, configuration, and output."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hrm_cli.cli.options import option
from hrm_cli.printable import amount, counted, quoted

if TYPE_CHECKING:
    from hrm_cli.data.request import BuildRequest
    from hrm_cli.data.summary import BuildSummary


# Options default to None, because the real defaults are only in the schema.
OutputDirOption = Annotated[
    Path, typer.Option("--output-dir", "-o", metavar="DIR", help="Folder of the dataset.")
]
NumTrainOption = Annotated[
    int | None, option("--num-train", "Number of training puzzles (builtin only).", "1000")
]
NumTestOption = Annotated[
    int | None, option("--num-test", "Number of test puzzles, if the source has no test set.", "500")
]
NumValidationOption = Annotated[
    int | None,
    option(
        "--num-validation",
        "Puzzles held out for evaluation during training, separate from the test puzzles.",
        "0: evaluate on the test puzzles during training",
    ),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="'{KEY: VALUE, …}'",
        help="An additional source; may be repeated. Keys: source, num_train, num_test and more; a missing key "
        "takes the value of its option (test puzzles, validation puzzles, variations: none). hrm eval reports each "
        "source.",
        show_default=False,
    ),
]
ByCollectionOption = Annotated[
    bool,
    typer.Option(
        "--by-collection",
        help="Group the test puzzles of a CSV file by its column `source`: hrm eval reports each group.",
    ),
]
SubsampleOption = Annotated[
    int | None,
    option("--subsample-size", "Number of training puzzles sampled from a file or the hub.", "all"),
]
TestSubsampleOption = Annotated[
    int | None,
    option("--test-subsample-size", "Number of test puzzles sampled from the source's own test set.", "all"),
]
AugmentOption = Annotated[
    str | None,
    option(
        "--augment",
        "Store the copies on disk, or make them during training.",
        "stored",
        metavar="stored|online",
    ),
]
StrictSplitOption = Annotated[
    bool,
    typer.Option(
        "--strict-split",
        help="Exclude training puzzles that are symmetric to a test puzzle, not only identical ones.",
    ),
]


_SIDE = re.compile(r"(\d+)(?:\s*[xX×]\s*(\d+))?")


def side(text: str) -> int:
    """The side of a square grid, written as 9 or 9x9."""
    found = _SIDE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"found {quoted(text, 60)}; accepted: cells along a side, as in 9 or 9x9")
    if found[2] not in (None, found[1]):
        raise typer.BadParameter(f"found {quoted(text, 60)}; the grids are square: {found[1]} or {found[2]}")
    return int(found[1][:9])


def size_option(text: str, default: str) -> Any:
    """The option `--size` of a square grid."""
    return typer.Option("--size", help=text, show_default=default, metavar="N|NxN", parser=side)


def build_and_show(request: BuildRequest, *, json: bool, quiet: bool = False) -> None:
    """Builds the requested dataset and prints a summary. Raises ConfigError."""
    from hrm_cli.cli import console
    from hrm_cli.data.request import build_request

    reporter = console.ConsoleReporter(quiet=quiet)
    summary = build_request(request, reporter)
    for note in summary.notes:
        reporter.note(f"Note: {note}")
    if json:
        console.print_json(summary.to_json())
    else:
        render(summary)


def further_sources(texts: list[str] | None) -> list[Any] | None:
    """Parses the values of `--also`. Raises ConfigError if one is not YAML."""
    if not texts:
        return None
    from hrm_cli.config.documents import parse_yaml

    return [parse_yaml(text, "--also") for text in texts]


def render(summary: BuildSummary) -> None:
    """Prints the summary of a build as text."""
    from hrm_cli.cli import console
    from hrm_cli.cli.render.paragraphs import print_fitting

    sizes = {"train": summary.train, "validation": summary.validation, "test": summary.test}
    rows = [
        (name, size.groups, size.puzzles, size.examples)
        for name, size in sizes.items()
        if size.examples or name != "validation"
    ]
    console.print_table(["split", "original puzzles", "with copies", "examples"], rows)
    if summary.sources:
        parts = [(part.name, part.train, part.validation, part.test) for part in summary.sources]
        console.print_table(["original puzzles of", "train", "validation", "test"], parts)
    memory = "" if summary.peak_memory_mb is None else f", peak memory {summary.peak_memory_mb:,.0f} MB"
    print_fitting(
        f"{summary.tokens:,} tokens of a vocabulary of {summary.vocab_size}, {summary.seq_len} per grid; "
        f"{counted(summary.num_puzzle_identifiers, 'puzzle identifier')}"
    )
    size = f"{summary.bytes / 1e6:,.1f} MB" if summary.bytes >= 50_000 else amount(summary.bytes, "B")
    rate = summary.examples_per_second
    print_fitting(
        f"{size} in {summary.seconds:.1f} s ({rate:,.{0 if rate >= 10 else 1}f} examples/s{memory})"
    )
    console.print_line(f"Dataset: {summary.output_dir}")
