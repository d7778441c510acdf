"""The constraint loss (`train.constraint_loss`): in every unit, each symbol is expected exactly once.

Only domains that declare such units have it (Sudoku: rows, columns and boxes). It uses their rule, but no answers.

Letters in shapes: B rows, S cells, V vocabulary, D symbols, U units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.losses import log_probabilities
from hrm_cli.puzzles.domain import Domain, infer_domain, parse_domain
from hrm_cli.puzzles.relations import Relations


class _Units(NamedTuple):
    membership: Tensor
    """`[U, S]` float32: 1 where the cell belongs to the unit."""
    first_symbol: int
    num_symbols: int


def exact_relations(domain: Domain | None) -> Relations:
    """The relations of a domain in whose units each symbol appears once. Raises ConfigError for other domains."""
    relations: Relations | None = getattr(domain, "relations", None)
    if relations is None or not relations.each_symbol_once:
        raise ConfigError(
            "train.constraint_loss needs puzzles with units in which each symbol appears once, such as Sudoku; "
            f"{'this dataset' if domain is None else domain.describe()} declares none. Use train.constraint_loss=0"
        )
    return relations


def constraint_of(config: TrainConfig, facts: DatasetFacts, device: torch.device) -> ConstraintLoss | None:
    """The penalty of a run; None if `train.constraint_loss` is 0. Raises ConfigError where it does not apply."""
    if not config.constraint_loss:
        return None
    return ConstraintLoss(facts.domain, facts.vocab_size, facts.seq_len, device)


class ConstraintLoss:
    """The penalty for the sizes that a run trains on."""

    def __init__(
        self, stated: Mapping[str, Any] | None, vocab_size: int, seq_len: int, device: torch.device
    ) -> None:
        self._device = device
        domain = parse_domain(stated) or infer_domain(vocab_size, seq_len)
        self._units = {seq_len: self._of(exact_relations(domain))}

    def _of(self, relations: Relations) -> _Units:
        membership = torch.from_numpy(relations.membership()).to(self._device)
        return _Units(membership, relations.first_symbol, relations.num_symbols)

    def __call__(self, logits: Tensor, token_loss: str) -> Tensor:
        """The penalty of logits `[B, S, V]`, summed over rows.

        For every unit and symbol, (Σ over its cells of p(symbol) − 1)², averaged over units and symbols. p is
        normalized as by the token loss of that name.
        """
        seq_len, vocab_size = logits.shape[1:]
        if seq_len not in self._units:
            self._units[seq_len] = self._of(exact_relations(infer_domain(vocab_size, seq_len)))
        membership, first, count = self._units[seq_len]
        probabilities = log_probabilities(logits, token_loss)[..., first : first + count].exp()
        return (membership @ probabilities - 1).square().mean((1, 2)).sum()
