"""The `arch` section: the model. Fields that the reference implementation has as well use its names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from hrm_cli.config.mixers import is_structured, mixer_entry
from hrm_cli.config.values import Float, Int, Section, numbers_from_text
from hrm_cli.errors import ConfigError

NOVA_POSITIONS = 5000
"""Rows of nova's fixed position table: stored, never trained, and counted in the published 6.95M."""
CPU_VECTOR = 32
"""bfloat16 numbers in a CPU's widest vector register. On a CPU, attention is padded to a multiple of it."""
MOST_GRID_POSITIONS = 400
"""The `grid` mixer: largest number of cells with weights between positions, 160,000 per head and block."""


def swiglu_width(size: int, expansion: float, multiple: int = 256) -> int:
    """Inner width of a SwiGLU over `size` features: round(expansion · size · 2/3), rounded up to a `multiple`."""
    return -(-round(expansion * size * 2 / 3) // multiple) * multiple


def encoder_width(hidden_size: int, expansion: float) -> int:
    """Inner width of nova's feed-forward layers: round(expansion · H)."""
    return round(expansion * hidden_size)


DEEPEST_STEP = 16_384
"""Maximum number of sequential blocks in one ACT step, far above every published model."""

HALT_NAMES = {"q_learning": "halt probability", "certain": "confidence", "settle": "settledness"}
"""What σ of the halt value is, by `arch.halting`: a learned probability that the answer is correct, the probability of
the least confident cell, or a measure from 0 to 1 of how little the last step changed the state."""


class ArchConfig(Section):
    """The model: core, width, depth, cycles and ACT steps."""

    core: str = Field("hrm", description="architecture, a name in the model registry")
    hidden_size: Int = Field(
        512, ge=2, le=65_536, description="width H of both modules; a multiple of num_heads"
    )
    num_heads: Int = Field(8, ge=1, description="attention heads; does not change the parameter count")
    H_layers: Int = Field(4, ge=1, le=1024, description="blocks of the slow H-module")
    L_layers: Int = Field(4, ge=1, le=1024, description="blocks of the fast L-module")
    H_cycles: Int = Field(2, ge=1, le=1024, description="H updates in one ACT step")
    L_cycles: Int = Field(2, ge=1, le=1024, description="L updates for each H update")
    fusion: Literal["add", "gated"] = Field(
        "add",
        description="hrm: how a level combines the state of another level with its own: added as it is (add), or "
        "multiplied first by a learned factor between 0 and 2 for each position, initially 1 (gated)",
    )
    middle_cycles: Annotated[tuple[Int, ...], BeforeValidator(numbers_from_text)] = Field(
        (),
        max_length=8,
        description="hrm: levels between L and H, fastest first, as in 2 (one level) or [2, 3]; each number says how "
        "often the level is updated per update of the level above it; L_cycles then counts the updates of L per "
        "update of the first of these levels; empty means none",
    )
    middle_layers: Int | None = Field(
        None, ge=1, le=1024, description="hrm: blocks of each middle level; null means L_layers"
    )
    expansion: Float = Field(
        4.0, gt=0, le=64, description="SwiGLU width ÷ H before the factor 2/3 and rounding up to 256"
    )
    puzzle_emb_ndim: Int | None = Field(
        None,
        ge=0,
        le=1_048_576,
        description="size of a puzzle embedding; null means hidden_size, 0 means no puzzle embedding",
    )
    puzzle_emb_len: Int = Field(
        0,
        ge=0,
        le=4096,
        description="positions of the puzzle embedding; 0 means ceil(puzzle_emb_ndim ÷ hidden_size)",
    )
    pos_encodings: Literal["rope", "learned", "none"] = Field("rope", description="positional encodings")
    position_tables: bool = Field(
        False,
        description="add a learned embedding for every row, column and box to the tokens of their cells (rows and "
        "columns where the domain is a grid without boxes); in addition to pos_encodings",
    )
    qk_norm: bool = Field(
        False,
        description="QK norm: RMS norm of the queries and keys of every attention head, and a learned factor for "
        "each head's scores",
    )
    halt_max_steps: Int = Field(16, ge=1, le=65_536, description="maximum ACT steps per puzzle")
    halt_exploration_prob: Float = Field(
        0.1,
        ge=0,
        le=1,
        description="exploration: probability that a row gets a random minimum number of steps in training",
    )
    rms_norm_eps: Float = Field(1e-5, gt=0, description="added to the mean square in RMS norm")
    rope_theta: Float = Field(10000.0, gt=0, description="base of the rotary frequencies")
    q_continue: bool = Field(
        True,
        description="also train Q-continue, which needs a second forward pass in every step",
    )
    halting: Literal["q_learning", "settle", "certain"] = Field(
        "q_learning",
        description="halting rule: a learned Q head (q_learning); or, without a Q head, a state that no "
        "longer changes (settle), or a token of high probability in every cell (certain)",
    )
    halt_threshold: Float | None = Field(
        None,
        gt=0,
        lt=1,
        description="inference ends for a puzzle at this halt probability, or at this confidence or settledness if "
        "there is no Q head (see halting); null means 0.98, or 0.9 with nova",
    )
    tied_output: bool = Field(False, description="use the token embedding as the output head as well")
    mixer: str | None = Field(
        None,
        description="what mixes positions inside a block: attention; mlp over the positions; units, messages "
        "along the rows, columns and boxes that the domain declares; neighbors, messages between the cells of a grid; "
        "edges, the same with a state for each of the four sides of a cell; grid, messages by direction, along rows "
        "and columns, and between positions; null means attention, or mlp if mlp_t is set",
    )
    mlp_t: bool = Field(False, description="the reference's name for mixer=mlp")
    size_adapter_rank: Int = Field(
        0,
        ge=0,
        le=1024,
        description="units: rank of a change of every block's weights for puzzles of another size than "
        "size_adapter_base; 0 means no such change",
    )
    size_adapter_base: Int = Field(
        9,
        ge=1,
        le=4096,
        description="units: number of symbols of the puzzles for which the weights are unchanged; elsewhere the change "
        "is multiplied by 1 − the smaller ÷ the larger of both numbers of symbols",
    )
    initial_state: Literal["fixed", "random"] = Field(
        "fixed",
        description="states that a puzzle starts from: one stored vector for all positions (fixed), or random numbers "
        "(random), new ones for every row in training and always the same at inference",
    )
    damping: Float = Field(
        1.0,
        gt=0,
        le=1,
        description="weight of the newly computed states when an ACT step averages them with the states before the "
        "step; 1 means no damping",
    )
    state_dtype: Literal["forward", "float32"] = Field(
        "forward",
        description="dtype of the states and of the sums and norms in the blocks: the forward dtype, or float32, "
        "for long recurrences in half precision; matmuls use the forward dtype either way",
    )
    dropout: Float = Field(0.1, ge=0, lt=1, description="nova: dropout probability")
    nova_halting: Literal["mean", "per_row"] = Field(
        "mean",
        description="nova: halt the whole batch on its mean halt probability, as published, or each row by itself",
    )
    nova_bridge_loss_weight: Float = Field(
        0.0,
        ge=0,
        description="nova: weight of the loss for predicting each state from the other through the bridges",
    )
    forward_dtype: Literal["bfloat16", "float16", "float32", "auto"] = Field(
        "bfloat16",
        description="dtype of the forward pass; parameters stay float32; float16 is trained with a loss scale; "
        "auto means bfloat16 if the hardware supports it, else float32",
    )
    inference_dtype: Literal["forward", "int8"] = Field(
        "forward",
        description="dtype of weight matmuls at inference on a CPU: the forward dtype; or int8, if the CPU has "
        "instructions for it, with states, norms and attention in the forward dtype",
    )

    @model_validator(mode="after")
    def _check_shape(self) -> ArchConfig:
        self._resolve_mixer()
        if self.puzzle_emb_ndim is None:
            object.__setattr__(self, "puzzle_emb_ndim", 0 if is_structured(self.mixer) else self.hidden_size)
        self._check_levels()
        depth = self.H_cycles * (self.L_cycles * self.L_layers + self.H_layers)
        if self.middle_cycles:
            from hrm_cli.config.levels import blocks_in_step  # needed only here

            depth = blocks_in_step(self)
            if depth > DEEPEST_STEP:
                raise ValueError(
                    f"middle_cycles {list(self.middle_cycles)} with H_cycles {self.H_cycles} and L_cycles "
                    f"{self.L_cycles}: {depth:,} blocks in one ACT step; at most {DEEPEST_STEP:,} are allowed"
                )
        if depth > DEEPEST_STEP:
            raise ValueError(
                f"H_cycles {self.H_cycles} × (L_cycles {self.L_cycles} × L_layers {self.L_layers} + H_layers "
                f"{self.H_layers}) = {depth:,} blocks in one ACT step; at most {DEEPEST_STEP:,} are allowed"
            )
        if self.hidden_size % self.num_heads:
            fits = [n for n in range(1, min(self.hidden_size, 64) + 1) if self.hidden_size % n == 0]
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}; "
                f"num_heads may be {', '.join(map(str, fits))}"
            )
        if self.pos_encodings == "rope" and self.head_dim % 2:
            raise ValueError(
                f"pos_encodings rope needs an even head_dim, but hidden_size {self.hidden_size} ÷ num_heads "
                f"{self.num_heads} = {self.head_dim}; change num_heads, or set pos_encodings=learned"
            )
        if self.puzzle_emb_size > self.puzzle_positions * self.hidden_size:
            raise ValueError(
                f"puzzle_emb_ndim {self.puzzle_emb_size} does not fit into puzzle_emb_len {self.puzzle_emb_len} × "
                f"hidden_size {self.hidden_size}; use a larger puzzle_emb_len, or 0 to derive it"
            )
        if self.mlp_t and self.core == "nova":
            raise ValueError("mixer mlp works only with the cores hrm and trm, but core is nova")
        if is_structured(self.mixer):
            self._check_structured()
        for name in ("position_tables", "qk_norm"):
            if getattr(self, name) and self.core not in ("hrm", "trm"):
                raise ValueError(
                    f"{name} works only with the cores hrm and trm, but core is {self.core}; set {name}=false"
                )
        if self.qk_norm and self.mixer != "attention":
            raise ValueError(
                f"qk_norm works only with mixer attention, but mixer is {self.mixer}; set qk_norm=false"
            )
        if self.size_adapter_rank and self.mixer != "units":
            raise ValueError(
                f"size_adapter_rank works only with mixer units, but mixer is {self.mixer}; set size_adapter_rank=0"
            )
        self._check_states()
        return self

    def _resolve_mixer(self) -> None:
        """Makes `mlp_t` and `mixer` consistent: `mlp_t: true` and `mixer: mlp` mean the same."""
        if self.mixer is not None:
            try:
                mixer_entry(self.mixer)
            except ConfigError as error:
                raise ValueError(str(error).removeprefix("arch.mixer: ")) from None
        if self.mixer is None:
            object.__setattr__(self, "mixer", "mlp" if self.mlp_t else "attention")
        elif self.mlp_t and self.mixer != "mlp":
            raise ValueError(
                f"mlp_t requires mixer mlp, but mixer is {self.mixer}; set mlp_t=false or mixer=mlp"
            )
        object.__setattr__(self, "mlp_t", self.mixer == "mlp")

    def _check_states(self) -> None:
        defaults = {
            "initial_state": "fixed",
            "damping": 1,
            "state_dtype": "forward",
            "inference_dtype": "forward",
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default and self.core not in ("hrm", "trm"):
                raise ValueError(
                    f"{name} {value} works only with the cores hrm and trm, but core is {self.core}; "
                    f"set {name}={default}"
                )

    def _check_levels(self) -> None:
        if self.core != "hrm" and (self.fusion != "add" or self.middle_cycles):
            name, off = ("fusion", "add") if self.fusion != "add" else ("middle_cycles", "[]")
            raise ValueError(f"{name} works only with core hrm, but core is {self.core}; set {name}={off}")
        if any(not 1 <= count <= 1024 for count in self.middle_cycles):
            raise ValueError(f"middle_cycles {list(self.middle_cycles)}: every number must be 1 to 1,024")
        if self.middle_layers is not None and not self.middle_cycles:
            raise ValueError(
                f"middle_layers is {self.middle_layers}, but there is no middle level; set middle_cycles as well, or "
                "middle_layers=null"
            )

    def _check_structured(self) -> None:
        if self.core not in ("hrm", "trm"):
            raise ValueError(
                f"mixer {self.mixer} works only with the cores hrm and trm, but core is {self.core}"
            )
        if self.puzzle_emb_size:
            raise ValueError(
                f"mixer {self.mixer} has no puzzle embedding, but puzzle_emb_ndim is {self.puzzle_emb_ndim}; set "
                "puzzle_emb_ndim=0"
            )
        if self.pos_encodings != "none":
            raise ValueError(
                f"mixer {self.mixer} has no positional encodings, but pos_encodings is {self.pos_encodings}; set "
                "pos_encodings=none"
            )
        if self.position_tables:
            raise ValueError(
                f"mixer {self.mixer} has no position tables; set position_tables=false, or mixer=attention"
            )
        if self.tied_output:
            raise ValueError(
                f"mixer {self.mixer} ties no output to the token embedding; set tied_output=false"
            )
        if self.mixer == "units" and self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"mixer units needs a hidden_size that is a multiple of 2 × num_heads, but {self.hidden_size} is not "
                f"a multiple of {2 * self.num_heads}"
            )

    @property
    def has_levels(self) -> bool:
        """Whether there are gates, or levels between L and H."""
        return self.fusion != "add" or bool(self.middle_cycles)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def halt_name(self) -> str:
        """What σ of the halt value is, for people: only a Q head, or nova's head, predicts a halt probability."""
        return "halt probability" if self.core == "nova" else HALT_NAMES[self.halting]

    @property
    def halts_at(self) -> float:
        """`halt_threshold`, with null resolved.

        0.98: on 4×4 Sudoku it cost no accuracy against full steps, at 2.1 steps of 8 (docs/first-results.md). nova's is
        the published one.
        """
        if self.halt_threshold is not None:
            return self.halt_threshold
        return 0.9 if self.core == "nova" else 0.98

    @property
    def is_equivariant(self) -> bool:
        """Whether all augmented copies of a puzzle give the same answer. Test-time augmentation is then useless.

        Random initial states differ between positions, so they end it.
        """
        if self.initial_state == "random":
            return False
        return is_structured(self.mixer) and mixer_entry(str(self.mixer)).is_equivariant

    @property
    def puzzle_emb_size(self) -> int:
        """`puzzle_emb_ndim`, with null resolved to hidden_size."""
        return self.hidden_size if self.puzzle_emb_ndim is None else self.puzzle_emb_ndim

    @property
    def puzzle_positions(self) -> int:
        """Positions P in front of the tokens: puzzle_emb_len, or ceil(puzzle_emb_ndim / H) if that is 0."""
        if not self.puzzle_emb_size:
            return 0
        return self.puzzle_emb_len or -(-self.puzzle_emb_size // self.hidden_size)
