"""Finds, lists and chooses the models included in the package, using only their headers.

`hrm_cli/bundled/NAME.safetensors` is an ordinary model file (`hrm_cli.checkpoints.model_files`). Its additional
header entry `bundled` contains its training data and its accuracy. These facts are stored nowhere else. The environment
variable HRM_BUNDLED sets another folder. Does not import torch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.mixers import serves_every_size
from hrm_cli.errors import CheckpointError, ConfigError, PuzzleError, closest, reason_of
from hrm_cli.json_text import parse_json
from hrm_cli.printable import quoted
from hrm_cli.puzzles.domain import Puzzle, make_domain, parse_domain
from hrm_cli.safetensors_files import read_safetensors_header

SCHEME = "bundled:"
"""Prefix of a CHECKPOINT that names a bundled model."""
FOLDER_VARIABLE = "HRM_BUNDLED"
SUFFIX = ".safetensors"
ENTRY = "bundled"
"""Name of the header entry."""
ATTEMPTS = 8
"""Default number of augmented copies tried if the first answer violates a rule."""
REPLACED = {"maze-10x10": "maze-any-size", "sudoku-9x9-units": "sudoku-any-size"}
"""Former bundled models, each with the model that replaces it."""

_RANGES = {
    "puzzles": (1, 1e15),
    "attempts": (1, 1e9),
    "exact_accuracy": (0, 1),
    "exact_accuracy_with_attempts": (0, 1),
    "mean_steps": (0, 1e9),
}
_FIGURES: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


def default_attempts(arch: ArchConfig, *, is_bundled: bool) -> int:
    """Default number of augmented copies. It is 1 for equivariant models and for models that are not bundled."""
    return ATTEMPTS if is_bundled and not arch.is_equivariant else 1


@dataclass(frozen=True)
class Measured:
    """A model's measured accuracy on a set of puzzles, as fractions from 0 to 1."""

    on: str
    """Description of the puzzles."""
    puzzles: int
    exact_accuracy: float
    """Accuracy in one pass, without augmented copies."""
    exact_accuracy_with_attempts: float
    attempts: int
    mean_steps: float
    """Mean ACT steps in one pass."""

    def check(self) -> None:
        """Raises ValueError if a figure has the wrong type or is out of range."""
        for name, kind in self.__annotations__.items():
            value = getattr(self, name)
            if (type(value) is not int and kind == "int") or not isinstance(value, _FIGURES[kind]):
                raise ValueError(f"measured.{name}: found {quoted(value, 40)}; expected {kind}")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"measured.{name}: found {quoted(getattr(self, name), 40)}; expected {least} to {most:g}"
                )

    @classmethod
    def all_of(cls, on: str, document: Mapping[str, Any]) -> tuple[Measured, ...]:
        """Parses the output of `hrm eval --json`: one entry for each set of puzzles.

        Raises KeyError, TypeError or ValueError for other documents.
        """
        if not isinstance(document, Mapping):
            raise TypeError("expected an object")
        attempts = int(document["attempts"])
        parts = {f"{on}, {name}": part for name, part in document.get("by_set", {}).items()} or {on: document}
        found = tuple(
            cls(
                name,
                int(part["puzzles"]),
                float(part["exact_accuracy"]),
                float(part.get("exact_accuracy_with_attempts", part["exact_accuracy"])),
                attempts,
                float(part["mean_steps"]),
            )
            for name, part in parts.items()
        )
        for one in found:
            one.check()
        return found


