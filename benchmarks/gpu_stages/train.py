"""The stage `train`: runs recipes one after the other and copies their weights and figures while they train.

A recipe is a run of `hrm train` that ends by the clock. Every few seconds the best weights so far and metrics.jsonl are
copied to the output folder, so that they survive if the machine is taken away.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_stages.datasets import config_of
from gpu_stages.processes import Deadline, Process
from gpu_stages.recipes import Recipe
from gpu_stages.results import Results, error_lines, last_lines

STAGE = "train"

LARGEST = 16 * 2**20
"""Largest size in bytes of a file that is copied back. Larger weights are written in bfloat16 if that is enough."""
_POLL_SECONDS = 3.0
_MARGIN = 40.0
"""Seconds of a recipe's time that are not training: the start, compiling, the last evaluation and checkpoint."""
_LAST_WORDS = 15.0
"""Seconds of its time in which a run that has not ended by itself writes its last checkpoint, after Ctrl-C."""


def run(
    results: Results,
    wanted: Sequence[Recipe],
    device: str,
    seconds: float,
    work: Path,
    *,
    trial: bool = False,
) -> None:
    """Trains the recipes that have not been trained yet; `trial` takes a hundredth of their steps."""
    deadline = Deadline(seconds)
    results.say(f"\ntrain, on {device}")
    finished = results.finished(STAGE)
    left = [recipe for recipe in wanted if recipe.name not in finished]
    if not left:
        names = ", ".join(recipe.name for recipe in wanted)
        results.say(
            f"nothing to train: {f'done before: {names}' if names else 'name a recipe with --recipe'}"
        )
    while left and deadline.left > 1:
        recipe = left.pop(0)
        # A CPU takes longer to start than a GPU, so that in a trial all have the same time.
        waiting = [other for other in left if trial or other.seconds is None]
        asked = (None if trial else recipe.seconds) or deadline.left / (1 + len(waiting))
        try:
            _train(results, recipe, device, min(asked, deadline.left), work, trial)
        except Exception as error:
            results.add(STAGE, recipe.name, "failed", error=error_lines(error))
            results.say(f"{recipe.name} FAILED: {' | '.join(error_lines(error))}")
    results.not_reached(STAGE, [recipe.name for recipe in left], f"the stage's {seconds:.0f} s were over")


def _train(results: Results, recipe: Recipe, device: str, seconds: float, work: Path, trial: bool) -> None:
    folder = work / recipe.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A busy CPU needs longer for its last step, evaluation and checkpoint.
    slower = 3 if device.startswith("cpu") else 1
    minutes = max((seconds - slower * _MARGIN) / 60, seconds / 120)
    log = results.logs / "train.log"
    if (folder / "latest").is_file():
        arguments = ["--resume", str(folder)]
    else:
        shutil.rmtree(folder, ignore_errors=True)
        arguments = ["--preset", recipe.preset, "--output-dir", str(folder), f"train.device={device}",
                     f"train.max_minutes={minutes:.3f}", *_overrides(recipe, work, trial)]  # fmt: skip
    started = time.monotonic()
    deadline = Deadline(max(seconds - slower * _LAST_WORDS, 0.8 * seconds))
    process = Process(["-m", "hrm_cli", "train", "--json", "--no-report", *arguments], log)
    printed: list[str] = []
    while process.is_running and deadline.left > 0:
        try:
            while (line := process.line(min(_POLL_SECONDS, deadline.left))) is not None:
                printed.append(line)
            break
        except TimeoutError:
            _bring(results.folder, recipe, folder)
    problem = None
    try:
        process.wait(5 if deadline.left else 0.01)
    except TimeoutError:
        problem = f"stopped after {seconds:.0f} s"
        process.interrupt()
        try:
            process.wait(slower * _LAST_WORDS)
        except TimeoutError:
            problem = f"killed after {seconds:.0f} s: it did not stop at Ctrl-C"
    status = process.end()
    brought = _bring(results.folder, recipe, folder)
    figures = {
        "seconds": round(time.monotonic() - started, 1),
        "exit_status": status,
        "files": brought,
        **_summary(folder),
        **_whole_run(recipe, folder, work, trial),
    }
    # A process that has printed its result and is stopped while it exits has done all its work.
    complete = status in (0, 130) or _is_json("".join(printed))
    if complete and (folder / "latest").is_file():
        results.add(STAGE, recipe.name, "ok", preset=recipe.preset, overrides=recipe.overrides, **figures)
        results.say(f"{recipe.name}: {json.dumps(figures, ensure_ascii=False)}")
    else:
        error = [*([problem] if problem else []), *last_lines("".join(printed), 2),
                 *last_lines(process.logged(), 8)]  # fmt: skip
        results.add(STAGE, recipe.name, "failed", error=error, **figures)
        results.say(f"{recipe.name} FAILED, status {status}: {' | '.join(error)}")


