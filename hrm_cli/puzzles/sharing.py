"""Distributes attempts over threads. Compiled code releases the GIL, so the threads run in parallel.

Every attempt has its own seed and its own output row, so the number of threads does not change the results.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")

_PIECES_PER_THREAD = 2
"""Pieces per thread. Attempts take different times, so a thread that finishes early takes another piece."""


class SharedAttempts(Generic[T]):
    """A thread pool with a set of working arrays for each piece of work. Use it as a context manager."""

    def __init__(self, threads: int, make_buffers: Callable[[], T]) -> None:
        threads = max(1, threads)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._buffers = [make_buffers() for _ in range(1 if threads == 1 else threads * _PIECES_PER_THREAD)]

    def __enter__(self) -> SharedAttempts[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            # After Ctrl-C or SIGTERM, a thread may still compile the kernels, which takes up to a minute.
            is_interrupted = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
            self._pool.shutdown(wait=not is_interrupted, cancel_futures=True)

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
