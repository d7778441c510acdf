"""The complete configuration with its four sections. Every field has a checked range and a description."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.data import DataConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.config.values import Int, Section


class EvalConfig(Section):
    """Evaluation, during training and in `hrm eval`."""

    batch_size: Int = Field(256, ge=1, description="batch size")
    max_steps: Int | None = Field(None, ge=1, description="maximum ACT steps; null means arch.halt_max_steps")
    halt: Literal["adaptive", "full"] = Field(
        "adaptive",
        description="adaptive: a puzzle stops when the model halts it; full: all steps for every puzzle",
    )
    max_puzzles: Int | None = Field(
        None, ge=1, description="test puzzles evaluated during training; null means all"
    )


class Preset(Section):
    """A complete configuration: a preset whose `extends` and overrides are resolved."""

    purpose: str = Field("", description="what the preset is for, one line")
    arch: ArchConfig = ArchConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _check_together(self) -> Preset:
        objective, core = self.train.objective, self.arch.core
        if self.data.other_sizes and self.arch.mixer != "units":
            raise ValueError(
                f"data.other_sizes: arch.mixer is {self.arch.mixer}, but only units trains on several sizes; "
                "set arch.mixer=units"
            )
        if self.data.other_sizes and self.train.distill_from is not None:
            raise ValueError("data.other_sizes: a teacher (train.distill_from) knows one size only")
        if core == "nova" and self.arch.nova_halting == "mean" and self.train.accumulation_steps > 1:
            raise ValueError(
                "train.accumulation_steps above 1 cannot be combined with arch.nova_halting mean, "
                "which halts by the mean of the whole batch; use arch.nova_halting=per_row"
            )
        if objective is not None and (objective == "whole_forward") != (core == "nova"):
            fits = "whole_forward" if core == "nova" else "deep_supervision or rsm"
            raise ValueError(
                f"train.objective {objective} does not work with arch.core {core}; use {fits}, or null"
            )
        if self.train.carry_over and objective != "rsm":
            raise ValueError(
                f"train.carry_over {self.train.carry_over:g} works only with train.objective rsm; with other "
                "objectives, rows continue until they halt; use train.objective=rsm, or train.carry_over=0"
            )
        if self.arch.halting != "q_learning" and objective != "rsm" and core != "nova":
            raise ValueError(
                f"arch.halting {self.arch.halting} has no Q head, which this objective trains; use "
                "train.objective=rsm, or arch.halting=q_learning"
            )
        return self


SECTIONS: dict[str, type[Section]] = {
    "arch": ArchConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}
