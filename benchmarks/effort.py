"""Gain and cost of each kind of further effort on the same puzzles: one pass, depth × 4, copies, restarts, search.

    python benchmarks/effort.py bundled:sudoku-any-size PUZZLES.csv [--sample 60] [--kinds pass,depth,search-64]
        [--records RECORDS.jsonl] [--selectors 8] [--save benchmarks/results/effort.txt]

PUZZLES is a file, or a dataset folder with a test split. The first pass runs once; every other kind is applied
separately to the puzzles that the pass did not solve. Solved means verified by the rules. Seconds are CPU time of the
first pass and of the further effort. Results are split by the sources of a CSV file or the sets of a dataset. With
`--selectors K`, each puzzle also gets K attempts, and a line shows how many correct answers each selector chooses.

With `--records`, every result is written to that file immediately, so the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from effort_records import HEADING, Record, Records, header_of, row
from numpy.typing import NDArray
from reporting import keep, machine_line

from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import is_dataset
from hrm_cli.evaluation.attempts import AttemptBudget, default_attempt_steps
from hrm_cli.evaluation.effort import Effort, forward_flops, run_effort
from hrm_cli.evaluation.restarts import SelectorFigures, gather_candidates
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.rng import NOISE_INIT, NoiseScales
from hrm_cli.puzzles.domain import Puzzle, Tokens, can_pin
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.solving.choosing import LoadedModel, SolveOptions

RESTART_STEPS = 64
BATCH = 32
DEPTH = 4
SMALLER = {"search-512": "search-64"}
"""Kinds that need not run where a smaller budget of the same search has solved the puzzle: it starts with its nodes."""


def kinds(steps: int) -> dict[str, Effort]:
    """Further effort by name, for a model whose first pass takes `steps` steps."""
    copies = Effort(default_attempt_steps(steps), batch_size=BATCH)
    return {
        "copies-8": replace(copies, copies=8),
        "search-64": replace(copies, nodes=64),
        "search-64-rules": replace(copies, nodes=64, rules=True),
        "restarts-8": Effort(RESTART_STEPS, restarts=7, batch_size=BATCH),
        "restarts-32": Effort(RESTART_STEPS, restarts=31, batch_size=BATCH),
        "search-512": replace(copies, nodes=512),
    }


KINDS = ("pass", "depth", *kinds(1))


@dataclass
class Trial:
    """A model, puzzles, and the records of what it solved."""

    loaded: LoadedModel
    model: FixedModel
    tokens: Tokens
    sources: NDArray[np.str_]
    records: Records

    @classmethod
    def of(cls, loaded: LoadedModel, tokens: Tokens, sources: NDArray[np.str_], records: Records) -> Trial:
        """A trial that continues `records`."""
        return cls(loaded, FixedModel(loaded.model), tokens, sources, records)

    @property
    def max_steps(self) -> int:
        """Steps of the first pass."""
        return self.loaded.steps(SolveOptions())

    @property
    def failed(self) -> NDArray[np.int64]:
        """The puzzles that the first pass did not solve."""
        return np.array(
            [i for i, record in sorted(self.records.of("pass").items()) if not record.solved], np.int64
        )

    def run(self, kind: str) -> None:
        """Runs a kind of effort on all puzzles that need it and have no record of it yet."""
        if kind == "pass":
            self._pass("pass", np.arange(len(self.tokens)), self.max_steps)
        elif kind == "depth":
            # The others halted with their wrong answer, and would do so again.
            passed = self.records.of("pass")
            out_of_steps = [i for i in self.failed.tolist() if passed[i].steps >= self.max_steps]
            self._pass("depth", np.array(out_of_steps, np.int64), DEPTH * self.max_steps)
        else:
            smaller = self.records.of(SMALLER[kind]) if kind in SMALLER else {}
            rows = [i for i in self.failed.tolist() if i not in smaller or not smaller[i].solved]
            self._harder(kind, np.array(rows, np.int64))

    def _pass(self, kind: str, rows: NDArray[np.int64], steps: int) -> None:
        for own in _portions(self.records.missing(kind, rows)):
            started = time.process_time()
            inputs = torch.from_numpy(self.tokens[own].astype(np.int32))
            solved, taken = np.zeros(len(own), np.bool_), np.zeros(len(own), np.int64)
            identifiers = torch.zeros(len(own), dtype=torch.int32)
            for step in self.model.infer(inputs, identifiers, steps, adaptive=True):
                ended = step.finished.numpy()
                at = step.rows.numpy()[ended]
                answers = step.predictions.numpy()[ended].astype(np.uint8)
                solved[at] = self.loaded.domain.violations(self.tokens[own[at]], answers) == 0  # type: ignore[attr-defined]
                taken[at] = step.step
            seconds = (time.process_time() - started) / len(own)
            for puzzle, is_solved, count in zip(own.tolist(), solved.tolist(), taken.tolist(), strict=True):
                self.records.add(Record(kind, puzzle, is_solved, count, seconds))

    def _harder(self, kind: str, rows: NDArray[np.int64]) -> None:
        effort, passed = kinds(self.max_steps)[kind], self.records.of("pass")
        for own in _portions(self.records.missing(kind, rows)):
            started = time.process_time()
            for place, outcome in run_effort(
                self.model, self.loaded.domain, self.tokens[own], effort, own.tolist()
            ):
                now = time.process_time()
                first = passed[int(own[place])]
                steps, seconds = first.steps + outcome.work, first.seconds + now - started
                self.records.add(Record(kind, first.puzzle, outcome.violations == 0, steps, seconds))
                started = now

    def results(self, kind: str) -> list[Record]:
        """The result of a kind that has run on each puzzle, also where a cheaper kind had solved it."""
        smaller = self.records.of(SMALLER[kind]) if kind in SMALLER else {}
        found = {**self.records.of("pass"), **smaller, **self.records.of(kind)}
        return [found[puzzle] for puzzle in range(len(self.tokens))]

    def line(self, kind: str, flops: int) -> str:
        """The line of the table for a kind that has run."""
        results = self.results(kind)
        steps, seconds = (
            float(np.mean([getattr(one, name) for one in results])) for name in ("steps", "seconds")
        )
        solved = np.array([one.solved for one in results])
        return row(kind, solved, (steps, flops * steps, seconds), self.sources)

    def selectors(self, count: int) -> str:
        """A line with the number of correct answers that each selector chooses from `count` noisy starts per puzzle."""
        tries = AttemptBudget(
            count, RESTART_STEPS, batch_size=BATCH, copies=False, noise=NoiseScales(initial=NOISE_INIT)
        )
        domain = self.loaded.domain
        gathered = gather_candidates(self.model, domain, self.tokens, tries, range(len(self.tokens)))
        figures = SelectorFigures.of(gathered, domain.solve_all(self.tokens).answers)  # type: ignore[attr-defined]
        chosen = ", ".join(f"{name} {right}" for name, right in figures.chosen.items())
        return (
            f"selectors: {figures.puzzles} puzzles, {count} starts of {RESTART_STEPS} steps each; the right answer is "
            f"among the candidates of {figures.among}; picked: {chosen}"
        )


def _portions(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def read(path: Path, loaded: LoadedModel, count: int | None) -> tuple[Tokens, NDArray[np.str_]]:
    """The tokens of puzzles that fit the model, `[n, S]`, and the source of each; `count` chosen by a fixed seed."""
    if is_dataset(path):
        dataset = Dataset.open(path, "test")
        tokens, _ = dataset.gather_bytes(np.arange(dataset.num_examples))
        names = np.array([part.name for part in dataset.sets])
        sources = names[dataset.set_of(np.arange(len(tokens)))]
    else:
        readable = [item for item in read_puzzles(path) if isinstance(item, Puzzle)]
        puzzles = [puzzle for puzzle in readable if puzzle.grid.size == loaded.domain.seq_len]
        encoded = [loaded.domain.encode(puzzle.grid) for puzzle in puzzles]
        tokens = np.stack(encoded) if encoded else np.empty((0, loaded.domain.seq_len), np.uint8)
        sources = np.array([puzzle.source or "all" for puzzle in puzzles])
    if count is None or count >= len(tokens):
        return tokens, sources
    chosen = sorted(random.Random(0).sample(range(len(tokens)), count))
    return tokens[chosen], sources[chosen]


def parsed() -> tuple[argparse.ArgumentParser, argparse.Namespace, list[str]]:
    """The parser, the options, and the kinds to measure, the pass first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("puzzles", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--kinds", help="names, separated by commas; all unless given")
    parser.add_argument("--records", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--selectors", type=int, metavar="K")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    chosen = options.kinds.split(",") if options.kinds else list(KINDS)
    if unknown := [name for name in chosen if name not in KINDS]:
        parser.error(f"--kinds: {', '.join(unknown)} unknown; known: {', '.join(KINDS)}")
    return parser, options, ["pass", *(name for name in chosen if name != "pass")]


def main() -> None:
    parser, options, chosen = parsed()
    loaded = LoadedModel.load(Path(options.model), torch.device("cpu"))
    tokens, sources = read(options.puzzles, loaded, options.sample)
    if not len(tokens):
        parser.error(f"{options.puzzles}: no puzzle in it is one of {loaded.domain.describe()}")
    try:
        records = Records.open(options.records, header_of(loaded, tokens))
    except ValueError as error:
        parser.error(f"--records {error}; name another file")
    trial = Trial.of(loaded, tokens, sources, records)
    flops = forward_flops(loaded.model.arch, loaded.domain.vocab_size, loaded.domain.seq_len)
    counts = ", ".join(f"{source} {count:,}" for source, count in Counter(sources.tolist()).items())
    lines = [
        f"{options.model}, {len(tokens):,} puzzles ({counts}); pass of at most {trial.max_steps} steps",
        machine_line(),
        HEADING,
    ]
    print("\n".join(lines), flush=True)
    for name in chosen:
        if name.startswith("copies") and loaded.model.arch.is_equivariant:
            lines.append(f"{name:<16} the model gives copies the same answer")
        elif name.startswith("search") and not can_pin(loaded.domain):
            lines.append(f"{name:<16} no cells can be pinned")
        else:
            trial.run(name)
            lines.append(trial.line(name, flops))
        print(lines[-1], flush=True)
        keep("\n".join(lines), options.save)
    if options.selectors:
        lines.append(trial.selectors(options.selectors))
        print(lines[-1], flush=True)
        keep("\n".join(lines), options.save)


if __name__ == "__main__":
    main()
