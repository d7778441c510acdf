from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from hrm_cli import benchmarking
from hrm_cli.benchmarking import LargeMatmul, Workload, measure

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_matmul(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 2048³ takes a second."""
    monkeypatch.setattr(benchmarking, "SIZE_ON_CPU", 256)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that `measure` reads: it passes only when a round takes some. The rate of the matmul is given."""
    monkeypatch.setattr(LargeMatmul, "gflops", lambda self, times=1: 50.0)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(benchmarking, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def lasting(times: list[float], clock: SimpleNamespace) -> Workload:
    """A workload of four examples whose rounds take the given seconds, the last of them again and again."""
    left = list(times)

    def run() -> None:
        clock.now += left.pop(0) if len(left) > 1 else left[0]

    return Workload("train", "tiny", 4, run, CPU, torch.float32, flops_per_example=10**9)


def test_two_rounds_of_warm_up_are_left_out_of_the_rate(clock: SimpleNamespace) -> None:
    found = measure(lasting([0.5, 0.25, 0.125], clock), seconds=0)
    assert found.rounds == 3
    assert found.first_seconds == 0.5
    assert found.examples_per_second == 4 / 0.125


def test_the_rate_is_that_of_the_median_round_so_that_one_slow_round_does_not_count(
    clock: SimpleNamespace,
) -> None:
    found = measure(lasting([0, 0, 0.125, 4, 0.125], clock), seconds=0)
    assert found.seconds == 0.125
    assert found.spread > 1


def test_rounds_continue_until_the_time_is_up(clock: SimpleNamespace) -> None:
    assert measure(lasting([0.25], clock), seconds=2).rounds == 8


def test_the_share_is_the_throughput_of_the_model_over_that_of_a_matmul_in_the_same_run(
    clock: SimpleNamespace,
) -> None:
    found = measure(lasting([0.125], clock), seconds=0)
    assert found.gflops == pytest.approx(found.examples_per_second)
    assert found.product_gflops is not None
    assert found.share == pytest.approx(found.gflops / found.product_gflops)


def test_a_matmul_counts_a_multiplication_and_an_addition_each() -> None:
    matmul = LargeMatmul(CPU, torch.float32, size=512)
    matmul.gflops()
    started = time.perf_counter()
    rate = matmul.gflops(times=1)
    assert rate * 1e9 * (time.perf_counter() - started) >= 2 * 512**3
