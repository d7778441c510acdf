"""Assigns a kind, such as attention or puzzle embedding, to every tensor of a model by its name.

This project's cores and the reference implementation use the same names in their state dicts.
`Part` is what a model costs by module and kind: tensors, matmuls, and what the backward pass needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ATTENTION = "attention"
SWIGLU = "SwiGLU"
TOKEN_MIXING = "token mixing"
UNITS = "units"
NEIGHBORS = "neighbors"
EDGES = "edges"
GRID = "grid"
FEED_FORWARD = "feed-forward"
EMBEDDINGS = "embeddings"
HEADS = "heads"
BRIDGES = "bridges"
GATES = "gates"
SIZE_ADAPTERS = "size adapters"
NORMS = "norms"
PUZZLE_EMBEDDING = "puzzle embedding"
INITIAL_STATES = "initial states"
POSITION_TABLE = "position table"
OTHER = "other"

NEVER_TRAINED = frozenset({PUZZLE_EMBEDDING, INITIAL_STATES, POSITION_TABLE})
"""Kinds that the network's optimizer does not train. The puzzle embedding has its own optimizer."""

# The first pattern that matches a tensor's name gives its kind.
_PATTERNS = (
    (r"puzzle_emb", PUZZLE_EMBEDDING),
    (r"(H|L|M\d+)_init$", INITIAL_STATES),
    (r"(^|\.)(H|L|M\d+)_gate\.", GATES),
    (r"(^|\.)positions$", POSITION_TABLE),
    (r"\.size_adapter\.", SIZE_ADAPTERS),
    (r"norm", NORMS),
    (r"self_attn|attention", ATTENTION),
    (r"mlp_t\.", TOKEN_MIXING),
    (r"\.units\.", UNITS),
    (r"\.neighbors\.", NEIGHBORS),
    (r"\.edges\.", EDGES),
    (r"\.grid\.", GRID),
    (r"\.mlp\.", SWIGLU),
    (r"\.linear[12]\.", FEED_FORWARD),
    (r"embed", EMBEDDINGS),
    (r"h_to_l|l_to_h", BRIDGES),
    (r"head\.|halt_predictor|(^|\.)output\.", HEADS),
)

_WRAPPERS = re.compile(r"^(?:_orig_mod\.|module\.|model\.|inner\.)+")
"""Prefixes that torch.compile, distributed training and the ACT wrapper add to a core's parameter names."""


def kind_of(tensor: str) -> str:
    """The kind of the tensor with this name."""
    return next((kind for pattern, kind in _PATTERNS if re.search(pattern, tensor)), OTHER)


def module_of(tensor: str) -> str:
    """The top-level module of a core that contains the tensor: `inner.H_level.layers.0.…` → `H_level`."""
    return _WRAPPERS.sub("", tensor).split(".")[0]


@dataclass(frozen=True)
class Runs:
    """How often a part runs."""

    inference: int = 0
    """Runs in one ACT step at inference."""
    with_gradient: int = 0
    """Runs in one training step with backpropagation."""
    without_gradient: int = 0
    """Runs in one training step without backpropagation: earlier cycles, and the second pass for the Q target."""


@dataclass(frozen=True)
class Saved:
    """Numbers that one run with gradient saves for the backward pass, for one puzzle."""

    numbers: int = 0
    """Numbers in the forward dtype."""
    wide: int = 0
    """Numbers that norms and softmax save in float32, whatever the forward dtype."""
    on_cpu_in_bfloat16: int = 0
    """Additional bytes on a CPU in bfloat16 (may be negative). Blocks there use fused CPU kernels and explicit
    attention."""
    on_cpu_in_float32: int = 0
    """Additional bytes on a CPU in float32 (may be negative)."""


@dataclass(frozen=True)
class Part:
    """All tensors and matmuls of one kind in one top-level module of a core."""

    module: str
    kind: str
    trainable: int = 0
    """Numbers that the network's optimizer trains."""
    buffers: int = 0
    """Stored numbers that the network's optimizer does not train."""
    flops: int = 0
    """FLOPs of one run for one puzzle, matmuls only. A multiply-add counts as two."""
    runs: Runs = Runs()
    kept: Saved = Saved()
    fixed_flops: int = 0
    """FLOPs of one run in matmuls with a fixed matrix. Their backward pass is one matmul of the same size, not two."""
