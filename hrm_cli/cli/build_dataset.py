"""`hrm build-dataset`: puzzles from a generator, a file or the hub, as a dataset to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hrm_cli.cli.options import JsonOption, SeedOption

if TYPE_CHECKING:
    from hrm_cli.config.schema import DataConfig
    from hrm_cli.data.build import BuildSummary

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def build() -> None:
    """Build a dataset of puzzles.

    \b
    Example:
      hrm build-dataset sudoku --output-dir data/sudoku --num-train 1000 --num-aug 1000
    """


def _option(name: str, text: str, default: str, *, metavar: str | None = None) -> Any:
    # Options that are not given stay None, so that the defaults are written in the schema alone.
    return typer.Option(name, help=text, show_default=default, metavar=metavar)


@app.command()
def sudoku(
    output_dir: Annotated[Path, typer.Option("--output-dir", metavar="DIR", help="Folder of the dataset.")],
    source: Annotated[
        str | None,
        _option(
            "--source",
            "Puzzles: the built-in generator, a file (CSV or one a line), a folder with train.csv and test.csv, or "
            "a dataset of the hub.",
            "builtin",
            metavar="builtin|FILE|DIR|hf:OWNER/NAME",
        ),
    ] = None,
    size: Annotated[
        int | None, _option("--size", "Cells along a side: 4, 6 or 9 (builtin only).", "9")
    ] = None,
    num_train: Annotated[
        int | None, _option("--num-train", "Training puzzles (builtin only).", "1000")
    ] = None,
    num_test: Annotated[
        int | None, _option("--num-test", "Test puzzles, where the source has no test set.", "500")
    ] = None,
    clues: Annotated[
        str | None,
        _option("--clues", "Givens of built-in puzzles.", "minimal", metavar="minimal|N|LOW-HIGH"),
    ] = None,
    subsample_size: Annotated[
        int | None,
        _option("--subsample-size", "Training puzzles drawn at random from a file or the hub.", "all"),
    ] = None,
    test_subsample_size: Annotated[
        int | None,
        _option("--test-subsample-size", "Test puzzles drawn from the source's own test set.", "all"),
    ] = None,
    min_difficulty: Annotated[
        int | None, _option("--min-difficulty", "Lowest rating, or branches of the exact solver.", "0")
    ] = None,
    num_aug: Annotated[
        int | None, _option("--num-aug", "Different symmetric copies of each training puzzle.", "0")
    ] = None,
    augment: Annotated[
        str | None,
        _option("--augment", "Copies on disk, or drawn while training.", "stored", metavar="stored|online"),
    ] = None,
    strict_split: Annotated[
        bool,
        typer.Option("--strict-split", help="Keep train and test apart up to symmetry, not only exactly."),
    ] = False,
    seed: SeedOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset that is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Build a dataset of Sudoku puzzles.

    \b
    Examples:
      hrm build-dataset sudoku --output-dir data/sudoku-4 --size 4 --num-train 30000
      hrm build-dataset sudoku --output-dir data/mine --source puzzles.csv --subsample-size 1000 --num-aug 1000
      hrm build-dataset sudoku --output-dir data/extreme --source hf:sapientinc/sudoku-extreme \\
        --subsample-size 1000 --augment online

    Train and test never share a puzzle. Puzzles with several solutions are left out; lines that hold no
    puzzle, or one without a solution, are errors.
    """
    from hrm_cli.cli import console
    from hrm_cli.data.build import build_dataset

    given = {
        "source": source,
        "size": size,
        "num_train": num_train,
        "num_test": num_test,
        "clues": clues,
        "subsample_size": subsample_size,
        "test_subsample_size": test_subsample_size,
        "min_difficulty": min_difficulty,
        "num_aug": num_aug,
        "augment": augment,
        "strict_split": strict_split or None,
        "seed": seed,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    config = _configuration(chosen)
    with console.stages(quiet=json) as report:
        summary = build_dataset(config, output_dir, force=force, report=report)
    if json:
        console.print_json(summary.to_json())
    else:
        _render(summary)


def _configuration(chosen: dict[str, Any]) -> DataConfig:
    from pydantic import ValidationError

    from hrm_cli.config.problems import InvalidConfigError, explain
    from hrm_cli.config.schema import Preset
    from hrm_cli.errors import ConfigError

    builtin = chosen.get("source", "builtin") == "builtin"
    others = ("subsample_size", "test_subsample_size") if builtin else ("size", "num_train", "clues")
    unused = [f"--{name.replace('_', '-')}" for name in others if name in chosen]
    if unused:
        where = "a file, a folder or the hub (--source)" if builtin else "the built-in generator"
        instead = "--num-train and --num-test" if builtin else "--subsample-size"
        raise ConfigError(f"{', '.join(unused)}: only for puzzles from {where}; use {instead} here")
    if chosen.get("augment") == "online" and "num_aug" in chosen:
        raise ConfigError("--num-aug: counts stored copies; with --augment online none are stored")
    try:
        return Preset.model_validate({"data": {**chosen, "domain": "sudoku"}}).data
    except ValidationError as error:
        raise InvalidConfigError(explain(error, {})) from error


def _render(summary: BuildSummary) -> None:
    from hrm_cli.cli import console

    for note in summary.notes:
        console.print_message(f"Note: {note}")
    rows = [
        (name, size.groups, size.puzzles, size.examples)
        for name, size in (("train", summary.train), ("test", summary.test))
    ]
    console.print_table(["split", "original puzzles", "with copies", "examples"], rows)
    memory = "" if summary.peak_memory_mb is None else f", peak memory {summary.peak_memory_mb:,.0f} MB"
    console.print_line(
        f"{summary.tokens:,} tokens of a vocabulary of {summary.vocab_size}, {summary.seq_len} per grid; "
        f"{summary.num_puzzle_identifiers} puzzle identifier"
    )
    console.print_line(
        f"{summary.bytes / 1e6:,.1f} MB in {summary.seconds:.1f} s "
        f"({summary.examples_per_second:,.0f} examples/s{memory})"
    )
    console.print_line(f"Dataset: {summary.output_dir}")
