"""A step at inference on shards of the rows: the same step, computed by several workers."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.models import sharded
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.cpu import workers
from hrm_cli.models.cpu.workers import threads_to_divide
from hrm_cli.models.inference import infer_stream
from hrm_cli.models.registry import build_model
from hrm_cli.models.sharded import sharded_step

inference_shards = sharded.inference_shards  # the fixture below replaces it

ROWS = 7


def model_of(**settings: object) -> ACTModel:
    given = {
        "hidden_size": 32, "num_heads": 4, "H_layers": 1, "L_layers": 1, "H_cycles": 1, "L_cycles": 2,
        "halt_max_steps": 4, "forward_dtype": "float32", **settings,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    domain = {"name": "sudoku", "size": 4}
    return build_model(ArchConfig(**given), 6, 16, 3, domain=domain, generator=generator).eval()


@pytest.fixture(autouse=True)
def three_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards also for small batches, and two workers."""
    monkeypatch.setattr(sharded, "inference_shards", lambda core, rows: min(3, rows))
    monkeypatch.setattr(workers, "_threads", lambda: 2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mixer": "units", "pos_encodings": "none", "puzzle_emb_ndim": 0},
        {"core": "trm", "halting": "certain"},
        {"middle_cycles": [2]},
        {"inference_dtype": "int8", "middle_cycles": [2]},
        {"forward_dtype": "bfloat16"},
    ],
)
def test_every_row_gets_what_it_gets_in_the_whole_batch(settings: dict[str, object]) -> None:
    model = model_of(**settings)
    tokens = torch.randint(1, 6, (ROWS, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    close = (
        {"rtol": 2e-2, "atol": 2e-2} if model.core.dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    )
    with torch.inference_mode():
        rows = model.puzzle_rows(torch.arange(ROWS, dtype=torch.int32) % 3)
        weights = model.core.cast_weights()
        carry = other = model.core.initial_carry(tokens)
        for _ in range(3):
            carry, out = model.core(carry, tokens, rows, weights)
            other, found = sharded_step(model.core, other, tokens, rows, weights)
            for name, state in carry.tensors().items():
                torch.testing.assert_close(other.tensors()[name], state, **close)
            torch.testing.assert_close(found.logits, out.logits, **close)
            torch.testing.assert_close(found.q_halt, out.q_halt, **close)
            torch.testing.assert_close(found.q_continue, out.q_continue, **close)
            assert found.l_logits is None


@pytest.mark.parametrize("inference", [True, False])
def test_shards_are_computed_in_the_mode_of_the_caller(
    inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, modes = model_of(), []
    forward = model.core.forward

    def watched(*given: object) -> object:
        modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled(), threads_to_divide()))
        return forward(*given)

    monkeypatch.setattr(model.core, "forward", watched)
    tokens = torch.ones(ROWS, 16, dtype=torch.int32)
    with torch.inference_mode(inference), torch.no_grad():
        rows = model.puzzle_rows(torch.zeros(ROWS, dtype=torch.int32))
        carry, out = sharded_step(
            model.core, model.core.initial_carry(tokens), tokens, rows, model.core.cast_weights()
        )
    assert modes == [(inference, False, 1)] * 3  # a worker has no threads to divide
    assert carry.z_H.is_inference() == out.logits.is_inference() == inference


def test_both_kinds_of_inference_use_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    plain = sharded.run_shards
    monkeypatch.setattr(sharded, "run_shards", lambda work, count: counts.append(count) or plain(work, count))
    model = model_of()
    tokens, identifiers = torch.ones(ROWS, 16, dtype=torch.int32), torch.zeros(ROWS, dtype=torch.int32)
    for _ in model.infer(tokens, identifiers, 2, adaptive=False):
        pass
    assert counts == [3, 3]
    portion = (PuzzleBatch(tokens, tokens, identifiers), torch.arange(ROWS))
    assert (
        sum(len(one.numbers) for one in infer_stream(model, [portion], 2, adaptive=False, capacity=9)) == ROWS
    )
    assert counts == [3, 3, 3, 3]


def test_with_gradient_the_batch_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "run_shards", None)
    model = model_of()
    tokens = torch.ones(ROWS, 16, dtype=torch.int32)
    rows = model.puzzle_rows(torch.zeros(ROWS, dtype=torch.int32))
    _, out = sharded_step(
        model.core, model.core.initial_carry(tokens), tokens, rows, model.core.cast_weights()
    )
    assert out.logits.requires_grad


def test_an_error_in_a_shard_reaches_the_caller() -> None:
    model = model_of()
    tokens = torch.full((ROWS, 16), 99, dtype=torch.int32)  # not in the vocabulary
    with torch.inference_mode():
        rows, weights = model.puzzle_rows(torch.zeros(ROWS, dtype=torch.int32)), model.core.cast_weights()
        carry = model.core.initial_carry(tokens)
        with pytest.raises(IndexError):
            sharded_step(model.core, carry, tokens, rows, weights)


def test_the_number_of_shards_is_a_multiple_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(load_preset("sudoku-units").arch, 11, 81, 1, domain={"name": "sudoku", "size": 9})
    core = model.eval().core
    for threads, expected in (
        (1, [1, 1, 1, 1, 1, 1]),
        (2, [1, 2, 2, 2, 8, 64]),
        (6, [1, 1, 6, 6, 6, 66]),
        (16, [1, 1, 16, 16, 16, 64]),
    ):
        monkeypatch.setattr(workers, "_threads", lambda threads=threads: threads)
        assert [inference_shards(core, rows) for rows in (1, 2, 16, 64, 256, 2048)] == expected
    assert inference_shards(core.train(), 64) == 1
    core.eval().compiled_inference = lambda *_: None
    assert inference_shards(core, 64) == 1
    core.compiled_inference = None
    monkeypatch.setenv("HRM_CPU_KERNELS", "off")
    assert inference_shards(core, 64) == 1
    nova = build_model(load_preset("tiny", ["core=nova"]).arch, 11, 81, 1).eval()
    assert inference_shards(nova.core, 4096) == 1
