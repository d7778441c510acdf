"""Model cards: the files that `hrm push` uploads to the hub, and the Markdown file next to a bundled model.

The upload contains the model file, its configuration and a model card. Paths of the machine that trained the model are
removed from all three.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from hrm_cli import __version__
from hrm_cli.accounting.counting import count_stored
from hrm_cli.checkpoints.bundled import ENTRY as BUNDLED_ENTRY
from hrm_cli.checkpoints.bundled import SCHEME, BundledModel, Measured
from hrm_cli.checkpoints.convert.conversion import ORIGIN_KEY
from hrm_cli.checkpoints.model_files import (
    MODEL_FILE,
    OWN_ENTRIES,
    Header,
    ModelCard,
    model_card,
    read_model_card,
    write_model_file,
)
from hrm_cli.checkpoints.regime import knowledge_text
from hrm_cli.config.presets import list_presets, load_preset
from hrm_cli.config.redact import PORTABLE_PREFIXES, redact_document, redact_yaml, redacted, source_name
from hrm_cli.config.resolved import diff_presets, resolved_yaml
from hrm_cli.config.schema import Preset
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import SPLITS, SplitMetadata, is_dataset, read_metadata
from hrm_cli.errors import DatasetError
from hrm_cli.evaluation.baselines import measure_baselines
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.json_text import parse_json
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import make_domain

CONFIG_FILE, CARD_FILE = "config.yaml", "README.md"
_BASELINE_PUZZLES = 10_000


@dataclass(frozen=True)
class CardOptions:
    """The user's settings for the model card."""

    checkpoint: str
    """The model name in the commands on the card."""
    title: str
    license: str | None = None


def write_publication(header: Header, folder: Path, page: CardOptions) -> str:
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
        f"({model.megabytes} MB in bfloat16), {model.step:,} training steps.",
        "",
        f"- **Use**: `hrm solve FILE`, or `{SCHEME}{model.name}` wherever a checkpoint is expected",
        f"- **Trained on**: {model.facts.trained_on}",
        f"- **Built-in knowledge of the rules**: {model.built_in_knowledge}",
        f"- **License**: {model.facts.license}",
        "",
        "## Accuracy",
        "",
        *_table(model.facts.measured),
        "",
        "Fraction of puzzles with every cell correct. *One pass*: the first answer. *With augmented copies*: "
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
    lines = [
        "| puzzles | how many | one pass | with augmented copies | mean steps |",
        "|---|---|---|---|---|",
    ]
    for one in measured:
        at_once, with_copies = (
            _share(share, one.puzzles) for share in (one.exact_accuracy, one.exact_accuracy_with_attempts)
        )
        attempted = f"{with_copies}, {one.attempts} copies" if one.attempts > 1 else "not tried"
        lines.append(f"| {one.on} | {one.puzzles:,} | {at_once} | {attempted} | {one.mean_steps:.2f} |")
    return lines


def _share(share: float, count: int) -> str:
    low, high = wilson_interval(share, count)
    return f"{share:.1%} ({low:.1%} to {high:.1%})"


_FIGURES = (
    ("exact_accuracy", "exact accuracy", "{:.2%}", "puzzles with every cell correct"),
    ("cell_accuracy", "cell accuracy", "{:.2%}", "fraction of correct cells, mean over puzzles"),
    ("mean_steps", "mean steps", "{:.2f}", "ACT steps until a puzzle halts"),
    ("efficiency", "efficiency", "{:.3f}", "exact accuracy ÷ mean steps"),
    (
        "q_halt_accuracy",
        "q-halt accuracy",
        "{:.2%}",
        "how often halt probability ≥ 50 % matches a correct answer",
    ),
)


@dataclass(frozen=True)
class Publication:
    """What a card states in addition to the model file's own header."""

    title: str
    checkpoint: str
    """The CHECKPOINT argument of commands: `hf:OWNER/NAME`, a bundled model's name, or a file."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """As in metrics.jsonl and `hrm eval --json`; `baselines` may hold cell accuracies of trivial baselines."""
    splits: Mapping[str, SplitMetadata] = field(default_factory=dict)
    """The dataset's metadata, by split; empty if it is not available."""
    training_seconds: float | None = None
    license: str | None = None
    converted: bool = False
    """Whether the reference implementation trained the model and `hrm convert` converted it."""


