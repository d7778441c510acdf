"""One model in one safetensors file: the weights, and a header with everything needed to use them.

`model.safetensors` alone can be evaluated, solved with, counted and shared. No pickle is read or written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hrm_cli.checkpoints.bundled import ENTRY as BUNDLED_ENTRY
from hrm_cli.checkpoints.bundled import SCHEME, BundledFacts, bundled_models, named_model
from hrm_cli.checkpoints.checksums import CHECKSUM, agrees, checksum_of, save_tensors
from hrm_cli.checkpoints.dataset_facts import DatasetFacts, parse_facts, parse_step
from hrm_cli.config import mixers
from hrm_cli.config.schema import Preset, parse_stored_preset
from hrm_cli.errors import CheckpointError, ConfigError, nearest, reason_of
from hrm_cli.json_text import parse_json
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model
from hrm_cli.printable import cut
from hrm_cli.puzzles.domain import Domain
from hrm_cli.safetensors_files import read_safetensors_header

FORMAT_VERSION = 1
MAX_SIBLINGS = 1_000
"""Maximum number of names in a folder that are compared with a mistyped one."""
READABLE_VERSIONS = ("1",)
MODEL_FILE = "model.safetensors"
OWN_ENTRIES = ("format", "hrm_format_version", "config", "step", "dataset", CHECKSUM)
"""Header entries that `write_model_file` always writes."""
REFERENCE_ENTRY = "reference"
"""Header entry of models that `hrm convert` wrote. It describes the original file."""


@dataclass(frozen=True)
class ModelCard:
    """The header of a model file."""

    path: Path
    preset: Preset
    step: int
    facts: DatasetFacts
    shapes: dict[str, tuple[int, ...]]
    trained_on: str | None = None
    """A bundled model's description of its training data; None for other models."""
    is_converted: bool = False
    """Whether the reference implementation trained the model."""

    def training_data(self) -> str:
        """Number and kind of the training puzzles, as text."""
        from hrm_cli.checkpoints.regime import training_data  # not needed to solve

        return training_data(
            self.preset, self.facts.domain, trained_on=self.trained_on, is_converted=self.is_converted
        )

    def built_in_knowledge(self) -> str:
        """Which rules of the puzzle are built into the architecture, as text."""
        from hrm_cli.checkpoints.regime import built_in_knowledge

        arch = self.preset.arch
        return built_in_knowledge(arch.mixer, self.facts.domain, position_tables=arch.position_tables)


