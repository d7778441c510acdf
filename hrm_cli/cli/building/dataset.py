"""`hrm build-dataset`: puzzles from a generator, a file or the hub, as a dataset to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

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
    size_option,
)
from hrm_cli.cli.options import ForceOption, JsonOption, QuietOption, SeedOption, option
from hrm_cli.cli.render.help import CommandTable, PlainGroup, plain_command
from hrm_cli.plugins import find_plugin, plugins

KINDS = {
    "sudoku": "hrm_cli.cli.building.dataset:sudoku",
    "maze": "hrm_cli.cli.building.maze:maze",
    "arc": "hrm_cli.cli.building.arc:arc",
    "grids": "hrm_cli.cli.building.grids:grids",
}
"""Kind of puzzles → the command that builds a dataset of it."""


class KindTable(CommandTable):
    """The commands of the built-in domains, then one for every domain of a plugin."""

    def __getitem__(self, name: str) -> Any:
        if name in self._places:
            return super().__getitem__(name)
        if name not in self._loaded:
            plugin = find_plugin("domain", name, list(self._places))
            if plugin is None:
                raise KeyError(name)
            summary = f"Build a dataset of {name} puzzles (package {plugin.origin})."
            self._loaded[name] = plain_command(name, _command(name), summary)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        yield from (plugin.name for plugin in plugins("domain", list(self._places)) if not plugin.conflict)

    def __len__(self) -> int:
        return len(list(iter(self)))


class KindGroup(PlainGroup):
    """The group of these commands, and of those for domains of plugins."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = KindTable(KINDS)


app = typer.Typer(cls=KindGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def build() -> None:
    """Build a dataset of puzzles.

    \b
    Examples:
      hrm build-dataset sudoku -o data/sudoku --num-train 1000 --num-aug 1000
      hrm build-dataset arc --output-dir data/arc-1 --num-aug 1000
    """


def sudoku(
    output_dir: OutputDirOption,
    source: Annotated[
        str | None,
        option(
            "--source",
            "Source of the puzzles: the built-in generator, a file (CSV, or one puzzle per line), a "
            "folder with train.csv and test.csv, or a dataset on the hub.",
            "builtin",
            metavar="builtin|FILE|DIR|hf:OWNER/NAME",
        ),
    ] = None,
    size: Annotated[
        int | None,
        size_option("Cells along a side: 4, 6, 8, 9, 10, 12, 15, 16, 20 or 25 (builtin only).", "9"),
    ] = None,
    num_train: NumTrainOption = None,
    num_test: NumTestOption = None,
    num_validation: NumValidationOption = None,
    clues: Annotated[
        str | None,
        option(
            "--clues",
            "Number of clues (givens) of generated puzzles.",
            "minimal",
            metavar="minimal|N|LOW-HIGH",
        ),
    ] = None,
    subsample_size: SubsampleOption = None,
    test_subsample_size: TestSubsampleOption = None,
    min_difficulty: Annotated[
        int | None,
        option(
            "--min-difficulty",
            "Minimum difficulty: the source's rating, or branches of the exact solver.",
            "0",
        ),
    ] = None,
    variations: Annotated[
        int | None,
        option(
            "--variations",
            "Additional training puzzles of similar difficulty, made from the others by exchanging a few clues.",
            "0",
        ),
    ] = None,
    num_aug: Annotated[
        int | None, option("--num-aug", "Augmented (symmetric) copies of each training puzzle.", "0")
    ] = None,
    augment: AugmentOption = None,
    hints: Annotated[
        float | None,
        option(
            "--hints",
            "Fraction of the copies that get extra clues, a random number from one to all; this makes them easier.",
            "0",
            metavar="FRACTION",
        ),
    ] = None,
    also: AlsoOption = None,
    by_collection: ByCollectionOption = False,
    strict_split: StrictSplitOption = False,
    seed: SeedOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Build a dataset of Sudoku puzzles.

    \b
    Examples:
      hrm build-dataset sudoku -o data/sudoku-4 --size 4 --num-train 30000
      hrm build-dataset sudoku -o data/sudoku-16 --size 16 --clues 95-150
      hrm build-dataset sudoku -o data/mine --source puzzles.csv \\
        --subsample-size 1000 --num-aug 1000
      hrm build-dataset sudoku -o data/extreme --augment online \\
        --source hf:sapientinc/sudoku-extreme --subsample-size 1000
      hrm build-dataset sudoku -o data/mixed --clues 22-46 --hints 0.2 \\
        --also '{clues: minimal, num_train: 500, num_test: 100}' \\
        --also '{source: hard.csv, subsample_size: 300}'
      hrm build-dataset sudoku -o data/hard --source hardest.csv \\
        --variations 20000 --strict-split

    Train and test never share a puzzle. Puzzles with more than one solution are left out. A line that is not a
    puzzle, and a puzzle without a solution, are errors.
    """
    from hrm_cli.data.request import BuildRequest

    given = {
        "source": source,
        "size": size,
        "num_train": num_train,
        "num_test": num_test,
        "num_validation": num_validation,
        "clues": clues,
        "subsample_size": subsample_size,
        "test_subsample_size": test_subsample_size,
        "min_difficulty": min_difficulty,
        "variations": variations,
        "num_aug": num_aug,
        "augment": augment,
        "hints": hints,
        "also": further_sources(also),
        "by_collection": by_collection or None,
        "strict_split": strict_split or None,
        "seed": seed,
    }
    request = BuildRequest("sudoku", output_dir, given, force=force, as_options=True)
    build_and_show(request, json=json, quiet=quiet)


def _command(name: str) -> Callable[..., None]:
    """The command that builds datasets of the domain with this name."""

    def build(
        output_dir: OutputDirOption,
        source: Annotated[
            str | None,
            option(
                "--source",
                "Source of the puzzles: the domain's generator, a file (CSV, or one puzzle per line), a folder "
                "with train.csv and test.csv, or a dataset on the hub.",
                "builtin",
                metavar="builtin|FILE|DIR|hf:OWNER/NAME",
            ),
        ] = None,
        size: Annotated[
            int | None, option("--size", "Size of the puzzles.", "the domain's default", metavar="N")
        ] = None,
        num_train: NumTrainOption = None,
        num_test: NumTestOption = None,
        num_validation: NumValidationOption = None,
        subsample_size: SubsampleOption = None,
        test_subsample_size: TestSubsampleOption = None,
        num_aug: Annotated[
            int | None, option("--num-aug", "Augmented (symmetric) copies of each training puzzle.", "0")
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
        from hrm_cli.data.request import BuildRequest

        given = {
            "source": source,
            "size": size,
            "num_train": num_train,
            "num_test": num_test,
            "num_validation": num_validation,
            "subsample_size": subsample_size,
            "test_subsample_size": test_subsample_size,
            "num_aug": num_aug,
            "augment": augment,
            "also": further_sources(also),
            "by_collection": by_collection or None,
            "strict_split": strict_split or None,
            "seed": seed,
        }
        request = BuildRequest(name, output_dir, given, force=force, as_options=True)
        build_and_show(request, json=json, quiet=quiet)

    return build
