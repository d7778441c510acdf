"""Attempts shared by threads: compiled code releases the interpreter lock, so they run at the same time.

Every attempt has a seed of its own and goes to its own row, so the number of threads makes no difference to what
comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")

_PIECES_PER_THREAD = 2
"""Attempts differ in the time they take: who is done early takes another piece."""


class SharedAttempts(Generic[T]):
    """Threads, and the arrays that each piece of the work is done with. A context manager."""

    def __init__(self, threads: int, make_tools: Callable[[], T]) -> None:
        threads = max(1, threads)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._tools = [make_tools() for _ in range(1 if threads == 1 else threads * _PIECES_PER_THREAD)]

    def __enter__(self) -> SharedAttempts[T]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, count: int, work: Callable[[slice, T], None]) -> None:
        """Calls `work` with every row from 0 to `count`, a slice at a time; returns when all is done."""
        pieces = min(count, len(self._tools))
        if self._pool is None or pieces < 2:
            work(slice(0, count), self._tools[0])
            return
        edges = [count * i // pieces for i in range(pieces + 1)]
        slices = [slice(start, end) for start, end in pairwise(edges)]
        list(self._pool.map(work, slices, self._tools[:pieces]))
