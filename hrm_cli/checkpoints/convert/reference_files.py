"""A checkpoint of the reference on disk: the torch file, `all_config.yaml` next to it, and our own small file.

The reference saves a state dict by `torch.save` as `step_N`, its names with the prefix `_orig_mod.` (torch's
compiler) and
`model.` (its loss head). Behind these they are ours.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hrm_cli.checkpoints.convert.reference_config import CONFIG_FILE, config_beside, read_config_file
from hrm_cli.checkpoints.convert.torch_files import is_torch_file, read_torch_file, step_of
from hrm_cli.checkpoints.dataset_facts import DatasetFacts, checked_facts, checked_step
from hrm_cli.config.documents import Document, read_text
from hrm_cli.config.schema import Preset
from hrm_cli.config.validation import stated_preset
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.files import write_text
from hrm_cli.json_text import load_json

PREFIX = "_orig_mod.model."
"""What the reference's own files have in front of our names: it compiles a model inside a loss head."""
INITIAL_STATES = ("inner.H_init", "inner.L_init")

_WRAPPERS = re.compile(r"(?:_orig_mod\.|module\.|model\.)*")
_OTHER_NAMES = ("checkpoint", "model.pt", "model.pth")
_EXACT_VERSION = 1


@dataclass(frozen=True)
class Companion:
    """The parts of our checkpoint that the reference's file format cannot store."""

    preset: Preset
    facts: DatasetFacts
    step: int
    initial_states: Mapping[str, Tensor]
    """In float32, as they were before they were written in the reference's forward dtype."""


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """A checkpoint of the reference, read but not yet understood."""

    path: Path
    prefix: str
    """The prefix of the names in the file, before our names."""
    tensors: dict[str, Tensor]
    """The tensors by our names."""
    step: int
    averaged: bool
    config_path: Path | None = None
    config_text: str | None = None
    config: Document | None = None
    companion: Companion | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, by our names."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def find_reference_file(checkpoint: Path) -> Path | None:
    """The torch file at a path: the path itself, or the newest `step_N` in a folder; None if there is none."""
    if checkpoint.is_file():
        return checkpoint if is_torch_file(checkpoint) else None
    steps = {step: path for path in checkpoint.glob("step_*") if (step := step_of(path)) is not None}
    others = [checkpoint / name for name in _OTHER_NAMES]
    candidates = [path for _, path in sorted(steps.items(), reverse=True)] + others
    return next((path for path in candidates if path.is_file() and is_torch_file(path)), None)


def read_reference(path: Path, config_path: Path | None = None) -> ReferenceCheckpoint:
    """Reads a checkpoint of the reference and what lies next to it, its configuration unless another is named.

    Raises CheckpointError or ConfigError.
    """
    file = read_torch_file(path)
    prefixes = Counter(_prefix(name) for name in file.tensors)
    prefix = prefixes.most_common(1)[0][0]
    tensors = {name.removeprefix(prefix): tensor for name, tensor in file.tensors.items()}
    if len(tensors) < len(file.tensors):
        raise CheckpointError(f"{path}: holds the same names with and without {prefix}")
    config_path = config_path or config_beside(path)
    text, document = (None, None) if config_path is None else read_config_file(config_path)
    companion = read_companion(path)
    step = file.step or (companion.step if companion else 0)
    return ReferenceCheckpoint(
        path, prefix, tensors, step, file.averaged, config_path, text, document, companion
    )


def companion_file(path: Path) -> Path:
    """Where what the reference has no place for is kept: `step_100.hrm.json` next to `step_100`."""
    return path.with_name(f"{path.name}.hrm.json")


def write_companion(path: Path, companion: Companion) -> None:
    """Writes the small file next to the torch file `path`."""
    states = {
        name: base64.b64encode(state.detach().cpu().float().numpy().tobytes()).decode("ascii")
        for name, state in companion.initial_states.items()
    }
    document = {
        "version": _EXACT_VERSION,
        "config": companion.preset.model_dump(),
        "dataset": asdict(companion.facts),
        "step": companion.step,
        "initial_states": states,
    }
    write_text(companion_file(path), json.dumps(document) + "\n")


def read_companion(path: Path) -> Companion | None:
    """What lies next to the torch file `path`; None where nothing does. Raises CheckpointError for a damaged one."""
    file = companion_file(path)
    if not file.is_file():
        return None
    try:
        document = load_json(file)
        if document["version"] != _EXACT_VERSION:
            raise ValueError(f"version {document['version']!r:.40}, and this hrm knows {_EXACT_VERSION}")
        states = {
            name: torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").copy())
            for name, text in document["initial_states"].items()
        }
        facts = checked_facts(document["dataset"])
        step = checked_step(str(document["step"]))
        return Companion(stated_preset(document["config"]), facts, step, states)
    except (OSError, KeyError, TypeError, AttributeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{file}: cannot be understood ({error}); without it, {path} can be read"
        ) from None


def exact_initial_states(checkpoint: ReferenceCheckpoint) -> dict[str, Tensor]:
    """The companion's float32 states where the file still holds them, rounded; else nothing."""
    if checkpoint.companion is None:
        return {}
    return {
        name: exact
        for name, exact in checkpoint.companion.initial_states.items()
        if name in checkpoint.tensors
        and torch.equal(exact.to(checkpoint.tensors[name].dtype), checkpoint.tensors[name])
    }


def refuse_existing_config(folder: Path, text: str) -> None:
    """Raises CheckpointError where a folder has another `all_config.yaml` than `text`."""
    path = folder / CONFIG_FILE
    if path.exists() and read_text(path) != text:
        raise CheckpointError(
            f"{path}: already exists, for another model or run; name a destination in another folder, or --force"
        )


def _prefix(name: str) -> str:
    match = _WRAPPERS.match(name)
    return match[0] if match else ""
