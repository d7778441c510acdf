"""`hrm train SOURCE`: a run from a source of the user's own pairs, with settings chosen by the size of its grids."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.values import generates, names_function
from hrm_cli.data.grids.sources import is_source, pair_files
from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.grids.reading import Columns, read_pairs
from hrm_cli.puzzles.grids.symbols import cells_of_json, holds_words
from hrm_cli.reporting import Reporter
from hrm_cli.runs.request import TrainRequest

PRESET = "tiny"
MINUTES = 10
"""Default time limit of training."""
_MEDIUM = 400
"""Maximum number of cells of the canvas for a batch of the usual size."""
_EXAMINED = 1_000
"""Number of pairs whose sizes determine the settings."""
_GENERATED_FOR_SIZE = 100
"""Number of pairs that a generator makes to determine the sizes of its grids."""
GENERATED = 5_000
"""Default number of training pairs that a generator makes."""
_FEW = 100
"""With fewer pairs, a note warns of memorizing."""
_EXAMPLES = 2_000_000
"""Maximum number of examples to visit. Most runs reach the time limit earlier."""


_MODEL = (
    "arch.core=trm", "arch.mixer=grid", "arch.hidden_size=64", "arch.num_heads=4", "arch.expansion=3",
    "arch.L_layers=1", "arch.H_cycles=1", "arch.L_cycles=2", "arch.pos_encodings=none", "arch.puzzle_emb_ndim=0",
    "arch.halting=certain", "arch.halt_max_steps=16",
)  # fmt: skip
"""Chosen by validation results on the tasks of `benchmarks/own_puzzles.py`."""
_TRAINING = (
    "train.objective=rsm", "train.carry_over=0.5", "train.lr=4e-3", "train.lr_min_ratio=0.05",
    "train.lr_warmup_steps=20", "train.grad_clip=1.0", "train.ema_decay=0.98", "train.eval_interval=null",
    "train.target_accuracy=1.0",
)  # fmt: skip


@dataclass(frozen=True)
class _Survey:
    pairs: int
    rows: int
    columns: int
    """Size of the canvas, which the largest grids among the examined pairs fit into."""


def own_source(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits the arguments of a command into the source of pairs, if any, and settings.

    Raises ConfigError if there are several sources.
    """
    sources = [word for word in words if is_source(word)]
    if len(sources) > 1:
        raise ConfigError(
            f"{' and '.join(sources)}: expected one source of pairs; use a folder for several files"
        )
    return (sources[0] if sources else None), [word for word in words if word not in sources]


def own_request(source: str, request: TrainRequest, reporter: Reporter | None) -> TrainRequest:
    """Returns the request with the dataset of `source` and with settings for its size. The user's settings take
    precedence.

    Raises ConfigError, DatasetError or PuzzleError.
    """
    for option, value in (
        ("--data", request.data),
        ("--resume", request.resume),
        ("--checkpoint", request.checkpoint),
    ):
        if value is not None:
            raise ConfigError(f"{source} and {option}: a new model is trained on {source}; omit one of them")
    overrides = parse_overrides(request.overrides)
    given = overrides.get("data", {})
    columns = Columns(*(None if given.get(f"{kind}_column") is None else str(given[f"{kind}_column"])
                        for kind in ("input", "output")))  # fmt: skip
    settings = ["data.domain=grids", f"data.source={json.dumps(_absolute(source))}"]
    pairs = int(given.get("num_train", GENERATED)) if generates(source) else None
    if pairs is not None:
        settings.append(f"data.num_train={pairs}")
    if request.preset is None:
        survey = _survey(source, columns)
        survey = survey if pairs is None else replace(survey, pairs=pairs)
        settings += _chosen(survey)
        if survey.pairs:  # the build refuses a source without any
            limit = "" if "max_minutes" in overrides.get("train", {}) else f", at most {MINUTES} minutes"
            (reporter or Reporter()).note(
                f"{source}: {survey.pairs:,} pairs, grids of up to {survey.rows}×{survey.columns} cells. Using "
                f"settings for this size{limit}; change them with KEY=VALUE, as in train.max_minutes=30"
            )
            if survey.pairs < _FEW:
                (reporter or Reporter()).note(
                    f"{survey.pairs:,} pairs are few: a model may memorize them and be wrong on new inputs. Add pairs; "
                    "or build a dataset with `hrm build-dataset grids --symmetries` if rotations, reflections or "
                    "exchanged symbols keep a pair right"
                )
    folder = request.output_dir or Path("runs") / f"{_name(source)}-{time.strftime('%Y%m%d-%H%M%S')}"
    return replace(
        request,
        preset=request.preset or PRESET,
        overrides=(*settings, *request.overrides),
        output_dir=folder,
    )


def _absolute(source: str) -> str:
    file, colon, function = source.rpartition(":") if names_function(source) else (source, "", "")
    return source if ":" in file else f"{Path(file).expanduser().resolve()}{colon}{function}"


def _name(source: str) -> str:
    """A name for the run's folder: `mine` for mine.csv, `maze` for gym:maze and make.py:maze, `NAME` for the hub."""
    last = source.partition("?")[0].partition("@")[0].replace(":", "/").rstrip("/").rpartition("/")[2]
    return Path(last).stem or "grids"


def _survey(source: str, columns: Columns) -> _Survey:
    height = width = pairs = 0
    with tempfile.TemporaryDirectory() as scratch:
        # Archives are unpacked only when the dataset is built. Here their grids count as small.
        paths = [
            file.path
            for file in pair_files(
                source, Path(scratch), count=_GENERATED_FOR_SIZE, seed=0, report=lambda *_: None
            )
            if file.path.suffix.lower() != ".npz"
        ]
        for path in paths:
            for pair in read_pairs(path, columns):
                pairs += 1
                if pairs > _EXAMINED:
                    continue
                for value in (pair.given, pair.wanted):
                    words = isinstance(value, str) and holds_words(value)
                    try:
                        grid = cells_of_json(value, words=words)
                    except PuzzleError:
                        continue  # the build reports every such line
                    height, width = max(height, len(grid)), max(width, len(grid[0]))
    return _Survey(pairs, height, width)


def _chosen(survey: _Survey) -> list[str]:
    """Chooses settings: one kind of model for all tasks, and a batch for the size of the canvas."""
    batch = 64 if survey.rows * survey.columns <= _MEDIUM else 16
    batch = max(8, min(batch, survey.pairs // 4 or batch))
    epochs = max(20, _EXAMPLES // max(survey.pairs, 1))
    return [
        f"train.max_minutes={MINUTES}",
        f"train.global_batch_size={batch}",
        f"train.epochs={epochs}",
        *_MODEL,
        *_TRAINING,
    ]
