"""Distillation: a trained model teaches a smaller one by a KL term on the logits, in addition to the usual loss.

The teacher runs once on every new puzzle, until it halts. Its last logits are the target for all steps that the
student takes on that puzzle.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import ModelCard, load_model
from hrm_cli.errors import CheckpointError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.losses import divergence, log_probabilities
from hrm_cli.training.objectives import Supervised


class Teacher:
    """A frozen model and its targets for the current puzzles."""

    def __init__(self, model: ACTModel, token_loss: str) -> None:
        self.model = model.requires_grad_(False)
        self._token_loss = token_loss
        self._targets: dict[int, Tensor] = {}
        """The targets of each micro-batch, by its first row."""

    def loss(self, out: Supervised, student_token_loss: str, first_row: int = 0) -> Tensor:
        """KL(teacher ‖ student), averaged over each row's labeled tokens and summed over rows."""
        targets = self._current_targets(out.current, out.fresh, first_row)
        return divergence(targets, out.logits, out.current.labels, student_token_loss)

    def forget(self) -> None:
        """Drops all targets; the next step computes them again."""
        self._targets = {}

    def _current_targets(self, current: PuzzleBatch, fresh: Tensor, first_row: int) -> Tensor:
        targets = self._targets.get(first_row)
        if targets is None:
            # No row has a target yet at the first step of a new or resumed run.
            targets = self._targets[first_row] = self._answers(current.inputs, current.puzzle_identifiers)
        elif fresh.any():
            targets[fresh] = self._answers(current.inputs[fresh], current.puzzle_identifiers[fresh])
        return targets

    def _answers(self, inputs: Tensor, puzzle_identifiers: Tensor) -> Tensor:
        model = self.model
        answers: Tensor | None = None
        for step in model.infer(inputs, puzzle_identifiers, model.arch.halt_max_steps, adaptive=True):
            assert step.logits is not None
            values = log_probabilities(step.logits, self._token_loss)
            if answers is None:
                answers = torch.empty(
                    len(inputs), *values.shape[1:], dtype=values.dtype, device=values.device
                )
            answers[step.rows[step.finished]] = values[step.finished]
        assert answers is not None
        return answers.clone()


def load_teacher(checkpoint: Path, facts: DatasetFacts, device: torch.device) -> Teacher:
    """Loads the teacher of `train.distill_from`. Raises CheckpointError if it does not fit the dataset."""
    model, card = load_model(checkpoint, device)
    check_teacher(card, facts)
    return Teacher(model, card.preset.train.loss)


def check_teacher(card: ModelCard, facts: DatasetFacts) -> None:
    """Raises CheckpointError if a model's vocabulary, puzzle length or identifiers do not fit the dataset."""
    for name in ("vocab_size", "seq_len"):
        ours, theirs = getattr(facts, name), getattr(card.facts, name)
        if ours != theirs:
            raise CheckpointError(
                f"{card.path}: cannot be the teacher for this dataset: its {name} is {theirs}, the dataset's is {ours}"
            )
    if (
        card.facts.num_puzzle_identifiers < facts.num_puzzle_identifiers
        and "inner.puzzle_emb.weights" in card.shapes
    ):
        raise CheckpointError(
            f"{card.path}: cannot be the teacher for this dataset: it knows {card.facts.num_puzzle_identifiers} puzzle "
            f"identifiers, the dataset has {facts.num_puzzle_identifiers}"
        )
