"""Scores a checkpoint on a sample of a split, and keeps every puzzle's answer for the report.

Letters in shapes: n puzzles, S tokens, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import step_flops
from hrm_cli.checkpoints.model_files import ModelCard, load_model, read_model_card
from hrm_cli.config.arch import ArchConfig
from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import IGNORED_LABEL
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.evaluation.attempted import dataset_domain, evaluate_with_effort
from hrm_cli.evaluation.attempts import default_attempt_steps, has_rules
from hrm_cli.evaluation.baselines import measure_baselines
from hrm_cli.evaluation.effort import EffortRequest, How, Level
from hrm_cli.evaluation.evaluate import Answers, check_fit, evaluate, sample_examples
from hrm_cli.evaluation.measuring import own_dataset
from hrm_cli.evaluation.results import Measurement, Sample
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.models.act import ACTModel
from hrm_cli.models.out_of_memory import memory_errors_reported
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import parse_domain
from hrm_cli.reporting import Reporter, stages

MOST_PUZZLES = 256
"""Largest sample by default."""
FEWEST_PUZZLES = 8
BUDGET = 2.5e12
"""FLOPs of a sample by default: well under a minute on two cores."""
_BATCH = 64
_MOST_LIKELY = 4
_EVERY_DEPTH = 16
"""Up to this many steps, accuracy is counted after every step; above, after some."""


@dataclass(frozen=True)
class SampleRequest:
    """What to score. None uses the default."""

    checkpoint: str
    data: str | None = None
    split: str | None = None
    """None: test, or validation if there is no test split."""
    sample: int | None = None
    max_steps: Sequence[int] = ()
    """The largest is the maximum number of steps; accuracy is counted at all of them."""
    effort: Level | None = None
    """None: one pass."""
    halt: str | None = None
    seed: int = 0
    budget: float = BUDGET
    """FLOPs for the default sample size."""
    most: int = MOST_PUZZLES
    """Largest default sample size."""


@dataclass
class PuzzleAnswers:
    """The sampled puzzles and the answers to them, by number of the example."""

    examples: NDArray[np.int64]
    """`[n]`"""
    inputs: NDArray[np.int32]
    """`[n, S]`"""
    labels: NDArray[np.int32]
    """`[n, S]`, −100 where there is no label."""
    predictions: NDArray[np.int64]
    """`[n, S]`"""
    identifiers: NDArray[np.int32]
    """`[n]`"""
    steps: NDArray[np.int64]
    """ACT steps, `[n]`."""
    halt_values: NDArray[np.float32]
    """Logits, `[n]`."""
    cells: NDArray[np.float32]
    """Probability of each predicted token, `[n, S]`."""

    @property
    def labeled(self) -> NDArray[np.bool_]:
        """Cells with a label, `[n, S]`."""
        return np.not_equal(self.labels, IGNORED_LABEL)

    @property
    def right_cells(self) -> NDArray[np.bool_]:
        """Labeled cells with the right answer, `[n, S]`."""
        return self.labeled & np.equal(self.predictions, self.labels)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Puzzles with every labeled cell right, `[n]`."""
        return np.all(self.right_cells | ~self.labeled, axis=1)

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> PuzzleAnswers:
        """All answers whose puzzle has a label, in the order of the examples."""

        def of(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        order = np.argsort(of("examples"), kind="stable")
        order = order[(of("labels") != IGNORED_LABEL).any(axis=1)[order]]
        names = (
            "examples",
            "inputs",
            "labels",
            "predictions",
            "puzzle_identifiers",
            "steps",
            "q_halt",
            "cells",
        )
        return cls(*(of(name)[order] for name in names))


@dataclass(frozen=True)
class Scored:
    """A checkpoint's scores on a sample, with the puzzles behind them."""

    measurement: Measurement
    answers: PuzzleAnswers
    dataset: Dataset
    model: ACTModel
    card: ModelCard
    notes: list[str] = field(default_factory=list)


def default_sample(
    arch: ArchConfig, vocab_size: int, seq_len: int, max_steps: int, budget: float, most: int = MOST_PUZZLES
) -> int:
    """As many puzzles as `budget` FLOPs allow at the most steps, from 8 to `most`."""
    each = step_flops(components(arch, vocab_size, seq_len)).forward * max_steps
    return int(min(max(budget // max(each, 1), FEWEST_PUZZLES), most))


def find_split(folder: Path, wanted: str | None) -> str:
    """The split to score: the requested one, else test, else validation."""
    if wanted is not None:
        return wanted
    return next((name for name in ("test", "validation") if (folder / name).is_dir()), "test")


def dataset_folder(request: SampleRequest, card: ModelCard) -> Path:
    """The folder of the dataset. Raises DatasetError if none was named and the run's own cannot be found."""
    if request.data is not None:
        return Path(request.data)
    folder = own_dataset(card.path, card.preset.data.path)
    if not folder.is_dir():
        raise DatasetError(f"the dataset of its run, {folder}, no longer exists; name one with --data DIR")
    return folder


def score_sample(request: SampleRequest, reporter: Reporter, device: torch.device) -> Scored:
    """Scores the checkpoint. Raises CheckpointError, ConfigError, or DatasetError without a suitable dataset."""
    checkpoint = Path(request.checkpoint)
    card = read_model_card(checkpoint)
    folder = dataset_folder(request, card)
    dataset = Dataset.open(folder, find_split(folder, request.split))
    if not dataset.has_answers:
        raise DatasetError(f"{folder}: the {dataset.split} split has no answers to compare with")
    model, card = load_model(checkpoint, device, domain=parse_domain(dataset.metadata.domain))
    check_fit(model, dataset)
    if request.effort is not None:
        _check_rules(request.effort, dataset)
    arch = model.arch
    max_steps = max(request.max_steps, default=card.preset.eval.max_steps or arch.halt_max_steps)
    wanted = request.sample or default_sample(
        arch, model.core.vocab_size, model.core.seq_len, max_steps, request.budget, request.most
    )
    among = sample_examples(dataset.num_examples, wanted, request.seed)
    changes = {"max_steps": max_steps, "max_puzzles": None, "batch_size": _BATCH}
    if request.halt is not None:
        changes["halt"] = request.halt  # type: ignore[assignment]
    config = card.preset.eval.model_copy(update=changes)
    depths = sorted({*_depths(max_steps), *request.max_steps})
    parts: list[Answers] = []
    notes = []
    if is_arc(dataset):
        notes.append(
            "Every augmented copy of a task counts on its own here; hrm eval prints pass@2, where the copies vote."
        )
    with (
        memory_errors_reported(device, lambda: (f"evaluating {_BATCH} puzzles at once", "take --device cpu")),
        stages(reporter) as report,
    ):
        report("evaluating", 0, len(among))

        def finished(count: int) -> None:
            report("evaluating", min(count, len(among)), len(among))

        attempted = None
        if request.effort is None:
            result = evaluate(
                model, dataset, config, progress=finished, on_answers=parts.append, depths=depths, among=among,
                with_opinions=True,
            )  # fmt: skip
        else:
            begun: dict[How, int] = {}

            def trying(how: How, left: int) -> None:
                count = begun.setdefault(how, left)
                report(how, count - left, count)

            effort = EffortRequest(request.effort).of(
                arch, dataset_domain(dataset), default_attempt_steps(max_steps), seed=request.seed, batch_size=_BATCH
            )  # fmt: skip
            if effort.is_one_pass:
                notes.append(
                    f"Effort {request.effort} adds nothing here: the model gives every symmetric copy the same answer."
                )
            result, attempted = evaluate_with_effort(
                model, dataset, config, effort, depths=depths, among=among, progress=finished, trying=trying,
                on_answers=parts.append, with_opinions=True,
            )  # fmt: skip
            if effort.is_one_pass:
                attempted = None
    if not result.puzzles:
        raise DatasetError(
            f"{folder}: none of the {counted(len(among), 'sampled puzzle')} of {dataset.split} has an answer"
        )
    measured = Measurement(
        card.path, request.checkpoint, card.step, dataset.split, config.halt, max_steps, result, attempted,
        measure_baselines(dataset, among=among),
        sample=Sample(len(among), dataset.num_examples, request.seed), card=card,
    )  # fmt: skip
    return Scored(measured, PuzzleAnswers.joined(parts), dataset, model, card, notes)


def _check_rules(effort: str, dataset: Dataset) -> None:
    """Raises ConfigError if no rules can find the wrong answers that further effort is for."""
    domain = TokenReader.of(dataset.metadata).domain
    if domain is None or not has_rules(domain):
        what = "these puzzles have" if domain is None else f"{domain.describe()} has"
        raise ConfigError(
            f"--effort {effort}: {what} no rules that could verify an answer, so there is only one pass; omit it"
        )


def _depths(max_steps: int) -> list[int]:
    if max_steps <= _EVERY_DEPTH:
        return list(range(1, max_steps + 1))
    return sorted({round(max_steps ** (place / _EVERY_DEPTH)) for place in range(_EVERY_DEPTH + 1)})


@dataclass(frozen=True)
class Steps:
    """The answers to some puzzles after each step. A finished puzzle keeps its answer until the last one finishes."""

    places: NDArray[np.int64]
    """Places of the puzzles in `Scored.answers`, `[m]`."""
    tokens: NDArray[np.int64]
    """The most likely tokens of each cell, the most likely first, `[T, m, S, K]`."""
    probabilities: NDArray[np.float64]
    """Of these tokens, `[T, m, S, K]`."""
    halt_values: NDArray[np.float64]
    """Logits, `[T, m]`."""


@torch.inference_mode()
def steps_of(scored: Scored, places: NDArray[np.int64]) -> Steps:
    """Lets the model answer the puzzles at `places` once more, and keeps every step."""
    answers, model = scored.answers, scored.model
    inputs = torch.from_numpy(answers.inputs[places]).to(model.device)
    identifiers = torch.from_numpy(answers.identifiers[places]).to(model.device)
    likely = min(_MOST_LIKELY, model.core.vocab_size)
    shape = len(places), answers.inputs.shape[1], likely
    now = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(len(places))
    kept: list[tuple[NDArray[Any], ...]] = []
    adaptive = scored.measurement.halt == "adaptive"
    for step in model.infer(inputs, identifiers, scored.measurement.max_steps, adaptive=adaptive):
        assert step.logits is not None
        rows = step.rows.cpu().numpy()
        best = step.logits.float().softmax(-1).topk(likely, dim=-1)
        now[0][rows], now[1][rows] = best.indices.cpu().numpy(), best.values.double().cpu().numpy()
        now[2][rows] = step.q_halt.double().cpu().numpy()
        kept.append(tuple(part.copy() for part in now))
    return Steps(places, *(np.stack(part) for part in zip(*kept, strict=True)))


def as_level(effort: str | None) -> Level | None:
    """The level of `--effort`; None for `none`."""
    return None if effort in (None, "none") else cast(Level, effort)
