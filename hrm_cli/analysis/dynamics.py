"""Lets a model reason about a sample of puzzles and keeps what its states and answers do at every step.

Letters in shapes: n puzzles, B of them in a batch, S tokens, T positions of a state, H width, D steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm_cli.analysis.attention import AttentionTally
from hrm_cli.analysis.recording import UpdateRecorder, recording
from hrm_cli.data.metadata import IGNORED_LABEL
from hrm_cli.models.act import ACTModel
from hrm_cli.models.core import InnerCarry, relative_change

BATCH = 16
CELLS_PER_PUZZLE = 8
"""Positions of each puzzle whose states count for the participation ratio."""
STEPS_KEPT = 8
"""Steps whose states count for it, spread over the trained depth."""
TRAJECTORIES = 6
"""Puzzles whose whole states are kept at every step."""

Modules = dict[str, NDArray[np.float32]]
"""By module, H or L."""


@dataclass
class Puzzles:
    """The sample on the model's device."""

    inputs: Tensor
    """`[n, S]`"""
    labels: Tensor
    """`[n, S]`, −100 where there is no label."""
    identifiers: Tensor
    """`[n]`"""

    def __len__(self) -> int:
        return len(self.inputs)

    def exact(self, answers: Tensor, rows: slice | Tensor) -> Tensor:
        """Whether the answers to `rows` are right in every labeled cell, `[B]`."""
        labels = self.labels[rows]
        return ((answers == labels) | (labels == IGNORED_LABEL)).all(1)

    def right_cells(self, answers: Tensor, rows: slice | Tensor) -> Tensor:
        """The fraction of labeled cells that are right, `[B]`."""
        labels = self.labels[rows]
        labeled = labels != IGNORED_LABEL
        return ((answers == labels) & labeled).sum(1) / labeled.sum(1).clamp(min=1)

    def batches(self) -> Iterator[slice]:
        """Slices of at most `BATCH` puzzles."""
        for start in range(0, len(self), BATCH):
            yield slice(start, min(start + BATCH, len(self)))


@dataclass
class Recorded:
    """What happened, with all puzzles side by side."""

    answers: NDArray[np.int64]
    """`[D, n, S]`"""
    exact: NDArray[np.bool_]
    """`[D, n]`"""
    right_cells: NDArray[np.float32]
    """`[D, n]`"""
    halt_values: NDArray[np.float32]
    """`[D, n]`"""
    residuals: Modules
    """‖after − before‖ ÷ ‖after‖ of each step, `[D, n]` for each module."""
    updates: list[tuple[int, str, float]] = field(default_factory=list)
    """Step, module and mean residual of each single update up to the trained depth; empty for other cores."""
    states: Modules = field(default_factory=dict)
    """States of some positions at some steps, `[n, kept steps, kept positions, H]` for each module."""
    trajectories: Modules = field(default_factory=dict)
    """Whole states of a few puzzles from the initial one on, `[puzzles, D + 1, T·H]` for each module."""


def run_steps(
    model: ACTModel,
    puzzles: Puzzles,
    rows: slice | Tensor,
    steps: int,
    *,
    recorder: UpdateRecorder | None = None,
    start: InnerCarry | None = None,
) -> Iterator[tuple[int, InnerCarry, InnerCarry, Tensor, Tensor]]:
    """Takes `steps` ACT steps on the puzzles `rows` without halting.

    Yields the step, the states before and after it, the answers `[B, S]` and the halt values `[B]`.
    """
    inputs = puzzles.inputs[rows]
    weights = model.core.cast_weights()
    embeddings = model.puzzle_rows(puzzles.identifiers[rows])
    carry = start or model.core.initial_carry(inputs)
    for step in range(1, steps + 1):
        if recorder is not None:
            recorder.begin_step()
        before = carry
        carry, out = model.core(carry, inputs, embeddings, weights)
        assert out.logits is not None
        yield step, before, carry, out.logits.argmax(-1), out.q_halt.float()


def kept_steps(trained: int) -> list[int]:
    """Steps from 1 to the trained depth whose states are kept."""
    return sorted({int(step) for step in np.linspace(1, trained, min(trained, STEPS_KEPT)).round()})


