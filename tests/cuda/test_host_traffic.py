"""No byte passes through the host inside a step: neither between H and L nor to decide which rows have halted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from hrm_cli.data.batches import Batch
from hrm_cli.models import rng
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.training.constraints import constraint_of
from hrm_cli.training.distillation import Teacher
from hrm_cli.training.muon import block_matrices
from hrm_cli.training.optimizers import SignDescent, network_optimizer
from hrm_cli.training.prefetch import as_tensors, on_device
from hrm_cli.training.state import AveragedWeights, TrainState
from hrm_cli.training.step import train_one_step

from . import cases
from .host_traffic import HostTraffic, NoHostTraffic

META = torch.device("meta")

TRAINED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{case: (case, {}, {}) for case in cases.CASES},
    "hrm, micro-batches": ("hrm", {}, {"accumulation_steps": 3}),
    "hrm, gradients clipped": ("hrm", {}, {"grad_clip": 1.0}),
    "hrm, AdamW": ("hrm", {}, {"optimizer": "adamw"}),
    **({"hrm, Muon": ("hrm", {}, {"optimizer": "muon"})} if hasattr(torch.optim, "Muon") else {}),
    "hrm, activation checkpointing": ("hrm", {}, {"activation_checkpointing": True}),
    "hrm in bfloat16": ("hrm", {"forward_dtype": "bfloat16"}, {}),
    "hrm, softmax": ("hrm", {}, {"loss": "softmax_cross_entropy"}),
    "trm, CGAR": ("trm-mlp", {}, {"supervision_decay": 0.7, "depth_schedule": "cgar"}),
    "rsm, rows that go on": ("rsm", {}, {"carry_over": 0.5}),
    "rsm, settling": ("rsm", {"halting": "settle"}, {"depth_schedule": "rsm"}),
    "nova with dropout": ("nova", {"dropout": 0.1}, {}),
}
"""What is trained: a case, settings of its architecture and of its training."""


def on_meta(state: TrainState, config: Any) -> TrainState:
    """A state whose tensors are all on the stand-in, as a state on an accelerator has them there."""
    state.model.to(META)
    matrices = block_matrices(state.model) if config.optimizer == "muon" else ()
    state.network = network_optimizer(list(state.model.parameters()), config, matrices)
    state.constraint = constraint_of(config, cases.FACTS, META)
    if state.sparse is not None:
        table = state.model.inner.puzzle_emb
        state.sparse = SignDescent(table, config.puzzle_emb_lr, config.puzzle_emb_weight_decay)  # type: ignore[arg-type]
    if state.average is not None:
        averaged = {name: t.to(META) for name, t in state.average.parameters.items()}
        state.average = AveragedWeights(state.average.decay, averaged)
    return state


@pytest.fixture
def copies_as_to_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent to the stand-in goes as to CUDA: from pinned memory, without waiting.

    Whether that is so on CUDA is shown there, by the tests marked `cuda`.
    """
    monkeypatch.setattr(rng, "to_device", lambda tensor, device: tensor.to(device, non_blocking=True))


@pytest.mark.usefixtures("copies_as_to_cuda")
@pytest.mark.parametrize("name", TRAINED)
def test_no_byte_passes_through_the_host_in_a_training_step(name: str) -> None:
    case, settings, train = TRAINED[name]
    settings = {"halt_exploration_prob": 0.5, **settings}
    config = cases.preset(case, settings, **train).train
    state = on_meta(cases.state(case, torch.device("cpu"), settings, **train), config)
    batches = [cases.batch(number, META) for number in range(3)]
    with NoHostTraffic(META) as guarded:
        for batch in batches:
            sums = train_one_step(state, batch, config, 10)
    assert guarded.operators > 300
    # The step's random numbers, one for each row: they come from the host, as the batch does.
    assert guarded.sent <= 3 * 8 * cases.ROWS
    assert state.step == 3
    assert sums["loss"].device == META
    moments = [entry for entries in state.network.state.values() for entry in entries.items()]
    assert {moment.device for kind, moment in moments if kind != "step"} == {META}


