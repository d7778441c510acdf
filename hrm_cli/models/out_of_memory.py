"""Reports out-of-memory errors with the settings that would need less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import HRMError
from hrm_cli.models.compiling import out_of_memory
from hrm_cli.printable import counted


class OutOfMemory(HRMError):  # noqa: N818 - the event's name
    """The device ran out of memory. Checkpoints already saved are unaffected."""


@contextmanager
def memory_errors_reported(device: torch.device, settings: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Replaces torch's out-of-memory error on `device` with OutOfMemory.

    `settings` returns what was being done, and which settings would need less memory.
    """
    try:
        yield
    except Exception as error:
        cause = out_of_memory(error)
        if cause is None:
            raise
        doing, less = settings()
        words = str(cause).strip().partition("\n")[0]
        raise OutOfMemory(f"out of memory on {device}{_size(device)} {doing} ({words}); {less}") from error


def training_settings(config: TrainConfig, rows: int) -> tuple[str, str]:
    """The texts for training with `rows` puzzles per step in this process."""
    at_once = -(-rows // config.accumulation_steps)
    ways = []
    if at_once > 1:
        parts = 2 * config.accumulation_steps
        ways.append(
            f"train.accumulation_steps={parts} (the same updates, {-(-rows // parts)} puzzles at once)"
        )
    if not config.activation_checkpointing:
        ways.append("train.activation_checkpointing=true (the same updates, 15 to 25 % slower)")
    if config.global_batch_size > 1:
        ways.append(f"a train.global_batch_size below {config.global_batch_size}")
    else:
        ways.append("a smaller model")
    return (
        f"training {counted(at_once, 'puzzle')} at once",
        f"take {', or '.join(ways)}. A run that has a checkpoint continues with --resume RUN and these settings",
    )


def _size(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    properties = torch.cuda.get_device_properties(device)
    return f" ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
