"""The parts of blocks: their SwiGLU, and mixers built on the structure of a domain (`units`, `neighbors`,
`edges`, `grid`).

Letters: T positions, S cells, H hidden size, N heads, I inner width.
"""

from __future__ import annotations

import math

from hrm_cli.accounting import kinds
from hrm_cli.accounting.kinds import Part, Runs, Saved
from hrm_cli.config.arch import CPU_VECTOR, MOST_GRID_POSITIONS, ArchConfig, swiglu_width
from hrm_cli.config.mixers import MIXERS
from hrm_cli.puzzles.relations import Relations

SIDES = 4
"""The `edges` mixer: positions per cell."""


def unit_blocks(module: str, arch: ArchConfig, relations: Relations, layers: int, runs: Runs) -> list[Part]:
    """A stack of blocks with the `units` mixer (`hrm_cli.models.mixers.units`, with its letters)."""
    H, M, N = arch.hidden_size, arch.hidden_size // 2, arch.num_heads
    S, D, U = relations.seq_len, relations.num_symbols, relations.num_units
    T = S * D
    message = 2 * M * H + H * H
    # A = 1 with attention between cells. HRM's fast module has none.
    A = int(not (arch.core == "hrm" and module == "L_level"))
    weights = (2 + 3 * A) * M * H + (len(relations.classes) + 1) * message
    weights += A * (M * H + N * relations.num_kinds_of_pairs)
    flops = 2 * T * ((2 + 3 * A) * M * H + A * M * H) + 2 * (U * D + S) * message
    flops += A * 2 * 2 * S * S * D * M
    sums = 2 * U * S * D * (M + H)
    # Saved for backward: the input; its projection, which the messages are slices of; the tensors of the sums (the
    # message's input, gate, up, silu(gate) and their product, for units also the result); q, k, v, the attention
    # weights and the attention output; the norm's input and scale factors.
    numbers = T * H + (2 + 3 * A) * T * M + T * M + U * D * (M + 5 * H) + S * (M + 4 * H)
    numbers += A * (4 * T * M + N * S * S)
    wide = T * H + T
    # On a CPU: the whole projection; q, k and v (k and v padded); inputs, gates and ups of the messages; the norm's
    # scale factors (the next part saves the normed sum as its input).
    on_cpu = T * H + (2 + 3 * A) * T * M + U * D * (M + 2 * H) + S * (M + 2 * H)
    in_bfloat16, in_float32 = (
        size * (on_cpu + A * (2 * T * M + 2 * P * D * M + N * S * P) - numbers) + 4 * (T - wide)
        for size, P in ((2, S + -S % CPU_VECTOR), (4, S))
    )
    kept = Saved(layers * numbers, layers * wide, layers * in_bfloat16, layers * in_float32)
    mixer = Part(module, kinds.UNITS, layers * weights, 0, layers * flops, runs, kept, layers * sums)
    parts = [mixer, swiglu_part(module, kinds.SWIGLU, arch.expansion, H, T, layers, runs)]
    if arch.size_adapter_rank:
        # Rows and columns of every matrix. Their product is computed once for a batch, so no puzzle costs any FLOPs.
        ends = (2 + 3 * A) * M + H + A * (M + H) + (len(relations.classes) + 1) * (M + 4 * H)
        ends += 2 * H + 3 * swiglu_width(H, arch.expansion)
        parts.append(Part(module, kinds.SIZE_ADAPTERS, layers * arch.size_adapter_rank * ends))
    return parts


def neighbor_blocks(module: str, arch: ArchConfig, seq_len: int, layers: int, runs: Runs) -> list[Part]:
    """A stack of blocks with the `neighbors` mixer (`hrm_cli.models.mixers.neighbors`, with its letters)."""
    H, S = arch.hidden_size, seq_len
    weights = 2 * 2 * H * H
    # Saved: the input, its projection, what is sent (with a border of zeros, as if the grid were a square), the maxima
    # of two directions, what is received; the norm's input and factors. A CPU keeps the factors alone: the normed sum
    # is the next part's input.
    with_border = round((math.sqrt(S) + 2) ** 2)
    numbers = S * H + 2 * S * H + 2 * with_border * H + 2 * S * H + 2 * S * H
    smaller = -4 * layers * S * H
    kept = Saved(layers * numbers, layers * (S * H + S), smaller, smaller)
    mixer = Part(module, kinds.NEIGHBORS, layers * weights, 0, layers * 2 * S * weights, runs, kept)
    multiple = MIXERS["neighbors"].width_multiple
    return [mixer, swiglu_part(module, kinds.SWIGLU, arch.expansion, H, S, layers, runs, multiple)]


