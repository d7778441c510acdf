"""The dataset layout of the reference implementation: file names, and the fields of `dataset.json`."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from hrm_cli.config.values import plain_problems
from hrm_cli.errors import ConfigError, DatasetError, reason_of
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.puzzles.domain import parse_domain

METADATA_FILE = "dataset.json"
IDENTIFIERS_FILE = "identifiers.json"
TEST_PUZZLES_FILE = "test_puzzles.json"
"""File of ARC datasets with the original test tasks by name."""
GRIDS = ("inputs", "labels")
INDICES = ("puzzle_identifiers", "puzzle_indices", "group_indices")
SPLITS = ("train", "validation", "test")
HELD_OUT_SPLITS = ("validation", "test")
"""The splits whose puzzles are never trained on."""

_LARGEST = {
    "vocab_size": 1 << 16,
    "seq_len": 1_000_000,
    "num_puzzle_identifiers": 1 << 31,
    "total_groups": 1 << 40,
}
"""Maximum of each count in `dataset.json`. The minimum is 1."""

IGNORED_LABEL = -100
"""The label that replaces a dataset's `ignore_label_id` in batches."""


class SplitMetadata(BaseModel):
    """The `dataset.json` of a split. The first ten fields are those of the reference, which ignores the others."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pad_id: int
    ignore_label_id: int | None
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int | None = None
    sets: tuple[str, ...]

    domain: Annotated[dict[str, Any] | None, AfterValidator(lambda stated: stated or None)] = None
    """The domain's name and facts, such as `{"name": "sudoku", "size": 9}`; None in datasets of other programs."""
    augment: Literal["stored", "online"] = "stored"
    """`online`: copies are not stored, and training samples a new symmetry at every visit."""
    hints: float = 0.0
    """For `online` datasets: the fraction of visits at which the puzzle gets hints."""
    split: str | None = None
    source: str | None = None
    seed: int | None = None


def is_dataset(directory: Path) -> bool:
    """Whether a folder looks like a dataset: any split with a `dataset.json`."""
    return any((directory / split / METADATA_FILE).is_file() for split in SPLITS)


def read_metadata(directory: Path, split: str) -> SplitMetadata:
    """Reads the `dataset.json` of a split. Raises DatasetError if it is missing or invalid."""
    file = directory / split / METADATA_FILE
    if not directory.is_dir():
        found = "is not a folder" if directory.exists() else "does not exist"
        raise DatasetError(f"{directory}: {found}; expected a dataset folder (`hrm build-dataset` makes one)")
    if not file.is_file():
        present = [name for name in SPLITS if (directory / name / METADATA_FILE).is_file()]
        if present:
            advice = "build it again with --num-test, or from a source with its own test set"
            if split == "validation":
                advice = "build it again with --num-validation"
            raise DatasetError(
                f"{directory}: the dataset has no {split} split (only {', '.join(present)}); {advice}"
            )
        raise DatasetError(f"{directory}: not a dataset; expected {file} (`hrm build-dataset` writes it)")
    try:
        metadata = SplitMetadata.model_validate(load_json(file, LARGEST_FACTS))
    except ValidationError as error:
        problems = "; ".join(plain_problems(error))
        raise DatasetError(f"{file}: {problems}") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: cannot be read as JSON ({reason_of(error)})") from error
    for name, largest in _LARGEST.items():
        if not 1 <= getattr(metadata, name) <= largest:
            raise DatasetError(f"{file}: {name}: found {getattr(metadata, name)}; expected 1 to {largest:,}")
    _check_domain(file, metadata)
    if not metadata.sets:
        raise DatasetError(f"{file}: sets is empty; expected the name of at least one set")
    for name in metadata.sets:
        # The name becomes part of a file name, so it must not contain a path.
        if not name or Path(name).name != name:
            raise DatasetError(f"{file}: set {name!r} is not a plain name")
    return metadata


def _check_domain(file: Path, metadata: SplitMetadata) -> None:
    """Raises DatasetError if the domain is unknown, or does not match vocabulary size and sequence length."""
    try:
        domain = parse_domain(metadata.domain)
    except ConfigError as error:
        raise DatasetError(f"{file}: {error}") from None
    if domain is None:
        return
    for name in ("vocab_size", "seq_len"):
        if getattr(metadata, name) != getattr(domain, name):
            raise DatasetError(
                f"{file}: {name} is {getattr(metadata, name)}, but {domain.describe()} has {getattr(domain, name)}"
            )


BUILDING = ".building-"


def array_file(folder: Path, set_name: str, array: str) -> Path:
    """The file of one array of a set: `folder/SET__ARRAY.npy`."""
    return folder / f"{set_name}__{array}.npy"


def is_build_in_progress(entry: Path, dataset: str) -> bool:
    """Whether a folder entry belongs to an unfinished build (running or dead) of the dataset with this name."""
    return entry.name.startswith(f".{dataset}{BUILDING}")


def same_file(name: str) -> str:
    """A key for comparing file names. Names that some file systems treat as the same file have equal keys."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
