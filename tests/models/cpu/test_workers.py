"""Workers divide torch's threads, and end together."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from hrm_cli.models.cpu import workers as cpu_workers
from hrm_cli.models.cpu.workers import run_shards


def test_workers_divide_the_threads_and_the_caller_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(cpu_workers, "_threads", lambda: 4)
    found = run_shards(lambda shard: (shard, torch.get_num_threads(), threading.get_ident()), 2)
    assert [shard for shard, _, _ in found] == [0, 1]
    assert {count for _, count, _ in found} == {2}
    assert threading.get_ident() not in {ident for _, _, ident in found}
    assert torch.get_num_threads() == before
    monkeypatch.setattr(cpu_workers, "_threads", lambda: 1)
    assert run_shards(lambda _: threading.get_ident(), 3) == [threading.get_ident()] * 3


def test_an_error_in_a_shard_is_raised_when_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_workers, "_threads", lambda: 2)
    ended = []

    def work(shard: int) -> None:
        if shard == 0:
            raise MemoryError("shard 0")
        time.sleep(0.05)
        ended.append(shard)

    with pytest.raises(MemoryError, match="shard 0"):
        run_shards(work, 4)
    assert sorted(ended) == [1, 2, 3]
