"""The training state that a run carries from step to step, and the plan that determines its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.batches import planned_steps, steps_per_epoch
from hrm_cli.data.format import Dataset
from hrm_cli.data.other_sizes import steps_of_all
from hrm_cli.models.act import ACTModel, Carry
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.models.registry import build_model
from hrm_cli.models.shapes import Shapes
from hrm_cli.training.constraints import ConstraintLoss, constraint_of
from hrm_cli.training.muon import block_matrices
from hrm_cli.training.objectives import Supervised
from hrm_cli.training.optimizers import LossScale, SignDescent, network_optimizer


@dataclass(frozen=True)
class Plan:
    """A run's length: total steps = floor(epochs · groups · mean examples per puzzle ÷ global batch size)."""

    total_steps: int
    steps_per_epoch: float
    eval_every: int
    """Steps between evaluations."""

    def epoch(self, step: int) -> float:
        """Epochs done after `step` steps."""
        return step / self.steps_per_epoch


def make_plan(config: TrainConfig, dataset: Dataset, others: Sequence[Dataset] = ()) -> Plan:
    """The plan of a run over `dataset`, and over `others` of other sizes."""
    per_epoch = steps_per_epoch(dataset, config.global_batch_size)
    total = planned_steps(config, dataset.metadata.total_groups, dataset.metadata.mean_puzzle_examples)
    if others:
        per_epoch = steps_of_all([dataset, *others], config.global_batch_size)
        total = max(1, int(config.epochs * per_epoch))
        total = min(total, config.max_steps or total)
    eval_every = round(config.eval_interval * per_epoch) if config.eval_interval else -(-total // 10)
    return Plan(total, per_epoch, max(1, eval_every))


@dataclass
class Best:
    """The best evaluation so far."""

    step: int
    exact_accuracy: float
    cell_accuracy: float = 0.0
    """Breaks ties between equal exact accuracies, which are all zero early in hard tasks."""

    def is_beaten_by(self, exact_accuracy: float, cell_accuracy: float) -> bool:
        """Whether an evaluation is better than this one."""
        return (exact_accuracy, cell_accuracy) > (self.exact_accuracy, self.cell_accuracy)


@dataclass
class AveragedWeights:
    """Exponential moving average of the parameters: a ← d·a + (1 − d)·p after every step."""

    decay: float
    parameters: dict[str, Tensor]

    @torch.no_grad()
    def update(self, model: ACTModel) -> None:
        """Updates the average with the current parameters."""
        current = dict(model.named_parameters())
        torch._foreach_lerp_(
            list(self.parameters.values()), [current[name] for name in self.parameters], 1 - self.decay
        )


class Teacher(Protocol):
    """The interface of a teacher (`hrm_cli.training.distillation`) that the loop uses."""

    def loss(self, out: Supervised, student_token_loss: str, first_row: int = 0) -> Tensor:
        """The distillation loss between student and teacher, summed over rows.

        `out` may cover a micro-batch that begins at `first_row`. The batch must be split the same way at every step.
        """

    def forget(self) -> None:
        """Drops all targets, because the rows have changed."""


@dataclass
class TrainState:
    """The complete resume state. A checkpoint saves all of it except `teacher`, and resuming needs nothing else."""

    model: ACTModel
    network: torch.optim.Optimizer
    sparse: SignDescent | None
    generator: torch.Generator
    """The generator for exploration. It is always on the host, independent of the model's device."""
    average: AveragedWeights | None
    teacher: Teacher | None = None
    """Not saved: the configuration names it, and its targets are recomputed from the puzzles."""
    constraint: ConstraintLoss | None = None
    """Not saved: it has no state."""
    carry: Carry | None = None
    carries: dict[int, Carry] = field(default_factory=dict)
    """In a run on several sizes: the carries of the sizes other than the last batch's, by number of cells."""
    shapes: Shapes | None = None
    """Switches the model between sizes; None in a run on one size."""
    vocabularies: dict[int, int] = field(default_factory=dict)
    """In a run on several sizes: the vocabulary of each, by number of cells."""
    step: int = 0
    seconds: float = 0.0
    """Training time so far, over all sessions, in seconds."""
    wall_seconds: float = 0.0
    """Training time including evaluations and checkpoints, which `train.max_minutes` limits."""
    horizon: int | None = None
    """Estimated total number of steps within the time limit; None if the plan determines it."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Metrics summed since the last logged line."""
    best: Best | None = None
    evaluations_without_better: int = 0
    evaluations_at_target: int = 0
    """Evaluations in a row that have reached `train.target_accuracy`. Not saved: a resumed run counts again."""
    awaits_evaluation: bool = False
    """Whether this step has been saved but its evaluation is still pending."""
    lowest_loss: float | None = None
    """Lowest logged mean loss, the reference for detecting divergence."""
    loss_scale: LossScale | None = None
    """Only used with a forward pass in float16."""
    rollbacks: int = 0
    """Number of rollbacks to the best checkpoint."""
    lr_factor: float = 1.0
    """Factor by which rollbacks have multiplied the learning rates."""

    def take_size(self, seq_len: int) -> None:
        """In a run on several sizes, switches model and carry to puzzles of `seq_len` cells."""
        if self.shapes is None:
            return
        self.carries = self.all_carries()
        self.carry = self.carries.pop(seq_len, None)
        self.shapes.take(self.vocabularies[seq_len], seq_len)

    def all_carries(self) -> dict[int, Carry]:
        """The carry of every size so far, by number of cells."""
        own = {} if self.carry is None else {self.carry.current.inputs.shape[1]: self.carry}
        return {**self.carries, **own}

    def evaluated_tensors(self) -> dict[str, Tensor]:
        """The tensors for evaluation and publication: averaged parameters if averaging is on."""
        tensors = self.model.state_dict()
        return tensors if self.average is None else {**tensors, **self.average.parameters}


def initial_state(preset: Preset, facts: DatasetFacts, device: torch.device) -> TrainState:
    """The state before the first step. `train.seed` alone determines the weights and the exploration."""
    config = preset.train
    weights = torch.Generator().manual_seed(config.seed)
    model = build_model(
        preset.arch,
        facts.vocab_size,
        facts.seq_len,
        facts.num_puzzle_identifiers,
        domain=facts.domain,
        device=device,
        generator=weights,
    )
    compile_updates(model, config.compile)
    model.core.recomputes_activations = config.activation_checkpointing
    if isinstance(model.inner, RecurrentCore):
        model.inner.reads_L = config.l_distill_weight > 0
    table = getattr(model.inner, "puzzle_emb", None)
    average = None
    if config.ema_decay:
        copies = {name: p.detach().clone() for name, p in model.named_parameters()}
        average = AveragedWeights(config.ema_decay, copies)
    return TrainState(
        model=model,
        network=network_optimizer(
            list(model.parameters()), config, block_matrices(model) if config.optimizer == "muon" else ()
        ),
        sparse=table and SignDescent(table, config.puzzle_emb_lr, config.puzzle_emb_weight_decay),
        generator=torch.Generator().manual_seed(config.seed + 1),
        average=average,
        constraint=constraint_of(config, facts, device),
        loss_scale=LossScale() if model.core.dtype == torch.float16 else None,
    )
