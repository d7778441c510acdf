"""The results of an evaluation: accuracies, the regime in which they were reached, and their JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.checkpoints.regime import Regime, Rules
from hrm_cli.evaluation.attempted import AttemptedEvaluation
from hrm_cli.evaluation.baselines import Baseline
from hrm_cli.evaluation.checking import Accepted
from hrm_cli.evaluation.effort import forward_flops
from hrm_cli.evaluation.evaluate import Evaluation
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.evaluation.selecting import SelectedEvaluation
from hrm_cli.printable import counted


@dataclass(frozen=True)
class Sample:
    """A random subset of a split."""

    puzzles: int
    of: int
    """Number of puzzles in the split."""
    seed: int


@dataclass(frozen=True)
class Measurement:
    """The scores of a checkpoint on a split."""

    path: Path
    """The checkpoint's model file."""
    name: str
    """The model as users name it: `bundled:NAME`, `hf:OWNER/NAME`, otherwise the path."""
    step: int
    split: str
    halt: str
    max_steps: int
    result: Evaluation
    attempted: AttemptedEvaluation | None = None
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    arc: Mapping[str, float] | None = None
    """pass@K by name; None if there was no voting."""
    arc_tasks: int = 0
    """Tasks that were voted on and whose answers are known."""
    ablate_puzzle_id: bool = False
    """Whether every puzzle identifier was replaced by the blank one."""
    sample: Sample | None = None
    """None: the whole split, or its first examples."""
    card: ModelCard | None = None
    """The checkpoint's header."""
    selected: SelectedEvaluation | None = None
    """The choice among several attempts at every puzzle, with `--select`."""
    accepted: Accepted | None = None
    """The answers that `--check` accepts."""
    halt_threshold: float | None = None
    """Given with `--halt-threshold`; None is the checkpoint's own."""
    matmul_dtype: str = "float32"
    """dtype of weight matmuls, such as `int8`."""

    def headline(self) -> tuple[str, float | None]:
        """The name and value of the main accuracy; None if the split has no answers.

        This is pass@2 for ARC tasks, the fraction of accepted answers with `--check`, otherwise the exact accuracy
        including all evaluated effort.
        """
        if self.arc is not None and "pass@2" in self.arc:
            return "pass@2", self.arc["pass@2"]
        if self.accepted is not None:
            name, value = f"accepted by {self.accepted.check}", self.accepted.share
        elif self.attempted is not None:
            name, value = (
                f"exact accuracy with {self.attempted.describe()}",
                self.attempted.exact_accuracy,
            )
        else:
            name, value = "exact accuracy", self.result.exact_accuracy
        return name, value if self.result.puzzles else None

    def regime(self) -> Regime | None:
        """The conditions of the headline's accuracy; None without a header or known answers."""
        if self.card is None or not self.result.puzzles:
            return None
        at = "" if self.halt_threshold is None else f" at {self.halt_threshold:g}"
        if self.matmul_dtype == "int8":
            at += ", int8 matmuls"
        return regime_of(
            self.card,
            self.result,
            self.attempted,
            one_pass=f"one pass of at most {counted(self.max_steps, 'step')}, {self.halt} halting{at}",
            share=self.headline()[1] or 0.0,
            tasks=self.arc_tasks,
        )

    def document(self) -> dict[str, Any]:
        """The JSON document of `hrm eval --json`."""
        regime = self.regime()
        return {
            "checkpoint": str(self.path),
            "step": self.step,
            "split": self.split,
            "halt": self.halt,
            **({} if self.halt_threshold is None else {"halt_threshold": self.halt_threshold}),
            "max_steps": self.max_steps,
            "matmul_dtype": self.matmul_dtype,
            "ablate_puzzle_id": self.ablate_puzzle_id,
            **({} if self.sample is None else {"sample": asdict(self.sample)}),
            **self.result.figures(),
            **_attempted_figures(self.result, self.attempted),
            **({} if self.selected is None else self.selected.figures()),
            **({} if self.accepted is None else self.accepted.figures()),
            **_baseline_figures(self.baselines),
            **({} if self.arc is None else {"arc": dict(self.arc)}),
            "regime": None if regime is None else regime.document(),
        }


@dataclass(frozen=True)
class BaselineMeasurement:
    """The scores of trivial baselines on a split."""

    data: Path
    split: str
    puzzles: int
    """0 if the split has no answers."""
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    outputs: int = 0
    """ARC: number of test outputs, compared as grids without padding."""
    on_outputs: Mapping[str, Baseline] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document of `hrm eval --baselines-only --json`."""
        outputs = {"count": self.outputs, **_baseline_figures(self.on_outputs)}
        return {
            "data": str(self.data),
            "split": self.split,
            "puzzles": self.puzzles,
            **_baseline_figures(self.baselines),
            **({"outputs": outputs} if self.on_outputs else {}),
        }


def regime_of(
    card: ModelCard,
    result: Evaluation,
    attempted: AttemptedEvaluation | None,
    *,
    one_pass: str,
    share: float,
    tasks: int = 0,
) -> Regime:
    """The regime of the accuracy `share`; `one_pass` describes the first answers.

    `tasks` is the number of ARC tasks, for which `share` is a mean over tasks; `result` counts each augmented copy.
    """
    rules: Rules = "not used"
    if attempted is None:
        flops = result.mean_steps * forward_flops(card.preset.arch, card.facts.vocab_size, card.facts.seq_len)
        effort = one_pass
        if tasks:
            flops *= result.puzzles / tasks
            effort += " for each augmented copy of a task, whose votes select its answers"
    else:
        flops = attempted.flops_per_puzzle
        effort = f"{one_pass}, then {attempted.describe()} where an answer breaks a rule"
        rules = "verify answers and prune the search" if attempted.effort.rules else "verify answers"
    return Regime(
        card.training_data(),
        card.built_in_knowledge(),
        effort,
        rules,
        flops,
        tasks or result.puzzles,
        wilson_interval(share, tasks or result.puzzles),
    )


def _baseline_figures(baselines: Mapping[str, Baseline]) -> dict[str, dict[str, float]]:
    """The baselines under their names in `hrm eval --json`."""
    return {
        "baselines": {name: baseline.cell_accuracy for name, baseline in baselines.items()},
        "baselines_exact": {name: baseline.exact_accuracy for name, baseline in baselines.items()},
    }


def _attempted_figures(result: Evaluation, attempted: AttemptedEvaluation | None) -> dict[str, Any]:
    """Accuracy with attempts, in addition to that of one pass; without attempts, the two are equal."""
    if attempted is None:
        reached = result.exact_accuracy if result.puzzles else None
        return {"attempts": 1, "exact_accuracy_with_attempts": reached}
    by_set = {
        name: {**asdict(result.by_set[name]), "exact_accuracy_with_attempts": share}
        for name, share in attempted.by_set.items()
    }
    return {**attempted.figures(), **({"by_set": by_set} if by_set else {})}
