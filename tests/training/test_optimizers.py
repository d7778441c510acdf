"""Optimizers and schedule against their formulas, number by number."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hrm_cli.models.layers import PuzzleEmbedding
from hrm_cli.training import optimizers
from hrm_cli.training.optimizers import AdamATan2, SignDescent, foreach_atan2, learning_rate


def test_adam_atan2_follows_its_formula_over_several_steps() -> None:
    lr, beta1, beta2, decay = 0.1, 0.9, 0.95, 0.2
    value, m, v = 1.5, 0.0, 0.0
    parameter = torch.nn.Parameter(torch.tensor([value]))
    optimizer = AdamATan2([parameter], lr, (beta1, beta2), decay)
    for step, gradient in enumerate([0.3, -0.7, 0.0, 2.0], start=1):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        value *= 1 - lr * decay
        m += (1 - beta1) * (gradient - m)
        v += (1 - beta2) * (gradient**2 - v)
        value -= lr / (1 - beta1**step) * math.atan2(m, math.sqrt(v) / math.sqrt(1 - beta2**step))
        assert parameter.item() == pytest.approx(value, rel=1e-5)


def test_gradients_of_any_scale_move_alike_because_there_is_no_epsilon() -> None:
    moved = []
    for scale in (1e-12, 1.0, 1e12):
        parameter = torch.nn.Parameter(torch.zeros(1))
        parameter.grad = torch.full((1,), scale)
        AdamATan2([parameter], 0.01).step()
        moved.append(parameter.item())
    assert moved[0] == pytest.approx(moved[1], rel=1e-4)
    assert moved[2] == pytest.approx(moved[1], rel=1e-4)


def test_atan2_of_whole_lists_is_atan2_also_at_zero_and_at_the_smallest_numbers() -> None:
    numbers = [0.0, -0.0, 1e-45, -1e-38, 1e-24, 3e-12, -0.7, 1.0, 1e12, -3e38]
    y = torch.tensor(numbers).repeat_interleave(len(numbers))
    # The second moment's roots: nothing between 0 and the root of the smallest number.
    x = torch.tensor(numbers).abs().sqrt().repeat(len(numbers))
    kept = y.clone()
    (found,) = foreach_atan2([y], [x.clone()])
    expected = torch.atan2(y.double(), x.double())
    # At x = 0 a moment that is itself next to nothing may fall short of the quarter turn.
    tiny = (x == 0) & (y.abs() < 1e-29)
    torch.testing.assert_close(found[~tiny].double(), expected[~tiny], rtol=1e-6, atol=1e-12)
    assert torch.equal(y, kept)
    assert bool(found.isfinite().all())


def test_an_update_on_a_gpu_launches_the_same_operations_for_any_number_of_parameters(monkeypatch) -> None:
    class Operations(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    # A stand-in: the operations are those of CUDA, and a CPU computes them.
    monkeypatch.setattr(optimizers, "_suits_the_kernel", lambda p, state: False)
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    launched = []
    for count in (1, 12):
        parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(count)]
        for parameter in parameters:
            parameter.grad = torch.ones(3)
        optimizer = AdamATan2(parameters, 0.1, weight_decay=0.1)
        optimizer.step()  # allocates the moments
        with Operations() as operations:
            optimizer.step()
        launched.append(operations.names)
    assert launched[0] == launched[1]
    assert "_foreach_atan_" in launched[0]


def test_parameters_without_a_gradient_are_left_alone() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    AdamATan2([parameter], 0.1, weight_decay=0.5).step()
    assert parameter.tolist() == [1.0, 1.0]


def test_equal_identifiers_sum_their_gradients_before_the_sign_and_others_stay() -> None:
    table = PuzzleEmbedding(4, 2)
    table.weights.copy_(torch.full((4, 2), 1.0))
    sparse = SignDescent(table, lr=0.1, weight_decay=0.5)
    gradients = torch.tensor([[3.0, 1.0], [-5.0, 1.0], [2.0, 0.0]])
    sparse.step(torch.tensor([1, 1, 3]), gradients)
    kept = 1 - 0.1 * 0.5
    expected = [[1, 1], [kept + 0.1, kept - 0.1], [1, 1], [kept - 0.1, kept]]
    assert torch.allclose(table.weights, torch.tensor(expected))


def test_the_schedule_warms_up_linearly_and_falls_along_a_cosine() -> None:
    def rate(step: int, min_ratio: float = 0.1) -> float:
        return learning_rate(step, 110, 1.0, warmup_steps=10, min_ratio=min_ratio)

    assert rate(1) == pytest.approx(0.1)
    assert rate(10) == pytest.approx(1.0)
    assert rate(60) == pytest.approx(0.55)
    assert rate(110) == pytest.approx(0.1)
    assert {rate(step, 1.0) for step in (10, 50, 110)} == {1.0}


def test_a_schedule_without_warm_up_starts_at_the_full_rate() -> None:
    assert learning_rate(0, 100, 2.0, warmup_steps=0, min_ratio=0.0) == 2.0


WITHOUT_COMPILER = """
import sys, torch
from hrm_cli.config.train import TrainConfig
from hrm_cli.training.optimizers import network_optimizer
weight = torch.nn.Parameter(torch.ones(3))
optimizer = network_optimizer([weight], TrainConfig())
weight.grad = torch.ones(3)
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad()
assert weight.grad is None
assert weight.max() < 1
print("torch._dynamo" in sys.modules)
"""


def test_an_optimizer_does_not_load_the_compiler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