@dataclass(frozen=True)
class BundledFacts:
    """The content of the header entry `bundled`."""

    trained_on: str
    """The training puzzles and their number, as text."""
    license: str = "Apache-2.0"
    measured: tuple[Measured, ...] = ()
    every_size: bool = False
    """Whether the model is offered for puzzles of every size of its domain, not only for the size it was trained on."""

    def text(self) -> str:
        """The facts as JSON text for the header."""
        measured = [vars(one) for one in self.measured]
        facts = {"trained_on": self.trained_on, "license": self.license, "measured": measured}
        return json.dumps({**facts, "every_size": True} if self.every_size else facts)

    @classmethod
    def parse(cls, text: str) -> BundledFacts:
        """Parses the header entry. Raises ValueError, KeyError or TypeError."""
        document = parse_json(text)
        measured = tuple(Measured(**one) for one in document["measured"])
        for one in measured:
            one.check()
        every_size = document.get("every_size", False)
        if not isinstance(every_size, bool):
            raise ValueError(f"every_size: found {quoted(every_size, 40)}; expected true or false")
        # Files of earlier versions have the British spelling.
        license = document["license" if "license" in document else "licence"]
        return cls(str(document["trained_on"]), str(license), measured, every_size)


@dataclass(frozen=True)
class BundledModel:
    """A bundled model."""

    name: str
    path: Path
    bytes: int
    domain: dict[str, Any]
    """The domain's name and options: `{"name": "sudoku", "size": 9}`."""
    step: int
    facts: BundledFacts
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    mixer: str | None = None
    position_tables: bool = False

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        from hrm_cli.accounting.kinds import NEVER_TRAINED, kind_of  # not needed to solve

        return sum(
            math.prod(shape) for name, shape in self.shapes.items() if kind_of(name) not in NEVER_TRAINED
        )

    @property
    def built_in_knowledge(self) -> str:
        """Which rules of the puzzle are built into the architecture, as text."""
        from hrm_cli.checkpoints.regime import built_in_knowledge  # not needed to solve

        return built_in_knowledge(self.mixer, self.domain, position_tables=self.position_tables)

    @property
    def megabytes(self) -> str:
        """Size of its file in MB, as text."""
        return f"{self.bytes / 1e6:.{1 if self.bytes >= 95_000 else 2}f}"

    def describe(self) -> str:
        """The model's puzzles, as text: `9×9 Sudoku`."""
        own = describe(self.domain)
        return f"{own.rpartition(' ')[2]} of every size" if self.facts.every_size else own

    @property
    def card(self) -> Path:
        """Path of the model card."""
        return self.path.with_suffix(".md")

    def document(self) -> dict[str, Any]:
        """The record of `hrm models --json`."""
        return {
            "name": self.name,
            "puzzles": self.describe(),
            "domain": self.domain,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "step": self.step,
            "trained_on": self.facts.trained_on,
            "built_in_knowledge": self.built_in_knowledge,
            "license": self.facts.license,
            "measured": [vars(one) for one in self.facts.measured],
            "path": str(self.path),
        }


def describe(domain: Mapping[str, Any]) -> str:
    """A domain's name and options as text. Raises ConfigError if it is not a domain."""
    found = parse_domain(domain)
    if found is None:
        raise ConfigError("the domain is missing")
    return found.describe()


def bundled_folder() -> Path:
    """The folder of the bundled models. It may not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else Path(__file__).resolve().parent.parent / "bundled"


def bundled_models(damaged: list[str] | None = None, domain: str | None = None) -> list[BundledModel]:
    """All readable models, sorted by domain, size and name. A message for each unreadable one is added to `damaged`.

    `domain`: only the models for puzzles of that domain. The code of other domains is not loaded. Raises
    CheckpointError if the environment names a folder that does not exist.
    """
    folder = bundled_folder()
    if os.environ.get(FOLDER_VARIABLE) and not folder.is_dir():
        raise CheckpointError(f"{FOLDER_VARIABLE}={folder}: no such folder; create it, or unset the variable")
    found: list[BundledModel] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
        try:
            model = _read(path, domain)
            found += [model] if model is not None else []
        except CheckpointError as error:
            if damaged is not None:
                damaged.append(str(error))
    return sorted(found, key=lambda model: (model.domain["name"], *_size(model), model.name))


def _size(model: BundledModel) -> tuple[int, ...]:
    return tuple(value for value in model.domain.values() if isinstance(value, int))


def named_model(name: str) -> BundledModel:
    """The model called `name`, with or without the `bundled:` prefix. The name of a domain means its default size.

    Raises CheckpointError for an unknown or former name.
    """
    name = name.removeprefix(SCHEME)
    path = bundled_folder() / f"{name}{SUFFIX}"
    if Path(name).name == name and path.is_file():
        return read_bundled(path)
    models = {model.name: model for model in bundled_models()}
    if name in {model.domain["name"] for model in models.values()}:
        return _usual_model(name, list(models.values()))
    if REPLACED.get(name) in models:
        raise CheckpointError(f"{SCHEME}{name}: no longer bundled; use {SCHEME}{REPLACED[name]} instead")
    known = f"there are {', '.join(models)}" if models else "there are none in this installation"
    raise CheckpointError(f"{SCHEME}{name}: no such bundled model{closest(name, list(models))} ({known})")


def _usual_model(domain: str, models: Sequence[BundledModel]) -> BundledModel:
    """The domain's most accurate model for its default size. If there is none, for the largest size."""
    usual = make_domain(domain).facts()
    options = [model for model in models if model.domain["name"] == domain]
    return max(
        options,
        key=lambda model: (model.domain == {"name": domain, **usual}, _size(model), _accuracy(model)),
    )


