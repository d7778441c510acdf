"""Batches drawn ahead: the same ones in the same order, at a position that can be saved, with the stream's errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from hrm_cli.data.batches import Batch
from hrm_cli.errors import DatasetError
from hrm_cli.training.prefetch import Prefetcher

CPU = torch.device("cpu")


class Counting:
    def __init__(self, end: int = 10**9) -> None:
        self.position, self.end = 0, end

    def __next__(self) -> Batch:
        if self.position == self.end:
            raise DatasetError("the file has gone")
        self.position += 1
        grid = np.full((2, 3), self.position, dtype=np.int32)
        return Batch(grid, grid.copy(), np.zeros(2, dtype=np.int32))

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}


def test_prefetched_batches_keep_their_order_and_the_position_is_that_of_the_last_one_used() -> None:
    with Prefetcher(Counting(), CPU) as batches:
        assert batches.state_dict() == {"position": 0}
        for number in range(1, 20):
            assert next(batches).inputs[0, 0] == number
            assert batches.state_dict() == {"position": number}


def test_an_error_of_the_stream_is_raised_in_place_of_its_batch() -> None:
    with Prefetcher(Counting(end=2), CPU) as batches:
        next(batches), next(batches)
        with pytest.raises(DatasetError, match="the file has gone"):
            next(batches)


def test_the_prefetching_thread_ends_with_the_run() -> None:
    before = threading.active_count()
    with Prefetcher(Counting(), CPU) as batches:
        next(batches)
    assert threading.active_count() == before
