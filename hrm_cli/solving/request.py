"""A user's request for a solve, which is checked before torch is loaded, and the watcher interface."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from hrm_cli.errors import CheckpointError, ConfigError, PuzzleError

if TYPE_CHECKING:
    from hrm_cli.puzzles.domain import Domain
    from hrm_cli.solving.solution import Solution

STDIN = "-"
"""The source name for standard input."""


@dataclass(frozen=True)
class SolveRequest:
    """Puzzles, a model, and options for effort. None uses the model's default."""

    sources: tuple[str, ...] = ()
    """Puzzle files, `-`, or texts of puzzles; none with `resume_carry`."""
    checkpoint: Path | None = None
    """None: the bundled model for the size of each puzzle."""
    max_steps: int | None = None
    attempts: int | None = None
    halt: Literal["adaptive", "full"] | None = None
    output: Path | None = None
    trace: bool = False
    picture: Path | None = None
    save_carry: Path | None = None
    resume_carry: Path | None = None
    votes: int | None = None
    """For ARC only, like the fields up to `submission`."""
    adapt: int | None = None
    adapt_weights: bool = False
    submission: Path | None = None
    batch_size: int = 256
    device: str = "auto"
    seed: int = 0
    effort: Literal["low", "medium", "high"] | None = None
    """Level of further effort after a failed first answer.

    None: medium for bundled models; for other models only what the fields below request.
    """
    search: int | None = None
    """Largest number of search nodes."""
    search_steps: int | None = None
    search_rules: bool = False
    restarts: int | None = None
    noise_init: float | None = None
    noise: float | None = None
    seconds: float | None = None
    """Time limit for all further effort."""
    select: Literal["verify", "confidence", "q_halt", "residual", "agreement"] | None = None
    """Selects among the answers of all attempts. None: verify where rules exist, else agreement."""
    check_with: str | None = None
    """`FILE.py:FUNCTION` that judges answers to own puzzles."""
    gif: Path | None = None
    png: Path | None = None
    html: Path | None = None
    live: bool = False
    """Whether the reasoning steps are shown one after the other."""
    heatmap: bool = False
    """Whether the confidence of each cell is shown."""

    @property
    def pictures(self) -> dict[str, Path]:
        """The requested pictures by their options."""
        asked = {"--picture": self.picture, "--gif": self.gif, "--png": self.png, "--html": self.html}
        return {option: path for option, path in asked.items() if path is not None}

    @property
    def needs_trace(self) -> bool:
        """Whether anything shows the reasoning steps."""
        return self.trace or self.live or self.needs_chances or self.picture is not None

    @property
    def needs_chances(self) -> bool:
        """Whether anything shows the probabilities of cells or the search tree."""
        return self.heatmap or any(path is not None for path in (self.gif, self.png, self.html))

    @property
    def files(self) -> tuple[Path, ...]:
        """The puzzle files, without standard input."""
        return tuple(Path(source) for source in self.sources if source != STDIN)

    def check_sources(self) -> None:
        """Raises ConfigError if neither puzzles nor a saved state are given, or standard input is given twice."""
        if bool(self.sources) == (self.resume_carry is not None):
            if self.sources:
                raise ConfigError(
                    "name either a PUZZLE_FILE or a saved state (--resume-carry FILE), not both"
                )
            raise ConfigError(
                "name a PUZZLE_FILE, or a saved state (--resume-carry FILE). For example:\n"
                "  hrm solve puzzles.txt\n  hrm solve ...43...2....1..  (a puzzle itself)\n"
                "  hrm solve -                 (reads standard input)"
            )
        # A typed puzzle may be too long for the name of a path: Path.is_dir would raise OSError.
        if len(self.sources) == 1 and os.path.isdir(self.sources[0]):
            folder = Path(self.sources[0])
            endings = Counter(path.suffix for path in folder.iterdir()).most_common(1)
            every = f"*{endings[0][0]}" if endings else "*"
            raise ConfigError(f"{folder}: is a folder; name its files, as in {folder / every}")
        if self.sources.count(STDIN) > 1:
            raise ConfigError("-: standard input can be read only once")

    def check(self, *, has_tasks: bool) -> None:
        """Raises ConfigError or CheckpointError for options that conflict with each other or with these puzzles.

        `has_tasks`: the source holds ARC tasks.
        """
        harder = {
            "--attempts": self.attempts is not None and self.attempts > 1,
            "--effort": self.effort is not None,
            "--search": self.search,
            "--restarts": self.restarts,
        }
        for_grids = {
            **harder,
            "--search-steps": self.search_steps,
            "--search-rules": self.search_rules,
            "--noise-init": self.noise_init is not None,
            "--noise": self.noise is not None,
            "--max-seconds": self.seconds is not None,
            "--save-carry": self.save_carry,
            "--resume-carry": self.resume_carry,
        }
        for_tasks = {
            "--votes": self.votes,
            "--adapt": self.adapt,
            "--adapt-weights": self.adapt_weights,
            "--submission": self.submission,
        }
        for name, value in (for_grids if has_tasks else for_tasks).items():
            if value:
                kind = "puzzles of one grid, but these are ARC tasks" if has_tasks else "ARC tasks in JSON"
                raise ConfigError(f"{name}: only for {kind}")
        if self.checkpoint is None and (has_tasks or self.resume_carry is not None):
            what = "ARC tasks" if has_tasks else "a saved state"
            raise CheckpointError(
                f"--checkpoint is missing: no bundled model is for {what}; name a trained model (a run folder, "
                "a checkpoint folder or a .safetensors file)"
            )
        for name, value in harder.items():
            if value and (self.save_carry or self.resume_carry):
                raise ConfigError(
                    f"{name}: a saved state belongs to one pass over the original puzzle; omit {name}"
                )
        if self.select is not None and (self.save_carry or self.resume_carry):
            raise ConfigError(
                "--select: a saved state belongs to one pass over the original puzzle; omit --select"
            )
        if self.select == "verify" and has_tasks:
            raise ConfigError(
                "--select verify: ARC has no rules that could verify an answer; agreement is the default"
            )
        if self.adapt_weights and self.adapt is None:
            raise ConfigError("--adapt-weights: give the number of steps with --adapt STEPS")


class Watcher:
    """Receives every solution when it is found. This base class ignores them."""

    def begin(self, *, are_few: bool, are_tasks: bool) -> None:
        """Called once the puzzles are open. The flags say if they are few enough to draw, and if they are ARC tasks."""

    def show(self, domain: Domain, solution: Solution) -> None:
        """Called for every finished puzzle."""

    def on_stage(self, stage: str, left: int) -> None:
        """Called during further effort with its stage and what is left: unsolved puzzles, or steps of `--adapt`."""

    def note(self, text: str) -> None:
        """Called with a note on the solve as a whole."""


def standard_input(stdin: IO[bytes] | None) -> IO[bytes]:
    """The standard input stream. Raises PuzzleError if there is none."""
    if stdin is None:
        raise PuzzleError("standard input: not available; name a file")
    return stdin