@torch.inference_mode()
def record(
    model: ACTModel,
    puzzles: Puzzles,
    steps: int,
    trained: int,
    *,
    tally: AttentionTally | None = None,
    empty: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Recorded:
    """Takes `steps` steps on all puzzles. Attention and single updates are recorded up to the step `trained`.

    `empty` `[n, S]`: cells without a given, for the tally.
    """
    model.eval()
    parts: list[dict[str, Any]] = []
    updates: dict[tuple[int, int], list[tuple[str, float]]] = {}
    generator = np.random.default_rng(0)
    with recording(model) as recorder:
        for rows in puzzles.batches():
            chosen = None if empty is None else empty[rows].cpu().numpy()
            part: dict[str, Any] = {name: [] for name in ("answers", "exact", "cells", "halt", "H", "L")}
            kept: dict[str, list[NDArray[np.float32]]] = {"H": [], "L": []}
            paths: dict[str, list[NDArray[np.float32]]] = {"H": [], "L": []}
            now = {"step": 0, "count": 0}

            def on_update(module: str, before: Tensor, after: Tensor, now: dict[str, int] = now) -> None:
                now["count"] += 1
                value = float(relative_change(before, after).mean())
                updates.setdefault((now["step"], now["count"]), []).append((module, value))

            def on_attention(
                module: str, block: int, weights: Tensor, chosen: NDArray[np.bool_] | None = chosen
            ) -> None:
                assert tally is not None
                tally.add(module, block, weights.cpu().numpy(), chosen)

            positions: NDArray[np.int64] | None = None
            leading = max(0, min(TRAJECTORIES, len(puzzles)) - rows.start)
            _listen(recorder, on_update, on_attention if tally is not None else None)
            now |= {"step": 1, "count": 0}
            for step, before, after, answers, halt in run_steps(
                model, puzzles, rows, steps, recorder=recorder
            ):
                states = {"H": (before.z_H, after.z_H), "L": (before.z_L, after.z_L)}
                part["answers"].append(answers.cpu().numpy())
                part["exact"].append(puzzles.exact(answers, rows).cpu().numpy())
                part["cells"].append(puzzles.right_cells(answers, rows).cpu().numpy())
                part["halt"].append(halt.cpu().numpy())
                if positions is None:
                    total = after.z_H.shape[1]
                    count = min(CELLS_PER_PUZZLE, total)
                    positions = np.stack(
                        [generator.choice(total, count, replace=False) for _ in range(len(answers))]
                    )
                for module, (old, new) in states.items():
                    part[module].append(relative_change(old, new).cpu().numpy())
                    if step in kept_steps(trained):
                        kept[module].append(_at(new, positions))
                    if leading > 0:
                        if step == 1:
                            paths[module].append(old[:leading].float().flatten(1).cpu().numpy())
                        paths[module].append(new[:leading].float().flatten(1).cpu().numpy())
                now |= {"step": step + 1, "count": 0}
                if step == trained:
                    _listen(recorder, None, None)
                if progress is not None:
                    progress(rows.start * steps + step * len(answers))
            part["kept"] = {module: np.stack(found, axis=1) for module, found in kept.items()}
            part["paths"] = {module: np.stack(found, axis=1) for module, found in paths.items() if found}
            parts.append(part)

    def joined(name: str) -> Any:
        return np.concatenate([np.stack(part[name]) for part in parts], axis=1)

    return Recorded(
        joined("answers"),
        joined("exact"),
        joined("cells"),
        joined("halt"),
        {module: joined(module) for module in ("H", "L")},
        [
            (step, found[0][0], float(np.mean([value for _, value in found])))
            for (step, _), found in sorted(updates.items())
        ],
        {module: np.concatenate([part["kept"][module] for part in parts]) for module in ("H", "L")},
        {
            module: np.concatenate([part["paths"][module] for part in parts if part["paths"]])
            for module in ("H", "L")
        },
    )


def _listen(recorder: UpdateRecorder | None, on_update: Any, on_attention: Any) -> None:
    if recorder is not None:
        recorder.on_update, recorder.on_attention = on_update, on_attention


def _at(state: Tensor, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """The states `[B, T, H]` at some positions `[B, k]`: `[B, k, H]`."""
    rows = torch.arange(len(state)).unsqueeze(1)
    found: NDArray[np.float32] = state[rows, torch.from_numpy(positions)].float().cpu().numpy()
    return found


@torch.inference_mode()
def perturbed(
    model: ACTModel, puzzles: Puzzles, settle: int, steps: int, scales: tuple[float, ...], seed: int
) -> dict[str, Any]:
    """Disturbs the states of solved puzzles and counts the right answers afterwards.

    `settle` steps are taken first. Then Gaussian noise of `scale` times the state's root mean square is added to both
    states, and `steps` more steps are taken.
    """
    solved, right_after = 0, np.zeros((len(scales), steps))
    generator = torch.Generator().manual_seed(seed)
    with recording(model):
        for rows in puzzles.batches():
            *_, (_, _, carry, answers, _) = run_steps(model, puzzles, rows, settle)
            chosen = puzzles.exact(answers, rows).nonzero().squeeze(-1)
            if not len(chosen):
                continue
            solved += len(chosen)
            places = chosen + rows.start
            for number, scale in enumerate(scales):
                disturbed = functools.partial(_disturbed, scale=scale, generator=generator)
                start = carry.select(chosen).map(disturbed)
                for step, _, _, found, _ in run_steps(model, puzzles, places, steps, start=start):
                    right_after[number, step - 1] += int(puzzles.exact(found, places).sum())
    shares = right_after / max(solved, 1)
    return {
        "settle_steps": settle,
        "steps": steps,
        "solved": solved,
        "scales": [
            {"scale": scale, "right_after_one": float(row[0]), "right_at_end": float(row[-1])}
            for scale, row in zip(scales, shares, strict=True)
        ]
        if solved
        else [],
    }


def _disturbed(state: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    size = state.float().square().mean((1, 2), keepdim=True).sqrt()
    noise = torch.randn(state.shape, generator=generator).to(state.device)
    return (state.float() + scale * size * noise).to(state.dtype)


@torch.inference_mode()
def one_empty_cell(model: ACTModel, puzzles: Puzzles, blank: int, steps: int, seed: int) -> dict[str, Any]:
    """Lets the model fill a single empty cell of solved grids, one random cell each."""
    generator = torch.Generator().manual_seed(seed)
    cell = torch.randint(puzzles.inputs.shape[1], (len(puzzles), 1), generator=generator)
    cell = cell.to(puzzles.inputs.device)
    nearly = Puzzles(puzzles.labels.clone().scatter_(1, cell, blank), puzzles.labels, puzzles.identifiers)
    right = np.zeros(steps)
    with recording(model):
        for rows in nearly.batches():
            for step, _, _, answers, _ in run_steps(model, nearly, rows, steps):
                right[step - 1] += int(nearly.exact(answers, rows).sum())
    shares = (right / max(len(nearly), 1)).tolist()
    return {
        "puzzles": len(nearly),
        "steps": steps,
        "after_one": shares[0],
        "at_end": shares[-1],
        "best": max(shares),
    }
