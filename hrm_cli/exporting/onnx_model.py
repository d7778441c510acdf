"""One ACT step of a core as an ONNX model. The loop over steps stays outside, in the program that uses the file.

Letters in shapes: B batch, S tokens of a puzzle, P puzzle positions, H hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hrm_cli.checkpoints.model_files import ModelCard, load_model
from hrm_cli.errors import ConfigError, type_and_message
from hrm_cli.models.act import ACTModel
from hrm_cli.models.core import InnerCarry
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.puzzles.domain import Domain

OPSET = 18
INPUTS = ("inputs", "step", "z_H", "z_L", "puzzle_identifiers")
"""The last one only for models with puzzle embeddings."""
OUTPUTS = ("next_z_H", "next_z_L", "logits", "q_halt", "q_continue", "halt")
INSTALL = "pip install 'hrm-cli[onnx]'"
_EXAMPLE_ROWS = 2


class OneStep(nn.Module):
    """One ACT step, including the initialization of the states and the halting rule."""

    def __init__(self, model: ACTModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, inputs: Tensor, step: Tensor, z_H: Tensor, z_L: Tensor, puzzle_identifiers: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Takes tokens `[B, S]` int32, the number of this step for each row `[B]` int64 from 1, both states.

        At step 1 the given states are ignored. Returns new states, logits, Q-halt, Q-continue, and which rows halt.
        """
        core = self.model.core
        initial = core.initial_carry(inputs)
        starts = (step <= 1).view(-1, 1, 1)
        carry = InnerCarry(torch.where(starts, initial.z_H, z_H), torch.where(starts, initial.z_L, z_L))
        rows = None if puzzle_identifiers is None else self.model.puzzle_rows(puzzle_identifiers)
        carry, out = core(carry, inputs, rows)
        assert out.logits is not None
        return carry.z_H, carry.z_L, out.logits, out.q_halt, out.q_continue, core.halts(step, out)


