"""The measurements of `hrm analyze`, as one document.

Letters in shapes: n puzzles, S tokens, H width, D steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import step_flops
from hrm_cli.analysis.attention import AttentionTally, pair_kinds
from hrm_cli.analysis.dynamics import (
    TRAJECTORIES,
    Modules,
    Puzzles,
    Recorded,
    kept_steps,
    one_empty_cell,
    perturbed,
    record,
)
from hrm_cli.analysis.measures import decline, last_change, participation_ratio, principal_components
from hrm_cli.analysis.recording import blocks_per_step
from hrm_cli.analysis.sampled import SampleRequest, dataset_folder, find_split
from hrm_cli.checkpoints.model_files import ModelCard, load_model, read_model_card
from hrm_cli.data.format import Dataset
from hrm_cli.errors import DatasetError
from hrm_cli.evaluation.evaluate import check_fit, sample_examples
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.models.act import ACTModel
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import Domain, parse_domain
from hrm_cli.reporting import Reporter, stages

BUDGET = 6e12
"""FLOPs of an analysis by default: a few minutes on two cores."""
FEWEST, MOST = 8, 64
SCALES = (0.0, 0.1, 0.3, 1.0)
"""Noise of the perturbed states, relative to their root mean square."""
MOST_FURTHER_STEPS = 16
"""Steps after a perturbation, and on grids with one empty cell."""
UNTRAINED_SEED = 0


@dataclass(frozen=True)
class AnalyzeRequest:
    """What to analyze. None uses the default."""

    checkpoint: str
    data: str | None = None
    split: str | None = None
    sample: int | None = None
    max_steps: int | None = None
    """None: twice the trained depth."""
    seed: int = 0


def analyze(request: AnalyzeRequest, reporter: Reporter, device: torch.device) -> dict[str, Any]:
    """Analyzes the checkpoint. Raises CheckpointError, ConfigError or DatasetError."""
    checkpoint = Path(request.checkpoint)
    card = read_model_card(checkpoint)
    folder = dataset_folder(SampleRequest(request.checkpoint, request.data), card)
    dataset = Dataset.open(folder, find_split(folder, request.split))
    if not dataset.has_answers:
        raise DatasetError(f"{folder}: the {dataset.split} split has no answers to compare with")
    model, card = load_model(checkpoint, device, domain=parse_domain(dataset.metadata.domain))
    check_fit(model, dataset)
    trained = model.arch.halt_max_steps
    steps = request.max_steps or 2 * trained
    count = request.sample or _default_sample(model, steps, trained)
    among = sample_examples(dataset.num_examples, count, request.seed)
    puzzles = _puzzles(dataset, among, device)
    domain = TokenReader.of(dataset.metadata).domain
    blank = getattr(domain, "blank_token", None)
    pairs = None if _no_attention(model) else pair_kinds(domain)
    tally = None if pairs is None else AttentionTally(pairs)
    empty = None if blank is None else puzzles.inputs == blank
    further = min(trained, MOST_FURTHER_STEPS)
    with stages(reporter) as report:
        total = len(puzzles) * steps
        report("reasoning", 0, total)
        found = record(
            model, puzzles, steps, trained, tally=tally, empty=empty,
            progress=lambda done: report("reasoning", done, total),
        )  # fmt: skip
        report("the untrained model", 0, None)
        untrained = _untrained(model, card, puzzles, trained)
        report("perturbed states", 0, None)
        stability = perturbed(model, puzzles, trained, further, SCALES, request.seed)
        single = None
        if blank is not None and bool((puzzles.labels >= 0).all()):
            report("one empty cell", 0, None)
            single = one_empty_cell(model, puzzles, blank, further, request.seed)
    return {
        "checkpoint": request.checkpoint,
        "model": _model(model, card, domain),
        "data": str(folder),
        "split": dataset.split,
        "puzzles": len(puzzles),
        "of": dataset.num_examples,
        "seed": request.seed,
        "steps": steps,
        "trained_steps": trained,
        "regime": {
            "training_data": card.training_data(),
            "built_in_knowledge": card.built_in_knowledge(),
            "effort": f"one pass of {steps:,} steps without halting, in float32",
            "rules": "not used",
        },
        "accuracy": _accuracy(found),
        "residuals": _residuals(found, trained),
        "updates": [
            {"step": step, "module": module, "residual": value} for step, module, value in found.updates
        ],
        "participation": _participation(found.states, untrained, trained),
        "trajectories": _trajectories(found),
        "effective_depth": _effective_depth(found, model),
        "stability": stability,
        "one_empty_cell": single,
        "attention": None
        if tally is None
        else tally.document(None if empty is None else float(empty.float().mean())),
        "does_not_apply": _not_applicable(model, domain, tally, single),
    }


def _default_sample(model: ACTModel, steps: int, trained: int) -> int:
    core = model.core
    each = step_flops(components(model.arch, core.vocab_size, core.seq_len)).forward
    further = min(trained, MOST_FURTHER_STEPS)
    taken = steps + 2 * trained + further * (len(SCALES) + 1)
    return int(min(max(BUDGET // max(each * taken, 1), FEWEST), MOST))


def _puzzles(dataset: Dataset, among: NDArray[np.int64], device: torch.device) -> Puzzles:
    from hrm_cli.data.batches import evaluation_batches

    batches = list(evaluation_batches(dataset, len(among), among=among))
    inputs, labels, identifiers = (
        torch.from_numpy(np.concatenate([getattr(batch, name) for batch in batches])).to(device)
        for name in ("inputs", "labels", "puzzle_identifiers")
    )
    return Puzzles(inputs, labels, identifiers)


def _model(model: ACTModel, card: ModelCard, domain: Domain | None) -> dict[str, Any]:
    arch = model.arch
    return {
        "core": arch.core,
        "mixer": arch.mixer,
        "step": card.step,
        "hidden_size": arch.hidden_size,
        "cycles": [arch.H_cycles, arch.L_cycles],
        "layers": [arch.H_layers, arch.L_layers],
        "shares_module": _shares_module(model),
        "puzzles": f"{model.core.seq_len:,} tokens" if domain is None else domain.describe(),
    }


def _shares_module(model: ACTModel) -> bool:
    core = model.inner
    if not isinstance(core, RecurrentCore):
        return False
    H_level, L_level = core.modules_by_role()
    return H_level is L_level


def _accuracy(found: Recorded) -> list[dict[str, Any]]:
    count = found.exact.shape[1]
    rows = []
    for step, (exact, cells) in enumerate(zip(found.exact, found.right_cells, strict=True), 1):
        share = float(exact.mean())
        rows.append(
            {
                "step": step, "exact_accuracy": share, "interval": list(wilson_interval(share, count)),
                "cell_accuracy": float(cells.mean()),
            }
        )  # fmt: skip
    return rows


def _residuals(found: Recorded, trained: int) -> dict[str, Any]:
    """The residual of each module over steps, for puzzles that end right and wrong."""
    right = found.exact[-1]
    parts: dict[str, Any] = {}
    for module, values in found.residuals.items():
        parts[module] = {
            "all": values.mean(axis=1).tolist(),
            "right": values[:, right].mean(axis=1).tolist() if right.any() else None,
            "wrong": values[:, ~right].mean(axis=1).tolist() if not right.all() else None,
            "factor_per_step": decline(values.mean(axis=1)[:trained].tolist()),
        }
    return parts


def _participation(states: Modules, untrained: Modules, trained: int) -> dict[str, Any]:
    """Participation ratios of both states, for growing numbers of puzzles, and those of an untrained model."""
    count = len(states["H"])
    sizes = sorted({size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size < count} | {count})

    def ratio(part: NDArray[np.float32]) -> float:
        return participation_ratio(part.reshape(-1, part.shape[-1]))

    by_puzzles = [
        {"puzzles": size, "H": ratio(states["H"][:size]), "L": ratio(states["L"][:size])} for size in sizes
    ]
    steps = kept_steps(trained)
    by_step = [
        {"step": step, "H": ratio(states["H"][:, place]), "L": ratio(states["L"][:, place])}
        for place, step in enumerate(steps)
    ]
    high, low = by_puzzles[-1]["H"], by_puzzles[-1]["L"]
    blank = {module: ratio(part) for module, part in untrained.items()}
    return {
        "H": high,
        "L": low,
        "H_over_L": high / low if low else None,
        "untrained": {**blank, "H_over_L": blank["H"] / blank["L"] if blank["L"] else None},
        "width": int(states["H"].shape[-1]),
        "states": int(np.prod(states["H"].shape[:-1])),
        "by_puzzles": by_puzzles,
        "by_step": by_step,
    }


def _untrained(model: ACTModel, card: ModelCard, puzzles: Puzzles, trained: int) -> Modules:
    """The same states of a model with the same architecture and random weights."""
    facts = card.facts
    fresh = build_model(
        model.arch, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, domain=facts.domain,
        device=model.device, generator=torch.Generator().manual_seed(UNTRAINED_SEED),
    )  # fmt: skip
    return record(fresh, puzzles, trained, trained).states


def _trajectories(found: Recorded) -> dict[str, Any]:
    """Whole states of a few puzzles over the steps, in the two directions of their largest variance."""
    parts: dict[str, Any] = {"right": found.exact[-1][:TRAJECTORIES].tolist()}
    for module, paths in found.trajectories.items():
        count, length, width = paths.shape
        components_ = principal_components(paths.reshape(-1, width))
        places = components_.places.reshape(count, length, 2)
        parts[module] = {"shares": components_.shares, "paths": np.round(places, 3).tolist()}
    return parts


def _effective_depth(found: Recorded, model: ACTModel) -> dict[str, Any]:
    """The step after which an answer no longer changes, for puzzles that end right and wrong."""
    steps = last_change(found.answers)
    right = found.exact[-1]
    each = blocks_per_step(model)
    parts: dict[str, Any] = {"blocks_per_step": each, "steps_taken": len(found.answers)}
    for name, chosen in (("right", right), ("wrong", ~right)):
        values = steps[chosen]
        parts[name] = (
            None
            if not len(values)
            else {
                "puzzles": len(values),
                "mean": float(values.mean()),
                "median": float(np.median(values)),
                "nine_tenths": float(np.quantile(values, 0.9)),
                "mean_blocks": None if each is None else float(values.mean()) * each,
            }
        )
    return parts


def _no_attention(model: ACTModel) -> str:
    """Why attention cannot be shown; empty if it can."""
    if not isinstance(model.inner, RecurrentCore):
        return (
            f"attention and single updates are recorded for the cores hrm and trm, not for {model.arch.core}"
        )
    mixer = model.arch.mixer
    if mixer in ("attention", "units"):
        return ""
    return f"the mixer {mixer} has no attention: cells exchange information by fixed weights"


def _not_applicable(
    model: ACTModel, domain: Domain | None, tally: AttentionTally | None, single: Any
) -> dict[str, str]:
    """What was left out, and why."""
    found: dict[str, str] = {}
    if reason := _no_attention(model):
        found["attention"] = reason
    elif tally is None or not tally.sums:
        what = "these puzzles" if domain is None else domain.describe()
        found["attention"] = f"no relations between cells are known for {what}"
    if not isinstance(model.inner, RecurrentCore):
        found["updates"] = found["attention"]
    if single is None:
        found["one_empty_cell"] = "the puzzles have no empty cells to fill in"
    if _shares_module(model):
        found["hierarchy"] = (
            "one module updates both states, so that H and L are two roles of the same weights"
        )
    if model.arch.mixer == "units" and not _shares_module(model):
        found["attention of L"] = (
            "with the mixer units, the L-module of core hrm has no attention, by construction"
        )
    return found
