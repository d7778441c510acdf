"""Threads that compute different shards of a batch at the same time, and divide torch's own threads among them.

Usually all of torch's threads work on one operator at a time and wait for each other at its end, thousands of times in
a training step. Workers wait for each other only when all shards are computed. Next to a busy process, a worker that
has a core to itself takes more of the shards.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Result = TypeVar("Result")


_inside = threading.local()
_starting = threading.Lock()


def threads_to_divide() -> int:
    """The number of torch's threads that `run_shards` divides; 1 in a worker, which has no more to divide."""
    return 1 if getattr(_inside, "worker", False) else _threads()


def run_shards(work: Callable[[int], Result], count: int) -> list[Result]:
    """`[work(0), …, work(count − 1)]`, computed by at most `count` workers, which divide torch's threads.

    If one fails, its exception is raised when all have ended. If the caller is interrupted, no further shard is begun.
    """
    threads = threads_to_divide()
    workers = min(count, threads)
    if workers == 1:
        return [work(shard) for shard in range(count)]
    with _starting:
        pool = _pool(workers, threads // workers, os.getpid())
    running = [pool.submit(work, shard) for shard in range(count)]
    try:
        wait(running)
    except BaseException:
        for one in running:
            one.cancel()
        raise
    return [one.result() for one in running]


def _threads() -> int:
    return torch.get_num_threads()


@functools.cache
def _pool(workers: int, threads: int, process: int) -> ThreadPoolExecutor:
    """Workers with `threads` torch threads each. In torch, every thread has its own number of threads.

    A forked process has none of its parent's threads, so each `process` has its own workers.
    """
    before = torch.get_num_threads()
    started = threading.Barrier(workers + 1)

    def start() -> None:
        _inside.worker = True
        torch.set_num_threads(threads)
        # torch initializes a thread at its first use, with the number that was set last in any thread.
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="hrm-shard", initializer=start)
    for _ in range(workers):
        pool.submit(lambda: None)
    started.wait()
    torch.set_num_threads(before)
    return pool
