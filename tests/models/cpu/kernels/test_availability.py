"""Which kernels a CPU runs: switched off by the user, or refused by a call that failed."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.environment import CPU_KERNELS, cpu_kernels_enabled
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.cpu.kernels import availability
from hrm_cli.models.cpu.kernels.availability import int8_instructions_missing
from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.models.cpu.pieces import Prepacked
from hrm_cli.models.registry import build_model
from hrm_cli.training.optimizers import AdamATan2

PROBES = ("_fused_kernels_fail", "_prepacking_fails", "_softmax_backward_fails")


@pytest.fixture
def probed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every probe is made again in this test, and what it finds is forgotten after it."""
    for name in PROBES:
        monkeypatch.setattr(availability, name, functools.cache(getattr(availability, name).__wrapped__))
    monkeypatch.delenv(CPU_KERNELS, raising=False)


def refused(*_: object) -> Tensor:
    raise RuntimeError("this path needs the cpu support of another machine\nand a second line")


@pytest.mark.parametrize(
    ("value", "enabled"), [("", True), ("on", True), ("1", True), ("OFF", False), ("0", False)]
)
def test_the_switch_accepts_on_and_off(value: str, enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_KERNELS, value)
    assert cpu_kernels_enabled() == enabled


def test_another_value_of_the_switch_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_KERNELS, "offf")
    with pytest.raises(ConfigError, match="HRM_CPU_KERNELS: expected on or off, got 'offf'"):
        cpu_kernels_enabled()


@pytest.mark.usefixtures("probed_anew")
def test_a_refused_private_operator_falls_back_to_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "prepack", refused)
    reason = availability.prepacking_unavailable(torch.bfloat16)
    assert reason == "this path needs the cpu support of another machine"
    assert reason in availability.cpu_kernels_choice()
    x, weight = torch.randn(3, 16).bfloat16(), torch.randn(8, 16).bfloat16()
    torch.testing.assert_close(Prepacked(weight).matmul(x), F.linear(x, weight))


@pytest.mark.usefixtures("probed_anew")
def test_an_operator_that_gives_wrong_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "prepack", lambda weight: weight)
    monkeypatch.setattr(availability, "prepacked_linear", lambda x, weight: 1.1 * F.linear(x, weight))
    assert availability.prepacking_unavailable(torch.bfloat16) == "wrong numbers"


@pytest.mark.usefixtures("probed_anew")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_without_the_private_operator_softmax_has_the_same_gradient(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torch.randn(4, 5, 6).softmax(-1).to(dtype)
    gradient = torch.randn(4, 5, 6).to(dtype)
    expected = availability.softmax_backward(gradient, weights)
    availability._softmax_backward_fails.cache_clear()
    monkeypatch.setattr(torch, "_softmax_backward_data", refused)
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(availability.softmax_backward(gradient, weights), expected, **tolerance)
    assert availability._softmax_backward_fails(dtype) is not None


@pytest.mark.usefixtures("probed_anew")
def test_each_operator_is_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    prepack = availability.prepack
    monkeypatch.setattr(availability, "prepack", lambda weight: calls.append(1) or prepack(weight))
    for _ in range(3):
        availability.prepacking_unavailable(torch.bfloat16)
    assert len(calls) == 1


def trained_step(dtype: str) -> None:
    arch = ArchConfig(hidden_size=32, num_heads=2, H_layers=1, L_layers=1, forward_dtype=dtype)
    model = build_model(arch, 7, 16, 1, generator=torch.Generator().manual_seed(0)).train()
    cells = torch.ones(2, 16, dtype=torch.int32)
    batch = PuzzleBatch(cells, cells, torch.zeros(2, dtype=torch.int32))
    _, out = model.train_step(model.initial_carry(batch), batch)
    out.logits.float().sum().backward()
    AdamATan2(model.parameters(), lr=1e-3).step()


@pytest.mark.usefixtures("probed_anew")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_training_step_runs_no_kernel_if_kernels_are_off_or_fail(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def failing(kernel: Kernel, *_: object) -> None:
        names.append(kernel.name)
        raise RuntimeError("cannot compile")

    monkeypatch.setattr(Kernel, "__call__", failing)
    monkeypatch.setenv(CPU_KERNELS, "off")
    trained_step(dtype)
    assert names == []
    assert availability.cpu_kernels_choice() == "portable (HRM_CPU_KERNELS=off)"
    monkeypatch.setenv(CPU_KERNELS, "on")
    trained_step(dtype)
    # Once for the forward dtype, once for the optimizer's float32, which may be the same.
    assert len(names) == len({dtype, "float32"})
    assert availability.cpu_kernels_choice(torch.float32) == "portable (cannot compile)"


def test_float16_takes_the_portable_blocks() -> None:
    assert availability.cpu_kernels_choice(torch.float16) == "portable (none for float16)"


PRINTED = """
import torch
from hrm_cli.models.cpu.int8 import int8_unavailable
from hrm_cli.models.cpu.kernels.availability import cpu_kernels_choice, cpu_multiplies_bfloat16
print(cpu_kernels_choice(torch.bfloat16), cpu_multiplies_bfloat16(), int8_unavailable(torch.bfloat16), sep="|")
"""


def printed_under(limit: str) -> list[str]:
    """What a process prints in which oneDNN may use only the instructions of `limit`."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit, CPU_KERNELS: "on", "HRM_CPU_INT8": ""}
    done = subprocess.run(
        [sys.executable, "-c", PRINTED], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip().split("|")


@pytest.mark.parametrize("limit", ["SSE41", "AVX2"])
def test_what_onednn_may_use_decides_and_not_what_the_processor_has(limit: str) -> None:
    choice, multiplies, int8 = printed_under(limit)
    assert multiplies == "False"
    assert int8 == "this CPU has no instructions for it, or oneDNN may not use them"
    assert choice.startswith("fused, weights not prepacked (")


@pytest.mark.skipif(int8_instructions_missing(), reason="this CPU has no int8 instructions")
def test_int8_products_that_overflow_are_detected() -> None:
    assert printed_under("AVX512_CORE")[2] == "wrong numbers"
    assert printed_under("AVX512_CORE_VNNI")[2] == "None"
