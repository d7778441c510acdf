"""The job of `hrm export --format onnx`: export, compare with torch, quantize, write.

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.config.mixers import MIXERS_FOR_EVERY_SIZE
from hrm_cli.errors import ConfigError, HRMError
from hrm_cli.exporting.check_puzzles import CheckPuzzles, check_puzzles
from hrm_cli.exporting.onnx_model import (
    OneStep,
    convert_step,
    example_arguments,
    has_identifiers,
    metadata_of,
    portable_model,
    require_packages,
    set_metadata,
)
from hrm_cli.exporting.onnx_session import OnnxStep
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.models.act import ACTModel
from hrm_cli.puzzles.domain import Domain, domain_of, make_domain

TOLERANCE, RELATIVE = 1e-4, 1e-6
"""Largest accepted deviation of a logit: 1e-4 plus a millionth of the largest logit, where float32 is less precise."""
COMPARED_STEPS = 8
_COMPARED_ROWS = 3
_ROWS = 64


class ExportRefused(HRMError):  # noqa: N818 - the name describes the event
    """The exported model is not as good as the original. The command itself worked, so the exit status is 1."""

    exit_status = 1


@dataclass(frozen=True)
class OnnxRequest:
    """What to export, and how to check it."""

    checkpoint: Path
    output: Path
    int8: bool = False
    max_loss: float = 0.01
    """Largest loss of exact accuracy, from 0 to 1."""
    data: Path | None = None
    puzzles: int = 200
    """Puzzles for the comparison of accuracies; 0: none."""
    size: int | None = None
    """Another size of the domain, for mixers whose weights work for every size."""
    max_steps: int | None = None
    force: bool = False
    """Whether to write the file even if a comparison failed."""
    seed: int = 0


@dataclass(frozen=True)
class OnnxExport:
    """What was written, and the comparisons."""

    path: Path
    bytes: int
    domain: str
    steps: int
    """Reasoning steps whose logits were compared."""
    deviation: float
    """Largest absolute difference of a logit from torch's, in one step from the same states. Before quantization."""
    puzzles: str
    """The puzzles on which accuracies were compared, as text; empty if there were none."""
    exact_accuracy: float | None
    """Exact accuracy of the original model and of the file."""
    exported_accuracy: float | None
    int8: bool
    refused: str = ""
    """Why the file would not have been written without `force`."""

    def document(self) -> dict[str, Any]:
        """The object of `hrm export --json`."""
        return {**vars(self), "path": str(self.path), "format": "onnx"}


def export_onnx(request: OnnxRequest, on_stage: Callable[[str], None] = lambda stage: None) -> OnnxExport:
    """Writes an ONNX file of one step and returns the comparisons. `on_stage` is called with the name of each stage.

    Raises ConfigError, CheckpointError or DatasetError, and ExportRefused if a comparison fails.
    """
    require_packages()
    refuse_unwritable(request.output)
    model, card, domain = _loaded(request)
    on_stage("exporting")
    metadata = metadata_of(model, card, domain)
    if request.max_steps is not None:
        metadata["max_steps"] = str(request.max_steps)
    proto = convert_step(model, metadata)
    content = _bytes(proto)
    on_stage("comparing logits")
    puzzles = check_puzzles(card, domain, request.data, request.puzzles, request.seed)
    deviation, largest = compare_logits(model, OnnxStep(content), _inputs(model, puzzles))
    problem = ""
    if deviation > TOLERANCE + RELATIVE * largest:
        problem = f"logits differ from torch's by {deviation:.1e}; the limit is {TOLERANCE:.0e}"
    if request.int8:
        on_stage("quantizing")
        content = quantized(content, metadata)
    before = after = None
    if puzzles is not None:
        on_stage("comparing accuracy")
        steps = int(metadata["max_steps"])
        before = puzzles.exact_accuracy(torch_answers(model, puzzles, steps))
        after = puzzles.exact_accuracy(OnnxStep(content).answers(puzzles.inputs, puzzles.identifiers, steps))
        problem = problem or _accuracy_problem(request, puzzles, before, after)
    elif request.int8:
        problem = problem or (
            "--int8: the loss of accuracy cannot be measured without puzzles with answers; name some with --data"
        )
    if problem and not request.force:
        raise ExportRefused(f"{request.output} was not written: {problem} (--force writes it anyway)")
    words = "" if puzzles is None else puzzles.words
    verified = {
        "torch": torch.__version__, "logits": deviation, "puzzles": words, "exact_accuracy": before,
        "exported_accuracy": after,
    }  # fmt: skip
    content = _with_metadata(
        content, {**metadata, "int8": json.dumps(request.int8), "verified": json.dumps(verified)}
    )
    with written_whole(request.output) as partial:
        partial.write_bytes(content)
    described = metadata["puzzles"] or f"{model.core.seq_len} cells of {model.core.vocab_size} tokens"
    return OnnxExport(
        request.output,
        len(content),
        described,
        COMPARED_STEPS,
        deviation,
        words,
        before,
        after,
        request.int8,
        problem,
    )


