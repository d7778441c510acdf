"""Evaluation of a model on a split: exact accuracy, cell accuracy, and the number of steps.

Letters in shapes: b rows, S tokens of an example.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.batches import EvaluationBatch, evaluation_batches
from hrm_cli.data.format import Dataset
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import DatasetError
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.core import CoreOutput
from hrm_cli.models.inference import ActiveRows, Finished, infer_stream
from hrm_cli.models.losses import compare
from hrm_cli.printable import counted

# Finished rows are replaced once they make up this fraction of a batch, because all states are copied each time.
_PORTIONS = 8


@dataclass(frozen=True)
class DepthFigures:
    """The results of the same evaluation with a lower maximum number of steps."""

    max_steps: int
    exact_accuracy: float
    mean_steps: float


@dataclass(frozen=True)
class Drift:
    """A lower maximum number of steps with which the same model is clearly more accurate."""

    max_steps: int
    exact_accuracy: float
    evaluated_steps: int
    """The maximum number of steps of the evaluation."""
    evaluated_accuracy: float

    def describe(self) -> str:
        """Both accuracies and a recommendation, as text."""
        return (
            f"Note: {self.exact_accuracy:.2%} exact after {counted(self.max_steps, 'step')}, "
            f"{self.evaluated_accuracy:.2%} after {self.evaluated_steps:,}: this model drifts. Fewer steps are better "
            f"here: --max-steps {self.max_steps}"
        )


_CLEARLY = 0.01
"""Smallest difference of accuracies that counts as drift, however many puzzles there are."""


def doubling_depths(max_steps: int) -> tuple[int, ...]:
    """1, 2, 4, … up to and including `max_steps`: the numbers of steps that are checked for drift."""
    return (*(2**n for n in range((max_steps - 1).bit_length())), max_steps)


def find_drift(curve: Sequence[DepthFigures], puzzles: int) -> Drift | None:
    """The most accurate number of steps, if its accuracy is above the 95 % interval of the accuracy with all steps."""
    if not curve or not puzzles:
        return None
    last = max(curve, key=lambda one: one.max_steps)
    best = max(curve, key=lambda one: (one.exact_accuracy, -one.max_steps))
    upper = max(wilson_interval(last.exact_accuracy, puzzles)[1], last.exact_accuracy + _CLEARLY)
    if best.exact_accuracy <= upper:
        return None
    return Drift(best.max_steps, best.exact_accuracy, last.max_steps, last.exact_accuracy)


class DepthCurve:
    """Counts, during an evaluation, the results that it would have with a lower maximum number of steps."""

    def __init__(self, depths: Sequence[int]) -> None:
        self._depths = torch.tensor(sorted(set(depths)), dtype=torch.int64)
        self.sums = torch.zeros(len(self._depths), 2, dtype=torch.float64)
        """Exact answers and steps at each depth, `[D, 2]`."""

    def unfinished(self, rows: ActiveRows, out: CoreOutput, done: Tensor) -> None:
        """Counts the current answers of the rows that continue (all except `done` `[b]`) as if they ended here."""
        at = (~done & torch.isin(rows.steps, self._depths.to(done.device))).nonzero().squeeze(-1)
        if len(at):
            assert out.logits is not None
            result = compare(out.logits[at].argmax(-1), rows.puzzles.labels[at])
            exact = (result.correct & (result.labeled > 0)).cpu().double()
            self.sums[:, 0].index_add_(0, torch.searchsorted(self._depths, rows.steps[at].cpu()), exact)

    def finished(self, exact: Tensor, counted: Tensor, steps: Tensor) -> None:
        """Counts finished rows: whether they are exact, whether they count, and their steps, `[b]` each."""
        exact, counted, steps = exact.cpu(), counted.cpu(), steps.cpu()
        in_time = steps <= self._depths[:, None]
        self.sums[:, 0] += (exact & in_time).sum(1)
        self.sums[:, 1] += (torch.minimum(steps, self._depths[:, None]) * counted).sum(1)

    def figures(self, sums: Tensor, puzzles: int) -> tuple[DepthFigures, ...]:
        """The curve from the sums `[D, 2]` over all processes."""
        shares = (sums / max(puzzles, 1)).tolist()
        return tuple(
            DepthFigures(depth, exact, steps)
            for depth, (exact, steps) in zip(self._depths.tolist(), shares, strict=True)
        )


@dataclass(frozen=True)
class Answers:
    """The answers to puzzles that have just finished."""

    inputs: NDArray[np.int32]
    """`[b, S]`"""
    puzzle_identifiers: NDArray[np.int32]
    """`[b]`"""
    labels: NDArray[np.int32]
    """`[b, S]`, −100 for cells without a label."""
    predictions: NDArray[np.int64]
    """`[b, S]`"""
    q_halt: NDArray[np.float32]
    """`[b]`"""
    examples: NDArray[np.int64]
    """Index of each row's example, `[b]`."""
    confidence: NDArray[np.float32] | None = None
    """As in `hrm_cli.models.inference.Opinions`, if requested, `[b]`; `residual` likewise."""
    residual: NDArray[np.float32] | None = None
    cells: NDArray[np.float32] | None = None
    """Probability of each predicted token, `[b, S]`, if opinions are requested."""
    steps: NDArray[np.int64] | None = None
    """ACT steps that each row took, `[b]`."""


