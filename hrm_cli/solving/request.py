"""What a user asks of a solve, checked before torch is loaded, and who watches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from hrm_cli.errors import CheckpointError, ConfigError, PuzzleError

if TYPE_CHECKING:
    from hrm_cli.puzzles.domain import Domain
    from hrm_cli.solving.solution import Solution

STDIN = "-"
"""Stands for standard input."""


@dataclass(frozen=True)
class SolveRequest:
    """Puzzles, a model, and how hard it tries; None leaves a value to the model."""

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
    """ARC, as are those up to `submission`."""
    adapt: int | None = None
    adapt_weights: bool = False
    submission: Path | None = None
    batch_size: int = 256
    device: str = "auto"
    seed: int = 0
    effort: Literal["low", "medium", "high"] | None = None
    """What follows a failed first answer; None: medium for bundled models, else only what is requested below."""
    search: int | None = None
    """Nodes of the search at most."""
    search_steps: int | None = None
    search_rules: bool = False
    restarts: int | None = None
    noise_init: float | None = None
    noise: float | None = None
    seconds: float | None = None
    """For all further effort together."""
    check_with: str | None = None
    """`FILE.py:FUNCTION` that judges answers to own puzzles."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The puzzle files, without standard input."""
        return tuple(Path(source) for source in self.sources if source != STDIN)

    def check_sources(self) -> None:
        """Raises ConfigError unless puzzle files or a saved state are named, and standard input at most once."""
        if bool(self.sources) == (self.resume_carry is not None):
            raise ConfigError("name either a PUZZLE_FILE or a saved state (--resume-carry FILE)")
        if self.sources.count(STDIN) > 1:
            raise ConfigError("-: standard input can be read only once")

    def check(self, *, has_tasks: bool) -> None:
        """Raises ConfigError or CheckpointError for options that do not go together, or with these puzzles.

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
                kind = "puzzles of one grid, and these are ARC tasks" if has_tasks else "ARC tasks in JSON"
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
        if self.adapt_weights and self.adapt is None:
            raise ConfigError("--adapt-weights: give the number of steps with --adapt STEPS")


class Watcher:
    """Is shown every solution as it is found; this one ignores them."""

    def begin(self, *, are_few: bool, are_tasks: bool) -> None:
        """The puzzles have been opened: whether there are few enough to draw, and whether they are ARC tasks."""

    def show(self, domain: Domain, solution: Solution) -> None:
        """One more puzzle has been dealt with."""

    def trying(self, stage: str, left: int) -> None:
        """Further effort on puzzles whose first answers failed: its stage, and how many are still open."""

    def note(self, text: str) -> None:
        """Something about the solve as a whole."""


def standard_input(stdin: IO[bytes] | None) -> IO[bytes]:
    """The stream. Raises PuzzleError where there is none."""
    if stdin is None:
        raise PuzzleError("standard input: there is none; name a file")
    return stdin
