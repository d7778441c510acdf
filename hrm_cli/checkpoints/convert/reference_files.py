"""The files of a reference checkpoint: the torch file, `all_config.yaml` next to it, and a sidecar file of hrm.

The reference saves a state dict with `torch.save` as `step_N`. Its parameter names have the prefixes `_orig_mod.` (from
torch.compile) and `model.` (from the loss head). The rest of each name is the same as in this project.
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

from hrm_cli.checkpoints.convert.reference_config import CONFIG_FILE, find_config_file, read_config_file
from hrm_cli.checkpoints.convert.torch_files import is_torch_file, read_torch_file, step_of
from hrm_cli.checkpoints.dataset_facts import DatasetFacts, parse_facts, parse_step
from hrm_cli.config.documents import Document, read_text
from hrm_cli.config.schema import Preset, parse_stored_preset
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.files import write_text
from hrm_cli.json_text import load_json
from hrm_cli.printable import quoted

PREFIX = "_orig_mod.model."
"""The usual prefix of parameter names in files of the reference, which compiles the model inside a loss head."""
INITIAL_STATES = ("inner.H_init", "inner.L_init")

_WRAPPERS = re.compile(r"(?:_orig_mod\.|module\.|model\.)*")
_OTHER_NAMES = ("checkpoint", "model.pt", "model.pth")
_SIDECAR_VERSION = 1


@dataclass(frozen=True)
class Sidecar:
    """The parts of a model file that the reference's format cannot store. Written to the sidecar file."""

    preset: Preset
    facts: DatasetFacts
    step: int
    initial_states: Mapping[str, Tensor]
    """H_init and L_init in float32, before they were rounded to the reference's forward dtype."""


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """The content of a reference checkpoint, before its configuration is resolved."""

    path: Path
    prefix: str
    """The prefix of the parameter names in the file."""
    tensors: dict[str, Tensor]
    """The tensors by name, without the prefix."""
    step: int
    averaged: bool
    """Whether the weights are the averaged (EMA) weights."""
    config_path: Path | None = None
    config_text: str | None = None
    config: Document | None = None
    sidecar: Sidecar | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor by name, without the prefix."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def find_reference_file(checkpoint: Path) -> Path | None:
    """Finds the torch file: the path itself, or the newest `step_N` in a folder. Returns None if there is none."""
    if checkpoint.is_file():
        return checkpoint if is_torch_file(checkpoint) else None
    steps = {step: path for path in checkpoint.glob("step_*") if (step := step_of(path)) is not None}
    others = [checkpoint / name for name in _OTHER_NAMES]
    candidates = [path for _, path in sorted(steps.items(), reverse=True)] + others
    return next((path for path in candidates if path.is_file() and is_torch_file(path)), None)


def read_reference(path: Path, config_path: Path | None = None) -> ReferenceCheckpoint:
    """Reads a reference checkpoint with its configuration and its sidecar file.

    `config_path` replaces the `all_config.yaml` next to the checkpoint. Raises CheckpointError or ConfigError.
    """
    file = read_torch_file(path)
    prefixes = Counter(_prefix(name) for name in file.tensors)
    prefix = prefixes.most_common(1)[0][0]
    tensors = {name.removeprefix(prefix): tensor for name, tensor in file.tensors.items()}
    if len(tensors) < len(file.tensors):
        raise CheckpointError(f"{path}: contains the same names with and without {prefix}")
    config_path = config_path or find_config_file(path)
    text, document = (None, None) if config_path is None else read_config_file(config_path)
    sidecar = read_sidecar(path)
    step = file.step or (sidecar.step if sidecar else 0)
    return ReferenceCheckpoint(
        path, prefix, tensors, step, file.averaged, config_path, text, document, sidecar
    )


def sidecar_path(path: Path) -> Path:
    """Path of the sidecar file: `step_100.hrm.json` next to `step_100`."""
    return path.with_name(f"{path.name}.hrm.json")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Writes the sidecar file of the torch file `path`."""
    states = {
        name: base64.b64encode(state.detach().cpu().float().numpy().tobytes()).decode("ascii")
        for name, state in sidecar.initial_states.items()
    }
    document = {
        "version": _SIDECAR_VERSION,
        "config": sidecar.preset.model_dump(),
        "dataset": asdict(sidecar.facts),
        "step": sidecar.step,
        "initial_states": states,
    }
    write_text(sidecar_path(path), json.dumps(document) + "\n")


def read_sidecar(path: Path) -> Sidecar | None:
    """Reads the sidecar file of the torch file `path`; None if there is none.

    Raises CheckpointError if it is damaged.
    """
    file = sidecar_path(path)
    if not file.is_file():
        return None
    try:
        document = load_json(file)
        if document["version"] != _SIDECAR_VERSION:
            raise ValueError(
                f"found version {quoted(document['version'], 40)}; this hrm reads version {_SIDECAR_VERSION}"
            )
        states = {
            name: torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").copy())
            for name, text in document["initial_states"].items()
        }
        facts = parse_facts(document["dataset"])
        step = parse_step(str(document["step"]))
        return Sidecar(parse_stored_preset(document["config"]), facts, step, states)
    except (OSError, KeyError, TypeError, AttributeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{file}: cannot be read ({error}); {path} can be read without this file, so you can delete it"
        ) from None


def exact_initial_states(checkpoint: ReferenceCheckpoint) -> dict[str, Tensor]:
    """The sidecar file's float32 states whose rounded values equal those in the torch file; others are omitted."""
    if checkpoint.sidecar is None:
        return {}
    return {
        name: exact
        for name, exact in checkpoint.sidecar.initial_states.items()
        if name in checkpoint.tensors
        and torch.equal(exact.to(checkpoint.tensors[name].dtype), checkpoint.tensors[name])
    }


def refuse_existing_config(folder: Path, text: str) -> None:
    """Raises CheckpointError if the folder's `all_config.yaml` exists and differs from `text`."""
    path = folder / CONFIG_FILE
    if path.exists() and read_text(path) != text:
        raise CheckpointError(
            f"{path}: already exists and belongs to another model or run; choose a destination in another folder, "
            "or overwrite it with --force"
        )


def _prefix(name: str) -> str:
    match = _WRAPPERS.match(name)
    return match[0] if match else ""
