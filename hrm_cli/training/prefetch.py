"""Prefetches batches in a background thread, while the stream position can still be saved exactly."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hrm_cli.data.batches import Batch
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.device import pinned_for, to_device

_AHEAD = 4
"""Number of prefetched batches: enough to absorb variation in their build time, too few to need much memory."""


HOST = torch.device("cpu")


class BatchStream(Protocol):
    """An endless stream of global batches whose position can be saved and restored."""

    def __next__(self) -> Batch:
        """The next batch."""

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a position returned by `state_dict`."""


@dataclass(frozen=True)
class _Ready:
    batch: PuzzleBatch
    position: dict[str, Any]
    """The stream's position after this batch."""


class Prefetcher:
    """Returns a stream's batches on a device; a thread prefetches them.

    `state_dict` is the position after the last batch *returned*, regardless of prefetched batches. An error of the
    stream is raised when its batch would have been returned. Close it when done, or use it as a context manager.
    """

    def __init__(self, stream: BatchStream, device: torch.device) -> None:
        self._stream, self._device = stream, device
        self._start()

    def _start(self) -> None:
        self._position = self._stream.state_dict()
        self._ready: queue.Queue[_Ready | BaseException] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="hrm-batches", daemon=True)
        self._thread.start()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> PuzzleBatch:
        """The next batch."""
        found = self._ready.get()
        if isinstance(found, BaseException):
            raise found
        self._position = found.position
        return on_device(found.batch, self._device)

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON."""
        return self._position

    def restart_from(self, position: dict[str, Any]) -> None:
        """Drops prefetched batches and continues from another position of the stream."""
        self.close()
        self._stream.load_state_dict(position)
        self._start()

    def close(self) -> None:
        """Stops the thread; prefetched batches are dropped."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _fill(self) -> None:
        while not self._stopped.is_set():
            try:
                batch = as_tensors(next(self._stream), self._device)
                self._ready.put(_Ready(batch, self._stream.state_dict()))
            except BaseException as error:
                self._ready.put(error)
                return


def as_tensors(batch: Batch, device: torch.device = HOST) -> PuzzleBatch:
    """The batch as tensors on the host, ready to be copied to `device`."""
    arrays = (batch.inputs, batch.labels, batch.puzzle_identifiers)
    return PuzzleBatch(*(pinned_for(torch.from_numpy(array), device) for array in arrays))


def on_device(batch: PuzzleBatch, device: torch.device) -> PuzzleBatch:
    """The batch on `device`."""
    tensors = (batch.inputs, batch.labels, batch.puzzle_identifiers)
    return PuzzleBatch(*(to_device(t, device) for t in tensors))