def _overrides(recipe: Recipe, work: Path, trial: bool) -> list[str]:
    """What follows `hrm train --preset PRESET`. Earlier recipes are runs, and datasets folders, next to this run."""
    found = []
    for word in [*recipe.overrides, *(recipe.trial if trial else ())]:
        if word.startswith("--checkpoint="):
            found += ["--checkpoint", str(work / word.partition("=")[2])]
        else:
            found.append(word)
    if recipe.data is not None:
        found.append(f"data.path={work / 'data' / recipe.data}")
    if recipe.other_sizes:
        folders = [str(work / "data" / name) for name in recipe.other_sizes]
        found.append(f"data.other_sizes={json.dumps(folders)}")
    return found


def _whole_run(recipe: Recipe, folder: Path, work: Path, trial: bool) -> dict[str, Any]:
    """Steps of the published run of the recipe's preset, and its hours at the examples per second of this run."""
    from hrm_cli.config.presets import load_preset
    from hrm_cli.data.batches import planned_steps
    from hrm_cli.data.format import Dataset
    from hrm_cli.errors import HRMError

    if not recipe.published or recipe.data is None:
        return {}
    logged = [record for record in _records(folder) if record.get("kind") == "train"]
    try:
        config = load_preset(recipe.preset).train
        facts = Dataset.open(work / "data" / recipe.data).metadata
    except HRMError as error:
        return {"whole_run": {"unknown": str(error)}}
    groups = facts.total_groups
    if trial and (puzzles := config_of(recipe.data).subsample_size):
        groups = puzzles  # the trial's dataset has fewer
    steps = planned_steps(config, groups, facts.mean_puzzle_examples)
    if len(logged) < 2:
        return {"whole_run": {"steps": steps, "hours": "unknown: fewer than two log lines"}}
    (first, last) = (logged[0], logged[-1])
    each = (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    settings = [*recipe.overrides, *(recipe.trial if trial else ())]
    batch = load_preset(
        recipe.preset, [s for s in settings if not s.startswith("--")]
    ).train.global_batch_size
    return {
        "whole_run": {
            "steps": steps,
            "batch": config.global_batch_size,
            "seconds_per_step": round(each, 4),
            "of_batch": batch,
            "hours": round(steps * each * config.global_batch_size / batch / 3600, 2),
        }
    }


def _bring(output: Path, recipe: Recipe, folder: Path) -> dict[str, str]:
    """Copies the best weights so far and the figures under flat names. Returns the outcome for each file."""
    brought = {}
    weights = _best_weights(folder)
    wanted = [(folder / "metrics.jsonl", f"{recipe.name}.metrics.jsonl")]
    if weights is not None:
        wanted.append((weights, f"{recipe.name}.safetensors"))
    for source, name in wanted:
        target = output / name
        try:
            made = source.stat()
            halved = made.st_size > LARGEST
            if made.st_size > 2 * LARGEST or (halved and source is not weights):
                brought[name] = f"left out: {made.st_size / 2**20:.0f} MiB"
                continue
            if not target.is_file() or target.stat().st_mtime < made.st_mtime:
                partial = output / f".{name}.partial"
                if halved:
                    _write_in_bfloat16(source, partial)
                    os.utime(partial, ns=(made.st_atime_ns, made.st_mtime_ns))
                else:
                    shutil.copy2(source, partial)
                partial.replace(target)
            brought[name] = f"{target.stat().st_size} bytes{', in bfloat16' if halved else ''}"
        except OSError as error:  # a checkpoint that is pruned this very moment
            brought[name] = f"not copied: {error}"
    return brought


def _write_in_bfloat16(source: Path, target: Path) -> None:
    """Writes a model file again with weights of half the size, the format of the bundled models."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        halved = {name: t.to(torch.bfloat16) if t.is_floating_point() else t for name, t in tensors.items()}
        save_file(halved, target, file.metadata())


def _best_weights(folder: Path) -> Path | None:
    from hrm_cli.checkpoints.model_files import find_model_file
    from hrm_cli.errors import HRMError

    try:
        return find_model_file(folder)
    except (HRMError, OSError):
        return None


def _summary(folder: Path) -> dict[str, Any]:
    """Steps, the first and last log lines, and the last and best evaluation, from metrics.jsonl."""
    records = _records(folder)
    if not records:
        return {}
    evaluations = [record for record in records if record.get("kind") == "eval"]
    summary: dict[str, Any] = {
        "steps": max((record["step"] for record in records if "step" in record), default=0)
    }
    trained = [record for record in records if record.get("kind") == "train"]
    for name, record in zip(("first_logged", "last_logged"), (trained[:1], trained[-1:]), strict=True):
        for found in record:
            summary[name] = {key: found[key] for key in ("step", "loss", "accuracy") if key in found}
    if evaluations:
        best = max(evaluations, key=lambda record: record["exact_accuracy"])
        summary |= {
            "evaluations": len(evaluations),
            "last": {"step": evaluations[-1]["step"], "exact_accuracy": evaluations[-1]["exact_accuracy"]},
            "best": {"step": best["step"], "exact_accuracy": best["exact_accuracy"]},
        }
    return summary


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _records(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
