"""Resumes a run: finds a checkpoint, checks its integrity, and restores the training state.

`training.json` is checked before anything is restored. If a checkpoint is damaged, the previous one is used with a
warning, unless the user named it. The state can be restored on another device, with another number of processes and
with another global batch size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from hrm_cli.checkpoints.checksums import CHECKSUM, agrees, checksum_of, is_intact
from hrm_cli.checkpoints.model_files import compare_shapes
from hrm_cli.checkpoints.pointers import FACTS_FILE, checkpoints_of, read_pointer, write_pointer
from hrm_cli.config.values import plain_problems
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import CheckpointError, reason_of
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.models.act import Carry, PuzzleBatch
from hrm_cli.models.core import InnerCarry
from hrm_cli.models.device import to_device
from hrm_cli.training.checkpointing import TENSORS_FILE, checkpoint_folder
from hrm_cli.training.optimizers import AdamATan2, LossScale, moments_of
from hrm_cli.training.state import Best, TrainState

Count = Annotated[int, Field(ge=0, lt=2**62)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Best(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    step: Count
    exact_accuracy: Number
    cell_accuracy: Number = 0.0


class _Scale(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    good_steps: Count = 0
    skipped_steps: Count = 0


class _ResumeFacts(_Facts):
    step: Count
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    best: _Best | None
    evaluations_without_better: Count
    lowest_loss: Number | None
    loss_scale: _Scale | None = None
    awaits_evaluation: bool = False
    wall_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    horizon: Count | None = None
    rollbacks: Count = 0
    lr_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    optimizer_steps: Count
    global_batch_size: Count = 0
    sampler: dict[str, Any]
    """Checked later, by `TrainingBatches.load_state_dict`."""


def check_resume_facts(document: Any) -> dict[str, Any]:
    """Checks the type and range of every entry and returns the document unchanged. Unknown entries are allowed.

    Raises ValueError naming the first invalid entry.
    """
    try:
        _ResumeFacts.model_validate(document)
    except ValidationError as error:
        raise ValueError(plain_problems(error)[0]) from None
    checked: dict[str, Any] = document
    return checked


Warn = Callable[[str], None]


class DamagedCheckpoint(CheckpointError):  # noqa: N818 - what was found, not a kind of fault
    """A checkpoint cannot be read, or its checksum does not match."""


def load_training_state(
    run: Path,
    state: TrainState,
    world: World = ALONE,
    *,
    named: Path | None = None,
    rows: int | None = None,
    warn: Warn = lambda message: None,
) -> dict[str, Any]:
    """Loads a checkpoint of the run into `state`: `named`, or the latest intact one. Returns the sampler's state.

    Rank 0 of `world` reads it, and every rank takes its rows; the number of ranks may differ from when it was saved.
    `rows` is the global batch size (default: the checkpoint's). If it changed, extra rows are dropped, and missing
    rows start with new puzzles. Writes nothing. `warn` is called on rank 0 with anything unusual.
    Raises CheckpointError if the checkpoint is damaged or has another architecture.
    """
    folder, device = named or run, state.model.device
    facts: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    if world.is_first:
        folder, facts, tensors = _read_named(named) if named is not None else _read_latest(run, warn)
    facts = json.loads(world.broadcast_bytes(json.dumps(facts).encode()))
    tensors = world.broadcast_tensors(tensors)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        groups.setdefault(kind, {})[rest] = tensor
    weights = groups.get("model", {})
    compare_shapes(
        folder / TENSORS_FILE,
        {name: tuple(t.shape) for name, t in state.model.state_dict().items()},
        {name: tuple(t.shape) for name, t in weights.items()},
    )
    try:
        state.model.load_state_dict(weights)
        state.network.state.clear()
        _load_optimizer(state, groups.get("optimizer", {}), facts["optimizer_steps"])
        if state.average is not None:
            for name, average in state.average.parameters.items():
                average.copy_(groups["average"][name])
        _load_generator(state.generator, groups["random"]["exploration"], facts["step"])
        carry = groups.get("carry", {})
        saved_rows = len(next(iter(carry.values()), ())) or int(facts.get("global_batch_size", 0))
        if rows is not None and saved_rows and rows != saved_rows:
            carry = {name: _with_rows(name, tensor, rows) for name, tensor in carry.items()}
            # Dropped, because sums over batches of another size would be divided by the wrong number of rows.
            groups.pop("sums", None)
            groups.pop("carries", None)
            if world.is_first:
                warn(_other_batch_size(saved_rows, rows, has_carry=bool(carry)))
        own = world.rows(len(next(iter(carry.values()), ())))
        state.carry = _load_carry({name: tensor[own] for name, tensor in carry.items()}, device)
        state.carries = _load_carries(groups.get("carries", {}), world, device)
        # These are sums over all ranks, so rank 0 continues with them and the others start from zero.
        state.sums = {
            name: to_device(tensor if world.is_first else torch.zeros_like(tensor), device)
            for name, tensor in groups.get("sums", {}).items()
        }
        state.best = Best(**facts["best"]) if facts["best"] else None
        for name in ("step", "seconds", "evaluations_without_better", "lowest_loss"):
            setattr(state, name, facts[name])
        # Checkpoints of earlier versions lack these entries.
        state.rollbacks, state.lr_factor = facts.get("rollbacks", 0), facts.get("lr_factor", 1.0)
        state.awaits_evaluation = facts.get("awaits_evaluation", False)
        state.wall_seconds = facts.get("wall_seconds", state.seconds)
        state.horizon = facts.get("horizon")
        if state.loss_scale is not None and facts.get("loss_scale"):
            state.loss_scale = LossScale(**facts["loss_scale"])
        sampler: dict[str, Any] = facts["sampler"]
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: its training state does not fit this run: {reason_of(error)}"
        ) from None
    return sampler


def adopt_checkpoint(run: Path, state: TrainState, world: World = ALONE) -> None:
    """Points `latest` to the checkpoint that `state` was loaded from, and `best` to the best checkpoint it records.

    Call this on every rank once nothing can prevent the run from continuing. A best checkpoint later than the resumed
    one is discarded. If no recorded best checkpoint exists, the next evaluation becomes the best.
    """
    if not world.ask_rank_0(lambda: _settle_pointers(run, state)):
        state.best = None


def _settle_pointers(run: Path, state: TrainState) -> bool:
    """Updates both pointers. Returns whether the best checkpoint that `state` records exists."""
    folder = checkpoint_folder(run, state.step)
    _let_name(run / "latest", folder)
    best = None if state.best is None else checkpoint_folder(run, state.best.step)
    if best is None or not (best / FACTS_FILE).is_file():
        (run / "best").unlink(missing_ok=True)
        return False
    _let_name(run / "best", best)
    return True


def _let_name(pointer: Path, folder: Path) -> None:
    try:
        is_there = read_pointer(pointer) == folder
    except CheckpointError:
        is_there = False
    if not is_there:
        write_pointer(pointer, folder)


def _read_named(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    try:
        return folder, *_read(folder)
    except DamagedCheckpoint as error:
        others = [other.name for other in checkpoints_of(folder.parent.parent) if other != folder]
        known = f"; the run also has {', '.join(others)}" if others else ""
        raise DamagedCheckpoint(f"{error}{known}") from None


def _read_latest(run: Path, warn: Warn) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """Reads the checkpoint that `latest` names, or the newest intact one before it."""
    damaged: list[str] = []
    for folder in _candidates(run, damaged):
        try:
            facts, tensors = _read(folder)
        except DamagedCheckpoint as error:
            damaged.append(str(error))
            continue
        if damaged:
            warn(f"{'; '.join(damaged)}. Resumed from {folder.name}, the newest intact checkpoint")
        return folder, facts, tensors
    raise DamagedCheckpoint("; ".join(damaged) or f"{run}: has no checkpoint to resume from")


def _candidates(run: Path, damaged: list[str]) -> list[Path]:
    newest_first = checkpoints_of(run)[::-1]
    if (run / TENSORS_FILE).is_file():
        return [run]  # `run` is itself a checkpoint folder
    try:
        latest = read_pointer(run / "latest")
    except CheckpointError as error:
        damaged.append(str(error))
        return newest_first
    if latest is None:
        return newest_first
    # Folders after the latest were left by a killed process, or by a run that was rolled back.
    return [latest, *(folder for folder in newest_first if folder.name < latest.name)]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint folder. Raises DamagedCheckpoint if it cannot be read or a checksum does not match."""
    try:
        facts = check_resume_facts(load_json(folder / FACTS_FILE, LARGEST_FACTS))
        tensors = load_file(folder / TENSORS_FILE)
        with safe_open(folder / TENSORS_FILE, framework="pt") as file:
            expected = (file.metadata() or {}).get(CHECKSUM)
    except (OSError, ValueError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{folder}: its training state cannot be read: {reason_of(error)}") from None
    for name, intact in (
        (FACTS_FILE, is_intact(facts)),
        (TENSORS_FILE, agrees(checksum_of(tensors), expected)),
    ):
        if not intact:
            raise DamagedCheckpoint(f"{folder / name}: damaged: its checksum does not match its content")
    return facts, tensors


def _with_rows(name: str, tensor: Tensor, rows: int) -> Tensor:
    if len(tensor) >= rows:
        return tensor[:rows]
    more = tensor.new_zeros((rows - len(tensor), *tensor.shape[1:]))
    # A row that has halted takes a new puzzle and a new state.
    return torch.cat([tensor, torch.ones_like(more) if name == "halted" else more])


def _other_batch_size(saved: int, rows: int, *, has_carry: bool) -> str:
    message = f"train.global_batch_size was {saved} and is {rows} from now on"
    if not has_carry:
        return message
    if rows < saved:
        return f"{message}: the first {rows} rows continue, the others are dropped"
    return f"{message}: {saved} rows continue, {rows - saved} start with new puzzles"


def _load_generator(generator: torch.Generator, saved: Tensor, step: int) -> None:
    if saved.numel() == generator.get_state().numel():
        generator.set_state(saved)
    else:
        # Earlier versions saved a GPU's generator. A new one is then seeded from the seed and the step.
        generator.manual_seed((generator.initial_seed() + step) % 2**63)


def _load_optimizer(state: TrainState, moments: dict[str, Tensor], steps: int) -> None:
    parameters = dict(state.model.named_parameters())
    for name, moment in moments.items():
        parameter_name, _, kind = name.rpartition("/")
        parameter = parameters[parameter_name]
        if kind not in moments_of(state.network, parameter):
            continue  # of the optimizer that the run had before; this one starts its own
        entry = state.network.state[parameter]
        if kind != "momentum_buffer":
            entry["step"] = _step_count(state.network, steps, parameter.device)
        entry[kind] = moment.to(parameter.device)


def _step_count(optimizer: torch.optim.Optimizer, steps: int, device: torch.device) -> int | Tensor:
    # Our optimizer stores the step as an int, torch's AdamW as a CPU tensor, the compiled package as a device tensor.
    optimizer = getattr(optimizer, "others", optimizer)  # Muon counts no steps
    if isinstance(optimizer, AdamATan2):
        return steps
    return torch.tensor(float(steps), device="cpu" if isinstance(optimizer, torch.optim.AdamW) else device)


def _load_carries(tensors: dict[str, Tensor], world: World, device: torch.device) -> dict[int, Carry]:
    """The carries of a run on several sizes, by number of cells."""
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        cells, _, part = name.partition("/")
        parts.setdefault(int(cells), {})[part] = tensor[world.rows(len(tensor))]
    carries = {cells: _load_carry(own, device) for cells, own in parts.items()}
    return {cells: carry for cells, carry in carries.items() if carry is not None}


def _load_carry(parts: dict[str, Tensor], device: torch.device) -> Carry | None:
    if not parts:
        return None
    parts = {name: tensor.to(device) for name, tensor in parts.items()}
    return Carry(
        InnerCarry(parts["z_H"], parts["z_L"], parts.get("z_M")),
        parts["steps"],
        parts["halted"],
        PuzzleBatch(**{f.name: parts[f.name] for f in fields(PuzzleBatch)}),
    )
