"""Gain and cost of each kind of further effort on the same puzzles: one pass, depth × 4, copies, restarts, search.

    python benchmarks/effort.py bundled:sudoku-9x9-units PUZZLES.csv [--sample 60] [--kinds pass,depth,search-64]
        [--selectors 8] [--save benchmarks/results/effort.txt]

PUZZLES is a file, or a dataset folder, of which the test split is used. The first pass runs once; every other kind is
applied separately to the puzzles that the pass failed. Solved means verified by the rules. Seconds are CPU time of the
first pass and of the further effort. Results are split by the sources of a CSV file or the sets of a dataset. With
`--selectors K`, each puzzle also gets K attempts, and a line shows how many correct answers each selector chooses.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from reporting import keep, machine_line

from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import is_dataset
from hrm_cli.evaluation.attempts import Tries, deeper
from hrm_cli.evaluation.effort import Effort, forward_flops, try_harder
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.evaluation.restarts import NOISE_INIT, SelectorFigures, gather_candidates
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.noise import NoiseScales
from hrm_cli.puzzles.domain import Puzzle, Tokens, can_pin
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.solving.choosing import Asked, LoadedModel

RESTART_STEPS = 64
BATCH = 32


def kinds(steps: int) -> dict[str, Effort]:
    """Effort by name, for a model whose first pass takes `steps` steps."""
    copies = Effort(deeper(steps), batch_size=BATCH)
    return {
        "pass": replace(copies, copies=1),
        # A single start without noise: the puzzle itself with more steps.
        "depth": Effort(4 * steps, copies=1, batch_size=BATCH),
        "copies-8": replace(copies, copies=8),
        "restarts-8": Effort(RESTART_STEPS, restarts=7, batch_size=BATCH),
        "restarts-32": Effort(RESTART_STEPS, restarts=31, batch_size=BATCH),
        "search-64": replace(copies, nodes=64),
        "search-64-rules": replace(copies, nodes=64, rules=True),
        "search-512": replace(copies, nodes=512),
    }


class Trial:
    """A model and puzzles, with its first answers."""

    def __init__(self, loaded: LoadedModel, tokens: Tokens, sources: np.ndarray) -> None:
        self.model, self.domain = FixedModel(loaded.model), loaded.domain
        self.max_steps = loaded.steps(Asked())
        self.tokens, self.sources = tokens, sources
        self.solved, self.steps, self.seconds = self.one_pass(self.max_steps, np.arange(len(tokens)))

    def one_pass(self, steps: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Whether the model's answers obey the rules, the steps of each puzzle, and the seconds."""
        solved, taken = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.int64)
        started = time.process_time()
        for start in range(0, len(rows), BATCH):
            own = rows[start : start + BATCH]
            inputs = torch.from_numpy(self.tokens[own].astype(np.int32))
            identifiers = torch.zeros(len(own), dtype=torch.int32)
            for step in self.model.infer(inputs, identifiers, steps, adaptive=True):
                ended = step.finished.numpy()
                at = step.rows.numpy()[ended]
                answers = step.predictions.numpy()[ended].astype(np.uint8)
                solved[start + at] = self.domain.violations(self.tokens[own[at]], answers) == 0
                taken[start + at] = step.step
        return solved, taken, time.process_time() - started

    def with_effort(self, name: str, effort: Effort) -> tuple[np.ndarray, np.ndarray, float]:
        """Solved, steps per puzzle, and seconds, for the first pass and the further effort together."""
        solved, steps, failed = self.solved.copy(), self.steps.copy(), np.flatnonzero(~self.solved)
        started = time.process_time()
        if name == "depth":
            again, taken, _ = self.one_pass(effort.attempt_steps, failed)
            solved[failed], steps[failed] = again, taken
        else:
            for place, outcome in try_harder(
                self.model, self.domain, self.tokens[failed], effort, failed.tolist()
            ):
                solved[failed[place]] = outcome.violations == 0
                steps[failed[place]] += outcome.work
        return solved, steps, self.seconds + time.process_time() - started

    def selectors(self, count: int) -> str:
        """A line with the number of correct answers that each selector chooses from `count` noisy starts per puzzle."""
        tries = Tries(
            count, RESTART_STEPS, batch_size=BATCH, copies=False, noise=NoiseScales(initial=NOISE_INIT)
        )
        gathered = gather_candidates(self.model, self.domain, self.tokens, tries, range(len(self.tokens)))
        figures = SelectorFigures.of(gathered, self.domain.solve_all(self.tokens).answers)
        chosen = ", ".join(f"{name} {right}" for name, right in figures.chosen.items())
        return (
            f"selectors: {figures.puzzles} puzzles, {count} starts of {RESTART_STEPS} steps each; the right answer is "
            f"among the candidates of {figures.among}; picked: {chosen}"
        )


def read(path: Path, loaded: LoadedModel, count: int | None) -> tuple[Tokens, np.ndarray]:
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


def row(name: str, solved: np.ndarray, steps: np.ndarray, seconds: float, trial: Trial, flops: int) -> str:
    """A line of the table."""
    low, high = wilson_interval(float(solved.mean()), len(solved))
    cost = f"{steps.mean():8.1f} {flops * steps.mean():9.2g} {seconds / len(solved):8.2f}"
    by_source: Mapping[str, str] = {
        source: f"{solved[trial.sources == source].mean():.1%}" for source in np.unique(trial.sources)
    }
    sources = "  ".join(f"{source} {share}" for source, share in by_source.items())
    return f"{name:<16} {solved.mean():7.1%} ({low:.1%} to {high:.1%}) {cost}   {sources}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("puzzles", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--kinds", help="names, separated by commas; all unless given")
    parser.add_argument("--selectors", type=int, metavar="K")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    loaded = LoadedModel.load(Path(options.model), torch.device("cpu"))
    tokens, sources = read(options.puzzles, loaded, options.sample)
    if not len(tokens):
        parser.error(f"{options.puzzles}: no puzzle in it is one of {loaded.domain.describe()}")
    trial = Trial(loaded, tokens, sources)
    flops = forward_flops(loaded.model.arch, loaded.domain.vocab_size, loaded.domain.seq_len)
    counts = ", ".join(f"{source} {count:,}" for source, count in Counter(trial.sources.tolist()).items())
    lines = [
        f"{options.model}, {len(tokens):,} puzzles ({counts}); pass of at most {trial.max_steps} steps",
        machine_line(),
        f"{'kind':<16} {'solved':>7} {'(95 %)':<18} {'steps':>8} {'FLOPs':>9} {'seconds':>8}   per puzzle",
    ]
    print("\n".join(lines), flush=True)
    every = kinds(trial.max_steps)
    for name in options.kinds.split(",") if options.kinds else every:
        if name.startswith("copies") and loaded.model.arch.is_equivariant:
            lines.append(f"{name:<16} the model gives copies the same answer")
        elif name.startswith("search") and not can_pin(loaded.domain):
            lines.append(f"{name:<16} no cells can be pinned")
        elif name == "pass":
            lines.append(row(name, trial.solved, trial.steps, trial.seconds, trial, flops))
        else:
            lines.append(row(name, *trial.with_effort(name, every[name]), trial, flops))
        print(lines[-1], flush=True)
    if options.selectors:
        lines.append(trial.selectors(options.selectors))
        print(lines[-1], flush=True)
    keep("\n".join(lines), options.save)


if __name__ == "__main__":
    main()