def _loaded(request: OnnxRequest) -> tuple[ACTModel, ModelCard, Domain | None]:
    model, card = portable_model(request.checkpoint)
    domain = _domain(card)
    if request.size is None:
        return model, card, domain
    if domain is None:
        raise ConfigError(
            f"--size {request.size}: the checkpoint's puzzles belong to no known domain; omit it"
        )
    wanted = make_domain(domain.name, size=request.size)
    model, card = portable_model(request.checkpoint, wanted)
    if card.facts.seq_len != wanted.seq_len:
        raise ConfigError(
            f"--size {request.size}: these weights work only for {domain.describe()}; other sizes need "
            f"arch.mixer={MIXERS_FOR_EVERY_SIZE}"
        )
    return model, card, wanted


def _domain(card: ModelCard) -> Domain | None:
    try:
        return domain_of(card.facts.domain, card.facts.vocab_size, card.facts.seq_len)
    except ConfigError:
        return None  # a dataset of another program


def _bytes(proto: Any) -> bytes:
    try:
        content: bytes = proto.SerializeToString()
    except ValueError as error:
        raise ConfigError(
            f"--format onnx: the model does not fit into one ONNX file of 2 GB ({error})"
        ) from None
    return content


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    import onnx

    proto = onnx.load_from_string(content)
    set_metadata(proto, metadata)
    return _bytes(proto)


def _inputs(model: ACTModel, puzzles: CheckPuzzles | None) -> torch.Tensor:
    """A few puzzles `[B, S]`, or random tokens if there are none."""
    if puzzles is not None and len(puzzles.inputs) >= _COMPARED_ROWS:
        return torch.from_numpy(puzzles.inputs[:_COMPARED_ROWS])
    generator = torch.Generator().manual_seed(0)
    shape = _COMPARED_ROWS, model.core.seq_len
    return torch.randint(1, model.core.vocab_size, shape, generator=generator, dtype=torch.int32)


@torch.inference_mode()
def compare_logits(model: ACTModel, exported: OnnxStep, inputs: torch.Tensor) -> tuple[float, float]:
    """The largest deviation of a logit over several steps, each from torch's states, and the largest logit."""
    original = OneStep(model).eval()
    _, step, z_H, z_L, *identifiers = example_arguments(model, inputs, 1)
    deviation = largest = 0.0
    for _ in range(COMPARED_STEPS):
        given = {"inputs": inputs, "step": step, "z_H": z_H, "z_L": z_L}
        if has_identifiers(model):
            given["puzzle_identifiers"] = identifiers[0]
        found = exported.run({name: value.numpy() for name, value in given.items()})
        z_H, z_L, logits, q_halt, *_ = original(inputs, step, z_H, z_L, *identifiers)
        # Halt values are compared as probabilities. As a logit, a confidence near 1 depends on float32's last digits.
        halt = torch.from_numpy(found["q_halt"]).sigmoid() - q_halt.sigmoid()
        for difference in (torch.from_numpy(found["logits"]) - logits, halt):
            most = float(difference.abs().max())
            deviation = max(deviation, most if math.isfinite(most) else math.inf)
        largest = max(largest, float(logits.abs().max()))
        step = step + 1
    return deviation, largest


def torch_answers(model: ACTModel, puzzles: CheckPuzzles, max_steps: int) -> NDArray[np.int64]:
    """The original model's answers `[n, S]`, in float32."""
    found = np.zeros(puzzles.inputs.shape, np.int64)
    for start in range(0, len(found), _ROWS):
        part = slice(start, start + _ROWS)
        inputs, identifiers = (torch.from_numpy(one[part]) for one in (puzzles.inputs, puzzles.identifiers))
        for step in model.infer(inputs, identifiers, max_steps, adaptive=True):
            done = step.finished
            found[start + step.rows[done].numpy()] = step.predictions[done].numpy()
    return found


def quantized(content: bytes, metadata: dict[str, str]) -> bytes:
    """The model with 8-bit weights (onnxruntime's dynamic quantization)."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The package logs a warning that recommends preprocessing, which has already been done.
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(content)
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)
        return _with_metadata(target.read_bytes(), metadata)


def _accuracy_problem(request: OnnxRequest, puzzles: CheckPuzzles, before: float, after: float) -> str:
    """Why the accuracies do not allow writing the file; empty if they do."""
    return (
        f"{before:.1%} of {puzzles.words} exactly right with torch, {after:.1%} with onnxruntime; --max-loss is "
        f"{request.max_loss:.1%}"
        if before - after > request.max_loss
        else ""
    )
