"""Writes the model card of a published model: what it is, its training data, its accuracy, and how to use it.

Everything in the card comes from the model file's header and the figures passed in.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hrm_cli import __version__
from hrm_cli.accounting.counting import count_stored
from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.checkpoints.regime import knowledge_text
from hrm_cli.config.presets import list_presets, load_preset
from hrm_cli.config.redact import ELSEWHERE, redacted, source_name
from hrm_cli.config.resolved import diff_presets
from hrm_cli.config.schema import Preset
from hrm_cli.data.metadata import SplitMetadata
from hrm_cli.json_text import parse_json
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import make_domain

_FIGURES = (
    ("exact_accuracy", "exact accuracy", "{:.2%}", "puzzles with every cell correct"),
    ("cell_accuracy", "cell accuracy", "{:.2%}", "fraction of correct cells, mean over puzzles"),
    ("mean_steps", "mean steps", "{:.2f}", "ACT steps until a puzzle halts"),
    ("efficiency", "efficiency", "{:.3f}", "exact accuracy ÷ mean steps"),
    (
        "q_halt_accuracy",
        "q-halt accuracy",
        "{:.2%}",
        "how often the halt decision matches the answer's correctness",
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
            f"Trained by the reference implementation, to its step {model.step:,}, and converted bit for bit; "
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
    known = checkpoint.startswith(ELSEWHERE)
    return f"`{checkpoint}`" if known else "another checkpoint, which is not published here"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
