"""The subjects of `hrm params`: a preset with the sizes of its dataset, or the tensors of a model file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.accounting.report import Report, Shape, make_report
from hrm_cli.config.presets import list_presets
from hrm_cli.config.schema import Preset
from hrm_cli.data.batches import expected_examples
from hrm_cli.data.metadata import read_metadata
from hrm_cli.runs.configuration import domain_of, load_configuration


@dataclass(frozen=True)
class AssumedSizes:
    """Sizes of the dataset and the batch given by the user; None means the configuration's value."""

    vocab_size: int | None = None
    puzzle_identifiers: int | None = None
    batch_size: int | None = None


def report_of(name: str, overrides: Sequence[str], assumed: AssumedSizes) -> Report:
    """The report on `name`: a preset, a YAML file or a checkpoint. Overrides do not apply to checkpoints."""
    path = Path(name)
    is_file = path.suffix == ".safetensors" or path.name in ("best", "latest")
    is_file = is_file or name.startswith(("bundled:", "hf:"))
    if name not in list_presets() and (is_file or path.is_dir()):
        return report_of_checkpoint(path, assumed)
    return report_of_preset(name, overrides, assumed)


def report_of_preset(name: str, overrides: Sequence[str], assumed: AssumedSizes) -> Report:
    """The report of a preset, packaged or a file. Raises ConfigError or DatasetError."""
    from hrm_cli.accounting.counting import count_exactly

    preset = load_configuration(name, overrides)
    train = preset.train
    shape, puzzles = _shape(preset, assumed)
    expected = expected_examples(preset.data)
    return make_report(
        " ".join([name, *overrides]),
        puzzles,
        shape,
        count_exactly(
            shape.arch, shape.vocab_size, shape.seq_len, shape.num_puzzle_identifiers, shape.domain
        ),
        batch_size=assumed.batch_size or train.global_batch_size,
        train=train,
        steps=expected.steps(train),
        run_words=expected.words,
    )


def report_of_checkpoint(checkpoint: Path, assumed: AssumedSizes) -> Report:
    """The report of a model file, read from its header alone. Raises CheckpointError."""
    from hrm_cli.accounting.counting import count_stored
    from hrm_cli.checkpoints.model_files import model_card, read_header

    header = read_header(checkpoint)
    exact = count_stored(header.shapes)
    if not header.is_ours:
        return Report(str(checkpoint), f"{len(header.shapes):,} tensors", exact)
    card = model_card(header)
    train, facts = card.preset.train, card.facts
    return make_report(
        str(checkpoint),
        _describe_domain(facts.domain) or f"{facts.seq_len:,} cells",
        Shape(card.preset.arch, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, facts.domain),
        exact,
        batch_size=assumed.batch_size or train.global_batch_size,
        train=train,
        steps=card.step,
        run_words="the steps of this checkpoint",
    )


def _describe_domain(domain: dict[str, Any]) -> str:
    """A dataset's domain as text; empty if the dataset has none."""
    from hrm_cli.puzzles.domain import make_domain

    options = dict(domain)
    name = options.pop("name", None)
    return make_domain(name, **options).describe() if name else ""


def shape_of_preset(name: str, overrides: Sequence[str], assumed: AssumedSizes) -> Shape:
    """The model of a preset with the sizes that its dataset determines. Raises ConfigError or DatasetError."""
    return _shape(load_configuration(name, overrides), assumed)[0]


def _shape(preset: Preset, assumed: AssumedSizes) -> tuple[Shape, str]:
    """The shape, and the puzzles as text."""
    if preset.data.path is not None:
        metadata = read_metadata(Path(preset.data.path), "train")
        vocab_size, seq_len = metadata.vocab_size, metadata.seq_len
        identifiers, puzzles, stated = metadata.num_puzzle_identifiers, preset.data.path, metadata.domain
    else:
        domain = domain_of(preset.data)
        vocab_size, seq_len, identifiers, puzzles = domain.vocab_size, domain.seq_len, 1, domain.describe()
        stated = {"name": domain.name, **domain.facts()}
    vocab_size = assumed.vocab_size or vocab_size
    identifiers = assumed.puzzle_identifiers or identifiers
    return Shape(preset.arch, vocab_size, seq_len, identifiers, stated), puzzles
