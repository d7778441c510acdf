"""The parts of a core: how many numbers each holds, the FLOPs of its matmuls, and how often it runs.

From this description follow parameter counts in closed form, FLOPs and activation memory. It does not import torch, so
that lists and searches of configurations are fast. Tests compare it with instantiated models, number by number.

Letters: T positions (puzzle positions and tokens), S tokens, H hidden size, V vocabulary, N heads, I inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hrm_cli.accounting import kinds
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.sizes import CPU_VECTOR, NOVA_POSITIONS, encoder_width, swiglu_width
from hrm_cli.puzzles.domain import infer_relations
from hrm_cli.puzzles.relations import Relations


@dataclass(frozen=True)
class Runs:
    """How often a part runs."""

    inference: int = 0
    """In one ACT step at inference."""
    with_gradient: int = 0
    """In one training step, with backpropagation through it."""
    without_gradient: int = 0
    """In one training step, forward only: earlier cycles, and the second forward pass for the Q target."""


@dataclass(frozen=True)
class Kept:
    """Numbers that one run with gradient stores for its backward pass, for one puzzle."""

    numbers: int = 0
    """In the forward dtype."""
    wide: int = 0
    """Numbers stored in float32 in any forward dtype, by norms and softmax."""
    on_cpu_in_bfloat16: int = 0
    """Difference in bytes on a CPU in bfloat16, where blocks use fused CPU kernels and explicit attention."""
    on_cpu_in_float32: int = 0
    """Difference in bytes on a CPU in float32."""


@dataclass(frozen=True)
class Part:
    """All tensors and matmuls of one kind in one top-level module of a core."""

    module: str
    kind: str
    trainable: int = 0
    """Numbers that the network's optimizer trains."""
    buffers: int = 0
    """Numbers stored, but not trained by it."""
    flops: int = 0
    """FLOPs of one run for one puzzle, matmuls only. A multiply-add counts as two."""
    runs: Runs = Runs()
    kept: Kept = Kept()
    fixed_flops: int = 0
    """FLOPs of one run in matmuls with a fixed matrix: their backward pass is one matmul of that size, not two."""


def components(
    arch: ArchConfig,
    vocab_size: int,
    seq_len: int,
    num_puzzle_identifiers: int = 1,
    objective: str | None = None,
    gradient: str | None = None,
) -> list[Part]:
    """The parts of the model of `arch`, trained with `objective` (None for the core's default).

    `gradient` is `train.gradient`: the updates that receive gradient in an ACT step.
    """
    parts = COMPONENTS[arch.core](arch, vocab_size, seq_len, num_puzzle_identifiers)
    if objective == "rsm":
        return [_under_rsm(part, arch) for part in parts]
    if gradient == "last_cycle" and arch.core == "hrm":
        return [_through_the_last_cycle(part, arch) for part in parts]
    return parts


def _through_the_last_cycle(part: Part, arch: ArchConfig) -> Part:
    """The part if all L_cycles updates of the last cycle receive gradient, not only the last update."""
    if part.module != "L_level":
        return part
    runs, more = part.runs, arch.L_cycles - 1
    return replace(part, runs=Runs(runs.inference, runs.with_gradient + more, runs.without_gradient - more))


def _under_rsm(part: Part, arch: ArchConfig) -> Part:
    """The part under RSM: no second pass for a Q target, and gradient through the whole last cycle."""
    runs = part.runs
    if runs.inference > 1 or part.module in ("H_level", "L_level"):
        slow, fast = int(part.module == "H_level" or arch.core == "trm"), int(part.module == "L_level")
        trained = slow + fast * arch.L_cycles
        return replace(part, runs=Runs(runs.inference, trained, runs.inference - trained))
    return replace(part, runs=replace(runs, without_gradient=0))


def trainable_in_closed_form(arch: ArchConfig, vocab_size: int, seq_len: int) -> int:
    """The number of trainable parameters, without instantiating anything."""
    return sum(part.trainable for part in components(arch, vocab_size, seq_len))