@pytest.mark.parametrize("case", cases.CASES)
def test_no_byte_passes_through_the_host_in_an_act_step_of_inference(case: str) -> None:
    model = cases.model(case, "cpu").to(META).eval()
    batch = cases.batch(0, META)
    with torch.inference_mode(), NoHostTraffic(META) as guarded:
        weights = model.core.cast_weights()
        rows = model.puzzle_rows(batch.puzzle_identifiers)
        carry = model.core.initial_carry(batch.inputs)
        for step in range(1, 4):
            carry, out = model.core(carry, batch.inputs, rows, weights)
            model.core.halts(step, out)
    assert guarded.operators > 60
    assert guarded.sent == 0
    assert carry.z_H.device == META


@pytest.mark.usefixtures("copies_as_to_cuda")
def test_no_byte_passes_through_the_host_in_a_step_on_one_of_several_sizes() -> None:
    config = cases.preset("units").train
    state = on_meta(cases.state("units", torch.device("cpu")), config)
    cases.several_sizes(state)
    sizes = (81, 16, 81, 16)
    batches = [cases.batch(number, META, cells) for number, cells in enumerate(sizes)]
    for cells in sizes[:2]:  # the tables of a size are sent once
        state.take_size(cells)
    state.take_size(sizes[0])
    with NoHostTraffic(META) as guarded:
        for batch in batches:
            train_one_step(state, batch, config, 10)
    assert guarded.sent == 0
    assert {carry.inner.z_H.device for carry in state.all_carries().values()} == {META}


class _Reads(TorchDispatchMode):
    """Counts the numbers that the host reads from tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in ("_local_scalar_dense", "item", "is_nonzero")
        return func(*args, **(kwargs or {}))


# Two settings need a decision of the host, and are known for it (docs/training.md).
@pytest.mark.parametrize("kind", ["float16", "a teacher", "neither"])
def test_only_float16_and_a_teacher_make_the_host_read_a_number_in_a_step(kind: str) -> None:
    settings = {"forward_dtype": "float16"} if kind == "float16" else {}
    state = cases.state("hrm", torch.device("cpu"), settings)
    config = cases.preset("hrm", settings).train
    assert (state.loss_scale is not None) == (kind == "float16")
    if kind == "a teacher":
        state.teacher = Teacher(cases.model("hrm", "cpu").eval(), "stablemax_cross_entropy")
    train_one_step(state, cases.batch(0, "cpu"), config, 10)
    with _Reads() as reads:
        train_one_step(state, cases.batch(1, "cpu"), config, 10)
    if kind == "a teacher":
        assert reads.count >= 1
    else:
        assert reads.count == (kind == "float16"), "whether the gradients are finite"


TRAFFIC = {
    "a number read": lambda t: t.sum().item(),
    "a condition": lambda t: bool((t > 0).any()),
    "the rows of a mask": lambda t: t[t > 0],
    "rows set by a mask": lambda t: t.masked_select(t > 0),
    "a copy to the host": lambda t: t.cpu(),
    "a copy to the device": lambda t: torch.ones(3).to(t.device),
    "a copy into a tensor": lambda t: t.copy_(torch.ones(3, 4)),
    "a tensor made of numbers": lambda t: torch.tensor([1.0, 2.0], device=t.device),
    "an index from the host": lambda t: t[torch.tensor([0, 1])],
    "equality": lambda t: torch.equal(t, t),
    "unique": lambda t: t.unique(),
    "repeats": lambda t: t.repeat_interleave(torch.ones(3, dtype=torch.int64, device=t.device), dim=0),
}


@pytest.mark.parametrize("what", TRAFFIC)
def test_traffic_with_the_host_is_noticed(what: str) -> None:
    with pytest.raises((HostTraffic, NotImplementedError)), NoHostTraffic(META):
        TRAFFIC[what](torch.ones(3, 4, device=META))


@pytest.mark.cuda
@pytest.mark.parametrize("what", TRAFFIC)
def test_traffic_with_the_host_is_noticed_on_the_accelerator(what: str, accelerator: torch.device) -> None:
    if accelerator.type == "cpu":
        pytest.skip("the host itself stands in")
    with pytest.raises(HostTraffic), NoHostTraffic(accelerator):
        TRAFFIC[what](torch.ones(3, 4, device=accelerator))


@contextmanager
def waits_forbidden(device: torch.device) -> Iterator[None]:
    """Has CUDA raise where the host would wait for it; on a stand-in nothing is forbidden."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


