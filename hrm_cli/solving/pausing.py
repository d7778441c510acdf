"""Pauses and resumes a solve by saving the recurrent carry to disk.

The carry is the complete recurrent state for a puzzle, comparable to the key-value cache of a language model. A
resumed solve continues bit-exactly, because its batches contain the same rows.

Letters in shapes: k rows of a batch that ran out of steps, S tokens of a puzzle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.config.mixers import is_structured
from hrm_cli.errors import CheckpointError, ConfigError, PuzzleError, reason_of
from hrm_cli.evaluation.attempts import Reasoner
from hrm_cli.files import written_whole
from hrm_cli.json_text import parse_json
from hrm_cli.models.act import ACTModel, InferenceStep
from hrm_cli.models.core import InnerCarry
from hrm_cli.models.mixers.structure import structure_of
from hrm_cli.printable import quoted
from hrm_cli.puzzles.domain import Domain, Puzzle
from hrm_cli.safetensors_files import read_safetensors_header
from hrm_cli.solving.solution import Solution
from hrm_cli.solving.solver import solve_puzzles

CARRY_FORMAT_VERSION = 1


@dataclass(frozen=True)
class PausedBatch:
    """The rows of one batch that had not halted when they reached the step limit."""

    tokens: Tensor
    """The puzzles `[k, S]`, int32."""
    carry: InnerCarry
    """Their states, `[k, P+S, H]` each, in the forward dtype."""

    def parts(self, size: int) -> Iterator[PausedBatch]:
        """The batch in parts of at most `size` rows."""
        for start in range(0, len(self.tokens), size):
            rows = slice(start, start + size)
            yield PausedBatch(self.tokens[rows], self.carry.select(rows))


class PausingModel:
    """A model for `solve_puzzles` that appends the carry of every row that reaches the step limit to `batches`."""

    def __init__(self, model: Reasoner, batches: list[PausedBatch]) -> None:
        self._model, self._batches = model, batches

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._model.device

    def infer(
        self, inputs: Tensor, puzzle_identifiers: Tensor, max_steps: int, *, adaptive: bool
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """The model's own steps."""
        for step in self._model.infer(inputs, puzzle_identifiers, max_steps, adaptive=adaptive):
            if step.step == max_steps and step.carry is not None and step.halts is not None:
                continued = ~step.halts
                if continued.any():
                    rows = step.rows[continued]
                    self._batches.append(PausedBatch(inputs[rows].cpu(), step.carry.select(continued)))
            yield step


class ResumedModel:
    """A model that starts a batch from its paused carry."""

    def __init__(self, model: ACTModel, carry: InnerCarry, taken: int) -> None:
        self._model, self._carry, self._taken = model, carry, taken

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._model.device

    def infer(
        self, inputs: Tensor, puzzle_identifiers: Tensor, max_steps: int, *, adaptive: bool
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """The remaining steps, after those already taken."""
        paused = (self._carry, self._taken)
        return self._model.infer(inputs, puzzle_identifiers, max_steps, adaptive=adaptive, paused=paused)


@dataclass(frozen=True)
class PausedSolve:
    """A file of paused puzzles."""

    path: Path
    taken: int
    """Number of steps that every row has taken."""
    puzzles: list[tuple[int, Puzzle]]
    """Each puzzle with its position in the file of the first solve."""
    batches: list[PausedBatch]


def save_carry(
    path: Path,
    card: ModelCard,
    domain: Domain,
    taken: int,
    batches: list[PausedBatch],
    solutions: list[Solution],
) -> int:
    """Writes the data needed to continue. Returns the number of paused puzzles.

    `solutions` are the solutions of the same solve that took all steps, in order. They include the paused rows.
    """
    candidates = iter(solutions)
    puzzles = []
    for batch in batches:
        for tokens in batch.tokens.numpy():
            owner = next(s for s in candidates if s.puzzle is not None and _same(domain, s.puzzle, tokens))
            assert owner.puzzle is not None
            puzzles.append(
                {"index": owner.index, "where": owner.where, "text": domain.text(owner.puzzle.grid)}
            )
    tensors = {}
    for number, batch in enumerate(batches):
        tensors[f"{number}/tokens"] = batch.tokens
        states = batch.carry.map(lambda state: state.cpu().contiguous()).tensors()
        tensors |= {f"{number}/{name}": state for name, state in states.items()}
    metadata = {
        "hrm_carry_version": str(CARRY_FORMAT_VERSION),
        "model": _fingerprint(card.path),
        "taken": str(taken),
        "batches": str(len(batches)),
        "puzzles": json.dumps(puzzles),
    }
    try:
        with written_whole(path) as partial:
            partial.write_bytes(save(tensors, metadata))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return len(puzzles)


def load_carry(path: Path, card: ModelCard, domain: Domain) -> PausedSolve:
    """Loads a carry. Raises CheckpointError if the file is not a carry, or was made with another checkpoint."""
    try:
        metadata = read_safetensors_header(path).metadata
        with safe_open(path, framework="pt") as file:
            if "hrm_carry_version" not in metadata:
                raise CheckpointError(f"{path}: not a saved carry; --save-carry writes one")
            if metadata["hrm_carry_version"] != str(CARRY_FORMAT_VERSION):
                raise CheckpointError(
                    f"{path}: carry version {metadata['hrm_carry_version']} is unknown to this hrm"
                )
            if metadata["model"] != _fingerprint(card.path):
                raise CheckpointError(
                    f"{path}: was saved with a checkpoint other than {card.path}; "
                    "a carry works only with the weights that made it"
                )
            names = ("z_H", "z_L", "z_M") if card.preset.arch.middle_cycles else ("z_H", "z_L")
            batches = [
                PausedBatch(
                    file.get_tensor(f"{n}/tokens"),
                    InnerCarry(*(file.get_tensor(f"{n}/{name}") for name in names)),
                )
                for n in range(_count(metadata, "batches"))
            ]
            puzzles = _listed(parse_json(metadata["puzzles"]), domain)
            taken = _count(metadata, "taken")
            _check_rows(batches, puzzles, card, domain)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError, KeyError, ValueError, PuzzleError) as error:
        raise CheckpointError(f"{path}: not a complete carry file ({reason_of(error)})") from None
    return PausedSolve(path, taken, puzzles, batches)


