"""Writes a run's checkpoint folders atomically, and prunes old ones.

    RUN/checkpoints/step-000001000/{model.safetensors, training.safetensors, training.json}
    RUN/best, RUN/latest    text files that name a checkpoint folder

A checkpoint is written under a temporary name, synced and renamed. Then the pointers are replaced.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from hrm_cli.checkpoints.checksums import CHECKSUM, checksum_of, save_tensors, with_checksum
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import MODEL_FILE, write_model_file
from hrm_cli.checkpoints.pointers import (
    FACTS_FILE,
    CheckpointWriteError,
    checkpoints_of,
    read_pointer,
    write_pointer,
)
from hrm_cli.config.schema import Preset
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import reason_of
from hrm_cli.files import PARTIAL, replace, sync, write_text
from hrm_cli.training.optimizers import moments_of
from hrm_cli.training.state import TrainState

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
    """Writes the state as a checkpoint, points `latest` (and `best`) to it, and prunes. Returns its folder.

    If `latest` is already at this step, only the result of its evaluation is written.
    Every rank of `world` calls this. Rank 0 writes the rows of all ranks, so that any number of ranks can resume.
    Raises CheckpointWriteError on every rank if writing fails (a full disk); no partial files are left.
    """
    folder = checkpoint_folder(run, state.step)
    is_new = world.ask_rank_0(lambda: read_pointer(run / "latest") != folder)
    shared = _shared_tensors(state, world) if is_new else {}
    problem, cause = "", None
    if world.is_first:
        try:
            if is_new:
                _write(folder, state, shared, preset, facts, sampler)
                write_pointer(run / "latest", folder)
            if best:
                write_pointer(run / "best", folder)
            if not is_new:
                # Written last: a run killed before this evaluates again, so `best` always matches this file.
                write_text(folder / FACTS_FILE, _facts_text(state, sampler, preset), synced=True)
            _prune(run, preset.train.keep_checkpoints, folder)
        except (OSError, SafetensorError) as error:
            problem, cause = (
                f"{folder}: cannot be written ({reason_of(error)}); earlier checkpoints are unchanged",
                error,
            )
    if problem := world.broadcast_bytes(problem.encode()).decode():
        raise CheckpointWriteError(problem) from cause
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
        tensors = _training_tensors(state, shared)
        save_tensors(tensors, partial / TENSORS_FILE, {CHECKSUM: checksum_of(tensors)})
        (partial / FACTS_FILE).write_text(_facts_text(state, sampler, preset), encoding="utf-8")
        for name in (MODEL_FILE, TENSORS_FILE, FACTS_FILE):
            sync(partial / name)
        # Runs resume only from the folder that `latest` names, so an existing folder was left by a killed process.
        shutil.rmtree(folder, ignore_errors=True)
        replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(folder.parent)


def _facts_text(state: TrainState, sampler: dict[str, Any], preset: Preset) -> str:
    steps = [int(entry["step"]) for entry in state.network.state.values() if "step" in entry]
    facts = {
        "step": state.step,
        "seconds": state.seconds,
        "wall_seconds": state.wall_seconds,
        "horizon": state.horizon,
        "best": asdict(state.best) if state.best else None,
        "evaluations_without_better": state.evaluations_without_better,
        "lowest_loss": state.lowest_loss,
        "loss_scale": asdict(state.loss_scale) if state.loss_scale else None,
        "awaits_evaluation": state.awaits_evaluation,
        "rollbacks": state.rollbacks,
        "lr_factor": state.lr_factor,
        "optimizer_steps": steps[0] if steps else 0,
        "global_batch_size": preset.train.global_batch_size,
        "sampler": sampler,
    }
    return json.dumps(with_checksum(facts))


def _shared_tensors(state: TrainState, world: World) -> dict[str, Tensor]:
    """State that is split over the ranks: the carry's rows, in global batch order, and the metrics' sums."""
    if state.shapes is None:
        carries = {} if state.carry is None else {"carry": state.carry}
    else:
        carries = {f"carries/{cells}": carry for cells, carry in sorted(state.all_carries().items())}
    tensors: dict[str, Tensor] = {}
    for where, carry in carries.items():
        parts = {"steps": carry.steps, "halted": carry.halted}
        parts |= carry.inner.tensors()
        parts |= {f.name: getattr(carry.current, f.name) for f in fields(carry.current)}
        tensors |= {f"{where}/{name}": world.gather_rows(t) for name, t in parts.items()}
    return tensors | {f"sums/{name}": t for name, t in world.sum(state.sums).items()}


def _training_tensors(state: TrainState, shared: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {id(p): name for name, p in state.model.named_parameters()}
    tensors = {f"model/{name}": t for name, t in state.model.state_dict().items()}
    for parameter, entry in state.network.state.items():
        for kind in moments_of(state.network, parameter):
            tensors[f"optimizer/{names[id(parameter)]}/{kind}"] = entry[kind]
    if state.average is not None:
        tensors |= {f"average/{name}": t for name, t in state.average.parameters.items()}
    tensors |= shared
    tensors["random/exploration"] = state.generator.get_state()
    return {name: t.detach().contiguous().cpu() for name, t in tensors.items()}


def _prune(run: Path, keep: int, latest: Path) -> None:
    parent = run / "checkpoints"
    folders = checkpoints_of(run)
    # Folders after the latest were left by a killed process, or by a run that was rolled back.
    newer = [folder for folder in folders if folder.name > latest.name]
    old = folders[: len(folders) - len(newer)][:-keep]
    best = read_pointer(run / "best")
    for folder in [*newer, *old, *parent.glob(f"{PARTIAL}*")]:
        if folder != best:
            shutil.rmtree(folder, ignore_errors=True)
    for leftover in run.glob(f"{PARTIAL}*"):
        leftover.unlink(missing_ok=True)
