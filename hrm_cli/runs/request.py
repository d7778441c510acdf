"""The options of `hrm train` as one object, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hrm_cli.errors import ConfigError


@dataclass(frozen=True)
class TrainRequest:
    """The options of a training run. None means the preset's value."""

    preset: str | None = None
    """A packaged preset or a YAML file. Default: the configuration of `checkpoint`, else `tiny`."""
    overrides: Sequence[str] = ()
    """Settings as `KEY=VALUE`."""
    data: Path | None = None
    """A dataset folder. Default: the preset's own dataset is built."""
    output_dir: Path | None = None
    checkpoint: Path | None = None
    """Weights to start from."""
    resume: str | None = None
    """The run or checkpoint to resume from, or `latest` for the newest run."""
    seed: int | None = None
    force: bool = False
    """Train even if the plan does not fit the machine."""

    @property
    def settings(self) -> list[str]:
        """The overrides, including the seed."""
        seeds = [] if self.seed is None else [f"data.seed={self.seed}", f"train.seed={self.seed}"]
        return [*self.overrides, *seeds]

    def check(self) -> None:
        """Raises ConfigError for options that cannot be changed when resuming."""
        if self.resume is None:
            return
        own = {
            "--checkpoint": (self.checkpoint, "weights"),
            "--preset": (self.preset, "configuration; settings can follow as KEY=VALUE"),
            "--output-dir": (self.output_dir, "folder"),
            "--seed": (self.seed, "seeds"),
        }
        for option, (value, what) in own.items():
            if value is not None:
                raise ConfigError(
                    f"--resume and {option}: a resumed run keeps its own {what}; give only one of them"
                )