@dataclass(frozen=True)
class SetFigures:
    """The results for one set of a split, such as the puzzles of one source; fields as in `Evaluation`."""

    puzzles: int
    exact_accuracy: float
    cell_accuracy: float
    mean_steps: float
    q_halt_accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """The results of one evaluation; accuracies and fractions are 0..1."""

    puzzles: int
    """Number of examples with at least one labeled cell."""
    exact_accuracy: float
    """Fraction of puzzles with every labeled cell correct."""
    cell_accuracy: float
    """Mean over puzzles of the fraction of correct cells."""
    mean_steps: float
    """Mean number of ACT steps until a puzzle halted."""
    q_halt_accuracy: float
    """Fraction of puzzles whose halt decision (halt value ≥ 0) matches whether the answer is correct."""
    seconds: float
    by_set: Mapping[str, SetFigures] = field(default_factory=dict)
    """The results for each set of the split; empty if there is only one set."""
    by_depth: tuple[DepthFigures, ...] = ()
    """Accuracy for each requested maximum number of steps."""
    drift: Drift | None = None
    """A lower maximum number of steps that is clearly better; None if there is none."""

    @property
    def efficiency(self) -> float:
        """Exact accuracy ÷ mean steps."""
        return self.exact_accuracy / self.mean_steps if self.mean_steps else 0.0

    @property
    def puzzles_per_second(self) -> float:
        """Throughput, excluding loading."""
        return self.puzzles / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, Any]:
        """The figures under the names of `hrm eval --json`; None if no puzzle has a known answer."""
        if not self.puzzles:
            unknown = (
                "exact_accuracy",
                "cell_accuracy",
                "mean_steps",
                "efficiency",
                "q_halt_accuracy",
                "drift",
            )
            return {"puzzles": 0, **dict.fromkeys(unknown), "puzzles_per_second": 0.0}
        return {
            "puzzles": self.puzzles,
            "exact_accuracy": self.exact_accuracy,
            "cell_accuracy": self.cell_accuracy,
            "mean_steps": self.mean_steps,
            "efficiency": self.efficiency,
            "q_halt_accuracy": self.q_halt_accuracy,
            "puzzles_per_second": self.puzzles_per_second,
            "drift": None if self.drift is None else asdict(self.drift),
            **({"by_depth": [asdict(one) for one in self.by_depth]} if self.by_depth else {}),
            **({"by_set": {name: asdict(part) for name, part in self.by_set.items()}} if self.by_set else {}),
        }


def check_fit(model: ACTModel, dataset: Dataset) -> None:
    """Raises DatasetError if a dataset's tokens do not match the model."""
    metadata, where = dataset.metadata, f"{dataset.directory}: "
    pairs = (("vocab_size", model.core.vocab_size), ("seq_len", model.core.seq_len))
    for name, expected in pairs:
        found = getattr(metadata, name)
        if found != expected:
            raise DatasetError(
                f"{where}{name} is {found}, but the checkpoint was trained with {expected}; "
                "evaluate it on a dataset of the same domain and size"
            )
    table = getattr(model.inner, "puzzle_emb", None)
    if table is not None and metadata.num_puzzle_identifiers > len(table.weights):
        raise DatasetError(
            f"{where}{metadata.num_puzzle_identifiers} puzzle identifiers, but the checkpoint knows "
            f"{len(table.weights)}; evaluate it on the dataset that it was trained with"
        )


