from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hrm_cli import benchmarking
from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import step_flops
from hrm_cli.config.presets import load_preset

RunHrm = Callable[..., Any]
KEYS = {
    "what", "preset", "batch", "dtype", "device", "examples_per_second", "gflops", "product_gflops", "share",
    "peak_memory_mb", "choices", "threads", "seconds", "spread", "rounds", "first_seconds", "flops_per_example",
    "product_size",
}  # fmt: skip
SMALLEST = (
    "hidden_size=32",
    "num_heads=2",
    "halt_max_steps=2",
    "data.size=4",
    "data.clues=8",
    "forward_dtype=float32",
)


@pytest.fixture(autouse=True)
def small_matmul(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matmul that a model is compared with takes a second in its real size."""
    assert benchmarking.SIZE_ON_CPU == 2048
    monkeypatch.setattr(benchmarking, "SIZE_ON_CPU", 256)


@pytest.mark.parametrize("what", ["train", "eval", "solve"])
def test_a_model_is_measured_against_a_matmul_of_the_same_dtype(run_hrm: RunHrm, what: str) -> None:
    done = run_hrm("bench", what, "--batch", 2, "--threads", 1, "--seconds", 0, "--json", *SMALLEST)
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == KEYS
    assert (found["what"], found["preset"], found["batch"], found["threads"]) == (what, "tiny", 2, 1)
    assert (found["dtype"], found["device"], found["product_size"]) == ("float32", "cpu", 256)
    step = step_flops(components(load_preset("tiny", SMALLEST).arch, 6, 16))
    assert found["flops_per_example"] == (step.training if what == "train" else 2 * step.forward)
    assert found["gflops"] == pytest.approx(found["flops_per_example"] * found["examples_per_second"] / 1e9)
    assert found["share"] == pytest.approx(found["gflops"] / found["product_gflops"])


def test_a_build_has_examples_and_seconds_but_no_matmuls(run_hrm: RunHrm) -> None:
    settings = ("data.size=4", "num_train=20", "num_test=5", "data.clues=8")
    done = run_hrm("bench", "build", "--seconds", 0, "--json", *settings)
    found = json.loads(done.stdout)
    assert (found["batch"], found["gflops"], found["share"]) == (25, None, None)
    assert found["examples_per_second"] == pytest.approx(25 / found["seconds"])


def test_bench_prints_a_table_and_arc_is_refused_because_its_tasks_cannot_be_generated(
    run_hrm: RunHrm,
) -> None:
    done = run_hrm("bench", "train", "--batch", 2, "--seconds", 0, *SMALLEST)
    assert "examples per second" in done.stdout
    assert "fraction of that matmul" in done.stdout
    refused = run_hrm("bench", "solve", "--preset", "arc-1")
    assert refused.status == 2
    assert "hrm bench eval" in refused.stderr
