"""What a checkpoint of the reference was trained on: the length of its puzzles, their domain, their identifiers.

None of it is in the file, but for the tokens, the rows of the puzzle table and, where positions have a table, their
number. The rest comes from a dataset, from the user, or from the one usual kind of puzzle with that vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hrm_cli.checkpoints.convert.infer_arch import Inferred
from hrm_cli.checkpoints.convert.reference_files import ReferenceCheckpoint, companion_file
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.documents import Document
from hrm_cli.config.schema import Preset
from hrm_cli.errors import CheckpointError
from hrm_cli.puzzles.domain import Domain, infer_domain, make_domain

TENSORS = "the tensors"


@dataclass(frozen=True)
class Wishes:
    """What the user states in addition to the checkpoint."""

    settings: Document = field(default_factory=dict)
    """`KEY=VALUE`, by section."""
    preset: Preset | None = None
    preset_name: str = ""
    num_heads: int | None = None
    seq_len: int | None = None
    facts: DatasetFacts | None = None
    """Of the dataset `data`."""
    data: Path | None = None
    resize_puzzle_embedding: int | None = None


def facts_of(
    checkpoint: ReferenceCheckpoint, wishes: Wishes, preset: Preset, inferred: Inferred
) -> tuple[DatasetFacts, str]:
    """What the model knows of its dataset, and where the length of a puzzle came from."""
    path, rows = checkpoint.path, wishes.resize_puzzle_embedding or inferred.num_puzzle_identifiers
    given = wishes.facts or (checkpoint.companion.facts if checkpoint.companion else None)
    if given is not None:
        where = f"--data {wishes.data}" if wishes.facts else companion_file(path).name
        _check_dataset(checkpoint, inferred, preset.arch, given, rows, where)
        identifiers = rows or given.num_puzzle_identifiers
        names = given.identifiers if identifiers == given.num_puzzle_identifiers else ""
        return DatasetFacts(given.vocab_size, given.seq_len, identifiers, given.domain, names), where
    said = _said_domain(wishes, preset)
    seq_len, where = _length(checkpoint, wishes, preset.arch, inferred, said)
    found = infer_domain(inferred.vocab_size, seq_len)
    domain = (
        said[0] if said and (said[0].vocab_size, said[0].seq_len) == (inferred.vocab_size, seq_len) else found
    )
    described = {"name": domain.name, **domain.facts()} if domain else {}
    return DatasetFacts(inferred.vocab_size, seq_len, rows or 1, described), where


def _check_dataset(
    checkpoint: ReferenceCheckpoint,
    inferred: Inferred,
    arch: ArchConfig,
    facts: DatasetFacts,
    rows: int | None,
    where: str,
) -> None:
    path = checkpoint.path
    if facts.vocab_size != inferred.vocab_size:
        raise CheckpointError(
            f"{path}: has a vocabulary of {inferred.vocab_size} tokens, but {where} has "
            f"{facts.vocab_size}; it was trained on other puzzles"
        )
    if inferred.positions is not None and inferred.positions != facts.seq_len + arch.puzzle_positions:
        raise CheckpointError(
            f"{path}: has {inferred.positions} positions, but {where} has {facts.seq_len} cells, which with "
            f"{arch.puzzle_positions} positions of the puzzle embedding are {facts.seq_len + arch.puzzle_positions}"
        )
    if rows is not None and rows != facts.num_puzzle_identifiers:
        raise CheckpointError(
            f"{path}: its puzzle table has {rows} rows, but {where} has {facts.num_puzzle_identifiers} puzzle "
            f"identifiers; --resize-puzzle-embedding {facts.num_puzzle_identifiers} gives each the mean of the rows"
        )


def _said_domain(wishes: Wishes, preset: Preset) -> tuple[Domain, str] | None:
    """The domain that a preset or `data.*` names, and which of the two; None if neither does."""
    data = wishes.settings.get("data", {})
    if not wishes.preset and not {"domain", "size"} & data.keys():
        return None
    options = {} if preset.data.size is None else {"size": preset.data.size}
    said = "given" if {"domain", "size"} & data.keys() else f"--preset {wishes.preset_name}"
    return make_domain(preset.data.domain, **options), said


def _length(
    checkpoint: ReferenceCheckpoint,
    wishes: Wishes,
    arch: ArchConfig,
    inferred: Inferred,
    said: tuple[Domain, str] | None,
) -> tuple[int, str]:
    path, vocab_size = checkpoint.path, inferred.vocab_size
    if said is not None and said[0].vocab_size != vocab_size:
        raise CheckpointError(
            f"{path}: has a vocabulary of {vocab_size} tokens, but {said[0].describe()} ({said[1]}) has "
            f"{said[0].vocab_size}"
        )
    if inferred.positions is not None:
        seq_len = inferred.positions - arch.puzzle_positions
        if seq_len < 1 or wishes.seq_len not in (None, seq_len):
            raise CheckpointError(
                f"{path}: {inferred.positions} positions minus {arch.puzzle_positions} of the puzzle embedding are "
                f"{seq_len} cells"
                + (
                    f", not {wishes.seq_len}"
                    if wishes.seq_len
                    else "; arch.puzzle_emb_len says how many they are"
                )
            )
        return seq_len, TENSORS
    if wishes.seq_len is not None:
        return wishes.seq_len, "--seq-len"
    if said is not None:
        return said[0].seq_len, f"{said[1]}: {said[0].describe()}"
    usual = [domain for domain in _usual_domains() if domain.vocab_size == vocab_size]
    if len(usual) == 1:
        return usual[
            0
        ].seq_len, f"assumed: {vocab_size} tokens are {usual[0].describe()}; --data overrides it"
    names = " or ".join(domain.describe() for domain in usual) or "no known kind of puzzle"
    raise CheckpointError(
        f"{path}: with rotary positions the tensors do not show the length of a puzzle, and {vocab_size} "
        f"tokens may be {names}; state it with --data DIR, --preset NAME, data.domain=maze data.size=30, "
        f"or --seq-len N"
    )


def _usual_domains() -> list[Domain]:
    sudokus = [make_domain("sudoku", size=size) for size in (9, 6, 4)]
    return [*sudokus, make_domain("arc"), make_domain("maze", size=30)]
