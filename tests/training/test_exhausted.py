"""Memory that runs out is told as such."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.train import TrainConfig
from hrm_cli.models.out_of_memory import OutOfMemory, memory_errors_reported, training_settings

CPU = torch.device("cpu")


def failing(error: Exception, config: TrainConfig, rows: int) -> str:
    with (
        pytest.raises(OutOfMemory) as raised,
        memory_errors_reported(CPU, lambda: training_settings(config, rows)),
    ):
        raise error
    return str(raised.value)


def test_out_of_memory_names_settings_that_need_less_and_give_the_same_updates() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore words")
    text = failing(error, TrainConfig(global_batch_size=768), 768)
    assert "out of memory on cpu training 768 puzzles at once" in text
    assert "train.accumulation_steps=2 (the same updates, 384 puzzles at once)" in text
    assert "train.activation_checkpointing=true" in text
    assert "Tried to allocate 20 GiB" in text
    assert "More words" not in text


def test_settings_already_given_are_not_offered() -> None:
    config = TrainConfig(global_batch_size=4, accumulation_steps=4, activation_checkpointing=True)
    text = failing(RuntimeError("DefaultCPUAllocator: can't allocate memory"), config, 4)
    assert "training 1 puzzle at once" in text
    assert "accumulation_steps" not in text
    assert "activation_checkpointing" not in text


def test_other_errors_are_raised_unchanged() -> None:
    with pytest.raises(ValueError, match="other"), memory_errors_reported(CPU, lambda: ("", "")):
        raise ValueError("other")
