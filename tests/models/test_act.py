"""Adaptive computation: rows are replaced as they halt in training, and dropped as they halt at inference."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG


def set_q_head(model: ACTModel, halt: float, going_on: float) -> None:
    with torch.no_grad():
        model.inner.q_head.weight.zero_()
        model.inner.q_head.bias.copy_(torch.tensor([halt, going_on]))


def shuffled(batch: PuzzleBatch) -> PuzzleBatch:
    return PuzzleBatch(batch.inputs.flip(0), batch.labels.flip(0), batch.puzzle_identifiers.flip(0))


def test_all_rows_start_halted_and_so_take_the_first_batch_whole(model: ACTModel, batch: PuzzleBatch) -> None:
    carry, _ = model.train_step(model.initial_carry(batch), batch)
    assert torch.equal(carry.current.inputs, batch.inputs)
    assert carry.steps.tolist() == [1] * 6


def test_continuing_rows_keep_their_puzzle_and_halted_rows_take_row_i_of_the_new_batch(
    model: ACTModel, batch: PuzzleBatch
) -> None:
    carry, _ = model.train_step(model.initial_carry(batch), batch)
    carry.halted = torch.tensor([True, False, True, False, False, False])
    incoming = shuffled(batch)
    after, _ = model.train_step(carry, incoming)
    assert torch.equal(after.current.labels[[0, 2]], incoming.labels[[0, 2]])
    assert torch.equal(after.current.labels[[1, 3, 4, 5]], batch.labels[[1, 3, 4, 5]])
    assert after.steps.tolist() == [1, 2, 1, 2, 2, 2]


def test_a_replaced_row_starts_from_the_initial_state(model: ACTModel, batch: PuzzleBatch) -> None:
    carry, _ = model.train_step(model.initial_carry(batch), batch)
    carry.halted[:] = True
    incoming = shuffled(batch)
    _, reused = model.train_step(carry, incoming)
    _, fresh = model.train_step(model.initial_carry(incoming), incoming)
    assert torch.equal(reused.logits, fresh.logits)


def test_training_halts_if_q_halt_exceeds_q_continue(model: ACTModel, batch: PuzzleBatch) -> None:
    for halt, going_on, expected in ((1.0, 0.0, True), (0.0, 1.0, False)):
        set_q_head(model, halt, going_on)
        model.arch.__dict__["halt_exploration_prob"] = 0.0
        carry, _ = model.train_step(model.initial_carry(batch), batch)
        assert carry.halted.tolist() == [expected] * 6


def test_rows_halt_at_the_last_step_in_any_case(model: ACTModel, batch: PuzzleBatch) -> None:
    set_q_head(model, -9.0, 9.0)
    carry = model.initial_carry(batch)
    for _ in range(4):
        carry, _ = model.train_step(carry, batch)
    assert carry.steps.tolist() == [4] * 6
    assert carry.halted.all()


def test_exploration_keeps_some_rows_running_that_would_halt_at_once(model: ACTModel) -> None:
    set_q_head(model, 9.0, -9.0)
    rows = 1000
    many = PuzzleBatch(
        torch.ones(rows, 20, dtype=torch.int32),
        torch.ones(rows, 20, dtype=torch.int32),
        torch.zeros(rows, dtype=torch.int32),
    )
    rng = StepRNG(torch.Generator().manual_seed(0), rows)
    carry, _ = model.train_step(model.initial_carry(many), many, rng)
    # halt_exploration_prob is 0.1, and the least number drawn is 2.
    assert 0.07 < (~carry.halted).float().mean().item() < 0.13


def test_only_the_last_update_of_each_module_gets_gradient(model: ACTModel, batch: PuzzleBatch) -> None:
    carry = model.initial_carry(batch)
    inner, out = model.core(carry.inner, batch.inputs, model.puzzle_rows(batch.puzzle_identifiers))
    assert out.logits is not None
    depth, seen, edge = 0, set(), [out.logits.grad_fn]
    while edge:
        node = edge.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        depth += "Softmax" in node.name() or "ScaledDotProduct" in node.name()
        edge += [parent for parent, _ in node.next_functions]
    assert depth == 2  # one attention in L and one in H, although each runs more often
    assert not inner.z_H.requires_grad


def run(
    model: ACTModel, batch: PuzzleBatch, steps: int, *, adaptive: bool
) -> dict[int, tuple[int, list[int]]]:
    answers = {}
    for step in model.infer(batch.inputs, batch.puzzle_identifiers, steps, adaptive=adaptive):
        for row, prediction, done in zip(step.rows, step.predictions, step.finished, strict=True):
            if done:
                assert int(row) not in answers
                answers[int(row)] = (step.step, prediction.tolist())
    return answers


def test_a_row_dropped_early_answers_as_it_would_have_at_that_step(
    model: ACTModel, batch: PuzzleBatch
) -> None:
    # A random Q head with which rows halt at different steps; which one that is depends on torch's version.
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.inner.q_head.weight.normal_(generator=generator)
            model.inner.q_head.bias.copy_(torch.tensor([0.0, -9.0]))
        adaptive = run(model, batch, 6, adaptive=True)
        assert sorted(adaptive) == list(range(6))
        if len({step for step, _ in adaptive.values()}) > 1:
            break
    else:
        pytest.fail("rows halt together whatever the Q head")
    for row, (step, answer) in adaptive.items():
        assert run(model, batch, step, adaptive=False)[row] == (step, answer)


def test_without_adaptive_halting_every_row_runs_to_the_end_even_beyond_training(
    model: ACTModel, batch: PuzzleBatch
) -> None:
    set_q_head(model, 9.0, -9.0)
    assert {step for step, _ in run(model, batch, 7, adaptive=False).values()} == {7}


def test_a_model_without_puzzle_embeddings_runs_in_bfloat16(batch: PuzzleBatch, arch) -> None:
    small = arch.model_copy(
        update={"puzzle_emb_ndim": 0, "forward_dtype": "bfloat16", "pos_encodings": "learned"}
    )
    model = build_model(small, 7, 20, 1)
    carry, out = model.train_step(model.initial_carry(batch), batch)
    assert out.puzzle_rows is None
    assert carry.inner.z_H.dtype == torch.bfloat16
    assert out.q_halt.dtype == torch.float32
