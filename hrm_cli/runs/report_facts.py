"""Gathers what `hrm report` shows: a run's curves, a checkpoint's scores, parameters, configuration, environment."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hrm_cli import __version__
from hrm_cli.analysis.sampled import SampleRequest, Scored, Steps, score_sample
from hrm_cli.analysis.scores import MOST_FAILURES, confidence_meaning, failure_steps, scores_document
from hrm_cli.checkpoints.model_files import ModelCard, find_model_file, read_model_card
from hrm_cli.config.redact import redact_document, redacted
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.errors import CheckpointError, DatasetError
from hrm_cli.puzzles.domain import parse_domain
from hrm_cli.reporting import Reporter
from hrm_cli.runs.records import CONFIG_FILE, RunRecords, read_run
from hrm_cli.runs.subjects import AssumedSizes, report_of_checkpoint

CURVES = ("loss", "exact_accuracy", "accuracy", "steps", "q_halt_accuracy", "lr")
"""Figures of training records that become curves."""
EVALUATED = ("exact_accuracy", "cell_accuracy", "mean_steps", "q_halt_accuracy")
_MOST_POINTS = 400


@dataclass(frozen=True)
class Subject:
    """What is reported on: a run, a checkpoint, or both."""

    name: str
    run: RunRecords | None
    card: ModelCard | None
    no_model: str = ""
    """The reason why there are no scores, if there is no checkpoint or it is not to be scored."""
    card_scores: bool = True
    """Whether the checkpoint is scored."""


@dataclass(frozen=True)
class ReportFacts:
    """The document of `hrm report --json`, and the scored sample that it was made from."""

    document: dict[str, Any]
    scored: Scored | None
    failures: Steps | None = None
    """The steps of the failures in the document."""


def find_subject(name: str) -> Subject:
    """The run and the checkpoint that `name` names. Raises CheckpointError or ConfigError if there is neither.

    A run folder without a readable checkpoint is a subject too: its curves can be shown.
    """
    path = Path(name)
    run = read_run(path) if (path / CONFIG_FILE).is_file() else None
    try:
        model_file = find_model_file(path)
        card = read_model_card(path)
    except CheckpointError as error:
        if run is None:
            raise
        return Subject(name, run, None, str(error))
    if run is None and not name.startswith(("bundled:", "hf:")):
        folder = _run_of(model_file)
        run = None if folder is None else read_run(folder)
    return Subject(name, run, card)


def _run_of(model_file: Path) -> Path | None:
    """The run folder that contains a model file: RUN/checkpoints/step-N/model.safetensors."""
    folder = model_file.parent.parent.parent
    is_run = model_file.parent.parent.name == "checkpoints" and (folder / CONFIG_FILE).is_file()
    return folder if is_run else None


def gather(
    subject: Subject,
    request: SampleRequest,
    reporter: Reporter,
    device: torch.device,
    environment: Mapping[str, Any],
    *,
    failures: int = MOST_FAILURES,
) -> ReportFacts:
    """Gathers everything. Without a dataset, or with one that does not fit a run, the scores are left out.

    Raises DatasetError or ConfigError if the user named a dataset that cannot be used.
    """
    scored, missing = None, subject.no_model
    if subject.card is not None and subject.card_scores:
        try:
            scored = score_sample(request, reporter, device)
        except DatasetError as error:
            if request.data is not None:
                raise
            missing = str(error)
        except CheckpointError as error:  # a damaged model file; the curves of its run can still be shown
            if subject.run is None:
                raise
            missing = str(error)
    steps = None if scored is None else failure_steps(scored, failures)
    document = {
        "report_of": subject.name,
        "hrm": __version__,
        "generated": time.strftime("%Y-%m-%d %H:%M %Z"),
        "model": None if subject.card is None else _model(subject.card),
        "run": None if subject.run is None else run_document(subject.run),
        "scores": None if scored is None else scores_document(scored, steps),
        "scores_missing": missing,
        "parameters": None if subject.card is None else _parameters(subject.name, subject.card),
        "throughput": _throughput(subject, scored, device),
        "configuration": _configuration(subject),
        "environment": dict(environment),
    }
    return ReportFacts(document, scored, steps)


def _model(card: ModelCard) -> dict[str, Any]:
    arch, facts = card.preset.arch, card.facts
    domain = parse_domain(facts.domain)
    return {
        "file": card.path.name,
        "step": card.step,
        "purpose": card.preset.purpose,
        "puzzles": f"{facts.seq_len:,} cells" if domain is None else domain.describe(),
        "core": arch.core,
        "mixer": arch.mixer,
        "hidden_size": arch.hidden_size,
        "cycles": [arch.H_cycles, arch.L_cycles],
        "halt_max_steps": arch.halt_max_steps,
        "halting": arch.halting,
        "confidence": confidence_meaning(arch),
        "training_data": card.training_data(),
        "built_in_knowledge": card.built_in_knowledge(),
    }


def run_document(run: RunRecords) -> dict[str, Any]:
    """State and curves of a run. A long curve is thinned to at most 400 points."""
    found = run.document()
    curves = {
        "train": {name: _points(run, "train", name) for name in CURVES},
        "eval": {name: _points(run, "eval", name) for name in EVALUATED},
    }
    named = {key for record in run.evaluations for key in record if key.startswith("exact_accuracy/")}
    curves["eval"] |= {name: _points(run, "eval", name) for name in sorted(named)}
    kept = {kind: {name: points for name, points in of.items() if points} for kind, of in curves.items()}
    return {**found, "run": run.folder.name, "curves": kept}


def _points(run: RunRecords, kind: str, name: str) -> list[list[float]]:
    curve = run.curve(kind, name)
    points = [[step, value] for step, value in zip(curve.steps, curve.values, strict=True)]
    every = -(-len(points) // _MOST_POINTS)
    return points if every < 2 else [*points[:-1:every], points[-1]]


def _parameters(name: str, card: ModelCard) -> dict[str, Any]:
    report = report_of_checkpoint(
        Path(name) if name.startswith(("bundled:", "hf:")) else card.path, AssumedSizes()
    )
    found = report.document()
    return {
        "exact": found["exact"],
        "modules": found["modules"],
        "flops_per_step": None if report.step is None else report.step.forward,
        "file_bytes": os.path.getsize(card.path),
    }


def _throughput(subject: Subject, scored: Scored | None, device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "device": str(device),
        "puzzles_per_second": None,
        "training_puzzles_per_second": None,
    }
    if scored is not None:
        found["puzzles_per_second"] = scored.measurement.result.puzzles_per_second
        found["max_steps"] = scored.measurement.max_steps
    if subject.run is not None and subject.card is not None and len(subject.run.training) > 1:
        first, last = subject.run.training[0], subject.run.training[-1]
        seconds = _number(last.get("seconds")) - _number(first.get("seconds"))
        if seconds > 0:
            steps = last["step"] - first["step"]
            found["training_steps_per_second"] = steps / seconds
            found["training_puzzles_per_second"] = (
                steps / seconds * subject.card.preset.train.global_batch_size
            )
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _configuration(subject: Subject) -> str:
    """The settings as YAML, without private paths."""
    if subject.card is not None:
        return resolved_yaml(redacted(subject.card.preset))
    settings = redact_document(dict(subject.run.config)) if subject.run is not None else {}
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
