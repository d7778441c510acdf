"""Model cards: the files that `hrm push` uploads to the hub, and the Markdown file next to a bundled model.

The upload contains the model file, its configuration and a model card. Paths of the machine that trained the model are
removed from all three.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from hrm_cli.checkpoints.bundled import ENTRY as BUNDLED_ENTRY
from hrm_cli.checkpoints.bundled import SCHEME, BundledModel, Measured
from hrm_cli.checkpoints.convert.conversion import ORIGIN_KEY
from hrm_cli.checkpoints.model_card import Publication, run_figures, write_card
from hrm_cli.checkpoints.model_files import (
    MODEL_FILE,
    OWN_ENTRIES,
    Header,
    model_card,
    read_model_card,
    write_model_file,
)
from hrm_cli.config.redact import redact_document, redact_yaml, redacted
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.config.schema import Preset
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import SPLITS, SplitMetadata, is_dataset, read_metadata
from hrm_cli.errors import DatasetError
from hrm_cli.evaluation.baselines import measure_baselines
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.json_text import parse_json

CONFIG_FILE, CARD_FILE = "config.yaml", "README.md"
_BASELINE_PUZZLES = 10_000


@dataclass(frozen=True)
class Page:
    """The user's settings for the model card."""

    checkpoint: str
    """The model name in the commands on the card."""
    title: str
    license: str | None = None


def write_publication(header: Header, folder: Path, page: Page) -> str:
    """Writes the files to publish into `folder`. Returns the model card.

    Raises CheckpointError if the file was not written by hrm.
    """
    card = model_card(header)
    shown = redacted(card.preset)
    own = {name: text for name, text in header.metadata.items() if name not in OWN_ENTRIES}
    extra = _redacted_entries(own)
    if shown == card.preset and extra == own:
        shutil.copyfile(card.path, folder / MODEL_FILE)
    else:
        write_model_file(folder / MODEL_FILE, load_file(card.path), shown, card.step, card.facts, extra)
    (folder / CONFIG_FILE).write_text(resolved_yaml(shown), encoding="utf-8")
    run = _run_of(card.path)
    figures, seconds = run_figures(run, card.step) if run else ({}, None)
    dataset = _dataset_of(card.preset, run)
    splits, baselines = _described(dataset) if dataset else ({}, {})
    figures = {**figures, "baselines": baselines}
    converted = ORIGIN_KEY in header.metadata
    text = write_card(
        card, Publication(page.title, page.checkpoint, figures, splits, seconds, page.license, converted)
    )
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    return text


def _redacted_entries(entries: Mapping[str, str]) -> dict[str, str]:
    """The other entries of a header, without private paths. Unknown entries are not published."""
    kept = {}
    for name in (ORIGIN_KEY, BUNDLED_ENTRY):
        try:
            document = parse_json(entries[name])
        except (KeyError, ValueError):
            continue
        if name == ORIGIN_KEY and isinstance(document, dict) and isinstance(document.get("config"), str):
            shown = {**document, "config": redact_yaml(document["config"])}
        else:
            shown = redact_document(document)
        kept[name] = entries[name] if shown == document else json.dumps(shown)
    return kept


def _run_of(model_file: Path) -> Path | None:
    """The run folder that contains a model file; None if the file was copied out of its run."""
    return next((folder for folder in model_file.parents[:3] if (folder / "metrics.jsonl").is_file()), None)


def _dataset_of(preset: Preset, run: Path | None) -> Path | None:
    places = [Path(preset.data.path)] if preset.data.path else []
    if run is not None:
        places.append(run / "dataset")
    return next((place for place in places if is_dataset(place)), None)


def _described(dataset: Path) -> tuple[dict[str, SplitMetadata], dict[str, float]]:
    """The metadata of each split, and the scores of trivial baselines on the test split."""
    present = [split for split in SPLITS if (dataset / split / "dataset.json").is_file()]
    try:
        splits = {split: read_metadata(dataset, split) for split in present}
        if "test" not in splits:
            return splits, {}
        test = Dataset.open(dataset, "test", check_tokens=False)
        found = measure_baselines(test, limit=_BASELINE_PUZZLES)
    except DatasetError:
        # The card then has fewer sections.
        return {}, {}
    return splits, {name: baseline.cell_accuracy for name, baseline in found.items()}


def card_text(model: BundledModel, notes: str) -> str:
    """The model card, ending with the author's `notes` (commands, time, hardware, failure cases)."""
    preset = read_model_card(model.path).preset
    arch = preset.arch
    lines = [
        f"# {model.name}",
        "",
        f"Puzzles: {model.describe()}. A model of core `{arch.core}` with {model.parameters:,} trainable parameters "
        f"({model.bytes / 1e6:.1f} MB in bfloat16), {model.step:,} training steps.",
        "",
        f"- **Use**: `hrm solve FILE`, or `{SCHEME}{model.name}` wherever a checkpoint is expected",
        f"- **Trained on**: {model.facts.trained_on}",
        f"- **Built-in knowledge of the rules**: {model.built_in_knowledge}",
        f"- **License**: {model.facts.licence}",
        "",
        "## Accuracy",
        "",
        *_table(model.facts.measured),
        "",
        "Fraction of puzzles with every cell correct. *One pass*: the first answer. *With attempts*: "
        "test-time augmentation where the first answer breaks a rule. In brackets: the 95 % confidence interval.",
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
