"""Training on the accelerator: the optimizers, whole steps, and checkpoints that move between devices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.layers import PuzzleEmbedding
from hrm_cli.training.checkpointing import save_checkpoint
from hrm_cli.training.optimizers import AdamATan2, SignDescent
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.shards import FEWEST_NUMBERS, shard_count
from hrm_cli.training.state import TrainState
from hrm_cli.training.step import train_one_step

from . import cases

pytestmark = pytest.mark.cuda

STEPS = 6


def trained(state: TrainState, case: str, steps: range, **train: object) -> dict[str, float]:
    """Takes these steps; returns the last one's sums."""
    config = cases.preset(case, **train).train
    device = state.model.device
    sums: dict[str, Tensor] = {}
    for number in steps:
        sums = train_one_step(state, cases.batch(number, device), config, 2 * STEPS)
    return {name: value.item() for name, value in sums.items()}


def share_beyond(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> float:
    """Share of all elements that differ by more than `tolerance`."""
    differ = [
        (found[n].cpu() - e.cpu()).abs() > tolerance for n, e in expected.items() if e.is_floating_point()
    ]
    return torch.cat([d.flatten() for d in differ]).float().mean().item()


@pytest.mark.parametrize("case", cases.CASES)
def test_three_steps_are_those_of_a_cpu(case: str, accelerator: torch.device) -> None:
    here, there = (cases.state(case, device) for device in (accelerator, torch.device("cpu")))
    found, expected = (trained(state, case, range(3)) for state in (here, there))
    # An argmax or a halt that is a tie within rounding may fall on the other side: losses are held, counts are not.
    losses = [name for name in expected if name.endswith("loss")]
    assert {n: found[n] for n in losses} == pytest.approx(
        {n: expected[n] for n in losses}, rel=1e-3, abs=1e-3
    )
    assert found.keys() == expected.keys()
    # Where a gradient is almost zero, atan2 turns its rounding into a step of up to the learning rate.
    assert share_beyond(here.model.state_dict(), there.model.state_dict(), 1e-5) < 0.005
    assert here.average is not None
    assert there.average is not None
    assert share_beyond(here.average.parameters, there.average.parameters, 1e-5) < 0.005


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.filterwarnings("error:torch.compile failed")
def test_steps_on_two_sizes_are_those_of_a_cpu(compiled: bool, accelerator: torch.device) -> None:
    states = []
    for device in (accelerator, torch.device("cpu")):
        state = cases.several_sizes(cases.state("units", device))
        if compiled and device == accelerator:
            compile_updates(state.model, "on")
        config = cases.preset("units").train
        losses = [
            train_one_step(state, cases.batch(number, device, cells), config, 12)["loss"].item()
            for number, cells in enumerate((81, 16, 16, 81))
        ]
        states.append((state, losses))
    (here, ours), (there, theirs) = states
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert share_beyond(here.model.state_dict(), there.model.state_dict(), 1e-5) < 0.005
    assert here.all_carries().keys() == {81, 16}
    assert {carry.inner.z_H.device.type for carry in here.all_carries().values()} == {accelerator.type}


def test_training_in_shards_is_for_the_cpu_alone(accelerator: torch.device) -> None:
    # A shard is worth its calls from 150,000 numbers of a state on.
    rows = 2 * FEWEST_NUMBERS // (81 * 32)
    assert shard_count(cases.model("hrm", "cpu").to("meta"), rows) == 1
    if accelerator.type == "cuda":
        assert shard_count(cases.model("hrm", accelerator), rows) == 1


def optimized(optimizer: type[torch.optim.Optimizer], device: torch.device | str) -> list[Tensor]:
    """Two tensors after five steps on the same gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((33, 17), (129,))
    tensors = [torch.randn(shape, generator=generator).to(device).requires_grad_() for shape in shapes]
    made = optimizer(tensors, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)  # type: ignore[call-arg]
    for _ in range(5):
        for tensor in tensors:
            tensor.grad = torch.randn(tensor.shape, generator=generator).to(device)
        made.step()
    return [tensor.detach().cpu() for tensor in tensors]


def test_adam_atan2_is_that_of_a_cpu(accelerator: torch.device) -> None:
    for found, expected in zip(optimized(AdamATan2, accelerator), optimized(AdamATan2, "cpu"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_adam_atan2_is_that_of_the_compiled_package(accelerator: torch.device) -> None:
    compiled = pytest.importorskip("adam_atan2", exc_type=ImportError).AdamATan2
    for found, expected in zip(
        optimized(AdamATan2, accelerator), optimized(compiled, accelerator), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_sign_descent_adds_up_the_gradients_of_equal_identifiers(accelerator: torch.device) -> None:
    # Small whole numbers: their sums are exact in any order, and no sign depends on rounding.
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-4, 5, (7, 12), generator=generator).float()
    identifiers = torch.tensor([3, 0, 3, 3, 6, 0], dtype=torch.int32)
    gradients = torch.randint(-4, 5, (6, 12), generator=generator).float()
    tables = []
    for device in (accelerator, torch.device("cpu")):
        table = PuzzleEmbedding(7, 12)
        table.weights.copy_(weights)
        table.to(device)
        SignDescent(table, 0.5, 0.25).step(identifiers.to(device), gradients.to(device))
        tables.append(table.weights.cpu())
    by_hand = weights.clone()
    for number in (0, 3, 6):
        summed = gradients[identifiers == number].sum(0)
        by_hand[number] = weights[number] * (1 - 0.125) - 0.5 * summed.sign()
    assert torch.equal(tables[1], by_hand)
    assert torch.equal(tables[0], by_hand)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Deterministic algorithms alone; an operator without one raises RuntimeError."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def resumed(case: str, folder: Path, device: torch.device) -> tuple[TrainState, TrainState]:
    """A run in one go, and one that was saved half-way and loaded into a new state; exploration and dropout on."""
    settings = {"halt_exploration_prob": 0.5, **({"dropout": 0.1} if case == "nova" else {})}
    train = {"carry_over": 0.5} if case == "rsm" else {}
    straight, first, second = (cases.state(case, device, settings, **train) for _ in range(3))
    trained(straight, case, range(STEPS), **train)
    trained(first, case, range(STEPS // 2), **train)
    saved = cases.preset(case, settings, **train)
    save_checkpoint(folder, first, saved, cases.FACTS, {"position": 3}, best=False)
    assert load_training_state(folder, second) == {"position": 3}
    trained(second, case, range(STEPS // 2, STEPS), **train)
    return straight, second


@pytest.mark.parametrize("case", cases.CASES)
def test_a_resumed_run_is_bit_for_bit_the_one_that_was_never_stopped(
    case: str, accelerator: torch.device, tmp_path: Path, deterministic: None
) -> None:
    try:
        straight, again = resumed(case, tmp_path, accelerator)
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        print(f"not deterministic: {error}")
        torch.use_deterministic_algorithms(False)
        straight, again = resumed(case, tmp_path / "again", accelerator)
        assert share_beyond(again.model.state_dict(), straight.model.state_dict(), 1e-6) < 0.005
        return
    for name, expected in straight.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], expected), name
    assert again.average is not None
    assert straight.average is not None
    for name, expected in straight.average.parameters.items():
        assert torch.equal(again.average.parameters[name], expected), name


@pytest.mark.parametrize("case", ["hrm", "rsm"])
@pytest.mark.parametrize("direction", ["CPU to accelerator", "accelerator to CPU"])
def test_a_checkpoint_resumes_on_another_device(
    case: str, direction: str, accelerator: torch.device, tmp_path: Path
) -> None:
    cpu = torch.device("cpu")
    source, target = (cpu, accelerator) if direction.startswith("CPU") else (accelerator, cpu)
    first = cases.state(case, source)
    trained(first, case, range(3))
    save_checkpoint(tmp_path, first, cases.preset(case), cases.FACTS, {}, best=False)
    second = cases.state(case, target)
    load_training_state(tmp_path, second)
    assert second.step == 3
    assert share_beyond(second.model.state_dict(), first.model.state_dict(), 0.0) == 0
    assert {tensor.device.type for tensor in second.model.state_dict().values()} == {target.type}
    # On from there, both take the same steps.
    trained(first, case, range(3, STEPS)), trained(second, case, range(3, STEPS))
    assert share_beyond(second.model.state_dict(), first.model.state_dict(), 1e-5) < 0.005
