"""Noise on the recurrent states: reproducible row by row, whatever the batch, and nothing at all when off."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.core import InnerCarry
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import NoiseScales, RowNoise
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

STEPS = 3
BOTH = NoiseScales(0.5, 0.1)


def answers(model: ACTModel, inputs: torch.Tensor, noise: RowNoise | None) -> torch.Tensor:
    """Logits of all steps, `[steps, B, S, V]`."""
    identifiers = torch.zeros(len(inputs), dtype=torch.int32)
    found = [step.logits for step in model.infer(inputs, identifiers, STEPS, adaptive=False, noise=noise)]
    return torch.stack([logits for logits in found if logits is not None])


def test_a_row_gets_the_same_noise_alone_and_among_others(model: ACTModel, batch: PuzzleBatch) -> None:
    seeds = [[0, row] for row in range(len(batch.inputs))]
    together = answers(model, batch.inputs, RowNoise(BOTH, seeds))
    alone = answers(model, batch.inputs[4:5], RowNoise(BOTH, seeds[4:5]))
    torch.testing.assert_close(together[:, 4:5], alone)


def test_noise_repeats_by_its_seed_and_differs_by_another(model: ACTModel, batch: PuzzleBatch) -> None:
    first, again, other = (
        answers(model, batch.inputs[:1], RowNoise(BOTH, [[seed, 1]])) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_row_without_a_seed_answers_bit_by_bit_as_without_noise(
    model: ACTModel, batch: PuzzleBatch
) -> None:
    seeds = [None, *([0, row] for row in range(1, len(batch.inputs)))]
    plain = answers(model, batch.inputs, None)
    noisy = answers(model, batch.inputs, RowNoise(BOTH, seeds))
    assert torch.equal(noisy[:, 0], plain[:, 0])
    assert not torch.equal(noisy[:, 1], plain[:, 1])


def test_a_row_keeps_its_noise_when_other_rows_finish(model: ACTModel, batch: PuzzleBatch) -> None:
    seeds = [[0, row] for row in range(len(batch.inputs))]
    whole = answers(model, batch.inputs, RowNoise(BOTH, seeds))
    identifiers = torch.zeros(len(batch.inputs), dtype=torch.int32)
    steps = model.infer(batch.inputs, identifiers, STEPS, adaptive=False, noise=RowNoise(BOTH, seeds))
    first = next(steps)
    after = steps.send(torch.tensor([True, False, True, True, False, True]))
    assert first.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert after.rows.tolist() == [1, 4]
    torch.testing.assert_close(after.logits, whole[1, [1, 4]])


def test_noise_at_the_start_has_the_scale_that_was_asked_for() -> None:
    zeros = InnerCarry(torch.zeros(2, 40, 50), torch.zeros(2, 40, 50))
    noise = RowNoise(NoiseScales(initial=0.5), [[0, 1], [0, 2]])
    started = noise.at_start(zeros)
    assert started.z_H.std().item() == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(started.z_H, started.z_L)
    assert noise.before_step(zeros) is zeros, "no noise at steps costs nothing"


@pytest.mark.parametrize(
    "options",
    [
        {"core": "hrm"},
        {"core": "trm"},
        {"core": "trm", "mlp_t": True},
        {"core": "hrm", "mixer": "units", "pos_encodings": "none", "puzzle_emb_ndim": 0},
        {"core": "nova", "puzzle_emb_ndim": 0},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_core_and_mixer_takes_noise(options: dict[str, object]) -> None:
    domain = SudokuDomain(4)
    settings = {"hidden_size": 32, "num_heads": 4, "H_layers": 1, "L_layers": 1, "forward_dtype": "float32"}
    arch = ArchConfig.model_validate({**settings, **options})
    model = build_model(
        arch, domain.vocab_size, domain.seq_len, 1, generator=torch.Generator().manual_seed(0)
    )
    inputs = torch.ones(2, domain.seq_len, dtype=torch.int32)
    found = answers(model, inputs, RowNoise(BOTH, [None, [0, 1]]))
    assert torch.isfinite(found).all()
    assert not torch.equal(found[:, 0], found[:, 1]), "the same puzzle from another start"


def test_restarts_of_a_model_trained_from_random_states_start_from_new_ones(arch: ArchConfig) -> None:
    """Instead of adding noise to the sample of the first attempt, which would leave the states of training."""
    model = build_model(
        arch.model_copy(update={"initial_state": "random"}),
        7,
        20,
        5,
        generator=torch.Generator().manual_seed(0),
    )
    inputs = torch.ones(3, 20, dtype=torch.int32)
    noise = RowNoise(NoiseScales(initial=1.0), [None, [0, 1], [0, 2]])
    states = model.infer(inputs, torch.zeros(3, dtype=torch.int32), 1, adaptive=False, noise=noise)
    before = next(states).before
    usual = model.core.initial_carry(inputs)
    assert before is not None
    assert torch.equal(before.z_H[0], usual.z_H[0])
    for row in (1, 2):
        assert before.z_H[row].std().item() == pytest.approx(1, rel=0.1)
        together = torch.stack([before.z_H[row].flatten(), usual.z_H[row].flatten()])
        assert abs(torch.corrcoef(together)[0, 1].item()) < 0.2