def _hrm(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> list[Part]:
    # One step is H_cycles × (L_cycles × L, then H), with gradient through the last L and the last H. The Q target
    # takes another step without gradient.
    fast, slow = arch.H_cycles * arch.L_cycles, arch.H_cycles
    target = int(arch.q_continue and arch.halt_max_steps > 1)
    return [
        *_around(arch, vocab_size, seq_len, identifiers, target),
        *_blocks(
            "H_level", arch, vocab_size, seq_len, arch.H_layers, Runs(slow, 1, slow - 1 + target * slow)
        ),
        *_blocks(
            "L_level", arch, vocab_size, seq_len, arch.L_layers, Runs(fast, 1, fast - 1 + target * fast)
        ),
    ]


def _trm(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> list[Part]:
    # One module updates z_L L_cycles times and z_H once a cycle; gradient goes through the whole last cycle.
    cycle = arch.L_cycles + 1
    runs = Runs(arch.H_cycles * cycle, cycle, (arch.H_cycles - 1) * cycle)
    return [
        *_around(arch, vocab_size, seq_len, identifiers, 0),
        *_blocks("L_level", arch, vocab_size, seq_len, arch.L_layers, runs),
    ]


def _around(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int, target: int) -> list[Part]:
    """The parts of HRM and TRM outside their modules: embeddings, fixed initial states, output heads."""
    hidden, positions = arch.hidden_size, arch.puzzle_positions + seq_len
    if arch.mixer == "units":
        return _around_units(arch, vocab_size, seq_len, target)
    # The output head keeps a copy of the token positions; the Q head's view of the first keeps the whole state, which
    # is the same tensor where there is no puzzle position.
    seen = Kept(positions * hidden if arch.puzzle_positions else 0)
    # A tied output head multiplies with the token embeddings and stores nothing of its own.
    output = "embed_tokens" if arch.tied_output else "lm_head"
    parts = [
        Part("embed_tokens", kinds.EMBEDDINGS, vocab_size * hidden),
        Part(output, kinds.HEADS, 0 if arch.tied_output else vocab_size * hidden, 0,
             2 * seq_len * hidden * vocab_size, Runs(1, 1), Kept(seq_len * hidden)),
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
        return _unit_blocks(module, arch, infer_relations(vocab_size, seq_len), layers, runs)
    if arch.mlp_t:
        mixer = _swiglu(module, kinds.TOKEN_MIXING, arch.expansion, positions, hidden, layers, runs)
    else:
        mixer = _attention(module, arch, positions, layers, runs)
    return [mixer, _swiglu(module, kinds.SWIGLU, arch.expansion, hidden, positions, layers, runs)]


def _around_units(arch: ArchConfig, vocab_size: int, seq_len: int, target: int) -> list[Part]:
    """The same for the `units` mixer: three kinds of givens, one output per position, no position tables."""
    hidden, positions = arch.hidden_size, seq_len * infer_relations(vocab_size, seq_len).num_symbols
    parts = [
        Part("embed_tokens", kinds.EMBEDDINGS, 3 * hidden),
        Part("lm_head", kinds.HEADS, hidden, 0, 2 * positions * hidden, Runs(1, 1), Kept(positions * hidden)),
        Part("H_init", kinds.INITIAL_STATES, buffers=hidden),
        Part("L_init", kinds.INITIAL_STATES, buffers=hidden),
    ]
    if arch.halting == "q_learning":
        flops = 2 * positions * hidden * 2
        kept = Kept(wide=4 * positions)
        parts.append(Part("q_head", kinds.HEADS, 2 * hidden + 2, 0, flops, Runs(1, 1, target), kept))
    return parts


def _unit_blocks(module: str, arch: ArchConfig, relations: Relations, layers: int, runs: Runs) -> list[Part]:
    """A stack of blocks with the `units` mixer (`hrm_cli.models.units`, with its letters)."""
    H, M, N = arch.hidden_size, arch.hidden_size // 2, arch.num_heads
    S, D, U = relations.seq_len, relations.num_symbols, relations.num_units
    T = S * D
    message = 2 * M * H + H * H
    # The fast module of HRM has no attention between cells.
    A = int(not (arch.core == "hrm" and module == "L_level"))
    weights = (2 + 3 * A) * M * H + (len(relations.classes) + 1) * message
    weights += A * (M * H + N * relations.num_kinds_of_pairs)
    flops = 2 * T * ((2 + 3 * A) * M * H + A * M * H) + 2 * (U * D + S) * message
    flops += A * 2 * 2 * S * S * D * M
    sums = 2 * U * S * D * (M + H)
    # Kept: the input and its projection, which messages are cut from; what goes into the sums, and what comes of them
    # (the message's input, gate and up, silu(gate), their product, for units also the result); q, k, v, the weights and
    # the mixture of attention; the norm's input and factors.
    numbers = T * H + (2 + 3 * A) * T * M + T * M + U * D * (M + 5 * H) + S * (M + 4 * H)
    numbers += A * (4 * T * M + N * S * S)
    wide = T * H + T
    # A CPU keeps the projection as a whole, also q, k and v (the last two padded), of messages their inputs, gates
    # and ups, and the normed sum's factors (the sum itself is the next part's input).
    on_cpu = T * H + (2 + 3 * A) * T * M + U * D * (M + 2 * H) + S * (M + 2 * H)
    in_bfloat16, in_float32 = (
        size * (on_cpu + A * (2 * T * M + 2 * P * D * M + N * S * P) - numbers) + 4 * (T - wide)
        for size, P in ((2, S + -S % CPU_VECTOR), (4, S))
    )
    kept = Kept(layers * numbers, layers * wide, layers * in_bfloat16, layers * in_float32)
    mixer = Part(module, kinds.UNITS, layers * weights, 0, layers * flops, runs, kept, layers * sums)
    return [mixer, _swiglu(module, kinds.SWIGLU, arch.expansion, H, T, layers, runs)]


def _attention(module: str, arch: ArchConfig, positions: int, layers: int, runs: Runs) -> Part:
    hidden = arch.hidden_size
    activation, padded = positions * hidden, positions + -positions % CPU_VECTOR
    # Kept: the input, the fused projection's q, k and v, the output; rotated q and k come on top of that.
    tensors = 7 if arch.pos_encodings == "rope" else 5
    return Part(
        module,
        kinds.ATTENTION,
        layers * 4 * hidden**2,
        0,
        # Four projections, q kᵀ, and the weighted sum of v.
        layers * (2 * positions * 4 * hidden**2 + 2 * 2 * positions**2 * hidden),
        runs,
        Kept(
            layers * tensors * activation,
            layers * (arch.num_heads * positions + activation + positions),
            # A CPU keeps q, k and v instead of the projection, and normed outputs, which the next part keeps as its
            # input, instead of wide ones; in bfloat16 also attention's weights, and k, v and weights are padded.
            on_cpu_in_bfloat16=layers
            * (
                2 * ((3 - tensors) * activation + 2 * padded * hidden + arch.num_heads * positions * padded)
                - 4 * (arch.num_heads * positions + activation)
            ),
            on_cpu_in_float32=layers * -4 * (tensors - 5) * activation,
        ),
    )


def _swiglu(module: str, kind: str, expansion: float, size: int, rows: int, layers: int, runs: Runs) -> Part:
    """`layers` SwiGLUs over `size` numbers, each applied to `rows` vectors of a puzzle."""
    inner = swiglu_width(size, expansion)
    weights = 3 * size * inner
    # Kept: the input, gate and up, silu(gate), their product; the norm keeps its input and its factors.
    # (on a CPU the factors alone: the normed output is the next part's input, but for the last one, and that of mixing,
    # which is turned back first; and gate and up alone, which backward opens again).
    vectors = layers * rows * size
    turned = vectors if kind == kinds.TOKEN_MIXING else rows * size
    opened = 2 * layers * rows * inner
    kept = Kept(
        vectors + 4 * layers * rows * inner,
        vectors + layers * rows,
        on_cpu_in_bfloat16=2 * (turned - opened) - 4 * vectors,
        on_cpu_in_float32=4 * (turned - opened) - 4 * vectors,
    )
    return Part(module, kind, layers * weights, 0, layers * 2 * rows * weights, runs, kept)


def _nova(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> list[Part]:
    # At inference an ACT step is one cycle; a training step is a whole forward pass of at most halt_max_steps cycles,
    # with gradient through all of them.
    hidden = arch.hidden_size
    activation = seq_len * hidden
    cycle, once = Runs(1, arch.halt_max_steps), Runs(1, 1)
    bridge = (hidden**2 + hidden, 0, 2 * activation * hidden, cycle, Kept(activation))
    norm = (2 * hidden, 0, 0, cycle, Kept(wide=activation + 2 * seq_len))
    # Dropout on the embedded puzzle keeps its mask.
    embedded = Kept(wide=activation if arch.dropout else 0)
    return [
        Part("positions", kinds.POSITION_TABLE, buffers=NOVA_POSITIONS * hidden),
        Part("token_embedding", kinds.EMBEDDINGS, vocab_size * hidden, 0, 0, once, embedded),
        *_encoder("h_layers", arch, seq_len, arch.H_layers, cycle),
        *_encoder("l_layers", arch, seq_len, arch.L_layers, cycle),
        Part("h_norm", kinds.NORMS, *norm),
        Part("l_norm", kinds.NORMS, *norm),
        Part("h_to_l", kinds.BRIDGES, *bridge),
        Part("l_to_h", kinds.BRIDGES, *bridge),
        Part("halt_predictor", kinds.HEADS, 2 * hidden + 1, 0, 2 * 2 * hidden, cycle, Kept(2 * hidden)),
        Part("output", kinds.HEADS, vocab_size * (hidden + 1), 0, 2 * activation * vocab_size, once,
             Kept(activation)),
    ]  # fmt: skip


def _encoder(module: str, arch: ArchConfig, seq_len: int, layers: int, runs: Runs) -> list[Part]:
    """Standard post-norm encoder layers: attention and a ReLU feed-forward with biases, a LayerNorm after each."""
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
        # Kept: the input, q, k and v, the output, and the mask of the dropout after it. Written out, attention keeps
        # the softmax as well; with dropout on the weights also its mask and their product.
        Kept(
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
        Kept(layers * ((1 + drops) * activation + (1 + 2 * drops) * seq_len * inner)),
    )
    norms = Part(
        module,
        kinds.NORMS,
        layers * 2 * 2 * hidden,
        0,
        0,
        runs,
        Kept(wide=layers * 2 * (activation + 2 * seq_len)),
    )
    return [attention, feed_forward, norms]


COMPONENTS: dict[str, Callable[[ArchConfig, int, int, int], list[Part]]] = {
    "hrm": _hrm,
    "nova": _nova,
    "trm": _trm,
}
"""(arch, vocab_size, seq_len, num_puzzle_identifiers) → parts, one entry for every core in the registry."""
