"""Fits puzzle embeddings to a task that a checkpoint has never seen, using only its demonstrations.

The checkpoint itself is not changed. A copy of the model gets a new embedding table with one row per augmented copy of
the task. The rows are trained exactly like those of the training tasks. With `weights`, the weights of the model copy
are trained too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hrm_cli.config.train import TrainConfig
from hrm_cli.data.arc.augmentation import Examples, distinct_symmetries, task_rng
from hrm_cli.data.batches import Batch
from hrm_cli.data.metadata import IGNORED_LABEL
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel
from hrm_cli.models.layers import PuzzleEmbedding
from hrm_cli.puzzles.arc.fields import random_places
from hrm_cli.puzzles.arc.symmetry import ArcSymmetries
from hrm_cli.puzzles.arc.tasks import Pair
from hrm_cli.puzzles.domain import PAD
from hrm_cli.training.optimizers import SignDescent, network_optimizer
from hrm_cli.training.prefetch import as_tensors, on_device
from hrm_cli.training.state import TrainState
from hrm_cli.training.step import train_one_step

_CHOOSE = 0
"""Seed of the augmented copies of a task, as in dataset builds."""


@dataclass(frozen=True)
class Adaptation:
    """Budget for adapting to a task that the checkpoint was not trained on."""

    steps: int
    """Training steps on the task's demonstrations."""
    weights: bool = False
    """Whether to train the weights of the model copy too, not only the embeddings."""
    copies: int = 32
    """Augmented copies of the task, including the task itself, that are used for training and voting."""
    batch_size: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """A copy of a model, adapted to a task."""

    model: ACTModel
    symmetries: ArcSymmetries
    """The task's copies; copy i has the puzzle identifier i + 1."""


def check_adaptable(model: ACTModel, adaptation: Adaptation) -> None:
    """Raises ConfigError if the model has no parameters that adapting could train."""
    if getattr(model.inner, "puzzle_emb", None) is None and not adaptation.weights:
        raise ConfigError(
            "--adapt: the model has no puzzle embeddings to fit; --adapt-weights trains a copy of its weights"
        )


def adapt(
    model: ACTModel,
    config: TrainConfig,
    task: str,
    demonstrations: Sequence[Pair],
    adaptation: Adaptation,
    on_step: Callable[[], None] | None = None,
) -> Adapted:
    """Trains a copy of `model` on demonstrations for `adaptation.steps` steps with its original learning rates.

    Calls `on_step` after every step.
    """
    examples = Examples.from_pairs(demonstrations)
    rng = task_rng(adaptation.seed, task, _CHOOSE)
    symmetries = distinct_symmetries([examples], adaptation.copies - 1, rng)
    student = _model_copy(model, len(symmetries), trains=adaptation.weights)
    config = config.model_copy(update={"global_batch_size": adaptation.batch_size, "lr_warmup_steps": 0})
    table = getattr(student.inner, "puzzle_emb", None)
    state = TrainState(
        model=student,
        network=network_optimizer(list(student.parameters()), config),
        sparse=table and SignDescent(table, config.puzzle_emb_lr, config.puzzle_emb_weight_decay),
        generator=torch.Generator().manual_seed(adaptation.seed),
        average=None,
    )
    for _ in range(adaptation.steps):
        batch = _batch(examples, symmetries, adaptation.batch_size, rng)
        train_one_step(
            state, on_device(as_tensors(batch, student.device), student.device), config, adaptation.steps
        )
        if on_step is not None:
            on_step()
    return Adapted(student.eval(), symmetries)


def _model_copy(model: ACTModel, copies: int, *, trains: bool) -> ACTModel:
    """A copy of the model with a new embedding table; every row is the mean of the known tasks' rows."""
    table = getattr(model.inner, "puzzle_emb", None)
    # Do not copy the embeddings of the known tasks, which may take gigabytes.
    memo = {} if table is None else {id(table): None}
    student = copy.deepcopy(model, memo)
    if table is not None:
        fresh = PuzzleEmbedding(copies + 1, table.weights.shape[1]).to(model.device)
        known = table.weights[1:] if len(table.weights) > 1 else table.weights
        fresh.weights[1:] = known.mean(0)
        student.inner.puzzle_emb = fresh
    return student.requires_grad_(trains)


def _batch(examples: Examples, symmetries: ArcSymmetries, size: int, rng: np.random.Generator) -> Batch:
    owners, copies = rng.integers(0, len(examples), size), rng.integers(0, len(symmetries), size)
    drawn = symmetries[copies]
    tops, lefts = random_places(examples.inputs, examples.outputs, owners, drawn.transforms, rng)
    inputs, labels = (
        fields.copies(owners, drawn, tops, lefts).astype(np.int32)
        for fields in (examples.inputs, examples.outputs)
    )
    labels[labels == PAD] = IGNORED_LABEL
    return Batch(inputs, labels, (copies + 1).astype(np.int32))