COMPILED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "hrm, compiled": ("hrm", {"forward_dtype": "bfloat16"}, {"compile": "on"}),
    "hrm, CUDA graphs": ("hrm", {"forward_dtype": "bfloat16"}, {"compile": "cudagraphs"}),
}


def steps_taken(name: str, device: torch.device, *, guarded: bool) -> TrainState:
    case, settings, train = {**TRAINED, **COMPILED}[name]
    settings = {"halt_exploration_prob": 0.5, **settings}
    config = cases.preset(case, settings, **train).train
    state = cases.state(case, device, settings, **train)
    batches = [cases.batch(number, device) for number in range(8)]
    for batch in batches[:5]:  # memory, libraries and graphs are made ready
        train_one_step(state, batch, config, 10)
    with waits_forbidden(device), NoHostTraffic(device) if guarded else nullcontext():
        for batch in batches[5:]:
            train_one_step(state, batch, config, 10)
    return state


@pytest.mark.cuda
@pytest.mark.parametrize("name", TRAINED)
def test_the_host_never_waits_for_the_accelerator_in_a_training_step(
    name: str, accelerator: torch.device
) -> None:
    assert steps_taken(name, accelerator, guarded=accelerator.type == "cuda").step == 8


# The dispatch mode would see into the compiled code, and so have it compiled anew: CUDA alone watches here.
@pytest.mark.cuda
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.usefixtures("quick_compiler")
def test_the_host_never_waits_for_the_accelerator_in_a_compiled_step(
    name: str, accelerator: torch.device
) -> None:
    assert steps_taken(name, accelerator, guarded=False).step == 8


COPIES_TO_THE_HOST = (
    "memcpy dtoh",
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::nonzero",
    "aten::is_nonzero",
)
"""What a profile calls copies from the device, and operators that wait for it."""


@pytest.mark.cuda
@pytest.mark.parametrize("case", cases.CASES)
def test_a_profile_of_training_steps_shows_no_copy_to_the_host(case: str, accelerator: torch.device) -> None:
    config = cases.preset(case).train
    state = cases.state(case, accelerator)
    batches = [cases.batch(number, accelerator) for number in range(4)]
    train_one_step(state, batches[0], config, 10)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (accelerator.type == "cuda")
    with profile(activities=activities) as seen:
        for batch in batches[1:]:
            train_one_step(state, batch, config, 10)
        if accelerator.type == "cuda":
            torch.cuda.synchronize()
    counts = {event.key: event.count for event in seen.key_averages()}
    # Nova seeds its dropout from a generator on the host. On a CPU it also ends its cycles once all rows have halted.
    own = (
        0 if case != "nova" else 3 if accelerator.type == "cuda" else 3 + 3 * state.model.arch.halt_max_steps
    )
    waits = {name: n for name, n in counts.items() if name.lower().startswith(COPIES_TO_THE_HOST)}
    assert all(count <= own for count in waits.values()), waits
    assert sum(counts.values()) > 300
    print({name: count for name, count in counts.items() if "memcpy" in name.lower()})


@pytest.mark.cuda
def test_batches_reach_the_accelerator_without_blocking_the_host(accelerator: torch.device) -> None:
    numbers = np.arange(6 * 81, dtype=np.int32).reshape(6, 81)
    ready = as_tensors(Batch(numbers, numbers, numbers[:, 0].copy()), accelerator)
    with waits_forbidden(accelerator):
        batch: PuzzleBatch = on_device(ready, accelerator)
    found: Tensor = batch.inputs
    assert found.device.type == accelerator.type
    assert np.array_equal(found.cpu().numpy(), numbers)
