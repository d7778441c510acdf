"""What `training.json` of a checkpoint states, checked before a run goes on from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=0, lt=2**62)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Best(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    step: Count
    exact_accuracy: Number
    cell_accuracy: Number = 0.0


class _Scale(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    good_steps: Count = 0
    skipped_steps: Count = 0


class _ResumeFacts(_Facts):
    step: Count
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    best: _Best | None
    evaluations_without_better: Count
    lowest_loss: Number | None
    loss_scale: _Scale | None = None
    awaits_evaluation: bool = False
    wall_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    horizon: Count | None = None
    rollbacks: Count = 0
    lr_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    optimizer_steps: Count
    global_batch_size: Count = 0
    sampler: dict[str, Any]
    """The batches check their own state (`TrainingBatches.load_state_dict`)."""


def check_resume_facts(document: Any) -> dict[str, Any]:
    """The document as it is, where every entry has its type and range. Raises ValueError naming the first that has not.

    Entries that are not known here are left alone.
    """
    try:
        _ResumeFacts.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ValueError(f"{where}: {first['msg']}, found {first['input']!r:.60}") from None
    checked: dict[str, Any] = document
    return checked