def write_card(model: ModelCard, publication: Publication) -> str:
    """Returns the card as Markdown, with the front matter that the hub reads."""
    sections = [
        _front_matter(model, publication),
        f"# {publication.title}\n\n{_what_it_is(model)}",
        f"## Figures\n\n{_figures(model, publication)}",
        f"## Use\n\n{_use(model, publication)}",
        f"## Data\n\n{_data(model, publication)}",
        f"## Training\n\n{_training(model, publication)}",
    ]
    return "\n\n".join(sections) + "\n"


def run_figures(run: Path, step: int) -> tuple[dict[str, Any], float | None]:
    """Reads a run's evaluation at a step, and the seconds of training until then, from its metrics.jsonl.

    The evaluation is empty if there was none at that step. The seconds are None if they are unknown.
    """
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}, None
    figures: dict[str, Any] = {}
    seconds = None
    for line in lines:
        try:
            record = parse_json(line, nan_as_null=True)
        except ValueError:
            continue
        if not isinstance(record, dict):
            continue
        if record.get("kind") == "eval" and record.get("step") == step:
            figures = record
        elif record.get("kind") == "train" and record.get("step", step + 1) <= step:
            seconds = record.get("seconds")
    return figures, seconds


def nearest_preset(preset: Preset) -> tuple[str, list[str]]:
    """The packaged preset closest to a configuration, and the settings that differ from it, as `KEY=VALUE`.

    It is the preset with the same purpose, else the one with the fewest differences. Machine-specific settings are
    omitted.
    """
    preset = redacted(preset)
    candidates = [(name, load_preset(name)) for name in list_presets()]
    same = [(name, found) for name, found in candidates if found.purpose and found.purpose == preset.purpose]
    differences = [(name, diff_presets(found, preset)) for name, found in same or candidates]
    name, changes = min(differences, key=lambda entry: len(entry[1]))
    return name, [f"{key}={_as_yaml(value)}" for key, _, value in changes]


def _as_yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _front_matter(model: ModelCard, publication: Publication) -> str:
    domain = str(model.facts.domain.get("name", ""))
    tags = ["hierarchical-reasoning-model", model.preset.arch.core, *([domain] if domain else [])]
    matter: dict[str, Any] = {"library_name": "hrm-cli", "tags": list(dict.fromkeys(tags))}
    if publication.license:
        matter["license"] = publication.license
    return f"---\n{yaml.safe_dump(matter, sort_keys=False)}---"


def _puzzles(model: ModelCard) -> str:
    stated = dict(model.facts.domain)
    name = stated.pop("name", None)
    if name:
        return make_domain(str(name), **stated).describe()
    return f"puzzles of {model.facts.seq_len} cells and {model.facts.vocab_size} tokens"


def _what_it_is(model: ModelCard) -> str:
    arch, count = model.preset.arch, count_stored(model.shapes)
    depth = f"{arch.L_layers} layers" if arch.core == "trm" else f"{arch.H_layers} + {arch.L_layers} layers"
    form = f"{arch.core}, hidden size {arch.hidden_size}, {depth}, cycles {arch.H_cycles}/{arch.L_cycles}"
    table = f" and {count.puzzle_embedding:,} of puzzle embeddings" if count.puzzle_embedding else ""
    averaged = ", averaged weights" if model.preset.train.ema_decay else ""
    return (
        f"A model for {_puzzles(model)}: {count.trainable:,} trainable parameters{table} ({form}), step {model.step:,}"
        f"{averaged}.\nMade with hrm {__version__}. `model.safetensors` contains the weights and everything needed to "
        "use them."
    )


