"""Determines facts about the dataset of a reference checkpoint: sequence length, domain and puzzle identifiers.

The tensors give the vocabulary size, the number of puzzle identifiers and, if there is a position table, the sequence
length. The rest comes from a dataset or from the user. If neither gives the sequence length, it is inferred from the
vocabulary size, provided that only one common kind of puzzle has that vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hrm_cli.checkpoints.convert.infer_arch import InferredArch
from hrm_cli.checkpoints.convert.reference_files import ReferenceCheckpoint, sidecar_path
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.documents import Document
from hrm_cli.config.schema import Preset
from hrm_cli.errors import CheckpointError
from hrm_cli.puzzles.domain import Domain, infer_domain, make_domain

TENSORS = "the tensors"


@dataclass(frozen=True)
class ConversionOptions:
    """The options of `hrm convert`."""

    settings: Document = field(default_factory=dict)
    """The settings given as `KEY=VALUE`, by section."""
    preset: Preset | None = None
    preset_name: str = ""
    num_heads: int | None = None
    seq_len: int | None = None
    facts: DatasetFacts | None = None
    """The facts of the dataset `data`."""
    data: Path | None = None
    resize_puzzle_embedding: int | None = None


def infer_dataset_facts(
    checkpoint: ReferenceCheckpoint, options: ConversionOptions, preset: Preset, inferred: InferredArch
) -> tuple[DatasetFacts, str]:
    """The facts about the model's dataset, and the source of the sequence length."""
    path, rows = checkpoint.path, options.resize_puzzle_embedding or inferred.num_puzzle_identifiers
    given = options.facts or (checkpoint.sidecar.facts if checkpoint.sidecar else None)
    if given is not None:
        where = f"--data {options.data}" if options.facts else sidecar_path(path).name
        _check_dataset(checkpoint, inferred, preset.arch, given, rows, where)
        identifiers = rows or given.num_puzzle_identifiers
        names = given.identifiers if identifiers == given.num_puzzle_identifiers else ""
        return DatasetFacts(given.vocab_size, given.seq_len, identifiers, given.domain, names), where
    configured = _configured_domain(options, preset)
    seq_len, where = _length(checkpoint, options, preset.arch, inferred, configured)
    found = infer_domain(inferred.vocab_size, seq_len)
    domain = (
        configured[0]
        if configured and (configured[0].vocab_size, configured[0].seq_len) == (inferred.vocab_size, seq_len)
        else found
    )
    described = {"name": domain.name, **domain.facts()} if domain else {}
    return DatasetFacts(inferred.vocab_size, seq_len, rows or 1, described), where


def _check_dataset(
    checkpoint: ReferenceCheckpoint,
    inferred: InferredArch,
    arch: ArchConfig,
    facts: DatasetFacts,
    rows: int | None,
    where: str,
) -> None:
    path = checkpoint.path
    if facts.vocab_size != inferred.vocab_size:
        raise CheckpointError(
            f"{path}: has a vocabulary of {inferred.vocab_size} tokens, but {where} has "
            f"{facts.vocab_size}; the model was trained on other puzzles"
        )
    if inferred.positions is not None and inferred.positions != facts.seq_len + arch.puzzle_positions:
        raise CheckpointError(
            f"{path}: has {inferred.positions} positions, but {where} needs "
            f"{facts.seq_len + arch.puzzle_positions}: {facts.seq_len} cells + {arch.puzzle_positions} positions of "
            "the puzzle embedding"
        )
    if rows is not None and rows != facts.num_puzzle_identifiers:
        raise CheckpointError(
            f"{path}: its puzzle table has {rows} rows, but {where} has {facts.num_puzzle_identifiers} puzzle "
            f"identifiers; --resize-puzzle-embedding {facts.num_puzzle_identifiers} sets every row to the mean of the "
            "old rows"
        )


def _configured_domain(options: ConversionOptions, preset: Preset) -> tuple[Domain, str] | None:
    """The domain set by the preset or by `data.*`, and which of the two set it; None if neither did."""
    data = options.settings.get("data", {})
    if not options.preset and not {"domain", "size"} & data.keys():
        return None
    size = preset.data.shape
    source = "given" if {"domain", "size"} & data.keys() else f"--preset {options.preset_name}"
    return make_domain(preset.data.domain, **size), source


def _length(
    checkpoint: ReferenceCheckpoint,
    options: ConversionOptions,
    arch: ArchConfig,
    inferred: InferredArch,
    configured: tuple[Domain, str] | None,
) -> tuple[int, str]:
    path, vocab_size = checkpoint.path, inferred.vocab_size
    if configured is not None and configured[0].vocab_size != vocab_size:
        raise CheckpointError(
            f"{path}: has a vocabulary of {vocab_size} tokens, but {configured[0].describe()} ({configured[1]}) has "
            f"{configured[0].vocab_size}"
        )
    if inferred.positions is not None:
        seq_len = inferred.positions - arch.puzzle_positions
        if seq_len < 1 or options.seq_len not in (None, seq_len):
            raise CheckpointError(
                f"{path}: {inferred.positions} positions minus {arch.puzzle_positions} of the puzzle embedding are "
                f"{seq_len} cells"
                + (
                    f", not {options.seq_len}"
                    if options.seq_len
                    else "; set the positions of the puzzle embedding with arch.puzzle_emb_len"
                )
            )
        return seq_len, TENSORS
    if options.seq_len is not None:
        return options.seq_len, "--seq-len"
    if configured is not None:
        return configured[0].seq_len, f"{configured[1]}: {configured[0].describe()}"
    usual = [domain for domain in _usual_domains() if domain.vocab_size == vocab_size]
    if len(usual) == 1:
        return usual[
            0
        ].seq_len, f"assumed: {vocab_size} tokens are {usual[0].describe()}; --data overrides it"
    names = " or ".join(domain.describe() for domain in usual) or "no known kind of puzzle"
    raise CheckpointError(
        f"{path}: with rotary positions the tensors do not show the length of a puzzle, and {vocab_size} "
        f"tokens may be {names}; set it with --data DIR, --preset NAME, data.domain=maze data.size=30, "
        f"or --seq-len N"
    )


def _usual_domains() -> list[Domain]:
    sudokus = [make_domain("sudoku", size=size) for size in (9, 6, 4)]
    return [*sudokus, make_domain("arc"), make_domain("maze", size=30)]
