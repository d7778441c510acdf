"""The regime of an evaluation: what `hrm_cli.checkpoints.regime` says of a model, and the effort that was spent."""

from __future__ import annotations

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.checkpoints.regime import Regime, Rules
from hrm_cli.evaluation.attempted import AttemptedEvaluation
from hrm_cli.evaluation.effort import forward_flops
from hrm_cli.evaluation.evaluate import Evaluation
from hrm_cli.evaluation.intervals import wilson_interval


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

    `tasks`: of ARC, whose augmented copies `result` counts one by one, and whose tasks the share counts.
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