def require_packages() -> None:
    """Raises ConfigError if a package of the extra `onnx` is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise ConfigError(f"--format onnx: {name} is not installed: {INSTALL}") from None


def portable_model(checkpoint: Path, domain: Domain | None = None) -> tuple[ACTModel, ModelCard]:
    """A checkpoint's model on the CPU in float32, with torch's public operators only."""
    model, card = load_model(checkpoint, "cpu", domain=domain)
    model.core.dtype = torch.float32
    if isinstance(model.inner, RecurrentCore):
        # This setting makes the core use its portable blocks instead of the fused CPU kernels.
        model.inner.compiled_inference = model.inner.module_update  # type: ignore[assignment]
    return model.requires_grad_(False), card


def example_arguments(model: ACTModel, inputs: Tensor, step: int) -> tuple[Tensor, ...]:
    """Arguments of `OneStep` for tokens `[B, S]`, with the initial states."""
    carry, rows = model.core.initial_carry(inputs), inputs.shape[0]
    # Copies, because the exporter would merge two states that share memory into one input.
    states = carry.z_H.float().contiguous().clone(), carry.z_L.float().contiguous().clone()
    identifiers = (torch.zeros(rows, dtype=torch.int32),) if has_identifiers(model) else ()
    return inputs, torch.full((rows,), step, dtype=torch.int64), *states, *identifiers


def has_identifiers(model: ACTModel) -> bool:
    """Whether the model has puzzle embeddings."""
    return getattr(model.inner, "puzzle_emb", None) is not None


def convert_step(model: ACTModel, metadata: dict[str, str]) -> Any:
    """The ONNX model (`onnx.ModelProto`) of one step, with `metadata`. Raises ConfigError for a core without one."""
    if model.arch.middle_cycles:
        middle = list(model.arch.middle_cycles)
        raise ConfigError(
            f"--format onnx: the model has levels between L and H (arch.middle_cycles {middle}); an "
            "ONNX file holds the states of H and L only"
        )
    inputs = torch.ones(_EXAMPLE_ROWS, model.core.seq_len, dtype=torch.int32)
    arguments = example_arguments(model, inputs, 1)
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    try:
        with torch.no_grad(), _quietly(), _no_fast_path():
            program = torch.onnx.export(
                OneStep(model).eval(), arguments, None, dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(INPUTS[: len(arguments)]), output_names=list(OUTPUTS),
                dynamic_shapes=tuple({0: batch} for _ in arguments),
            )  # fmt: skip
    except Exception as error:  # the exporter raises errors of many kinds
        raise ConfigError(
            f"--format onnx: torch cannot export core {model.arch.core}, mixer {model.arch.mixer}: "
            f"{type_and_message(error)}"
        ) from error
    assert program is not None
    proto = program.model_proto
    _check_batch(proto)
    for node in proto.graph.node:
        # Stack traces of the export, which are larger than a small model and contain private paths.
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.value_info[:]
    _fold_transposed_weights(proto.graph)
    _share_equal_weights(proto.graph)
    set_metadata(proto, metadata)
    return proto


def _check_batch(proto: Any) -> None:
    """Raises ConfigError if the batch size of the example became part of the model."""
    fixed = [one.name for one in proto.graph.input if not one.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise ConfigError(
            f"--format onnx: torch {torch.__version__} fixed the batch size of {fixed[0]}; use 2.6 or newer"
        )


def _fold_transposed_weights(graph: Any) -> None:
    """Stores transposed weights in the layout in which they are multiplied.

    Quantization only finds such weights, and nothing has to be transposed at every step.
    """
    from onnx import numpy_helper

    weights = {one.name: one for one in graph.initializer}
    for node in [one for one in graph.node if one.op_type == "Transpose" and one.input[0] in weights]:
        order = next(list(one.ints) for one in node.attribute if one.name == "perm")
        turned = numpy_helper.to_array(weights[node.input[0]]).transpose(order)
        graph.initializer.append(numpy_helper.from_array(turned.copy(), node.output[0]))
        graph.node.remove(node)
    _drop_unused(graph)


def _share_equal_weights(graph: Any) -> None:
    """Merges equal weights. The exporter makes a copy for each use of a module."""
    first: dict[tuple[object, ...], str] = {}
    names = {}
    for one in graph.initializer:
        names[one.name] = (
            first.setdefault((one.data_type, *one.dims, one.raw_data), one.name) if one.raw_data else one.name
        )
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    _drop_unused(graph)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def set_metadata(proto: Any, metadata: dict[str, str]) -> None:
    """Replaces the metadata of an ONNX model."""
    del proto.metadata_props[:]
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value


def metadata_of(model: ACTModel, card: ModelCard, domain: Domain | None) -> dict[str, str]:
    """What a program needs to use the file: shapes, steps, the domain, and where the weights come from."""
    arch, core = model.arch, model.core
    carry = core.initial_carry(torch.zeros(1, core.seq_len, dtype=torch.int32))
    positions, hidden = carry.z_H.shape[1:]
    facts = dict(card.facts.domain) or ({} if domain is None else {"name": domain.name, **domain.facts()})
    return {
        "hrm_export_version": "1",
        "domain": json.dumps(facts),
        "puzzles": "" if domain is None else domain.describe(),
        "vocab_size": str(core.vocab_size),
        "seq_len": str(core.seq_len),
        "positions": str(positions),
        "hidden_size": str(hidden),
        "max_steps": str(card.preset.eval.max_steps or arch.halt_max_steps),
        "halts_together": json.dumps(core.halts_together),
        "arch": arch.model_dump_json(),
        "training_step": str(card.step),
        "trained_on": card.training_data(),
        "built_in_knowledge": card.built_in_knowledge(),
    }


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Drops the exporter's progress on stdout, its warnings and its log."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    """torch's fused encoder layer, which core nova would use, has no counterpart in ONNX."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
