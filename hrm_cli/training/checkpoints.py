"""Checkpoint folders of a run: written whole or not at all, pruned, found again.

    RUN/checkpoints/step-000001000/{model.safetensors, training.safetensors, training.json}
    RUN/best, RUN/latest    text files that name a checkpoint folder

A checkpoint is written under a temporary name, synced, renamed; the pointers are replaced after that.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hrm_cli.config.schema import Preset
from hrm_cli.errors import CheckpointError
from hrm_cli.files import PARTIAL, replace, sync, write_text
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.models.act import Carry, PuzzleBatch
from hrm_cli.models.core import InnerCarry
from hrm_cli.models.device import to_device
from hrm_cli.training.distributed import ALONE, World
from hrm_cli.training.loss_scale import LossScale
from hrm_cli.training.model_files import MODEL_FILE, compare_shapes, find_model_file, write_model_file
from hrm_cli.training.optimizers import AdamATan2
from hrm_cli.training.pointers import FACTS_FILE, CheckpointNotWritten, point, pointed_to
from hrm_cli.training.resume_facts import check_resume_facts
from hrm_cli.training.state import Best, DatasetFacts, TrainState
from hrm_cli.training.tensor_files import save_tensors

TENSORS_FILE = "training.safetensors"


def checkpoint_folder(run: Path, step: int) -> Path:
    """`RUN/checkpoints/step-000001000`."""
    return run / "checkpoints" / f"step-{step:09d}"


def save_checkpoint(
    run: Path,
    state: TrainState,
    preset: Preset,
    facts: DatasetFacts,
    sampler: dict[str, Any],
    *,
    best: bool,
    world: World = ALONE,
) -> Path:
    """Writes the state as a checkpoint, moves `latest` (and `best`) to it, and prunes. Returns its folder.

    Where `latest` is at this step already, only what has become known since is written: how its evaluation came out.
    Every rank of `world` calls it, and rank 0 writes: the rows of all ranks, so that any number of ranks can go on.
    Raises CheckpointNotWritten, on every rank, when it cannot be (a full disk); nothing half-written is left.
    """
    folder = checkpoint_folder(run, state.step)
    is_new = world.first_says(lambda: pointed_to(run / "latest") != folder)
    shared = _shared_tensors(state, world) if is_new else {}
    problem, cause = "", None
    if world.is_first:
        try:
            if is_new:
                _write(folder, state, shared, preset, facts, sampler)
                point(run / "latest", folder)
            if best:
                point(run / "best", folder)
            if not is_new:
                # Last: a run that is killed before evaluates again, and `best` will be where it says.
                write_text(folder / FACTS_FILE, json.dumps(_training_facts(state, sampler)), synced=True)
            _prune(run, preset.train.keep_checkpoints, folder)
        except (OSError, SafetensorError) as error:
            problem, cause = (
                f"{folder}: cannot be written ({error}); earlier checkpoints are as they were",
                error,
            )
    if problem := world.share_bytes(problem.encode()).decode():
        raise CheckpointNotWritten(problem) from cause
    return folder


def _write(
    folder: Path,
    state: TrainState,
    shared: dict[str, Tensor],
    preset: Preset,
    facts: DatasetFacts,
    sampler: dict[str, Any],
) -> None:
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write_model_file(partial / MODEL_FILE, state.evaluated_tensors(), preset, state.step, facts)
        save_tensors(_training_tensors(state, shared), partial / TENSORS_FILE)
        (partial / FACTS_FILE).write_text(json.dumps(_training_facts(state, sampler)), encoding="utf-8")
        for name in (MODEL_FILE, TENSORS_FILE, FACTS_FILE):
            sync(partial / name)
        # No run goes on from a folder that `latest` does not name: one that is here was left by a killed process.
        shutil.rmtree(folder, ignore_errors=True)
        replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(folder.parent)


def load_training_state(run: Path, state: TrainState, world: World = ALONE) -> dict[str, Any]:
    """Puts the run's latest checkpoint into `state`; returns the sampler's state.

    Rank 0 of `world` reads it, and every rank takes its rows: their number need not be that of the ranks that saved.
    Raises CheckpointError where the checkpoint is damaged or of another architecture.
    """
    folder, device = run, state.model.device
    facts: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    if world.is_first:
        folder = find_model_file(run / "latest" if (run / "latest").is_file() else run).parent
        facts, tensors = _read(folder)
    facts = json.loads(world.share_bytes(json.dumps(facts).encode()))
    tensors = world.share_tensors(tensors)
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
        own = world.rows(len(next(iter(carry.values()), ())))
        state.carry = _load_carry({name: tensor[own] for name, tensor in carry.items()}, device)
        # The sums of all ranks: one of them goes on with these, the others begin anew.
        state.sums = {
            name: to_device(tensor if world.is_first else torch.zeros_like(tensor), device)
            for name, tensor in groups.get("sums", {}).items()
        }
        state.best = Best(**facts["best"]) if facts["best"] else None
        for name in ("step", "seconds", "evaluations_without_better", "lowest_loss"):
            setattr(state, name, facts[name])
        # Checkpoints of earlier versions have neither.
        state.rollbacks, state.lr_factor = facts.get("rollbacks", 0), facts.get("lr_factor", 1.0)
        state.awaits_evaluation = facts.get("awaits_evaluation", False)
        if state.loss_scale is not None and facts.get("loss_scale"):
            state.loss_scale = LossScale(**facts["loss_scale"])
        sampler: dict[str, Any] = facts["sampler"]
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: its training state does not fit this run: {error!r}") from None
    return sampler


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        facts = check_resume_facts(load_json(folder / FACTS_FILE, LARGEST_FACTS))
        return facts, load_file(folder / TENSORS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: its training state cannot be read: {error}") from None


def _load_generator(generator: torch.Generator, saved: Tensor, step: int) -> None:
    if saved.numel() == generator.get_state().numel():
        generator.set_state(saved)
    else:
        # Earlier versions kept the generator of a GPU: this one begins anew, at a place that seed and step name.
        generator.manual_seed((generator.initial_seed() + step) % 2**63)


def _training_facts(state: TrainState, sampler: dict[str, Any]) -> dict[str, Any]:
    steps = [int(entry["step"]) for entry in state.network.state.values()]
    return {
        "step": state.step,
        "seconds": state.seconds,
        "best": asdict(state.best) if state.best else None,
        "evaluations_without_better": state.evaluations_without_better,
        "lowest_loss": state.lowest_loss,
        "loss_scale": asdict(state.loss_scale) if state.loss_scale else None,
        "awaits_evaluation": state.awaits_evaluation,
        "rollbacks": state.rollbacks,
        "lr_factor": state.lr_factor,
        "optimizer_steps": steps[0] if steps else 0,
        "sampler": sampler,
    }


def _shared_tensors(state: TrainState, world: World) -> dict[str, Tensor]:
    """What each rank has a part of: the carry's rows, in the order of the global batch, and the metrics' sums."""
    parts: dict[str, Tensor] = {}
    if state.carry is not None:
        parts = {"steps": state.carry.steps, "halted": state.carry.halted}
        for part in (state.carry.inner, state.carry.current):
            parts |= {f.name: getattr(part, f.name) for f in fields(part)}
    tensors = {f"carry/{name}": world.gather_rows(t) for name, t in parts.items()}
    return tensors | {f"sums/{name}": t for name, t in world.sum(state.sums).items()}


def _training_tensors(state: TrainState, shared: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {id(p): name for name, p in state.model.named_parameters()}
    tensors = {f"model/{name}": t for name, t in state.model.state_dict().items()}
    for parameter, entry in state.network.state.items():
        for kind in ("exp_avg", "exp_avg_sq"):
            tensors[f"optimizer/{names[id(parameter)]}/{kind}"] = entry[kind]
    if state.average is not None:
        tensors |= {f"average/{name}": t for name, t in state.average.parameters.items()}
    tensors |= shared
    tensors["random/exploration"] = state.generator.get_state()
    return {name: t.detach().contiguous().cpu() for name, t in tensors.items()}


def _load_optimizer(state: TrainState, moments: dict[str, Tensor], steps: int) -> None:
    parameters = dict(state.model.named_parameters())
    for name, moment in moments.items():
        parameter_name, _, kind = name.rpartition("/")
        parameter = parameters[parameter_name]
        entry = state.network.state[parameter]
        entry["step"] = _step_count(state.network, steps, parameter.device)
        entry[kind] = moment.to(parameter.device)


def _step_count(optimizer: torch.optim.Optimizer, steps: int, device: torch.device) -> int | Tensor:
    # Ours counts in a plain number, torch's in a tensor on the processor, the compiled one in one on the device.
    if isinstance(optimizer, AdamATan2):
        return steps
    return torch.tensor(float(steps), device="cpu" if isinstance(optimizer, torch.optim.AdamW) else device)


def _load_carry(parts: dict[str, Tensor], device: torch.device) -> Carry | None:
    if not parts:
        return None
    parts = {name: tensor.to(device) for name, tensor in parts.items()}
    return Carry(
        InnerCarry(**{f.name: parts[f.name] for f in fields(InnerCarry)}),
        parts["steps"],
        parts["halted"],
        PuzzleBatch(**{f.name: parts[f.name] for f in fields(PuzzleBatch)}),
    )


def _prune(run: Path, keep: int, latest: Path) -> None:
    parent = run / "checkpoints"
    folders = sorted(parent.glob("step-*"))
    # Behind the latest there is only what a killed process left, or a run that went back.
    behind = [folder for folder in folders if folder.name > latest.name]
    old = folders[: len(folders) - len(behind)][:-keep]
    best = pointed_to(run / "best")
    for folder in [*behind, *old, *parent.glob(f"{PARTIAL}*")]:
        if folder != best:
            shutil.rmtree(folder, ignore_errors=True)
    for leftover in run.glob(f"{PARTIAL}*"):
        leftover.unlink(missing_ok=True)
