"""Recipes for about ten minutes on one GPU, and the parser for those of the command line.

Every recipe ends by the clock (`train.max_minutes`): learning rates follow the steps that fit into its time, and there
are ten evaluations. `arch`, `train` and `eval` are the preset's except for the settings named here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpu_stages.datasets import DATASETS

_BY_THE_CLOCK = ("train.epochs=100000000", "train.eval_interval=null")


@dataclass(frozen=True)
class Recipe:
    """A run of `hrm train`."""

    name: str
    preset: str
    seconds: float | None
    """None: an equal part of the remaining time, shared with the recipes after it."""
    overrides: tuple[str, ...] = ()
    """Settings, and in named recipes `--checkpoint=NAME` to start from the weights of an earlier recipe."""
    data: str | None = None
    """Its dataset, a name in `DATASETS`; None: the preset's, built by the run."""
    other_sizes: tuple[str, ...] = ()
    """Datasets of other sizes to train on too."""
    trial: tuple[str, ...] = ()
    """Settings that replace others in a trial on a CPU: smaller batches, and a hundredth of the steps."""
    published: bool = False
    """Whether the preset plans a published run, whose hours are estimated from the speed."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets that it needs."""
        return (*([self.data] if self.data else []), *self.other_sizes)

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings of its model and training, as a row of the stage `speed` takes them."""
        return tuple(word for word in self.overrides if not word.startswith(("--", "train.compile=")))

    @property
    def mode(self) -> str | None:
        """Its `train.compile`, if given."""
        found = [word.partition("=")[2] for word in self.overrides if word.startswith("train.compile=")]
        return found[-1] if found else None


def _trial(batch: int, steps: int, *more: str) -> tuple[str, ...]:
    return (
        f"train.global_batch_size={batch}", f"train.max_steps={steps}", "train.compile=off", "eval.max_puzzles=4",
        "train.log_interval=5", *more,
    )  # fmt: skip


def _mazes(size: int, seconds: float | None, start: str | None, *settings: str, trial: int) -> Recipe:
    checkpoint = (f"--checkpoint={start}",) if start else ()
    return Recipe(
        f"mazes-{size}", "neighbors-maze", seconds,
        (
            "train.compile=cudagraphs", "arch.mixer=edges", "arch.L_cycles=11", "arch.hidden_size=24",
            *_BY_THE_CLOCK, *settings, *checkpoint,
        ),
        data=f"mazes-{size}", trial=_trial(16, trial, "eval.max_steps=4"),
    )  # fmt: skip


RECIPES: dict[str, tuple[Recipe, ...]] = {
    # The structured model on 9×9 Sudoku until it is flat, and the same on six sizes at once.
    "units": (
        Recipe("units", "sudoku-units", None, ("train.compile=cudagraphs", *_BY_THE_CLOCK), "sudoku-9",
               trial=_trial(8, 430, "eval.max_steps=8")),
    ),
    "all-sizes": (
        Recipe("all-sizes", "sudoku-units", None, ("train.compile=cudagraphs", *_BY_THE_CLOCK), "sudoku-9",
               ("sudoku-4", "sudoku-6", "sudoku-8", "sudoku-12", "sudoku-16"),
               trial=_trial(8, 430, "eval.max_steps=8")),
    ),
    # One set of weights for mazes of every size, learned on larger and larger ones: a larger maze needs more steps, so
    # its rows continue for longer. L_cycles stays, because a change of it loses what has been learned.
    "mazes": (
        _mazes(6, 90, None, "train.global_batch_size=256", trial=40),
        _mazes(10, 110, "mazes-6", "train.global_batch_size=256", "train.carry_over=0.8", "train.lr=2e-3",
               trial=40),
        _mazes(16, 140, "mazes-10", "train.global_batch_size=256", "train.carry_over=0.85", "train.lr=2e-3",
               "eval.max_steps=64", trial=30),
        _mazes(30, None, "mazes-16", "train.global_batch_size=128", "train.carry_over=0.9", "train.lr=2e-3",
               "eval.max_steps=128", trial=10),
    ),
    # The same mazes for a model without built-in neighbors.
    "maze-30x30": (
        Recipe("maze-30x30", "maze-30x30", None, _BY_THE_CLOCK, "maze-30x30",
               trial=_trial(4, 167, "eval.max_steps=2")),
    ),
    # The paper's run as far as ten minutes go, for its curve.
    "sudoku-extreme": (
        Recipe("sudoku-extreme", "sudoku-extreme", None, _BY_THE_CLOCK, "sudoku-extreme",
               trial=_trial(4, 77, "eval.max_steps=1"), published=True),
    ),
    # The "speed run" of others: tables of rows, columns and boxes, Muon, random initial states, repair rows, a
    # penalty for repeated digits, averaged weights, 32 steps at evaluation, and a higher rate that falls. QK norm needs
    # attention, and this model mixes tokens.
    "trm": (
        Recipe("trm", "trm-sudoku", None,
               (*_BY_THE_CLOCK, "train.lr=3e-4", "train.lr_schedule=cosine", "train.lr_min_ratio=0.1",
                "train.lr_warmup_steps=200", "train.stagger=true", "eval.max_steps=32", "train.optimizer=muon",
                "arch.position_tables=true", "arch.initial_state=random", "train.repair_rows=0.2",
                "train.constraint_loss=0.3"),
               "sudoku-extreme", trial=_trial(8, 69, "eval.max_steps=2"), published=True),
    ),
    # ARC-1 as published, for its speed: batches of 768 in eight parts. The whole run takes days.
    "arc-1": (
        Recipe("arc-1", "arc-1", None, (*_BY_THE_CLOCK, "train.accumulation_steps=8"), "arc-1",
               # Token accuracy is of rows that have finished, after 16 steps.
               trial=_trial(1, 40, "train.accumulation_steps=1", "eval.max_steps=1"), published=True),
    ),
}  # fmt: skip
"""Named recipes. A name may stand for several runs, one after the other."""


def recipes(texts: Sequence[str]) -> list[Recipe]:
    """From names of `RECIPES` (`NAME` or `NAME SECONDS`) and texts `NAME PRESET SECONDS key=value …`.

    Exits if one is neither.
    """
    found: list[Recipe] = []
    for text in texts:
        words = shlex.split(text)
        if words and words[0] in RECIPES and len(words) <= 2:
            named = RECIPES[words[0]]
            if len(words) == 2:
                named = (*named[:-1], replace(named[-1], seconds=_seconds(text, words[1])))
            found += named
        elif len(words) < 3:
            raise SystemExit(
                f"--recipe {text!r}: expected {', '.join(RECIPES)}, or NAME PRESET SECONDS key=value …, "
                "SECONDS a number or -"
            )
        else:
            found.append(Recipe(words[0], words[1], _seconds(text, words[2]), tuple(words[3:])))
    assert all(name in DATASETS for recipe in found for name in recipe.datasets)
    return found


def _seconds(text: str, word: str) -> float | None:
    try:
        return None if word == "-" else float(word)
    except ValueError:
        raise SystemExit(f"--recipe {text!r}: SECONDS is {word!r}; expected a number or -") from None