def _figures(model: ModelCard, publication: Publication) -> str:
    found = publication.figures
    if "exact_accuracy" not in found:
        return "This checkpoint was not evaluated during training. The commands below evaluate it."
    rows = ["| figure | value | meaning |", "|---|---|---|"]
    for key, words, shape, meaning in _FIGURES:
        if key not in found:
            continue
        rows.append(f"| {words} | {shape.format(found[key])} | {meaning} |")
        if key == "cell_accuracy":
            rows += [
                f"| {name.replace('_', ' ')} | {value:.2%} | cell accuracy of a trivial baseline |"
                for name, value in found.get("baselines", {}).items()
            ]
    config = model.preset.eval
    regime = f"\n\nTrained on {model.training_data()}; {knowledge_text(model.built_in_knowledge())}."
    steps = config.max_steps or model.preset.arch.halt_max_steps
    of = (
        f"On {counted(found['puzzles'], 'puzzle')} of the test split"
        if "puzzles" in found
        else "On the test split"
    )
    return (
        f"{of}, at most {counted(steps, 'step')}, {config.halt} halting, one pass without using the rules:\n\n"
        + "\n".join(rows)
        + regime
    )


def _use(model: ModelCard, publication: Publication) -> str:
    puzzle_file = "task.json" if model.facts.domain.get("name") == "arc" else "puzzles.txt"
    commands = [
        *(["pip install 'hrm-cli[hub]'"] if publication.checkpoint.startswith("hf:") else []),
        f"hrm solve {puzzle_file} --checkpoint {publication.checkpoint}",
        f"hrm eval {publication.checkpoint} --data DATASET",
        f"hrm train --checkpoint {publication.checkpoint} --data DATASET",
    ]
    return (
        "```sh\n" + "\n".join(commands) + "\n```\n\nThe last command continues training from these weights."
    )


def _data(model: ModelCard, publication: Publication) -> str:
    config = model.preset.data
    rows = [f"- {_puzzles(model)}; {model.facts.vocab_size} tokens, {model.facts.seq_len} cells"]
    first = next(iter(publication.splits.values()), None)
    # `data` describes the dataset that a run built. The dataset of a converted model was built elsewhere.
    is_own = config.path is None and not publication.converted
    source = (first.source if first else None) or (config.source if is_own else None)
    if source:
        rows.append(f"- source: {'the built-in generator' if source == 'builtin' else source_name(source)}")
    for name, split in publication.splits.items():
        puzzles = (
            f"{split.total_puzzles:,} with augmented copies" if split.total_puzzles else "copies not counted"
        )
        rows.append(f"- {name}: {split.total_groups:,} original puzzles, {puzzles}")
    if (first.augment if first else config.augment if is_own else "stored") == "online":
        rows.append("- augmented during training: a new random symmetry at every visit")
    if not publication.splits:
        rows.append("- the dataset was not available when this card was written")
    return "\n".join(rows)


def _training(model: ModelCard, publication: Publication) -> str:
    if publication.converted:
        return (
            f"Trained by the reference implementation, up to its step {model.step:,}, and converted bit for bit; "
            "`hrm convert` writes its file back. `config.yaml` contains the settings that are known."
        )
    preset = model.preset
    name, changes = nearest_preset(preset)
    data = [] if preset.data.path is None else ["--data", "DATASET"]
    words: Sequence[str] = ["hrm", "train", "--preset", name, *data, *map(shlex.quote, changes)]
    seconds = publication.training_seconds
    others = {
        "It started from the weights of": preset.train.init_from,
        "It was distilled from": preset.train.distill_from,
    }
    sentences = [f" It took {_duration(seconds)}."] if seconds else []
    sentences += [
        f" {start} {_checkpoint_name(other)}." for start, other in others.items() if other is not None
    ]
    settings = f" with {counted(len(changes), 'changed setting')}" if changes else ""
    return (
        f"Preset `{name}`{settings}, step {model.step:,} of the run.{''.join(sentences)} `config.yaml` contains "
        f"every setting. To repeat the run:\n\n```sh\n{' '.join(words)}\n```"
    )


def _checkpoint_name(checkpoint: str) -> str:
    # A local path of the training machine means nothing to others.
    known = checkpoint.startswith(PORTABLE_PREFIXES)
    return f"`{checkpoint}`" if known else "another checkpoint, which is not published here"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
