"""Kernels for CUDA: which are used, and, by Triton's interpreter, what they compute."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from hrm_cli.errors import ConfigError
from hrm_cli.models.cuda import kernels as cuda
from hrm_cli.models.layers import AttentionWeights, SwiGLUWeights, rotary_tables, self_attention, swiglu

SIZES = (82, 512, 8, 3072)
INTERPRETED = """
import torch, torch.nn.functional as F
from hrm_cli.models.cuda import triton_source as source
from hrm_cli.models.layers import attend
from hrm_cli.models.layers import rotary_tables, rotate

torch.manual_seed(0)
for positions, size, heads, rotates in ((82, 64, 2, True), (17, 32, 3, False)):
    qkv, turn = torch.randn(2, positions, 3 * heads * size), rotary_tables(positions, size, 10000.0)
    q, k, v = qkv.view(2, positions, 3, heads, size).unbind(2)
    if rotates:
        q, k = rotate(q, turn), rotate(k, turn)
    found = source.attention(qkv, *(turn if rotates else (None, None)), heads)
    torch.testing.assert_close(found, attend(q, k, v).reshape(found.shape), rtol=1e-4, atol=1e-5)
x, weight = torch.randn(3, 50, 128), torch.randn(512, 128) / 11
gate, up = F.linear(x, weight).chunk(2, -1)
torch.testing.assert_close(source.gated(x, weight), F.silu(gate) * up, rtol=1e-4, atol=1e-4)
print("alike")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernels_compute_what_the_portable_way_computes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        check=False,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "0 active drivers" in done.stderr:
        pytest.skip("this Triton (3.2, of torch 2.6) needs a GPU even for its interpreter")
    assert done.stdout == "alike\n", done.stderr


@pytest.fixture(autouse=True)
def _nothing_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_ACTIVE", set())
    monkeypatch.setattr(cuda, "_CHOSEN", {})


def test_without_being_asked_for_no_kernel_is_used(monkeypatch) -> None:
    monkeypatch.delenv(cuda.CUDA_KERNELS, raising=False)
    said = cuda.choose_cuda_kernels(torch.device("cuda:0"), torch.bfloat16, *SIZES)
    assert said == "portable (HRM_CUDA_KERNELS=off)"


def test_an_unknown_value_of_the_switch_is_refused(monkeypatch) -> None:
    monkeypatch.setenv(cuda.CUDA_KERNELS, "some")
    with pytest.raises(
        ConfigError, match="HRM_CUDA_KERNELS: expected off, on, attention or swiglu, got 'some'"
    ):
        cuda.wanted_kernels()


def test_kernels_that_do_not_run_here_are_left_out_with_the_reason(monkeypatch) -> None:
    monkeypatch.setenv(cuda.CUDA_KERNELS, "on")
    said = cuda.choose_cuda_kernels(torch.device("cuda:0"), torch.bfloat16, 900, 96, 1, 100)
    assert "attention portable (900 positions, head size 96)" in said
    assert "swiglu portable (widths 96 and 50)" in said
    # No device and perhaps no Triton: whatever is raised is the reason.
    said = cuda.choose_cuda_kernels(torch.device("cuda:0"), torch.bfloat16, *SIZES)
    assert said.count("portable (") == 2
    assert not cuda._ACTIVE


def test_a_kernel_that_computes_something_else_is_not_used() -> None:
    ones = torch.ones(3)
    assert cuda._problem(lambda: ones, lambda: ones) is None
    assert "wrong numbers" in str(cuda._problem(lambda: 1.1 * ones, lambda: ones))
    assert "wrong numbers" in str(cuda._problem(lambda: float("nan") * ones, lambda: ones))


def test_layers_use_the_kernels_only_without_gradient(monkeypatch) -> None:
    calls: list[str] = []

    def attention(qkv, cos, sin, heads):
        calls.append("attention")
        assert cos.shape == (9, 16)
        return qkv[..., :32] * heads

    def gated(x, gate_up):
        calls.append("gated")
        gate, up = F.linear(x, gate_up).chunk(2, -1)
        return F.silu(gate) * up

    monkeypatch.setattr(cuda, "attention", attention)
    monkeypatch.setattr(cuda, "gated", gated)
    here = ("cpu", None, torch.float32)
    cuda._ACTIVE.update({("attention", *here, 9, 96, 2), ("swiglu", *here, 32, 128)})
    x, turn = torch.randn(2, 9, 32), rotary_tables(9, 16, 10000.0)
    heads = AttentionWeights(torch.randn(96, 32), torch.randn(32, 32))
    mlp = SwiGLUWeights(torch.randn(128, 32), torch.randn(32, 64))
    expected = swiglu(x, mlp)
    self_attention(x, heads, 2, turn)
    assert calls == []
    with torch.no_grad():
        torch.testing.assert_close(swiglu(x, mlp), expected)
        self_attention(x, heads, 2, turn)
        self_attention(x[:, :7], heads, 2, rotary_tables(7, 16, 10000.0))
    assert calls == ["gated", "attention"]


def test_a_compiler_learns_the_shapes_without_running_the_kernels() -> None:
    with FakeTensorMode():
        qkv, x, weight = torch.empty(4, 82, 1536), torch.empty(4, 82, 512), torch.empty(3072, 512)
        assert cuda.attention(qkv, None, None, 8).shape == (4, 82, 512)
        assert cuda.gated(x, weight).shape == (4, 82, 1536)
