"""The report of `hrm params` on one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hrm_cli.accounting.approximations import Approximation, approximate
from hrm_cli.accounting.components import components
from hrm_cli.accounting.counting import ExactCount, GroupCount
from hrm_cli.accounting.flops import (
    RunFlops,
    StepFlops,
    run_flops,
    step_flops,
    step_flops_by_kind,
    training_flops,
)
from hrm_cli.accounting.memory import BYTES, TrainingMemory, memory_in_training
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig


@dataclass(frozen=True)
class Shape:
    """The model of a configuration, with the sizes that its dataset determines."""

    arch: ArchConfig
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    domain: Mapping[str, Any] | None = None
    """The puzzles' domain as files state it; None means the one with this vocabulary and length."""


@dataclass(frozen=True)
class Report:
    """The report on one model."""

    name: str
    """A preset's name, or the path of a model file."""
    puzzles: str
    """The puzzles that the counts are for, as text: `9×9 Sudoku`."""
    exact: ExactCount
    shape: Shape | None = None
    """None for a file without a configuration. Only its tensors are counted."""
    guide: Approximation | None = None
    rule_of_thumb: Approximation | None = None
    step: StepFlops | None = None
    step_by_kind: dict[str, StepFlops] | None = None
    run: RunFlops | None = None
    run_words: str = ""
    """The assumptions about the run's length, or the reason why it is not known."""
    batch_size: int = 0
    """Number of puzzles in the batch that `training` describes."""
    accumulation_steps: int = 1
    """Number of micro-batches per batch."""
    training: dict[str, TrainingMemory] | None = None
    """Training memory by forward dtype."""

    def stored_bytes(self, dtype: str) -> int:
        """Size in bytes of a model file whose tensors have the type `dtype`."""
        return BYTES[dtype] * self.exact.state_dict

    def document(self) -> dict[str, Any]:
        """The output of `hrm params --json`."""
        counts = asdict(self.exact)
        groups = {name: counts.pop(name) for name in ("modules", "kinds")}
        shape = None if self.shape is None else asdict(self.shape) | {"arch": self.shape.arch.model_dump()}
        if shape is not None:
            del shape["domain"]  # `puzzles` describes it
        return {
            "preset": self.name,
            "puzzles": self.puzzles,
            **(shape or {"arch": None}),
            "exact": counts,
            "approx": self._approximations(),
            **groups,
            "memory": {
                "stored": {dtype: self.stored_bytes(dtype) for dtype in BYTES},
                "batch_size": self.batch_size,
                "accumulation_steps": self.accumulation_steps,
                "training": {dtype: asdict(held) for dtype, held in (self.training or {}).items()},
            },
            "flops": self._flops(),
        }

    def _approximations(self) -> dict[str, Any] | None:
        if self.guide is None or self.rule_of_thumb is None:
            return None
        both = {"guide": self.guide, "rule_of_thumb": self.rule_of_thumb}
        return {
            **{key: formula.parameters for key, formula in both.items()},
            "errors": {key: formula.error for key, formula in both.items()},
            "reasons": {key: [asdict(r) for r in formula.reasons] for key, formula in both.items()},
        }

    def _flops(self) -> dict[str, Any] | None:
        if self.step is None:
            return None
        return {
            "step": asdict(self.step),
            "kinds": {kind: asdict(step) for kind, step in (self.step_by_kind or {}).items()},
            "run": None if self.run is None else asdict(self.run),
            "run_assumes": self.run_words,
        }


def make_report(
    name: str,
    puzzles: str,
    shape: Shape,
    exact: ExactCount,
    *,
    batch_size: int,
    train: TrainConfig,
    steps: int | None,
    run_words: str,
) -> Report:
    """Makes the report from the exact count and the configuration."""
    parts = components(
        shape.arch,
        shape.vocab_size,
        shape.seq_len,
        shape.num_puzzle_identifiers,
        train.objective,
        train.gradient,
        shape.domain,
        reads_L=train.l_distill_weight > 0,
    )
    per_puzzle = training_flops(shape.arch, train, shape.vocab_size, shape.seq_len)
    guide, rule = approximate(
        shape.arch, shape.vocab_size, shape.num_puzzle_identifiers, trainable_by_kind(exact.kinds)
    )
    return Report(
        name=name,
        puzzles=puzzles,
        exact=exact,
        shape=shape,
        guide=guide,
        rule_of_thumb=rule,
        step=step_flops(parts),
        step_by_kind=step_flops_by_kind(parts),
        run=None if steps is None else run_flops(per_puzzle, steps, train.global_batch_size),
        run_words=run_words,
        batch_size=batch_size,
        accumulation_steps=train.accumulation_steps,
        training={
            dtype: memory_in_training(
                shape.arch,
                train,
                shape.vocab_size,
                shape.seq_len,
                shape.num_puzzle_identifiers,
                batch_size,
                dtype,
            )
            for dtype in BYTES
        },
    )


def trainable_by_kind(kinds: tuple[GroupCount, ...]) -> dict[str, int]:
    """The number of trainable parameters by kind, without kinds that have none."""
    return {group.name: group.trainable for group in kinds if group.trainable}
