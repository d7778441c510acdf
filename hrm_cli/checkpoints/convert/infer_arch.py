"""Infers the architecture of a checkpoint from the names and shapes of its tensors, without a configuration.

Shapes do not determine the numbers of heads, cycles and ACT steps. With rotary positions they do not determine the
sequence length either.

Letters in shapes: H hidden size, V vocabulary, I inner width of a SwiGLU, P puzzle positions, S tokens of a puzzle.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hrm_cli.config.arch import swiglu_width

Shapes = Mapping[str, tuple[int, ...]]

EMBED_TOKENS = "inner.embed_tokens.embedding_weight"
EMBED_POS = "inner.embed_pos.embedding_weight"
PUZZLE_TABLE = "inner.puzzle_emb.weights"
_LAYER = re.compile(r"inner\.([HL]_level)\.layers\.(\d+)\.")
_STATES = {"inner.H_init": 0, "inner.L_init": 0}
_HALVES = [step / 2 for step in range(1, 129)]


@dataclass(frozen=True)
class InferredArch:
    """The properties that names and shapes determine."""

    arch: dict[str, Any]
    """Fields of `ArchConfig`."""
    vocab_size: int
    num_puzzle_identifiers: int | None
    """Rows of the puzzle table; None without one."""
    positions: int | None
    """P + S, from a position table or a token-mixing MLP; None if there is neither."""


class CannotInferArchError(ValueError):
    """The tensors are not those of an HRM or a TRM. The message gives the reason, but not the file."""


def infer_architecture(shapes: Shapes) -> InferredArch:
    """Infers core, widths, depths and tables. Names are those of this project, without prefix. Raises
    CannotInferArchError.

    Each width is the most frequent one among the tensors that have it, so a single wrong shape does not change the
    result. The caller then compares all shapes with the inferred architecture.
    """
    layers = _layers(shapes)
    if "L_level" not in layers:
        raise CannotInferArchError("inner.L_level.layers.0 is missing")
    hidden_size = _majority_size(
        shapes, {EMBED_TOKENS: 1, "inner.lm_head.weight": 1, "inner.q_head.weight": 1} | _STATES
    )
    vocab_size = _majority_size(shapes, {EMBED_TOKENS: 0, "inner.lm_head.weight": 0})
    core = "hrm" if "H_level" in layers else "trm"
    arch: dict[str, Any] = {"core": core, "hidden_size": hidden_size, "L_layers": layers["L_level"]}
    if core == "hrm":
        arch["H_layers"] = layers["H_level"]
        # HRM derives the length from puzzle_emb_ndim.
        arch["puzzle_emb_len"] = 0
    widths = [(hidden_size, _majority_size(shapes, _layer_axes(shapes, ".mlp.down_proj.weight", 1)))]
    mixing = _layer_axes(shapes, ".mlp_t.down_proj.weight", 0)
    positions = None
    arch["mlp_t"] = bool(mixing)
    if mixing:
        positions = _majority_size(shapes, mixing)
        widths.append((positions, _majority_size(shapes, dict.fromkeys(mixing, 1))))
    if EMBED_POS in shapes:
        arch["pos_encodings"] = "learned"
        positions = _majority_size(shapes, {EMBED_POS: 0})
    identifiers = None
    arch["puzzle_emb_ndim"] = 0
    if PUZZLE_TABLE in shapes:
        identifiers = _majority_size(shapes, {PUZZLE_TABLE: 0})
        arch["puzzle_emb_ndim"] = _majority_size(shapes, {PUZZLE_TABLE: 1})
    expansion = _expansion(widths)
    if expansion is not None:
        arch["expansion"] = expansion
    return InferredArch(arch, vocab_size, identifiers, positions)


def _majority_size(shapes: Shapes, axes: Mapping[str, int]) -> int:
    """The most frequent size of the given axes: tensor name → axis."""
    sizes = [shapes[name][axis] for name, axis in axes.items() if len(shapes.get(name, ())) > axis]
    if not sizes:
        raise CannotInferArchError(
            f"{next(iter(axes), 'inner.L_level.layers.0.mlp.down_proj.weight')} is missing"
        )
    return Counter(sizes).most_common(1)[0][0]


def _layer_axes(shapes: Shapes, ending: str, axis: int) -> dict[str, int]:
    return {name: axis for name in shapes if _LAYER.match(name) and name.endswith(ending)}


def _layers(shapes: Shapes) -> dict[str, int]:
    """Number of blocks in each module. A missing block in between is found later, when shapes are compared."""
    found: dict[str, int] = {}
    for name in shapes:
        if match := _LAYER.match(name):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]) + 1)
    return found


def _expansion(widths: list[tuple[int, int]]) -> float | None:
    """An expansion that gives every (size, inner width): 4 if it does, else the smallest such multiple of ½."""
    exact = [inner * 1.5 / size for size, inner in widths]
    for expansion in (4.0, *_HALVES, *exact):
        if all(swiglu_width(size, expansion) == inner for size, inner in widths):
            return expansion
    return None
