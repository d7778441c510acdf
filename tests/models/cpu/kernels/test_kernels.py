"""Kernels give what torch's operators give, on any number of threads, for lengths that fill no vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu.kernels import launch
from hrm_cli.models.cpu.kernels.launch import FORMATS, Kernel
from hrm_cli.models.cpu.pieces import add_and_norm
from hrm_cli.training.optimizers import AdamATan2

EXACT = {torch.bfloat16: {"rtol": 2**-7, "atol": 1e-6}, torch.float32: {"rtol": 2e-6, "atol": 1e-6}}
"""Of a result rounded once to the format."""


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0, scale: float = 1.0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def opened(both: Tensor) -> Tensor:
    size = both.shape[1] // 2
    out = both.new_empty(len(both), size)
    Kernel("blocks.silu_mul")(len(both), 6 * size, both.dtype, size, both, out)
    return out


def softmaxed(scores: Tensor, count: int) -> Tensor:
    scores = scores.clone()
    Kernel("attention.softmax")(
        len(scores), 4 * scores.shape[1], scores.dtype, scores.shape[1], count, scores
    )
    return scores


@pytest.fixture(params=["one thread", "torch's threads", "Python's threads", "fewer than asked for"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each of the ways in which a kernel may run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if request.param == "one thread" else 3)
    if request.param == "Python's threads":
        monkeypatch.setattr(launch, "_gnu_parallel", lambda: None)
    if request.param == "fewer than asked for":
        # As OpenMP does inside another parallel region, or under OMP_THREAD_LIMIT.
        monkeypatch.setattr(launch, "_gnu_parallel", lambda: lambda function, given, *_: function(given))
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (7, 33), (1000, 48), (331, 517)])
def test_silu_mul_covers_every_row_for_any_number_of_rows(rows: int, size: int, dtype: torch.dtype) -> None:
    both = drawn(rows, 2 * size, dtype=dtype, scale=3)
    gate, up = both.float().chunk(2, dim=1)
    torch.testing.assert_close(opened(both).float(), F.silu(gate) * up, **EXACT[dtype])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("value", [-1e4, -100.0, -88.0, -1e-3, 0.0, 88.0, 1e4])
def test_very_large_and_very_negative_gates_do_not_overflow(value: float, dtype: torch.dtype) -> None:
    both = torch.tensor([[value] * 40 + [1.0] * 40]).to(dtype)
    gate, up = both.float().chunk(2, dim=1)
    torch.testing.assert_close(opened(both).float(), F.silu(gate) * up, **EXACT[dtype])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_softmax_takes_scores_of_any_size_and_leaves_the_padding_out(
    scale: float, dtype: torch.dtype
) -> None:
    scores = drawn(500, 96, dtype=dtype, scale=scale) - 200
    found = softmaxed(scores, 82).float()
    torch.testing.assert_close(found[:, :82], scores[:, :82].float().softmax(-1), **EXACT[dtype])
    assert (found[:, 82:] == 0).all()


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", [1, 31, 97, 512])
def test_a_residual_sum_is_normalized_and_its_gradient_reaches_both_terms(
    size: int, dtype: torch.dtype
) -> None:
    x, y, weights = (drawn(5, 3, size, dtype=dtype, seed=seed) for seed in range(3))
    ours, theirs = (
        tuple(t.detach().to(d).clone().requires_grad_() for t in (x, y)) for d in (dtype, torch.float32)
    )
    normed = add_and_norm(*ours, 1e-5)
    total = theirs[0] + theirs[1]
    expected = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-5)
    torch.testing.assert_close(normed.float(), expected, **EXACT[dtype])
    normed.backward(weights)
    expected.backward(weights.float())
    loose = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad.float(), other.grad, **loose)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize(
    "kernel",
    [opened, lambda x: softmaxed(x, 70), lambda x: add_and_norm(x, torch.ones_like(x), 1e-5)],
    ids=["gates", "softmax", "norm"],
)
def test_non_finite_values_stay_non_finite_so_that_training_stops(
    kernel: Callable[[Tensor], Tensor], broken: float, dtype: torch.dtype
) -> None:
    x = drawn(3, 80, dtype=dtype)
    x[1, 10] = broken
    found = kernel(x)
    assert not found[1].isfinite().all()
    assert found[[0, 2]].isfinite().all()


def test_atan2_updates_as_torch_does_over_the_whole_range_of_moments() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (101, 257)
    start = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizer = AdamATan2([ours], lr=1e-2, weight_decay=0.1)
    first, second = torch.zeros(shape), torch.zeros(shape)
    for step in range(1, 6):
        gradient = torch.randn(shape, generator=generator) * 10 ** (
            torch.rand(shape, generator=generator) * 20 - 15
        )
        gradient[:3] = 0
        ours.grad = gradient
        optimizer.step()
        with torch.no_grad():
            first.lerp_(gradient, 0.1)
            second.mul_(0.95).add_(0.05 * gradient * gradient)
            root = (second / (1 - 0.95**step)).sqrt()
            theirs.mul_(1 - 1e-3).sub_(torch.atan2(first, root), alpha=1e-2 / (1 - 0.9**step))
        torch.testing.assert_close(ours.data, theirs.data, rtol=1e-6, atol=1e-7)
    state = optimizer.state[ours]
    torch.testing.assert_close(state["exp_avg"], first)
    torch.testing.assert_close(state["exp_avg_sq"], second)


def test_a_non_contiguous_parameter_is_updated_like_a_contiguous_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(40, 30, dtype=torch.float32)
    strided = torch.nn.Parameter(whole.clone().T)
    contiguous = torch.nn.Parameter(whole.T.contiguous())
    for parameter in (strided, contiguous):
        parameter.grad = drawn(30, 40, dtype=torch.float32, seed=1)
        AdamATan2([parameter], lr=1e-2, weight_decay=0.1).step()
    torch.testing.assert_close(strided.data, contiguous.data)
