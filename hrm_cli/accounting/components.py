"""The parts of a core: their parameter counts, the FLOPs of their matmuls, and how often they run.

Parameter counts in closed form, FLOPs and activation memory are computed from this description. It does not import
torch, so listing and searching configurations is fast. Tests compare it with instantiated models.

Letters: T positions (puzzle positions and tokens), S tokens, H hidden size, V vocabulary, N heads, I inner width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hrm_cli.accounting import kinds
from hrm_cli.accounting.kinds import Part, Runs, Saved
from hrm_cli.accounting.mixer_blocks import (
    SIDES,
    edge_blocks,
    grid_blocks,
    neighbor_blocks,
    swiglu_part,
    unit_blocks,
)
from hrm_cli.config.arch import CPU_VECTOR, NOVA_POSITIONS, ArchConfig, encoder_width
from hrm_cli.config.levels import level_layers, level_names, level_updates
from hrm_cli.config.mixers import MIXERS, is_structured
from hrm_cli.puzzles.cell_units import unit_count
from hrm_cli.puzzles.domain import domain_of, relations_of


def components(
    arch: ArchConfig,
    vocab_size: int,
    seq_len: int,
    num_puzzle_identifiers: int = 1,
    objective: str | None = None,
    gradient: str | None = None,
    domain: Mapping[str, Any] | None = None,
    *,
    reads_L: bool = False,
    reaches_back: bool = False,
) -> list[Part]:
    """The parts of the model of `arch`.

    `objective` and `gradient` are the settings `train.objective` and `train.gradient`; None means the core's default.
    `reads_L`: whether the output head also reads L's state in training (`train.l_distill_weight`).
    `reaches_back`: whether the gradient of RSM also reaches the H update before the last cycle (`train.reach_back`).
    `domain` is the puzzles' domain as files state it; without it, the one with this vocabulary and length.
    """
    if arch.core not in COMPONENTS or arch.mixer not in MIXERS:
        # A plugin's core or mixer. What it saves for the backward pass is unknown.
        from hrm_cli.accounting.counting import measured_core  # needs torch

        counts, flops = measured_core(arch, vocab_size, seq_len, num_puzzle_identifiers)
        matmuls = Part("core", kinds.OTHER, flops=flops, runs=Runs(1, 1, 0))
        return [*(Part(*of, *count) for of, count in counts.items()), matmuls]
    parts = COMPONENTS[arch.core](arch, vocab_size, seq_len, num_puzzle_identifiers)
    if arch.position_tables:
        tables = unit_count(domain, vocab_size, seq_len) * arch.hidden_size
        parts.append(Part("position_tables", kinds.EMBEDDINGS, tables))
    if reads_L:
        # The head is not trained by it: its backward pass is one matmul.
        head = next(part for part in parts if part.module in ("lm_head", "embed_tokens") and part.flops)
        reading = replace(head, trainable=0, flops=0, runs=Runs(0, 1), kept=Saved(), fixed_flops=head.flops)
        parts.append(reading)
    if objective == "rsm":
        parts = [_with_rsm(part, arch, reaches_back=reaches_back) for part in parts]
    if gradient == "all_cycles":
        return [_with_full_gradient(part, arch) for part in parts]
    if gradient == "last_cycle" and arch.core == "hrm" and objective != "rsm":
        return [_with_last_cycle_gradient(part, arch) for part in parts]
    return parts


def _with_last_cycle_gradient(part: Part, arch: ArchConfig) -> Part:
    """Returns the part for gradient through all updates of the last cycle, not only the last one of each level."""
    level = _level_of(part, arch)
    if level is None:
        return part
    runs, more = part.runs, level_updates(arch)[level] // arch.H_cycles - 1
    return replace(part, runs=Runs(runs.inference, runs.with_gradient + more, runs.without_gradient - more))


def _with_full_gradient(part: Part, arch: ArchConfig) -> Part:
    """Returns the part for gradient through all updates of an ACT step."""
    if _level_of(part, arch) is None:
        return part
    runs = part.runs
    more = runs.inference - runs.with_gradient
    return replace(part, runs=Runs(runs.inference, runs.inference, runs.without_gradient - more))


def _with_rsm(part: Part, arch: ArchConfig, *, reaches_back: bool) -> Part:
    """Returns the part for the RSM objective: no second pass for a Q target, gradient through the whole last cycle.

    With `reaches_back` also through the H update before it. trm's one module counts as L.
    """
    runs = part.runs
    level = _level_of(part, arch)
    if level is not None:
        trained = level_updates(arch)[level] // arch.H_cycles + int(arch.core == "trm")
        updates_H = level == ("L" if arch.core == "trm" else "H")
        trained += int(reaches_back and updates_H and arch.H_cycles > 1)
        return replace(part, runs=Runs(runs.inference, trained, runs.inference - trained))
    return replace(part, runs=replace(runs, without_gradient=0))


def _level_of(part: Part, arch: ArchConfig) -> str | None:
    """The level whose module or gates the part is: L, M1, …, H; None for other parts."""
    level = part.module.removesuffix("_level").removesuffix("_gate")
    return level if level in level_names(arch) else None


def trainable_in_closed_form(
    arch: ArchConfig, vocab_size: int, seq_len: int, domain: Mapping[str, Any] | None = None
) -> int:
    """The number of trainable parameters, computed without building the model."""
    return sum(part.trainable for part in components(arch, vocab_size, seq_len, domain=domain))


def _hrm(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> list[Part]:
    # One step is H_cycles × (L_cycles × L, then H), with gradient through the last L and the last H update; middle
    # levels likewise. The Q target needs a second step without gradient.
    target = int(arch.q_continue and arch.halt_max_steps > 1)
    parts = _embeddings_and_heads(arch, vocab_size, seq_len, identifiers, target)
    for name, updates in reversed(level_updates(arch).items()):
        runs = Runs(updates, 1, updates - 1 + target * updates)
        parts += _blocks(f"{name}_level", arch, vocab_size, seq_len, level_layers(arch)[name], runs)
        if name not in ("H", "L"):
            parts.append(Part(f"{name}_init", kinds.INITIAL_STATES, buffers=arch.hidden_size))
        if arch.fusion == "gated":
            parts.append(_gates(name, arch, state_positions(arch, vocab_size, seq_len), runs))
    return parts


def _gates(level: str, arch: ArchConfig, positions: int, runs: Runs) -> Part:
    """One factor per position for each state that a level receives, from that state and the level's own."""
    hidden, count = arch.hidden_size, 1 if level in ("H", "L") else 2
    product = 2 * positions * hidden
    # Only the state from the level below has a gradient of its own: the others are those of earlier updates.
    below = int(level != "L")
    # Saved: the level's own state and that of the level below. The state of the level above is that level's own.
    return Part(
        f"{level}_gate",
        kinds.GATES,
        count * (2 * hidden + 1),
        flops=below * product,
        runs=runs,
        kept=Saved((1 + below) * positions * hidden + count * positions, count * positions),
        fixed_flops=(2 * count - below) * product,
    )