def edge_blocks(module: str, arch: ArchConfig, seq_len: int, layers: int, runs: Runs) -> list[Part]:
    """A stack of blocks with the `edges` mixer (`hrm_cli.models.mixers.edges`, with its letters)."""
    H, S = arch.hidden_size, seq_len
    T = SIDES * S
    sides, cells = 3 * H * H + H * H, 4 * H * H  # weights that run once per side, and once per cell
    # Saved: the input, its projection, what is sent, its maxima, what arrives (twice: for its messages and its maxima),
    # these maxima, what cells receive; the norm's input and factors. On a CPU: the input, its projection, what arrives,
    # what cells receive; of the norm the factors alone.
    numbers = T * H + 3 * T * H + 3 * T * H + S * H + 2 * T * H + S * H + 4 * S * H
    on_cpu = T * H + 3 * T * H + T * H + 4 * S * H
    in_bfloat16, in_float32 = (layers * (size * (on_cpu - numbers) - 4 * T * H) for size in (2, 4))
    kept = Saved(layers * numbers, layers * (T * H + T), in_bfloat16, in_float32)
    flops = 2 * (T * sides + S * cells)
    mixer = Part(module, kinds.EDGES, layers * (sides + cells), 0, layers * flops, runs, kept)
    multiple = MIXERS["edges"].width_multiple
    return [mixer, swiglu_part(module, kinds.SWIGLU, arch.expansion, H, T, layers, runs, multiple)]


def grid_blocks(module: str, arch: ArchConfig, seq_len: int, layers: int, runs: Runs) -> list[Part]:
    """A stack of blocks with the `grid` mixer (`hrm_cli.models.mixers.grid`, with its letters)."""
    H, S, N = arch.hidden_size, seq_len, arch.num_heads
    P = int(S <= MOST_GRID_POSITIONS)  # whether there are weights between positions
    linear, around, between = (5 + 2 * P) * H * H, 9 * H, P * N * S * S
    # The depthwise convolution over the neighbors is no matmul.
    flops = 2 * S * linear + 2 * P * S * S * H
    # Saved: the input, its projection, what is sent, copies of what is sent to the neighbors and to positions, what is
    # received; the norm's input and factors. A CPU keeps the factors alone, and no copy of what is sent to the
    # neighbors.
    numbers = S * H * (1 + 2 * (2 + P) + 1 + P + (3 + P))
    kept = Saved(layers * numbers, layers * (S * H + S), -6 * layers * S * H, -8 * layers * S * H)
    mixer = Part(module, kinds.GRID, layers * (linear + around + between), 0, layers * flops, runs, kept)
    multiple = MIXERS["grid"].width_multiple
    return [mixer, swiglu_part(module, kinds.SWIGLU, arch.expansion, H, S, layers, runs, multiple)]


def swiglu_part(
    module: str,
    kind: str,
    expansion: float,
    size: int,
    rows: int,
    layers: int,
    runs: Runs,
    multiple: int = 256,
) -> Part:
    """`layers` SwiGLUs of width `size`, each applied to `rows` vectors of a puzzle."""
    inner = swiglu_width(size, expansion, multiple)
    weights = 3 * size * inner
    # Saved for backward: the input, gate, up, silu(gate) and their product; the norm's input and scale factors.
    # On a CPU: gate and up only, because backward recomputes the rest; of the norm only the scale factors, because the
    # next part saves the normed output as its input. Outputs saved in addition: that of the last layer or, for token
    # mixing, those of all layers, which are transposed back first.
    vectors = layers * rows * size
    extra_outputs = vectors if kind == kinds.TOKEN_MIXING else rows * size
    recomputed = 2 * layers * rows * inner
    kept = Saved(
        vectors + 4 * layers * rows * inner,
        vectors + layers * rows,
        on_cpu_in_bfloat16=2 * (extra_outputs - recomputed) - 4 * vectors,
        on_cpu_in_float32=4 * (extra_outputs - recomputed) - 4 * vectors,
    )
    return Part(module, kind, layers * weights, 0, layers * 2 * rows * weights, runs, kept)