def model_for(puzzle: Puzzle) -> BundledModel:
    """The model with the best mean accuracy in one pass for a puzzle's domain and size.

    Raises CheckpointError if there is no such model.
    """
    models = bundled_models(domain=puzzle.domain)
    fitting = [model for model in models if _fits(model, puzzle)]
    fitting = fitting or [model for model in models if _serves(model, puzzle)]
    if fitting:
        return max(fitting, key=_accuracy)
    rows, columns = puzzle.grid.shape
    sizes = ", ".join(dict.fromkeys(model.describe() for model in bundled_models()))
    known = f"there are models for {sizes}" if sizes else "this installation has none"
    domain = "" if puzzle.domain == "sudoku" else f" data.domain={puzzle.domain}"
    training = f" (`hrm train --preset small{domain} data.size={rows}` trains one)"
    if rows != columns:
        training = " (`hrm train` with a dataset of such puzzles trains one)"
    raise CheckpointError(
        f"no bundled model for {rows}×{columns} {puzzle.domain} puzzles: {known}; "
        f"use your own model with --checkpoint{training}"
    )


def _fits(model: BundledModel, puzzle: Puzzle) -> bool:
    options = dict(model.domain)
    if puzzle.domain != options["name"]:
        return False
    domain = make_domain(str(options.pop("name")), **options)
    try:
        domain.encode(puzzle.grid)
    except PuzzleError:
        return False
    return True


def _serves(model: BundledModel, puzzle: Puzzle) -> bool:
    """Whether a puzzle of a size that the model was not trained on can use it, because it is a model for every size."""
    return model.facts.every_size and serves_every_size(model.mixer) and puzzle.domain == model.domain["name"]


def _accuracy(model: BundledModel) -> float:
    shares = [one.exact_accuracy for one in model.facts.measured]
    return sum(shares) / len(shares) if shares else 0.0


def read_bundled(path: Path) -> BundledModel:
    """Reads the header of a bundled model file. Raises CheckpointError."""
    found = _read(path)
    assert found is not None
    return found


def _read(path: Path, only: str | None = None) -> BundledModel | None:
    """The model of a file; None if its domain is not `only`. Raises CheckpointError."""
    try:
        header = read_safetensors_header(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({reason_of(error)})") from None
    metadata = header.metadata
    try:
        facts = BundledFacts.parse(metadata[ENTRY])
        shapes = {name: entry.shape for name, entry in header.tensors.items()}
        domain, arch = dict(parse_json(metadata["dataset"])["domain"]), parse_json(metadata["config"])["arch"]
        if only is not None and domain["name"] != only:
            return None
        describe(domain)
        return BundledModel(
            path.stem,
            path,
            path.stat().st_size,
            domain,
            int(metadata["step"][:18]),
            facts,
            shapes,
            arch.get("mixer"),
            bool(arch.get("position_tables", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{path}: not a bundled model: its header cannot be read ({reason_of(error)}); `hrm models add` writes one"
        ) from None
