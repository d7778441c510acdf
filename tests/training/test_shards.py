"""A CPU trains on shards of a batch at the same time: the same step, whatever the threads do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hrm_cli.benchmarking import training
from hrm_cli.config.presets import load_preset
from hrm_cli.models.cpu import workers as cpu_workers
from hrm_cli.runs.configuration import domain_of
from hrm_cli.training import step
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.shards import ShardWeights, shard_count
from hrm_cli.training.state import TrainState
from hrm_cli.training.step import train_one_step


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`workers(n)`: shards are divided among n threads; 2 if a test does not call it. Each computes on one thread."""

    def use(number: int) -> None:
        monkeypatch.setattr(cpu_workers, "_threads", lambda: number)

    use(2)
    return use


def in_shards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(step, "shard_count", lambda model, rows: min(count, rows))


def steps(
    make_run: Callable[..., Any], folder: str, total: int = 6, **settings: Any
) -> tuple[TrainState, list]:
    run, state = make_run(total, folder=folder, **settings)
    metrics = []
    for _ in range(total):
        sums = train_one_step(state, as_tensors(next(run.batches)), run.preset.train, total)
        metrics.append({name: value.item() for name, value in sums.items()})
    return state, metrics


def tensors(state: TrainState) -> dict[str, Tensor]:
    assert state.carry is not None
    return {**state.model.state_dict(), "z_H": state.carry.inner.z_H, "steps": state.carry.steps}


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("settings", [{}, {"objective": "rsm"}, {"accumulation_steps": 2}])
def test_a_step_in_shards_is_the_step_on_the_whole_batch(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, count: int, settings: dict[str, Any]
) -> None:
    in_shards(monkeypatch, 1)
    whole, of_whole = steps(make_run, "whole", grad_clip=0.5, **settings)
    in_shards(monkeypatch, count)
    parts, of_parts = steps(make_run, "parts", grad_clip=0.5, **settings)
    for ours, theirs in zip(of_parts, of_whole, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    assert torch.equal(parts.generator.get_state(), whole.generator.get_state())
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_frozen_weights_get_no_gradient_and_puzzle_embeddings_the_same(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = []
    for count in (1, 4):
        in_shards(monkeypatch, count)
        run, state = make_run(1, folder=f"in-{count}")
        state.model.requires_grad_(False)
        train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 1)
        assert all(p.grad is None for p in state.model.parameters())
        tables.append(state.model.state_dict()["inner.puzzle_emb.weights"])
    assert tables[0].any()
    torch.testing.assert_close(tables[0], tables[1])


ARCHITECTURES = {
    "HRM": ("tiny", []),
    "TRM with token mixing": ("trm-sudoku", ["arch.hidden_size=64", "arch.num_heads=2"]),
    "units": ("sudoku-units", ["arch.hidden_size=32", "arch.num_heads=2"]),
    "puzzle embeddings and learned positions": (
        "tiny", ["arch.puzzle_emb_ndim=128", "arch.pos_encodings=learned"],
    ),
    "activation checkpointing": ("tiny", ["train.activation_checkpointing=true"]),
}  # fmt: skip


def gradients(name: str, dtype: str) -> list[Tensor | None]:
    """The gradient of every parameter after one step from the same weights; the optimizer keeps it."""
    preset_name, settings = ARCHITECTURES[name]
    size = ["data.size=4", "data.num_train=8"] if "sudoku" in preset_name else []
    preset = load_preset(preset_name, [*settings, *size, f"arch.forward_dtype={dtype}", "train.grad_clip=0"])
    found: list[Tensor | None] = []

    def kept(state: TrainState, *_: Any) -> None:
        found.extend(None if p.grad is None else p.grad.clone() for p in state.model.parameters())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "_update", kept)
        training(preset_name, preset, domain_of(preset.data), 6, torch.device("cpu")).run()
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_gradients_of_shards_add_up_in_every_architecture(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards(monkeypatch, 1)
    whole = gradients(name, "float32")
    in_shards(monkeypatch, 3)
    parts = gradients(name, "float32")
    assert whole
    for ours, theirs in zip(parts, whole, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            scale = theirs.abs().max().item()
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 + 1e-4 * scale)


def test_threads_and_their_order_do_not_change_a_single_bit(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, workers: Callable[[int], None]
) -> None:
    in_shards(monkeypatch, 5)
    workers(1)
    expected, metrics = steps(make_run, "one")
    workers(3)
    plain = ShardWeights.finish

    def late(self: ShardWeights, shard: int) -> None:
        time.sleep(0.02 * (shard % 2 == 0))  # so that later shards finish before earlier ones
        plain(self, shard)

    monkeypatch.setattr(ShardWeights, "finish", late)
    found, same_metrics = steps(make_run, "two")
    assert same_metrics == metrics
    for name, tensor in tensors(expected).items():
        assert torch.equal(tensor, tensors(found)[name]), name


def test_gradients_are_summed_in_the_order_of_the_shards_however_they_finish() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    values = [1e8, 1.0, -1e8, 3.0]
    cast = ShardWeights((weight.to(torch.bfloat16), [weight]), 4)
    leaves = [cast.of_shard(shard) for shard in range(4)]
    for shard in (2, 0, 3, 1):
        leaves[shard][0].grad = torch.full((3,), values[shard], dtype=torch.bfloat16)
        cast.finish(shard)
    cast.add_to_parameters()
    total = torch.tensor(0.0)
    for value in values:
        total += torch.tensor(value).bfloat16().float()
    assert weight.grad is not None
    assert weight.grad.tolist() == [total.item()] * 3


def test_the_number_of_shards_follows_from_the_model_and_the_batch_not_from_the_threads(
    workers: Callable[[int], None],
) -> None:
    from hrm_cli.models.registry import build_model

    model = build_model(load_preset("tiny").arch, 11, 81, 1)
    counts = {}
    for number in (1, 2, 7):
        workers(number)
        counts[number] = [shard_count(model, rows) for rows in (1, 8, 16, 64, 256, 4096, 1_000_000)]
    assert counts[1] == counts[2] == counts[7] == [1, 1, 2, 2, 4, 64, 64]


def test_without_the_kernels_a_batch_is_computed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from hrm_cli.models.registry import build_model

    monkeypatch.setenv("HRM_CPU_KERNELS", "off")
    assert shard_count(build_model(load_preset("tiny").arch, 11, 81, 1), 4096) == 1
