"""ARC voting: the model answers every augmented copy of a task; each answer is mapped back to the task and counted.

This follows the reference implementation: a prediction is cropped to the largest-area rectangle of colors at the
corner and its augmentation is undone. Candidates for a test input are ranked by (votes, mean halt probability).
pass@K is 1 if the correct answer is among the first K candidates; the score of a task is the mean over its test inputs.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.arc.online import ArcCopies, read_identifiers
from hrm_cli.data.batches import EvaluationBatch, made_batch
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import IDENTIFIERS_FILE, TEST_PUZZLES_FILE
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import DatasetError
from hrm_cli.evaluation.evaluate import Answers, Evaluation, evaluate, shared_batch_size
from hrm_cli.evaluation.selection import SELECTORS, Select, Tally, ranked, scores_of
from hrm_cli.models.act import ACTModel
from hrm_cli.puzzles.arc.fields import Fields
from hrm_cli.puzzles.arc.symmetry import INVERSES, SWAPS_SIDES, ArcSymmetries, parse_name
from hrm_cli.puzzles.arc.tasks import Task, parse_tasks, read_json
from hrm_cli.puzzles.domain import Grid

PASS_AT = (1, 2, 5, 10, 100, 1000)
ATTEMPTS = 2
"""Number of answers that Kaggle accepts per test input."""
BLANK = 0
"""Identifier of padding rows."""


@dataclass(frozen=True)
class Candidate:
    """A distinct answer that one or more copies of a task gave."""

    grid: Grid
    votes: int
    confidence: float
    """Mean halt probability of the copies that gave it."""
    first: int = 0
    """Index, among all answers, of the first that equals this one; of the best one, if another selector ranked them."""


@dataclass
class Votes:
    """The votes for each task and test input.

    Votes of several processes add up to the same result as in one process, in any order.
    """

    tasks: Sequence[str]
    """The task of each puzzle identifier."""
    symmetries: ArcSymmetries
    """The symmetry of each puzzle identifier."""
    select: Select = "agreement"
    """What ranks the answers: their votes, or the confidence of the most confident copy."""
    _tallies: dict[tuple[str, bytes], dict[bytes, Tally]] = field(default_factory=dict)
    """The tally of each answer, by task and test input."""
    _given: int = 0

    @classmethod
    def of(cls, names: Sequence[str]) -> Votes:
        """Votes by these puzzle identifiers. Raises ValueError for a malformed name."""
        return cls([parse_name(name)[0] for name in names], ArcSymmetries.parse(names))

    def add(
        self,
        identifiers: NDArray[np.integer],
        inputs: NDArray[np.integer],
        predictions: NDArray[np.integer],
        q_halt: NDArray[np.floating],
        places: NDArray[np.integer] | None = None,
        *,
        confidence: NDArray[np.floating] | None = None,
        residual: NDArray[np.floating] | None = None,
    ) -> None:
        """Counts answers: identifiers `[b]`, fields `[b, 900]` of inputs and predictions, halt values `[b]`.

        `places` `[b]` are their positions among all answers, which break ties; the default is the order of the calls.
        `confidence` and `residual` `[b]` are for the selectors of these names. Rows of the blank identifier are
        padding and ignored.
        """
        if places is None:
            places = np.arange(self._given, self._given + len(identifiers))
            self._given += len(identifiers)
        real = np.flatnonzero(identifiers != BLANK)
        symmetries = self.symmetries[np.asarray(identifiers[real], np.int64)]
        asked, answered = (_originals(grids[real], symmetries) for grids in (inputs, predictions))
        probabilities = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(q_halt[real], np.float64)))
        for row, identifier in enumerate(identifiers[real].tolist()):
            question = (self.tasks[identifier], asked[row])
            at = real[row]
            scores = scores_of(
                None,
                float(q_halt[at]),
                None if confidence is None else float(confidence[at]),
                None if residual is None else float(residual[at]),
            )
            self._tally(question, answered[row]).vote(float(probabilities[row]), int(places[at]), scores)

    def _tally(self, question: tuple[str, bytes], answer: bytes) -> Tally:
        return self._tallies.setdefault(question, {}).setdefault(answer, Tally())

    def gathered(self, world: World) -> Votes:
        """The votes of all ranks, on every rank."""
        votes = Votes(self.tasks, self.symmetries, self.select)
        for data in world.gather_bytes(self._packed()):
            for task, asked, answered, count, total, first, packed in json.loads(zlib.decompress(data)):
                best = {name: (tuple(score), place) for name, (score, place) in packed.items()}
                tally = votes._tally((task, bytes.fromhex(asked)), bytes.fromhex(answered))
                tally.add(count, total, first, best)
        return votes

    def _packed(self) -> bytes:
        rows = [
            (task, asked.hex(), answered.hex(), tally.votes, tally.probability, tally.first, tally.best)
            for (task, asked), answers in self._tallies.items()
            for answered, tally in answers.items()
        ]
        return zlib.compress(json.dumps(rows).encode())

    def candidates(self, task: str, test_input: Grid, select: Select | None = None) -> list[Candidate]:
        """The answers to a test input, best first, ranked by `select`, or by the selector of these votes if it is None.

        Agreement ranks them by votes, then mean halt probability, then first occurrence.
        """
        select = select or self.select
        answers = self._tallies.get((task, _key(test_input)), {})
        return [
            Candidate(
                _grid(key),
                tally.votes,
                tally.confidence,
                tally.first if select == "agreement" else tally.best[select][1],
            )
            for key, tally in ranked(answers, select)
        ]

    def selectors(self) -> list[Select]:
        """The selectors for which the votes have scores."""
        known = {
            name for answers in self._tallies.values() for tally in answers.values() for name in tally.best
        }
        return [select for select in SELECTORS if select == "agreement" or select in known]

    def most(self) -> int:
        """The largest number of votes on a test input."""
        return max((sum(tally.votes for tally in of.values()) for of in self._tallies.values()), default=0)


def _originals(fields: NDArray[np.integer], symmetries: ArcSymmetries) -> list[bytes]:
    """Keys of the grids in fields `[b, 900]`, cropped and with their symmetries undone."""
    cropped = Fields.crop(fields)
    undone = ArcSymmetries(
        np.array(INVERSES, np.uint8)[symmetries.transforms],
        np.argsort(symmetries.permutations, axis=1).astype(np.uint8),
    )
    copies = cropped.copies(np.arange(len(cropped)), undone)
    swapped = SWAPS_SIDES[undone.transforms]
    back = Fields(
        copies,
        np.where(swapped, cropped.columns, cropped.rows),
        np.where(swapped, cropped.rows, cropped.columns),
    )
    return [_key(back.grid(row)) for row in range(len(back))]


def _key(grid: Grid) -> bytes:
    return bytes(grid.shape) + np.ascontiguousarray(grid, np.uint8).tobytes()


def _grid(key: bytes) -> Grid:
    return np.frombuffer(key, np.uint8, offset=2).reshape(key[0], key[1])


def read_test_tasks(dataset: Dataset) -> list[Task]:
    """Reads the original test tasks of an ARC dataset. Raises DatasetError or PuzzleError."""
    file = dataset.directory / TEST_PUZZLES_FILE
    if not file.is_file():
        raise DatasetError(f"{file}: missing; an ARC dataset keeps its test tasks for voting in this file")
    document = read_json(file)
    return list(parse_tasks(document, str(file), file.stem)) if document else []


def pass_at(
    votes: Votes, tasks: Iterable[Task], ks: Sequence[int] = PASS_AT, select: Select | None = None
) -> dict[int, float]:
    """For each K, the mean over tasks of the fraction of test inputs whose answer is among the first K candidates.

    Tasks with an unknown output are skipped; if no task is left, the result is empty.
    """
    scores: dict[int, list[float]] = {k: [] for k in ks}
    for task in tasks:
        outputs = [pair.output for pair in task.test]
        known = [output for output in outputs if output is not None]
        if len(known) < len(outputs):
            continue
        places = []
        for pair, output in zip(task.test, known, strict=True):
            answers = [_key(candidate.grid) for candidate in votes.candidates(task.name, pair.input, select)]
            wanted = _key(output)
            places.append(answers.index(wanted) if wanted in answers else None)
        for k in ks:
            found = sum(place is not None and place < k for place in places)
            scores[k].append(found / len(places))
    return {k: sum(of_tasks) / len(of_tasks) for k, of_tasks in scores.items() if of_tasks}


def submission(votes: Votes, tasks: Iterable[Task]) -> dict[str, list[dict[str, Any]]]:
    """Kaggle's `submission.json`: two attempts per test input; a single candidate is repeated.

    A test input without votes gets its own grid as the answer: the format requires one.
    """
    document: dict[str, list[dict[str, Any]]] = {}
    for task in tasks:
        document[task.name] = []
        for pair in task.test:
            grids = [c.grid for c in votes.candidates(task.name, pair.input)[:ATTEMPTS]] or [pair.input]
            grids += [grids[0]] * (ATTEMPTS - len(grids))
            document[task.name].append(
                {f"attempt_{number}": grid.tolist() for number, grid in enumerate(grids, start=1)}
            )
    return document


@dataclass
class Voting:
    """Runs the voting on an ARC split: every copy of its tasks votes."""

    dataset: Dataset
    votes: Votes
    copies: ArcCopies | None
    """Makes the copies, if they are not stored."""

    @classmethod
    def of(cls, dataset: Dataset, select: Select = "agreement") -> Voting:
        """Prepares the voting on a split. Raises DatasetError if its identifiers are malformed."""
        try:
            votes = Votes.of(read_identifiers(dataset))
            votes.select = select
        except ValueError as error:
            raise DatasetError(f"{dataset.directory / IDENTIFIERS_FILE}: {error}") from error
        is_online = dataset.metadata.augment == "online"
        return cls(dataset, votes, ArcCopies.of(dataset) if is_online else None)

    def rows(self) -> int:
        """Number of examples that `run` processes without a limit."""
        return self.dataset.num_examples if self.copies is None else self.copies.count()

    def run(
        self,
        model: ACTModel,
        config: EvalConfig,
        *,
        progress: Callable[[int], None] | None = None,
        with_opinions: bool = False,
        world: World = ALONE,
    ) -> Evaluation:
        """Evaluates every copy and counts its vote; the ranks of `world` share the copies and all get all votes.

        Raises DatasetError when the split does not fit the model.
        """
        batches = None if self.copies is None else self._batches(self.copies, config, world)
        result = evaluate(
            model,
            self.dataset,
            config,
            progress=progress,
            batches=batches,
            on_answers=self._count,
            with_opinions=with_opinions,
            world=world,
        )
        if world.size > 1:
            self.votes = self.votes.gathered(world)
        return result

    def _count(self, answers: Answers) -> None:
        self.votes.add(
            answers.puzzle_identifiers, answers.inputs, answers.predictions, answers.q_halt, answers.examples,
            confidence=answers.confidence, residual=answers.residual,
        )  # fmt: skip

    def _batches(self, copies: ArcCopies, config: EvalConfig, world: World) -> Iterator[EvaluationBatch]:
        size = shared_batch_size(config.batch_size, world)
        own = world.rows(size)
        made = copies.every(size, config.max_puzzles, own=own)
        for number, (grids, identifiers) in enumerate(made):
            batch = made_batch(self.dataset, grids, identifiers)
            start = number * size + own.start
            yield EvaluationBatch(
                batch.inputs,
                batch.labels,
                batch.puzzle_identifiers,
                np.arange(start, start + len(identifiers)),
            )


def named_scores(scores: Mapping[int, float]) -> dict[str, float]:
    """`{"pass@1": …}`."""
    return {f"pass@{k}": score for k, score in scores.items()}