def write_model_file(
    path: Path,
    tensors: Mapping[str, Tensor],
    preset: Preset,
    step: int,
    facts: DatasetFacts,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Writes the weights and the header, with `extra` entries. The caller handles atomicity and syncing."""
    metadata = {
        "format": "pt",
        "hrm_format_version": str(FORMAT_VERSION),
        "config": preset.model_dump_json(),
        "step": str(step),
        "dataset": json.dumps(asdict(facts)),
        **(extra or {}),
    }
    tensors = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
    metadata[CHECKSUM] = _checksum(tensors, metadata)
    save_tensors(tensors, path, metadata)


def find_model_file(checkpoint: Path) -> Path:
    """Finds the model file of CHECKPOINT: a file, a checkpoint folder, a pointer (`best`, `latest`) or a run folder.

    For a run folder it is the best checkpoint, or the latest one if none was evaluated. `bundled:NAME` is a model
    included in the package. `hf:OWNER/NAME[@REVISION]` is a model on the hub. Raises CheckpointError.
    """
    if str(checkpoint).startswith(SCHEME):
        return named_model(str(checkpoint)).path
    if str(checkpoint).startswith("hf:"):
        return _fetched(checkpoint.as_posix())
    if checkpoint.is_file():
        if checkpoint.suffix == ".safetensors":
            return checkpoint
        if checkpoint.name in ("best", "latest"):
            return _follow(checkpoint)
        _refuse_reference(checkpoint)
        raise CheckpointError(
            f"{checkpoint}: not a checkpoint; expected a run folder, a checkpoint folder or a .safetensors file"
        )
    if not checkpoint.exists():
        raise CheckpointError(f"{checkpoint}: no such checkpoint{_meant(checkpoint)}")
    if (checkpoint / MODEL_FILE).is_file():
        return checkpoint / MODEL_FILE
    for pointer in (checkpoint / "best", checkpoint / "latest"):
        if pointer.is_file():
            return _follow(pointer)
    _refuse_reference(checkpoint)
    raise CheckpointError(
        f"{checkpoint}: contains no checkpoint; expected {MODEL_FILE} in it, or a run folder with best or latest"
    )


def _fetched(text: str) -> Path:
    """The model file of a hub repository.

    Taken from the local cache if that is current; no other file is downloaded.
    """
    from hrm_cli.data import hub

    address = hub.HubAddress.parse(text, "checkpoint")
    what = f"checkpoint {address}"
    path = hub.download(
        address, MODEL_FILE, what, CheckpointError, optional=True, advice="check the name and the network"
    )
    if path is None:
        raise CheckpointError(
            f"{what}: contains no {MODEL_FILE}. hrm reads no other file from the hub, and never a pickle. "
            f"Download a checkpoint of the reference implementation yourself and convert it (hrm convert)"
        )
    return path


def _refuse_reference(checkpoint: Path) -> None:
    from hrm_cli.checkpoints.convert.reference_files import find_reference_file

    if find_reference_file(checkpoint) is None:
        return
    raise CheckpointError(
        f"{checkpoint}: a checkpoint of the reference implementation (a torch file); convert it first: "
        f"hrm convert {checkpoint} {checkpoint.name.removesuffix('.pt')}.safetensors"
    )


def _follow(pointer: Path) -> Path:
    from hrm_cli.checkpoints.pointers import read_pointer

    folder = read_pointer(pointer)
    if folder is None or not (folder / MODEL_FILE).is_file():
        raise CheckpointError(f"{pointer}: points to {folder}, which contains no {MODEL_FILE}")
    return folder / MODEL_FILE


@dataclass(frozen=True)
class Header:
    """The header of any safetensors file."""

    path: Path
    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]

    @property
    def is_ours(self) -> bool:
        """Whether this project wrote the file, so that it contains its configuration."""
        return "hrm_format_version" in self.metadata


def read_header(checkpoint: Path) -> Header:
    """Reads only the header, not the tensors. Raises CheckpointError."""
    path = find_model_file(checkpoint)
    try:
        header = read_safetensors_header(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({reason_of(error)})") from None
    return Header(path, header.metadata, {name: entry.shape for name, entry in header.tensors.items()})


def read_model_card(checkpoint: Path) -> ModelCard:
    """Reads the header of one of our model files. Raises CheckpointError."""
    return model_card(read_header(checkpoint))


def model_card(header: Header) -> ModelCard:
    """Parses a header of one of our model files. Raises CheckpointError."""
    path, metadata = header.path, header.metadata
    version = metadata.get("hrm_format_version")
    if version is None:
        raise CheckpointError(
            f"{path}: a safetensors file without hrm's header (no hrm_format_version), so its configuration is unknown"
        )
    if version not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{path}: format version {cut(version, 40)}, but this hrm reads versions up to {FORMAT_VERSION}; "
            "install a newer hrm"
        )
    try:
        preset = parse_stored_preset(parse_json(metadata["config"]))
        facts = parse_facts(parse_json(metadata["dataset"]))
        step = parse_step(metadata["step"])
        return ModelCard(
            path, preset, step, facts, header.shapes, _trained_on(metadata), REFERENCE_ENTRY in metadata
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: its header has no entry {error.args[0]}") from None
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: its header cannot be parsed: {error}") from None


def _trained_on(metadata: Mapping[str, str]) -> str | None:
    if BUNDLED_ENTRY not in metadata:
        return None
    try:
        return BundledFacts.parse(metadata[BUNDLED_ENTRY]).trained_on
    except (ValueError, KeyError, TypeError):
        return None  # `hrm models` reports the error


def load_model(
    checkpoint: Path, device: torch.device | str = "cpu", *, domain: Domain | None = None
) -> tuple[ACTModel, ModelCard]:
    """Loads the model of a checkpoint for inference. Raises CheckpointError if its tensors do not match its
    configuration.

    Weights are float32 in memory, regardless of their stored dtype. `domain` requests a model for puzzles of another
    size. If the weights work for every size, the card's facts are those of that size; otherwise it is ignored.
    """
    header = read_header(checkpoint)
    card = model_card(header)
    refuse_other_shapes(card)
    if (
        domain is not None
        and mixers.serves_every_size(card.preset.arch.mixer)
        and card.facts.domain.get("name") == domain.name
    ):
        card = replace(card, facts=card.facts.resized(domain))
    facts = card.facts
    model = build_model(
        card.preset.arch,
        facts.vocab_size,
        facts.seq_len,
        facts.num_puzzle_identifiers,
        domain=facts.domain,
        device=device,
        initialize=False,
    )
    try:
        tensors = load_file(card.path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{card.path}: cannot be read: {reason_of(error)}") from None
    check_intact(header, tensors)
    check_finite(card.path, tensors)
    model.load_state_dict(tensors)
    return model.eval(), card


def serves_every_size(checkpoint: Path) -> bool:
    """Whether a checkpoint's weights work for puzzles of every size of its domain. Raises CheckpointError."""
    return mixers.serves_every_size(read_model_card(checkpoint).preset.arch.mixer)


def refuse_other_shapes(card: ModelCard) -> None:
    """Raises CheckpointError if the file's tensors do not match its configuration. Allocates no memory for weights."""
    arch, facts = card.preset.arch, card.facts
    if arch.H_layers + arch.L_layers > 2 * len(card.shapes) + 64:
        # Creating a thousand blocks takes seconds even on the meta device. Cores without an H-module set H_layers too.
        raise CheckpointError(
            f"{card.path}: its tensors do not match its architecture: {len(card.shapes)} tensors for {arch.H_layers} + "
            f"{arch.L_layers} layers"
        )
    shape = facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers
    model = build_model(arch, *shape, domain=facts.domain, device="meta")
    compare_shapes(card.path, {name: tuple(t.shape) for name, t in model.state_dict().items()}, card.shapes)


def check_intact(header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError if a model file's checksum does not match. Files of earlier versions have no checksum."""
    if not agrees(_checksum(tensors, header.metadata), header.metadata.get(CHECKSUM)):
        raise CheckpointError(
            f"{header.path}: damaged: its checksum does not match its content; use another checkpoint, or copy "
            "the file again"
        )


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    texts = {name: metadata[name] for name in OWN_ENTRIES if name in metadata and name != CHECKSUM}
    return checksum_of(tensors, texts)


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError with the first tensors that contain NaN or infinity. Such a model is useless."""
    broken = not_finite(tensors)
    if broken:
        raise CheckpointError(
            f"{path}: its weights are not finite: {broken} contain NaN or infinity; use a checkpoint from "
            f"before training diverged"
        )


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Names of the first tensors that contain NaN or infinity, and how many more there are; empty if there are none."""
    broken = [name for name, tensor in tensors.items() if not _is_finite(tensor)]
    more = f" and {len(broken) - 3} more tensors" if len(broken) > 3 else ""
    return f"{', '.join(broken[:3])}{more}"


def _is_finite(tensor: Tensor) -> bool:
    # min and max need no memory; a mask of a large puzzle table would.
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() < 2:
        tensor = tensor.float()  # torch does not support aminmax for 8-bit floats
    return all(math.isfinite(bound.item()) for bound in tensor.aminmax())


def compare_shapes(
    path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises CheckpointError with the first tensors that are missing, unknown or have the wrong shape."""
    problems: list[Any] = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is not part of this architecture" for name in found if name not in wanted]
    problems += [
        f"{name} has shape {list(found[name])}, expected {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{path}: its tensors do not match its architecture: {'; '.join(problems[:3])}{more}"
        )


def _meant(checkpoint: Path) -> str:
    """A suggestion if the name resembles an existing run or is the name of a bundled model; else empty."""
    if checkpoint.parent == Path() and checkpoint.name in {model.name for model in bundled_models([])}:
        return f"; did you mean {SCHEME}{checkpoint}?"
    if (Path("runs") / checkpoint / "config.yaml").is_file():
        return f"; did you mean {Path('runs') / checkpoint}?"
    try:
        beside = sorted(path.name for path in islice(checkpoint.parent.iterdir(), MAX_SIBLINGS))
    except OSError:
        return ""
    near = nearest(checkpoint.name, beside)
    return f"; did you mean {checkpoint.parent / near}?" if near else ""
