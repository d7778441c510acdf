"""The base class of recurrent cores: input embedding, fixed initial states, output heads (hrm-spec "Input").

A subclass adds its modules and the order in which a step runs them.

Letters in shapes: B batch, S tokens of a puzzle, P puzzle positions in front of them, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.blocks import BlockWeights, ReasoningModule, block
from hrm_cli.models.core import (
    CompiledUpdate,
    CoreOutput,
    Depth,
    InnerCarry,
    StepTensors,
    confidence_logit,
    damped,
    settled_logit,
    smooth_minimum,
)
from hrm_cli.models.cpu.blocks import CPUBlockWeights, cpu_block, cpu_block_at_first, prepack_block, rotations
from hrm_cli.models.cpu.int8 import multiplies_int8
from hrm_cli.models.cpu.kernels.availability import fused_kernels_unavailable
from hrm_cli.models.layers import (
    Embedding,
    Linear,
    PuzzleEmbedding,
    Rotary,
    as_positions,
    rotary_tables,
    truncated_normal_,
)

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure  # for mixers that have one
    from hrm_cli.models.position_tables import PositionTables

# A halt probability of sigmoid(-5), so the model does not halt early at the start of training.
_Q_HEAD_BIAS = -5.0

ModuleWeights = Sequence[BlockWeights | CPUBlockWeights]
"""The weights of a module's blocks, ordered for the device."""


class RecurrentWeights(NamedTuple):
    """Every weight of a recurrent core in the forward dtype, cast once per step."""

    embed_tokens: Tensor
    embed_pos: Tensor | None
    lm_head: Tensor
    q_head: Tensor | None
    q_head_bias: Tensor | None
    H_level: ModuleWeights
    L_level: ModuleWeights
    embed_cells: Tensor | None = None
    """The position embedding of every cell, `[S, H]`, with `arch.position_tables`."""
    levels: Any = None
    """Weights of a core with more than these two modules, in its own form."""


