"""The Markdown beside a bundled model: what the header knows, and what its maker adds in words."""

from __future__ import annotations

from hrm_cli.checkpoints.bundled import SCHEME, BundledModel, Measured
from hrm_cli.checkpoints.model_files import read_model_card
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.evaluation.intervals import wilson_interval


def card_text(model: BundledModel, notes: str) -> str:
    """The card, with the maker's `notes` (commands, time, hardware, failure cases) at its end."""
    preset = read_model_card(model.path).preset
    arch = preset.arch
    lines = [
        f"# {model.name}",
        "",
        f"Puzzles: {model.describe()}. A model of core `{arch.core}` with {model.parameters:,} trainable parameters "
        f"({model.bytes / 1e6:.1f} MB in bfloat16), {model.step:,} training steps.",
        "",
        f"- **Use**: `hrm solve FILE`, or `{SCHEME}{model.name}` wherever a checkpoint is wanted",
        f"- **Trained on**: {model.facts.trained_on}",
        f"- **Licence**: {model.facts.licence}",
        "",
        "## Accuracy",
        "",
        *_table(model.facts.measured),
        "",
        "Shares of whole puzzles right. *One pass*: the first answer to the puzzle as it is. *With attempts*: a first "
        "answer that breaks a rule is tried again as augmented copies of the puzzle. In brackets the 95 % interval.",
        "",
    ]
    if notes.strip():
        lines += [notes.strip(), ""]
    lines += ["## Configuration", "", "```yaml", resolved_yaml(preset).strip(), "```", ""]
    return "\n".join(lines)


def _table(measured: tuple[Measured, ...]) -> list[str]:
    if not measured:
        return ["Not measured."]
    lines = ["| puzzles | how many | one pass | with attempts | mean steps |", "|---|---|---|---|---|"]
    for one in measured:
        at_once, attempted = (
            _share(share, one.puzzles) for share in (one.exact_accuracy, one.exact_accuracy_with_attempts)
        )
        lines.append(
            f"| {one.on} | {one.puzzles:,} | {at_once} | {attempted}, {one.attempts} of them | {one.mean_steps:.2f} |"
        )
    return lines


def _share(share: float, count: int) -> str:
    low, high = wilson_interval(share, count)
    return f"{share:.1%} ({low:.1%} to {high:.1%})"