def _count(metadata: Mapping[str, str], name: str) -> int:
    text = metadata[name]
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise ValueError(f"{name}: found {quoted(text, 40)}; expected a whole number")
    return int(text)


def _listed(document: Any, domain: Domain) -> list[tuple[int, Puzzle]]:
    """Parses the paused puzzles with their positions. Raises ValueError or PuzzleError."""
    if not isinstance(document, list):
        raise ValueError("puzzles: expected a list")
    puzzles = []
    for entry in document:
        index, where, text = (
            (entry.get(k) for k in ("index", "where", "text")) if isinstance(entry, dict) else "   "
        )
        if type(index) is not int or not isinstance(where, str) or not isinstance(text, str):
            raise ValueError(
                f"puzzles: found {quoted(entry, 80)}; expected an object with index, where and text"
            )
        puzzles.append((index, replace(domain.parse(text), where=where)))
    return puzzles


def _check_rows(
    batches: list[PausedBatch], puzzles: list[tuple[int, Puzzle]], card: ModelCard, domain: Domain
) -> None:
    """Raises ValueError if states, tokens and puzzles do not match each other or the shapes of this model."""
    arch = card.preset.arch
    positions = arch.puzzle_positions + domain.seq_len
    if is_structured(arch.mixer):
        positions = structure_of(str(arch.mixer), domain).positions
    rows = 0
    for number, batch in enumerate(batches):
        tokens, states = batch.tokens, batch.carry.tensors()
        count = len(tokens) if tokens.ndim == 2 else 0
        shape = (count, positions, arch.hidden_size)
        shapes = {"z_H": shape, "z_L": shape, "z_M": (count, len(arch.middle_cycles), *shape[1:])}
        fit = all(state.shape == shapes[name] for name, state in states.items())
        if not count or tokens.shape[1] != domain.seq_len or not fit:
            raise ValueError(f"batch {number}: its tensors are not of this model's shape")
        if tokens.dtype != torch.int32 or not all(state.is_floating_point() for state in states.values()):
            raise ValueError(f"batch {number}: its tensors have unexpected dtypes")
        for row in tokens.numpy():
            if rows >= len(puzzles) or not _same(domain, puzzles[rows][1], row):
                raise ValueError(f"batch {number}: its rows are not the puzzles listed")
            rows += 1
    if rows != len(puzzles):
        raise ValueError(f"{len(puzzles)} puzzles for {rows} rows of states")


def resume_puzzles(
    model: ACTModel,
    domain: Domain,
    paused: PausedSolve,
    *,
    max_steps: int,
    adaptive: bool,
    trace: bool = False,
    chances: bool = False,
    paused_again: list[PausedBatch] | None = None,
) -> Iterator[Solution]:
    """Continues every paused puzzle up to `max_steps` in total. Raises ConfigError if these are used up.

    Rows that reach the limit again are appended to `paused_again`, if given.
    """
    if max_steps <= paused.taken:
        raise ConfigError(
            f"--max-steps {max_steps}: {paused.path} has already taken {paused.taken} steps; give a larger number"
        )
    waiting = iter(paused.puzzles)
    batches: Iterable[PausedBatch] = paused.batches
    if chances:
        from hrm_cli.solving.tracing import traced_batch

        size = traced_batch(domain, max_steps, max(len(batch.tokens) for batch in paused.batches))
        batches = (part for batch in paused.batches for part in batch.parts(size))
    for batch in batches:
        carry = batch.carry.map(lambda state: state.to(model.device))
        members = [next(waiting) for _ in range(len(batch.tokens))]
        resumed: Reasoner = ResumedModel(model, carry, paused.taken)
        if paused_again is not None:
            resumed = PausingModel(resumed, paused_again)
        solutions = solve_puzzles(
            resumed,
            domain,
            [puzzle for _, puzzle in members],
            max_steps=max_steps,
            adaptive=adaptive,
            batch_size=len(members),
            trace=trace,
            chances=chances,
        )
        for (index, _), solution in zip(members, solutions, strict=True):
            yield replace(solution, index=index)


def _same(domain: Domain, puzzle: Puzzle, tokens: np.ndarray) -> bool:
    return puzzle.grid.size == tokens.size and bool((domain.encode(puzzle.grid) == tokens).all())


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