class RecurrentCore(nn.Module):
    """Two states over puzzle and token positions, updated alternately."""

    objective: ClassVar[str] = "deep_supervision"

    H_init: Tensor
    L_init: Tensor
    rope_cos: Tensor
    rope_sin: Tensor

    def __init__(
        self,
        arch: ArchConfig,
        vocab_size: int,
        seq_len: int,
        num_puzzle_identifiers: int,
        structure: Structure | None = None,
    ) -> None:
        super().__init__()
        self.arch, self.vocab_size, self.seq_len = arch, vocab_size, seq_len
        self.structure = structure
        """What the mixer builds on, if it uses the structure of the domain."""
        self.positions = arch.puzzle_positions + seq_len if structure is None else structure.positions
        self.dtype = torch.float32
        self.compiled_update: CompiledUpdate | None = None
        """Replaces `module_update` in training (`hrm_cli.models.compiling`)."""
        self.compiled_inference: CompiledUpdate | None = None
        """Replaces `module_update` at inference."""
        self.compiled_step: Callable[..., StepTensors] | None = None
        """Replaces `step` in training, with all cycles in one graph."""
        self.recomputes_activations = False
        self.reads_L = False
        """In training, the output head, itself untrained by this, also reads L's state (`train.l_distill_weight`)."""
        self.position_tables: PositionTables | None = None
        """Set by `build_model`, with `arch.position_tables`."""
        hidden = arch.hidden_size

        self.embed_tokens = Embedding(vocab_size if structure is None else structure.num_inputs, hidden)
        if not arch.tied_output:
            self.lm_head = Linear(hidden, vocab_size if structure is None else structure.num_outputs)
        if arch.halting == "q_learning":
            self.q_head = Linear(hidden, 2, bias=True)
        if arch.puzzle_emb_size:
            self.puzzle_emb = PuzzleEmbedding(num_puzzle_identifiers, arch.puzzle_emb_size)
        if arch.pos_encodings == "learned":
            self.embed_pos = Embedding(self.positions, hidden)
        elif arch.pos_encodings == "rope":
            # Not stored, because derived from the configuration. A buffer, so that it moves with the model.
            rotary = rotary_tables(self.positions, arch.head_dim, arch.rope_theta)
            self.register_buffer("rope_cos", rotary.cos, persistent=False)
            self.register_buffer("rope_sin", rotary.sin, persistent=False)
        if structure is not None:
            # Not stored, because derived from the domain.
            for name, table in structure.tables().items():
                self.register_buffer(name, table, persistent=False)
        self.register_buffer("H_init", torch.empty(hidden))
        self.register_buffer("L_init", torch.empty(hidden))

    @property
    def state_dtype(self) -> torch.dtype:
        """The dtype of z_H and z_L (`arch.state_dtype`)."""
        return torch.float32 if self.arch.state_dtype == "float32" else self.dtype

    @property
    def halts_together(self) -> bool:
        """Always False: rows halt independently."""
        return False

    @property
    def trains_q_continue(self) -> bool:
        """Whether Q-continue is trained."""
        return self.arch.q_continue and self.arch.halting == "q_learning"

    @abstractmethod
    def modules_by_role(self) -> tuple[ReasoningModule, ReasoningModule]:
        """The modules that update z_H and z_L; they may be the same module."""

    @abstractmethod
    def recur(
        self, z_H: Tensor, z_L: Tensor, embedding: Tensor, weights: RecurrentWeights, depth: Depth
    ) -> tuple[Tensor, Tensor]:
        """Runs the updates of one ACT step on the states `[B, P+S, H]` and returns the new states.

        Implementations call `last_update` for the last update of z_H.
        """

    def recur_training_last_cycle(
        self, z_H: Tensor, z_L: Tensor, embedding: Tensor, weights: RecurrentWeights, depth: Depth
    ) -> tuple[Tensor, Tensor]:
        """H_cycles × (L_cycles updates of z_L, one of z_H); gradient through the last cycle and what `depth` adds."""
        for h in range(depth.H_cycles):
            last = h == depth.H_cycles - 1
            whole = last or depth.trains_all_cycles
            with nullcontext() if whole else torch.no_grad():
                injection = z_H + embedding
                for _ in range(depth.L_cycles):
                    z_L = self.update(z_L, injection, weights.L_level)
            trained = whole or (depth.reaches_back and h == depth.H_cycles - 2)
            with nullcontext() if trained else torch.no_grad():
                if last:
                    z_H = self.last_update(z_H, z_L, weights.H_level, depth)
                else:
                    z_H = self.update(z_H, z_L, weights.H_level)
        return z_H, z_L

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes parameters and the two fixed initial states at random; the Q head starts at zero, bias −5."""
        for module in self.modules():
            if isinstance(module, Linear | Embedding):
                module.initialize(generator)
        for level in {*self.modules_by_role()}:
            for layer in level.layers:
                layer.finish_initialization()  # type: ignore[operator]
        if self.arch.halting == "q_learning":
            nn.init.zeros_(self.q_head.weight)
            nn.init.constant_(self.q_head.bias, _Q_HEAD_BIAS)  # type: ignore[arg-type]
        truncated_normal_(self.H_init, 1.0, generator)
        truncated_normal_(self.L_init, 1.0, generator)
        if self.position_tables is not None:  # last, so that everything else starts as without tables
            self.position_tables.initialize(generator)

    def cast_weights(self) -> RecurrentWeights:
        """The weights in the forward dtype."""
        dtype = self.dtype
        H_level, L_level = self.modules_by_role()
        fast = self._cast_module(L_level)
        embed_tokens = self.embed_tokens.embedding_weight.to(dtype)
        learns_to_halt = self.arch.halting == "q_learning"
        return RecurrentWeights(
            embed_tokens,
            self.embed_pos.embedding_weight.to(dtype) if self.arch.pos_encodings == "learned" else None,
            embed_tokens if self.arch.tied_output else self.lm_head.weight.to(dtype),
            self.q_head.weight.to(dtype) if learns_to_halt else None,
            self.q_head.bias.to(dtype) if learns_to_halt else None,  # type: ignore[union-attr]
            fast if H_level is L_level else self._cast_module(H_level),
            fast,
            None if self.position_tables is None else self.position_tables.cells(dtype),
        )

    def _cast_module(self, module: ReasoningModule) -> ModuleWeights:
        blocks = module.cast(self.dtype)
        return [self._ordered_for_cpu(one) for one in blocks] if self.takes_cpu_blocks else blocks

    def _ordered_for_cpu(self, weights: BlockWeights) -> CPUBlockWeights:
        rotation = rotations(self._rotary, self.positions, self.arch.head_dim)
        int8 = not self.training and multiplies_int8(self.arch.inference_dtype, self.dtype)
        return prepack_block(weights, rotation, self.structure, self._tables, int8=int8)

    def initial_states(self) -> tuple[Tensor, Tensor]:
        """The states that rows start from: vectors `[H]`; or `[P+S, H]`, random, which training replaces."""
        z_H, z_L = self.H_init, self.L_init
        if self.arch.initial_state == "random":
            from hrm_cli.models.initial_states import inference_states

            z_H, z_L = inference_states(self.positions, self.arch.hidden_size, self.H_init.device)
        return z_H.to(self.state_dtype), z_L.to(self.state_dtype)

    def initial_carry(self, inputs: Tensor) -> InnerCarry:
        """The initial states, broadcast over the rows of `inputs` and all positions."""
        shape = (inputs.shape[0], self.positions, self.arch.hidden_size)
        return InnerCarry(*(z.expand(shape) for z in self.initial_states()))

    def reset(self, carry: InnerCarry, rows: Tensor) -> InnerCarry:
        """`carry` with the initial states in the rows where the mask `[B]` is set."""
        mask = rows.view(-1, 1, 1)
        z_H, z_L = self.initial_states()
        return InnerCarry(torch.where(mask, z_H, carry.z_H), torch.where(mask, z_L, carry.z_L))

    def halts(self, step: int | Tensor, out: CoreOutput) -> Tensor:
        """Rows that finish at inference: those with halt probability σ(q_halt) ≥ `arch.halts_at` (0.98).

        This is stricter than the training rule (q_halt > q_continue). That rule stops puzzles that one more step would
        solve, and yet spends more steps on solved puzzles, where both values rise together. Without a Q head, a row
        finishes when its state has settled, or when every cell has a token of that probability (`arch.halting`).
        """
        return out.q_halt >= math.log(self.arch.halts_at / (1 - self.arch.halts_at))

    def embed(self, inputs: Tensor, puzzle_rows: Tensor | None, weights: RecurrentWeights) -> Tensor:
        """The input embedding `[B, P+S, H]`: puzzle positions, then tokens, plus learned positions, times √H."""
        hidden = self.arch.hidden_size
        if self.structure is not None:
            return self.structure.embed(inputs, weights.embed_tokens)
        embedding = F.embedding(inputs, weights.embed_tokens)
        if weights.embed_cells is not None:
            embedding = (embedding + weights.embed_cells) * math.sqrt(0.5)  # as below
        if puzzle_rows is not None:
            prefix = as_positions(puzzle_rows.to(self.dtype), self.arch.puzzle_positions, hidden)
            embedding = torch.cat((prefix, embedding), dim=-2)
        if weights.embed_pos is not None:
            # (e + pos)/√2 keeps the variance of e.
            embedding = (embedding + weights.embed_pos) * math.sqrt(0.5)
        return embedding * math.sqrt(hidden)

    def update(self, z: Tensor, injection: Tensor, blocks: ModuleWeights) -> Tensor:
        """One update of a state `[B, P+S, H]` by a module, compiled if compilation is set up."""
        compiled = self.compiled_update if self.training else self.compiled_inference
        if not (self.recomputes_activations and torch.is_grad_enabled()):
            return (compiled or self.module_update)(z, injection, blocks)
        from hrm_cli.models.recomputing import recomputed

        if compiled is not None:
            compiled.prepare(z, injection, blocks)
            return recomputed(compiled, z, injection, blocks)
        z = z + injection
        for weights in blocks:
            z = recomputed(self.block_update, z, weights)
        return z

    def last_update(self, z: Tensor, injection: Tensor, blocks: ModuleWeights, depth: Depth) -> Tensor:
        """The last update of z_H in an ACT step. With `depth.only_values` the result may be `[B, 1, H]`."""
        in_one_graph = self.training and self.compiled_step is not None
        # With a structure, the Q values depend on all positions. Under torch.compile, nothing may probe for CPU blocks.
        wants_first = depth.only_values and self.structure is None and not in_one_graph
        if not (wants_first and self._has_cpu_blocks):
            return self.update(z, injection, blocks)
        z, last = self.update(z, injection, blocks[:-1]), blocks[-1]
        if not isinstance(last, CPUBlockWeights):
            last = self._ordered_for_cpu(last)
        return cpu_block_at_first(z, last, self.arch.num_heads, self.arch.rms_norm_eps)

    def module_update(self, z: Tensor, injection: Tensor, blocks: ModuleWeights) -> Tensor:
        """One update of a state `[B, P+S, H]` by a module: z ← z + injection, then its blocks in order."""
        z = z + injection
        for weights in blocks:
            z = self.block_update(z, weights)
        return z

    def block_update(self, z: Tensor, weights: BlockWeights | CPUBlockWeights) -> Tensor:
        """Applies one block of a module to a state `[B, P+S, H]`."""
        if isinstance(weights, CPUBlockWeights):
            return cpu_block(z, weights, self.arch.num_heads, self.arch.rms_norm_eps)
        return block(
            z,
            weights,
            self.arch.num_heads,
            self._rotary,
            self.arch.rms_norm_eps,
            self.structure,
            self._tables,
        )

    @property
    def takes_cpu_blocks(self) -> bool:
        """Whether `cast_weights` returns the weights of CPU blocks."""
        in_training = self.compiled_update or self.compiled_step
        return self._has_cpu_blocks and (in_training if self.training else self.compiled_inference) is None

    @property
    def _has_cpu_blocks(self) -> bool:
        on_cpu = self.H_init.device.type == "cpu" and self.state_dtype == self.dtype
        return on_cpu and fused_kernels_unavailable(self.dtype) is None

    @property
    def _rotary(self) -> Rotary | None:
        return Rotary(self.rope_cos, self.rope_sin) if self.arch.pos_encodings == "rope" else None

    @property
    def _tables(self) -> Any:
        if self.structure is None:
            return None
        return self.structure.prepared(
            {name: getattr(self, name) for name in self.structure.buffers}, self.dtype
        )

    def forward(
        self,
        carry: InnerCarry,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: RecurrentWeights | None = None,
        *,
        with_logits: bool = True,
        depth: Depth | None = None,
    ) -> tuple[InnerCarry, CoreOutput]:
        """One ACT step. The new carry is detached."""
        assert with_logits or not torch.is_grad_enabled()
        depth = replace(depth or Depth(self.arch.H_cycles, self.arch.L_cycles), only_values=not with_logits)
        step = (self.compiled_step if self.training else None) or self.step
        more = () if carry.z_M is None else (carry.z_M,)
        found = step(carry.z_H, carry.z_L, inputs, puzzle_rows, weights or self.cast_weights(), depth, *more)
        after = InnerCarry(found.z_H.detach(), found.z_L.detach(), found.z_M)
        if found.q_values is None:
            logits = found.logits if self.arch.halting == "certain" else None
            done = settled_logit(carry.z_H, after.z_H) if logits is None else confidence_logit(logits)
            return after, CoreOutput(found.logits, done, torch.zeros_like(done), found.l_logits)
        return after, CoreOutput(found.logits, found.q_values[:, 0], found.q_values[:, 1], found.l_logits)

    def step(
        self,
        z_H: Tensor,
        z_L: Tensor,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: RecurrentWeights,
        depth: Depth,
    ) -> StepTensors:
        """The arithmetic of one ACT step only, so that it can be compiled as a whole."""
        embedding = self.embed(inputs, puzzle_rows, weights)
        recur = self.recur_training_last_cycle if depth.trains_whole_cycles else self.recur
        updated = recur(z_H, z_L, embedding, weights, depth)
        return self.read(*damped(updated, (z_H, z_L), self.arch.damping), weights, depth)

    def read(self, z_H: Tensor, z_L: Tensor, weights: RecurrentWeights, depth: Depth) -> StepTensors:
        """The result of a step that ends with these states."""
        read = z_H.to(self.dtype)
        logits, l_logits, q_values = None, None, None
        if not depth.only_values:
            logits = self.logits_of(read, weights)
            if self.reads_L and self.training:
                head = weights.lm_head.detach()
                l_logits = self.logits_of(z_L.to(self.dtype), weights._replace(lm_head=head))
        if weights.q_head is not None:
            q_values = self._q_values(read, weights.q_head, weights.q_head_bias)
        return StepTensors(z_H, z_L, logits, q_values, l_logits=l_logits)

    def logits_of(self, z: Tensor, weights: RecurrentWeights) -> Tensor:
        """The logits `[B, S, V]` that the output head reads from a state `[B, P+S, H]`."""
        if self.structure is not None:
            return self.structure.logits(z, weights.lm_head)
        return F.linear(z[:, self.arch.puzzle_positions :], weights.lm_head)

    def _q_values(self, z_H: Tensor, head: Tensor, bias: Tensor | None) -> Tensor:
        """Q-halt and Q-continue, `[B, 2]` float32: at the first position, or a minimum over all with a structure."""
        if self.structure is None:
            return F.linear(z_H[:, 0], head, bias).float()
        return smooth_minimum(F.linear(z_H, head, bias).float())
