"""Which device is taken, and which are left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hrm_cli.distributed.process_group import RankInfo, choose_device
from hrm_cli.errors import ConfigError
from hrm_cli.models.device import find_device, resolve_device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two CUDA devices that nobody has, and a list of how they are touched."""
    touched: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: touched.append("is_available") or True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: touched.append(("set_device", device)))
    monkeypatch.setattr(torch, "empty", lambda *_, device: touched.append(("empty", device)))
    return touched


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_launcher_touches_no_gpu_and_every_rank_finds_its_own(name: str, two_gpus: list[Any]) -> None:
    for rank in (0, 1):
        assert choose_device(name, RankInfo(2, local_rank=rank)) == torch.device("cuda", rank)
    assert two_gpus == []


def test_a_named_gpu_becomes_current_before_anything_is_allocated(two_gpus: list[Any]) -> None:
    device = torch.device("cuda:1")
    assert resolve_device("cuda:1") == device
    assert two_gpus == [("set_device", device), ("empty", device)]


def test_a_gpu_beyond_the_last_is_refused_with_how_many_there_are(two_gpus: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"'cuda:2' cannot be used \(there are 2, numbered from 0\)"):
        find_device("cuda:2")
    with pytest.raises(ConfigError, match="it has 2 CUDA devices; use --nproc-per-node 2"):
        choose_device("cuda", RankInfo(3))


def test_auto_skips_a_driver_that_does_not_work(two_gpus: list[Any], monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type in ("cpu", "mps")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "nonsense", "meta"])
def test_a_missing_device_is_refused_by_name(name: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for find in (find_device, resolve_device):
        with pytest.raises(ConfigError, match=name):
            find(name)
