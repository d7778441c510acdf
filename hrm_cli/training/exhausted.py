"""Memory that runs out while training: said as what it is, with the settings that would fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hrm_cli.config.schema import TrainConfig
from hrm_cli.errors import HRMError
from hrm_cli.models.compiled import out_of_memory


class OutOfMemory(HRMError):  # noqa: N818 - the event's name
    """The device has no memory left for a training step; what had been saved stays."""

    exit_status = 1


@contextmanager
def told_as_exhausted(config: TrainConfig, device: torch.device, rows: int) -> Iterator[None]:
    """Raises OutOfMemory for whatever torch raises where `device` has no memory left; `rows` are this process's."""
    try:
        yield
    except Exception as error:
        cause = out_of_memory(error)
        if cause is None:
            raise
        raise OutOfMemory(_message(cause, config, device, rows)) from error


def _message(cause: BaseException, config: TrainConfig, device: torch.device, rows: int) -> str:
    at_once = -(-rows // config.accumulation_steps)
    ways = []
    if at_once > 1:
        parts = 2 * config.accumulation_steps
        ways.append(
            f"train.accumulation_steps={parts} (the same updates, {-(-rows // parts)} puzzles at once)"
        )
    if not config.activation_checkpointing:
        ways.append("train.activation_checkpointing=true (the same updates, about a third slower)")
    if config.global_batch_size > 1:
        ways.append(f"a train.global_batch_size below {config.global_batch_size}")
    else:
        ways.append("a smaller model")
    words = str(cause).strip().partition("\n")[0]
    return (
        f"out of memory on {device}{_size(device)} with {at_once} puzzle{'s' * (at_once != 1)} at once ({words}); "
        f"take {', or '.join(ways)}. A run that has a checkpoint goes on from it with --resume RUN and these settings"
    )


def _size(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    properties = torch.cuda.get_device_properties(device)
    return f" ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
