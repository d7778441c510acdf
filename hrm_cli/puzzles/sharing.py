"""Distributes attempts over threads. Compiled code releases the GIL, so the threads run in parallel.

Every attempt has its own seed and its own output row, so the number of threads does not change the results.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_PIECES_PER_THREAD = 2
"""Pieces per thread. Attempts take different times, so a thread that finishes early takes another piece."""


class Threads(ThreadPoolExecutor):
    """A thread pool that, used as a context manager, does not wait for its threads after Ctrl-C or SIGTERM.

    They may still compile kernels, which takes up to a minute.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_interrupted = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        self.shutdown(wait=not is_interrupted, cancel_futures=is_interrupted)


class SharedAttempts(Generic[T]):
    """A thread pool with a set of working arrays for each piece of work. Use it as a context manager."""

    def __init__(self, threads: int, make_buffers: Callable[[], T]) -> None:
        threads = max(1, threads)
        self._pool = Threads(threads) if threads > 1 else None
        self._buffers = [make_buffers() for _ in range(1 if threads == 1 else threads * _PIECES_PER_THREAD)]

    def __enter__(self) -> SharedAttempts[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.__exit__(kind, error, trace)

    def run(self, count: int, work: Callable[[slice, T], None], smallest: int = 1) -> None:
        """Calls `work` on slices that cover the rows from 0 to `count`. Returns when all are finished.

        Handing over a slice takes about 20 µs. Slices of short attempts should have at least `smallest` rows.
        """
        pieces = min(max(count // smallest, 1), len(self._buffers))
        if self._pool is None or pieces < 2:
            work(slice(0, count), self._buffers[0])
            return
        edges = [count * i // pieces for i in range(pieces + 1)]
        slices = [slice(start, end) for start, end in pairwise(edges)]
        list(self._pool.map(work, slices, self._buffers[:pieces]))