def evaluate(
    model: ACTModel,
    dataset: Dataset,
    config: EvalConfig,
    *,
    progress: Callable[[int], None] | None = None,
    batches: Iterable[EvaluationBatch] | None = None,
    on_answers: Callable[[Answers], None] | None = None,
    depths: Sequence[int] = (),
    among: NDArray[np.int64] | None = None,
    with_opinions: bool = False,
    world: World = ALONE,
) -> Evaluation:
    """Runs every example of the split until it halts. `progress` receives the number of finished puzzles.

    `batches` replaces the split's own examples. `among` `[n]` are the indices of the examples to use. `on_answers`
    receives every row's answer when it finishes; `with_opinions`: with its confidence and residual. For each maximum
    number of steps in `depths` (up to the configured one), accuracy is reported too; 1, 2, 4, … are always compared,
    to find drift. The ranks of `world` share the examples, and every rank returns the figures of all examples. Raises
    DatasetError if the dataset does not fit the model.
    """
    check_fit(model, dataset)
    max_steps = config.max_steps or model.arch.halt_max_steps
    sets = [part.name for part in dataset.sets] if batches is None else ["all"]
    sums = torch.zeros(len(sets), 5, dtype=torch.float64)
    started = time.perf_counter()
    size = shared_batch_size(config.batch_size, world)
    if batches is None:
        batches = evaluation_batches(
            dataset, size, limit=config.max_puzzles, among=among, rank=world.rank, world_size=world.size
        )
    curve = DepthCurve((*depths, *doubling_depths(max_steps)))
    capacity = size // world.size
    portion = capacity if model.core.halts_together else max(1, capacity // _PORTIONS)
    for done in infer_stream(
        model,
        _portions(batches, portion, model.device),
        max_steps,
        adaptive=config.halt == "adaptive",
        capacity=capacity,
        watch=curve.unfinished,
        with_opinions=with_opinions,
    ):
        result = compare(done.predictions, done.puzzles.labels)
        numbers = done.numbers.cpu().numpy()
        if on_answers is not None:
            on_answers(_answers(done, numbers))
        counted = result.labeled > 0
        figures = torch.stack(
            [
                counted,
                counted & result.correct,
                torch.where(counted, result.accuracy, 0),
                counted * done.steps,
                counted & ((done.q_halt >= 0) == result.correct),
            ],
            dim=1,
        )
        curve.finished(counted & result.correct, counted, done.steps)
        owners = dataset.set_of(numbers) if len(sets) > 1 else np.zeros_like(numbers)
        sums.index_add_(0, torch.from_numpy(owners), figures.cpu().double())
        if progress is not None:
            # Estimate the progress of all ranks from this one.
            progress(int(sums[:, 0].sum()) * world.size)
    summed = world.sum({"sums": sums, "depths": curve.sums})
    sums = summed["sums"]
    seconds = time.perf_counter() - started
    by_set = {name: SetFigures(*_figures(part)) for name, part in zip(sets, sums, strict=True)}
    whole = _figures(sums.sum(dim=0))
    all_depths = curve.figures(summed["depths"], whole[0])
    by_depth = tuple(one for one in all_depths if one.max_steps in depths)
    drift = find_drift(all_depths, whole[0])
    return Evaluation(*whole, seconds, by_set if len(sets) > 1 else {}, by_depth, drift)


def _portions(
    batches: Iterable[EvaluationBatch], size: int, device: torch.device
) -> Iterator[tuple[PuzzleBatch, Tensor]]:
    """The rows of all batches on the device, at most `size` at a time, with the indices of their examples."""
    for batch in batches:
        for start in range(0, len(batch.inputs), size):
            rows = slice(start, start + size)
            arrays = batch.inputs[rows], batch.labels[rows], batch.puzzle_identifiers[rows]
            puzzles = PuzzleBatch(*(torch.from_numpy(array).to(device) for array in arrays))
            yield puzzles, torch.from_numpy(batch.examples[rows]).to(device)


def _answers(done: Finished, numbers: NDArray[np.int64]) -> Answers:
    return Answers(
        done.puzzles.inputs.cpu().numpy(),
        done.puzzles.puzzle_identifiers.cpu().numpy(),
        done.puzzles.labels.cpu().numpy(),
        done.predictions.cpu().numpy(),
        done.q_halt.float().cpu().numpy(),
        numbers,
        None if done.opinions is None else done.opinions.confidence.cpu().numpy(),
        None if done.opinions is None else done.opinions.residual.float().cpu().numpy(),
        None if done.opinions is None else done.opinions.cells.cpu().numpy(),
        done.steps.cpu().numpy(),
    )


def shared_batch_size(batch_size: int, world: World) -> int:
    """The batch size, rounded up so that all ranks get equally many rows. The batch size does not affect results."""
    return -(-batch_size // world.size) * world.size


def _figures(sums: Tensor) -> tuple[int, float, float, float, float]:
    count, exact, cells, steps, believed = sums.tolist()
    total = max(count, 1.0)
    return int(count), exact / total, cells / total, steps / total, believed / total


def sample_examples(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of a random sample of `count` of `total` examples, ascending, `[n]`; all if there are fewer.

    They depend only on the total and the seed. A smaller sample with the same seed is a subset of a larger one.
    """
    # Raw output of a bit generator, which NumPy promises to keep; `Generator.choice` may change between versions.
    keys = np.random.PCG64(np.random.SeedSequence([seed, total])).random_raw(total)
    return np.sort(np.argsort(keys, kind="stable")[:count]).astype(np.int64)