def _trm(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> list[Part]:
    # In each cycle, one module updates z_L L_cycles times and z_H once. The whole last cycle receives gradient.
    cycle = arch.L_cycles + 1
    runs = Runs(arch.H_cycles * cycle, cycle, (arch.H_cycles - 1) * cycle)
    return [
        *_embeddings_and_heads(arch, vocab_size, seq_len, identifiers, 0),
        *_blocks("L_level", arch, vocab_size, seq_len, arch.L_layers, runs),
    ]


def _embeddings_and_heads(
    arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int, target: int
) -> list[Part]:
    """The parts of HRM and TRM outside their modules: embeddings, fixed initial states, output heads.

    `target`: 1 if the Q target needs a second pass through the Q head, else 0.
    """
    hidden, positions = arch.hidden_size, arch.puzzle_positions + seq_len
    if is_structured(arch.mixer):
        return _structured_embeddings_and_heads(arch, vocab_size, seq_len, target)
    # The output head saves its input, a copy of the state at the token positions. The Q head's input is a view of the
    # first position and saves the whole state. Without puzzle positions, both are the same tensor.
    seen = Saved(positions * hidden if arch.puzzle_positions else 0)
    # A tied output head uses the token embeddings and has no parameters.
    output = "embed_tokens" if arch.tied_output else "lm_head"
    parts = [
        Part("embed_tokens", kinds.EMBEDDINGS, vocab_size * hidden),
        Part(output, kinds.HEADS, 0 if arch.tied_output else vocab_size * hidden, 0,
             2 * seq_len * hidden * vocab_size, Runs(1, 1), Saved(seq_len * hidden)),
        Part("H_init", kinds.INITIAL_STATES, buffers=hidden),
        Part("L_init", kinds.INITIAL_STATES, buffers=hidden),
    ]  # fmt: skip
    if arch.halting == "q_learning":
        parts.append(Part("q_head", kinds.HEADS, 2 * hidden + 2, 0, 2 * hidden * 2, Runs(1, 1, target), seen))
    if arch.puzzle_emb_size:
        table = identifiers * arch.puzzle_emb_size
        parts.append(Part("puzzle_emb", kinds.PUZZLE_EMBEDDING, buffers=table))
    if arch.pos_encodings == "learned":
        parts.append(Part("embed_pos", kinds.EMBEDDINGS, positions * hidden))
    return parts


def _blocks(
    module: str, arch: ArchConfig, vocab_size: int, seq_len: int, layers: int, runs: Runs
) -> list[Part]:
    """A stack of post-norm blocks: attention or token mixing, then SwiGLU, each followed by a norm."""
    hidden, positions = arch.hidden_size, arch.puzzle_positions + seq_len
    if arch.mixer == "units":
        return unit_blocks(module, arch, relations_of(domain_of(None, vocab_size, seq_len)), layers, runs)
    if arch.mixer == "neighbors":
        return neighbor_blocks(module, arch, seq_len, layers, runs)
    if arch.mixer == "edges":
        return edge_blocks(module, arch, seq_len, layers, runs)
    if arch.mixer == "grid":
        return grid_blocks(module, arch, seq_len, layers, runs)
    if arch.mlp_t:
        mixer = swiglu_part(module, kinds.TOKEN_MIXING, arch.expansion, positions, hidden, layers, runs)
    else:
        mixer = _attention(module, arch, positions, layers, runs)
    return [mixer, swiglu_part(module, kinds.SWIGLU, arch.expansion, hidden, positions, layers, runs)]


def state_positions(arch: ArchConfig, vocab_size: int, seq_len: int) -> int:
    """Number of positions T of a recurrent state."""
    if arch.mixer == "units":
        return seq_len * relations_of(domain_of(None, vocab_size, seq_len)).num_symbols
    if arch.mixer == "edges":
        return SIDES * seq_len
    return seq_len + arch.puzzle_positions


def _structured_embeddings_and_heads(
    arch: ArchConfig, vocab_size: int, seq_len: int, target: int
) -> list[Part]:
    """As `_embeddings_and_heads`, for mixers with a structure: no position tables.

    `units` has three embeddings and one logit per position. With `edges`, the output head reads the means of cells.
    """
    hidden, positions = arch.hidden_size, state_positions(arch, vocab_size, seq_len)
    tokens, outputs = (3, 1) if arch.mixer == "units" else (vocab_size, vocab_size)
    read = seq_len if arch.mixer == "edges" else positions
    flops = 2 * read * hidden * outputs
    parts = [
        Part("embed_tokens", kinds.EMBEDDINGS, tokens * hidden),
        Part("lm_head", kinds.HEADS, outputs * hidden, 0, flops, Runs(1, 1), Saved(read * hidden)),
        Part("H_init", kinds.INITIAL_STATES, buffers=hidden),
        Part("L_init", kinds.INITIAL_STATES, buffers=hidden),
    ]
    if arch.halting == "q_learning":
        flops = 2 * positions * hidden * 2
        # Both heads save what they read. Unless it is the same tensor, the Q head saves the whole state.
        kept = Saved(positions * hidden if read != positions else 0, wide=4 * positions)
        parts.append(Part("q_head", kinds.HEADS, 2 * hidden + 2, 0, flops, Runs(1, 1, target), kept))
    return parts


def _attention(module: str, arch: ArchConfig, positions: int, layers: int, runs: Runs) -> Part:
    hidden = arch.hidden_size
    activation, padded = positions * hidden, positions + -positions % CPU_VECTOR
    # Saved for backward: the input, q, k and v from the fused projection, the output, and with RoPE the rotated q and
    # k.
    tensors = 7 if arch.pos_encodings == "rope" or arch.qk_norm else 5
    # QK norm: the normed queries; in half precision, queries and keys in float32; the factors. On a CPU: normed queries
    # and keys, and the factors.
    normed = int(arch.qk_norm)
    return Part(
        module,
        kinds.ATTENTION,
        layers * (4 * hidden**2 + normed * arch.num_heads),
        0,
        # Four projections, q kᵀ, and the weighted sum of v.
        layers * (2 * positions * 4 * hidden**2 + 2 * 2 * positions**2 * hidden),
        runs,
        Saved(
            layers * (tensors - 3 * normed) * activation,
            layers
            * ((1 + 2 * normed) * arch.num_heads * positions + (1 + 4 * normed) * activation + positions),
            # On a CPU: q, k and v instead of the projection, and no float32 norm input (the next part saves the normed
            # output as its input). In bfloat16 also the attention weights; k, v and the weights are padded.
            on_cpu_in_bfloat16=layers
            * (
                2 * ((3 - tensors) * activation + 2 * padded * hidden + arch.num_heads * positions * padded)
                - 4 * (arch.num_heads * positions + activation)
                - 6 * normed * activation
            ),
            on_cpu_in_float32=layers * -4 * (tensors - 5 - normed) * activation,
        ),
    )


def _nova(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> list[Part]:
    # At inference an ACT step is one cycle. A training step is a whole forward pass of at most halt_max_steps cycles,
    # all with gradient.
    hidden = arch.hidden_size
    activation = seq_len * hidden
    cycle, once = Runs(1, arch.halt_max_steps), Runs(1, 1)
    bridge = (hidden**2 + hidden, 0, 2 * activation * hidden, cycle, Saved(activation))
    norm = (2 * hidden, 0, 0, cycle, Saved(wide=activation + 2 * seq_len))
    # Dropout on the embedded puzzle saves its mask.
    embedded = Saved(wide=activation if arch.dropout else 0)
    return [
        Part("positions", kinds.POSITION_TABLE, buffers=NOVA_POSITIONS * hidden),
        Part("token_embedding", kinds.EMBEDDINGS, vocab_size * hidden, 0, 0, once, embedded),
        *_encoder("h_layers", arch, seq_len, arch.H_layers, cycle),
        *_encoder("l_layers", arch, seq_len, arch.L_layers, cycle),
        Part("h_norm", kinds.NORMS, *norm),
        Part("l_norm", kinds.NORMS, *norm),
        Part("h_to_l", kinds.BRIDGES, *bridge),
        Part("l_to_h", kinds.BRIDGES, *bridge),
        Part("halt_predictor", kinds.HEADS, 2 * hidden + 1, 0, 2 * 2 * hidden, cycle, Saved(2 * hidden)),
        Part("output", kinds.HEADS, vocab_size * (hidden + 1), 0, 2 * activation * vocab_size, once,
             Saved(activation)),
    ]  # fmt: skip


def _encoder(module: str, arch: ArchConfig, seq_len: int, layers: int, runs: Runs) -> list[Part]:
    """Standard post-norm encoder layers: attention and a ReLU feed-forward network with biases, each with LayerNorm."""
    hidden, inner = arch.hidden_size, encoder_width(arch.hidden_size, arch.expansion)
    activation, scores = seq_len * hidden, arch.num_heads * seq_len**2
    drops = arch.dropout > 0
    attention = Part(
        module,
        kinds.ATTENTION,
        layers * (4 * hidden**2 + 4 * hidden),
        0,
        layers * (2 * seq_len * 4 * hidden**2 + 2 * 2 * seq_len**2 * hidden),
        runs,
        # Saved for backward: the input, q, k and v, the output, and the mask of the dropout that follows. Explicit
        # attention also saves the softmax and, with dropout on the weights, the mask and their product.
        Saved(
            layers * (5 + drops) * activation,
            layers * arch.num_heads * seq_len,
            on_cpu_in_bfloat16=2 * layers * (1 + 2 * drops) * scores,
            on_cpu_in_float32=4 * layers * drops * 3 * scores,
        ),
    )
    feed_forward = Part(
        module,
        kinds.FEED_FORWARD,
        layers * (2 * hidden * inner + inner + hidden),
        0,
        layers * 2 * seq_len * 2 * hidden * inner,
        runs,
        Saved(layers * ((1 + drops) * activation + (1 + 2 * drops) * seq_len * inner)),
    )
    norms = Part(
        module,
        kinds.NORMS,
        layers * 2 * 2 * hidden,
        0,
        0,
        runs,
        Saved(wide=layers * 2 * (activation + 2 * seq_len)),
    )
    return [attention, feed_forward, norms]


COMPONENTS: dict[str, Callable[[ArchConfig, int, int, int], list[Part]]] = {
    "hrm": _hrm,
    "nova": _nova,
    "trm": _trm,
}
"""(arch, vocab_size, seq_len, num_puzzle_identifiers) → parts, for each built-in core."""
