"""The `train` section: optimization, depth schedules, checkpoints and logging.

Published values and formulas: arXiv 2506.21734. A depth schedule gives the number of cycles of a training step,
depending on the completed fraction of the run.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)

from hrm_cli.config.renamed_settings import replace_old_fields
from hrm_cli.config.values import (
    LARGEST_SEED,
    Float,
    Int,
    Section,
    names_from_text,
    on_or_off,
)

DEPTH_SCHEDULES = {
    # arXiv 2603.15641: H grows at 20, 40, 55, 65, 75 and 85 %, L at 30, 50, 70 and 80 %.
    "rsm": "2x2@0 3x2@0.2 3x3@0.3 4x3@0.4 4x4@0.5 5x4@0.55 6x4@0.65 6x5@0.7 7x5@0.75 7x6@0.8 8x6@0.85",
    # arXiv 2511.08653.
    "cgar": "1x2@0 2x4@0.3 3x6@0.6",
}
"""The published schedules. Each stage is H_cycles x L_cycles @ fraction of the run."""

_STAGE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})@(0|0?\.\d+)")


class DepthStage(NamedTuple):
    """A stage of a schedule: it begins when the fraction `start` of the run is complete."""

    start: float
    H_cycles: int
    L_cycles: int


def parse_schedule(text: str) -> list[DepthStage]:
    """Parses a schedule: a name in `DEPTH_SCHEDULES`, or stages such as `2x2@0 3x2@0.2 …`. Raises ValueError."""
    stages = []
    for word in DEPTH_SCHEDULES.get(text, text).split():
        match = _STAGE.fullmatch(word)
        if match is None:
            raise ValueError(
                f"found {text!r}; accepted: {', '.join(DEPTH_SCHEDULES)}, or stages H_cycles x L_cycles "
                f"@ fraction of the run, as in 2x2@0 4x3@0.5"
            )
        stages.append(DepthStage(float(match[3]), int(match[1]), int(match[2])))
    starts = [stage.start for stage in stages]
    if starts[:1] != [0] or any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError(f"found {text!r}; the fractions of its stages must start at 0 and increase")
    return stages


def checked_schedule(value: Any) -> Any:
    """Returns `value` unchanged. Raises ValueError if it is text but not a schedule."""
    if isinstance(value, str):
        parse_schedule(value)
    return value


def depth_fractions(schedule: str) -> list[tuple[int, int, float]]:
    """H_cycles and L_cycles of every stage, and the fraction of the run for which it is used."""
    stages = parse_schedule(schedule)
    ends = [*(stage.start for stage in stages[1:]), 1.0]
    return [(s.H_cycles, s.L_cycles, end - s.start) for s, end in zip(stages, ends, strict=True)]


def depth_at(fraction: float, schedule: str | None) -> tuple[int, int] | None:
    """(H_cycles, L_cycles) when the fraction `fraction` of the run is complete; None without a schedule."""
    if schedule is None:
        return None
    stage = [stage for stage in parse_schedule(schedule) if stage.start <= fraction][-1]
    return stage.H_cycles, stage.L_cycles


class TrainConfig(Section):
    """Optimization, evaluation intervals, checkpoints, divergence and logging of a training run."""

    epochs: Int = Field(20000, ge=1, description="number of passes over the training groups")
    global_batch_size: Int = Field(768, ge=1, description="batch size of a step, over all processes")
    accumulation_steps: Int = Field(
        1, ge=1, description="micro-batches per step (gradient accumulation); saves memory"
    )
    activation_checkpointing: bool = Field(
        False,
        description="activation checkpointing: store block inputs only and recompute the rest in the backward pass",
    )
    optimizer: Literal["adam_atan2", "adamw", "muon"] = Field(
        "adam_atan2",
        description="optimizer of the network; muon: Muon for the weight matrices of blocks, adam_atan2 for the rest "
        "(torch 2.9 or newer)",
    )
    lr: Float = Field(1e-4, gt=0, description="learning rate of the network")
    lr_schedule: Literal["constant", "cosine", "linear"] | None = Field(
        None,
        description="learning-rate schedule after the warm-up; null means cosine if lr_min_ratio is below 1, "
        "else constant",
    )
    lr_min_ratio: Float | None = Field(
        None, ge=0, le=1, description="final learning rate ÷ lr, for cosine and linear; null means 0.1"
    )
    lr_warmup_steps: Int = Field(2000, ge=0, description="steps of linear warm-up")
    weight_decay: Float = Field(0.1, ge=0, description="decoupled weight decay, applied to every parameter")
    beta1: Float = Field(0.9, ge=0, lt=1, description="decay rate of the first moment")
    beta2: Float = Field(0.95, ge=0, lt=1, description="decay rate of the second moment")
    puzzle_emb_lr: Float = Field(1e-2, gt=0, description="learning rate of the puzzle embeddings")
    puzzle_emb_weight_decay: Float = Field(
        0.1, ge=0, description="decoupled weight decay of the puzzle embeddings"
    )
    loss: Literal["stablemax_cross_entropy", "softmax_cross_entropy"] = Field(
        "stablemax_cross_entropy", description="token loss"
    )
    constraint_loss: Float = Field(
        0.0,
        ge=0,
        description="Sudoku: weight of a penalty for units (rows, columns, boxes) in which the predicted probabilities "
        "of a digit do not sum to 1; 0 means none",
    )
    objective: Literal["deep_supervision", "rsm", "whole_forward"] | None = Field(
        None,
        description="training objective: a loss after every ACT step (deep_supervision), one loss at the end of a "
        "recursion from the initial state (rsm), or nova's (whole_forward); null means the core's default",
    )
    gradient: Literal["last_updates", "last_cycle", "all_cycles"] | None = Field(
        None,
        description="updates of an ACT step that backpropagation covers: the last update of each module (HRM's "
        "one-step approximation), all updates of the last cycle (TRM), or all updates; null means the core's default",
    )
    stagger: bool = Field(
        False,
        description="deep supervision: rows start at different ACT steps, so that they are not all replaced at the "
        "same training step before the model learns to halt",
    )
    depth_schedule: Annotated[str, BeforeValidator(checked_schedule)] | None = Field(
        None,
        description="numbers of cycles during training, by fraction of the run: rsm, cgar, or stages such as "
        "2x2@0 4x3@0.5 (H_cycles x L_cycles @ fraction); null means the model's numbers",
    )
    carry_over: Float = Field(
        0.0,
        ge=0,
        lt=1,
        description="objective rsm: fraction of the rows that keep their puzzle and continue from the state of the "
        "previous step; with 0, all rows start from the initial state, as published",
    )
    reach_back: Float = Field(
        0.01,
        ge=0,
        le=1,
        description="objective rsm: fraction of steps whose gradient also reaches the H update before the last cycle",
    )
    state_noise: Float = Field(
        0.0,
        ge=0,
        le=10,
        description="standard deviation of the noise on the states before every ACT step of training ÷ their RMS; 0 "
        "means none",
    )
    warm_up_rows: Float = Field(
        0.0,
        ge=0,
        le=1,
        description="fraction of the rows with a new puzzle that first run ACT steps without gradient",
    )
    warm_up_steps: Int = Field(
        64,
        ge=1,
        le=65_536,
        description="warm_up_rows: largest number of these steps; every row gets a random number from 1 to it",
    )
    repair_rows: Float = Field(
        0.0,
        ge=0,
        le=1,
        description="fraction of the rows with a new puzzle that start from a damaged solution instead of the initial "
        "state",
    )
    repair_cells: Float = Field(
        0.5,
        gt=0,
        le=1,
        description="repair_rows: largest fraction of the cells that are damaged; every row gets a random fraction up "
        "to it",
    )
    supervision_decay: Float = Field(
        1.0, gt=0, le=1, description="weight of a supervision step ÷ that of the previous one (CGAR: 0.7)"
    )
    init_from: str | None = Field(
        None,
        description="checkpoint whose weights a new run starts from (a path or hf:OWNER/NAME); null means "
        "random initialization",
    )
    freeze: Literal["none", "network", "base"] = Field(
        "none",
        description="network: freeze the network's weights and train only the puzzle embeddings; base: freeze all "
        "weights except the size adapters",
    )
    ema_decay: Float = Field(
        0.0, ge=0, lt=1, description="decay of averaged weights used for evaluation; 0 means none"
    )
    grad_clip: Float = Field(0.0, ge=0, description="maximum gradient norm; 0 means no clipping")
    distill_from: str | None = Field(
        None, description="distillation: checkpoint of the teacher; null means none"
    )
    distill_weight: Float = Field(
        1.0, gt=0, description="distillation: weight of the teacher's term in the loss"
    )
    l_distill_weight: Float = Field(
        0.0,
        ge=0,
        description="hrm, trm: weight of a loss that trains L's state, read by the output head, toward H's answer; 0 "
        "means none",
    )
    eval_interval: Int | None = Field(
        None, ge=1, description="epochs between evaluations; null means ten evaluations in a run"
    )
    checkpoint_interval: Int | None = Field(
        None,
        ge=1,
        description="steps between checkpoints, in addition to those at evaluations; null means none",
    )
    keep_checkpoints: Int = Field(2, ge=1, description="newest checkpoints kept, in addition to the best")
    patience: Int | None = Field(
        None,
        ge=1,
        description="evaluations without a better exact accuracy before the run stops; null means never",
    )
    target_accuracy: Float | None = Field(
        None,
        gt=0,
        le=1,
        description="exact accuracy that ends the run once two evaluations in a row have reached it; null means none",
    )
    max_steps: Int | None = Field(
        None, ge=1, description="maximum number of steps; null means that epochs alone determine it"
    )
    max_minutes: Float | None = Field(
        None,
        gt=0,
        description="time limit of the run in minutes, evaluations included; the learning-rate schedule adapts",
    )
    on_divergence: Literal["stop", "rollback"] = Field(
        "stop",
        description="what to do after a divergence: stop, or roll back to the best checkpoint at "
        "a lower learning rate",
    )
    rollback_lr_factor: Float = Field(
        0.5, gt=0, le=1, description="factor by which a rollback multiplies the learning rates"
    )
    max_rollbacks: Int = Field(3, ge=1, description="rollbacks after which a divergence ends the run")
    collapse_ratio: Float = Field(
        0.5,
        ge=0,
        lt=1,
        description="an evaluation counts as a divergence if its exact accuracy ÷ the best one is below this; 0 means "
        "never",
    )
    collapse_from: Float = Field(
        0.5, ge=0, le=1, description="minimum of the best exact accuracy for collapse_ratio to apply"
    )
    explode_ratio: Float = Field(
        100.0, gt=1, description="the run counts as diverged if loss ÷ lowest mean loss so far reaches this"
    )
    log_interval: Int = Field(20, ge=1, description="steps between records in metrics.jsonl")
    loggers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], BeforeValidator(names_from_text)] = Field(
        (),
        description="additional loggers for the records of metrics.jsonl: tensorboard, wandb (offline), or "
        "both in a list",
    )
    compile: Annotated[
        Literal["auto", "on", "max-autotune", "cudagraphs", "off"], BeforeValidator(on_or_off)
    ] = Field(
        "auto",
        description="torch.compile of the model's updates in training; auto: only on CUDA; cudagraphs: all cycles of a "
        "step as one CUDA graph, for small models",
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps, or a torch device such as cuda:1")
    seed: Int = Field(0, ge=0, lt=LARGEST_SEED, description="seed of weights, batches and exploration")

    @property
    def schedule(self) -> tuple[str, float]:
        """The learning-rate schedule and its final rate ÷ lr, with null resolved."""
        ratio = self.lr_min_ratio
        name = self.lr_schedule or ("constant" if ratio is None else "cosine")
        if name == "constant" or ratio == 1:
            return "constant", 1.0
        return name, 0.1 if ratio is None else ratio

    @model_validator(mode="before")
    @classmethod
    def _by_new_names(cls, settings: Any) -> Any:
        """Accepts old names of settings in stored files."""
        return replace_old_fields("train", settings) if isinstance(settings, dict) else settings
