"""Assigns a kind, such as attention or puzzle embedding, to every tensor of a model by its name.

This project's cores and the reference implementation use the same names in their state dicts.
"""

from __future__ import annotations

import re

ATTENTION = "attention"
SWIGLU = "SwiGLU"
TOKEN_MIXING = "token mixing"
UNITS = "units"
NEIGHBORS = "neighbors"
FEED_FORWARD = "feed-forward"
EMBEDDINGS = "embeddings"
HEADS = "heads"
BRIDGES = "bridges"
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
    (r"[HL]_init$", INITIAL_STATES),
    (r"(^|\.)positions$", POSITION_TABLE),
    (r"norm", NORMS),
    (r"self_attn|attention", ATTENTION),
    (r"mlp_t\.", TOKEN_MIXING),
    (r"\.units\.", UNITS),
    (r"\.neighbors\.", NEIGHBORS),
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
