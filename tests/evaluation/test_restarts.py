"""Restarts: attempts from noisy starts, one after another's success, and all candidates for selection."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrm_cli.config.schema import ArchConfig
from hrm_cli.evaluation.attempts import AttemptBudget, try_copies
from hrm_cli.evaluation.restarts import SelectorFigures, gather_candidates
from hrm_cli.evaluation.selection import Candidate, choose
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import NoiseScales
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

from .scripted import scripted

FOUR = SudokuDomain(4)
PUZZLES = np.stack([FOUR.encode(FOUR.parse(text).grid) for text in ("..1..4...3....2.", "....41.....33.4.")])
ANSWERS = FOUR.solve_all(PUZZLES).answers
NOISE = NoiseScales(initial=1.0)


@pytest.fixture(scope="module")
def untrained() -> FixedModel:
    arch = ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, forward_dtype="float32", puzzle_emb_ndim=0
    )
    generator = torch.Generator().manual_seed(0)
    return FixedModel(build_model(arch, FOUR.vocab_size, FOUR.seq_len, 1, generator=generator))


def gathered(
    model: FixedModel, puzzles: np.ndarray, streams: list[int], **options: object
) -> dict[int, list[Candidate]]:
    tries = AttemptBudget(3, 2, copies=False, **{"noise": NOISE, **options})  # type: ignore[arg-type]
    return dict(gather_candidates(model, FOUR, puzzles, tries, streams))


def same(one: list[Candidate], other: list[Candidate]) -> bool:
    return all(
        np.array_equal(a.tokens, b.tokens) and a.confidence == pytest.approx(b.confidence, abs=1e-5)
        for a, b in zip(one, other, strict=True)
    )


def test_restarts_differ_from_each_other_and_the_first_has_no_noise(untrained: FixedModel) -> None:
    noisy = gathered(untrained, PUZZLES, [1, 2])[0]
    plain = gathered(untrained, PUZZLES, [1, 2], noise=NoiseScales())[0]
    assert [one.attempt for one in noisy] == [1, 2, 3]
    assert noisy[0].confidence == pytest.approx(plain[0].confidence, abs=1e-5)
    assert len({one.confidence for one in plain}) == 1, "without noise all attempts are one"
    assert len({round(one.confidence, 6) for one in noisy}) == 3


def test_a_puzzles_restarts_follow_from_the_seed_and_its_number_not_from_its_neighbors(
    untrained: FixedModel,
) -> None:
    both = gathered(untrained, PUZZLES, [1, 2])
    alone = gathered(untrained, PUZZLES[1:], [2], batch_size=3)
    assert same(alone[0], both[1])
    assert not same(gathered(untrained, PUZZLES[1:], [2], seed=1)[0], both[1])


def test_noise_at_every_step_is_another_source_of_candidates(untrained: FixedModel) -> None:
    noisy = gathered(untrained, PUZZLES[:1], [1], noise=NoiseScales(step=0.3))[0]
    assert len({round(one.confidence, 6) for one in noisy}) == 3


def test_candidates_carry_the_figures_that_selectors_compare(untrained: FixedModel) -> None:
    for one in gathered(untrained, PUZZLES, [1, 2])[1]:
        assert one.violations == FOUR.violations(PUZZLES[1:], one.tokens[None])[0]
        assert one.confidence < 0
        assert one.residual > 0
        assert one.steps == 2


def test_an_attempt_ends_when_the_model_is_confident() -> None:
    model = FixedModel(scripted(lambda row, step: (row, 1.0 if step == 2 else -1.0), FOUR.vocab_size, 16))
    tries = AttemptBudget(2, 9, copies=False)
    ((_, candidates),) = gather_candidates(model, FOUR, PUZZLES[:1], tries, [1])
    assert [one.steps for one in candidates] == [2, 2]
    ((_, candidates),) = gather_candidates(model, FOUR, PUZZLES[:1], tries, [1], adaptive=False)
    assert [one.steps for one in candidates] == [9, 9]


def test_augmented_copies_are_candidates_in_the_puzzles_own_frame() -> None:
    def respond(row: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        return FOUR.solve_all(row[None].astype(np.uint8)).answers[0], 1.0

    model = FixedModel(scripted(respond, FOUR.vocab_size, 16))
    ((_, candidates),) = gather_candidates(model, FOUR, PUZZLES[:1], AttemptBudget(4, 2), [1])
    assert [one.violations for one in candidates] == [0] * 4
    assert all(np.array_equal(one.tokens, ANSWERS[0]) for one in candidates)


def test_where_there_are_no_rules_candidates_have_no_violations() -> None:
    arc = make_domain("arc")
    model = FixedModel(scripted(lambda row, step: (row, 1.0), arc.vocab_size, arc.seq_len))
    puzzles = np.full((1, arc.seq_len), 2, np.uint8)
    ((_, candidates),) = gather_candidates(model, arc, puzzles, AttemptBudget(2, 2, copies=False), [1])
    assert [one.violations for one in candidates] == [None, None]
    assert choose(candidates, "agreement") == 0


def test_verified_restarts_stop_at_once_and_count_the_steps_of_all_attempts() -> None:
    model = FixedModel(
        scripted(lambda row, step: (ANSWERS[0] if step == 3 else row, 0.0), FOUR.vocab_size, 16)
    )
    ((_, found),) = try_copies(model, FOUR, PUZZLES[:1], AttemptBudget(4, 9, copies=False), [1])
    assert (found.violations, found.steps, found.of, found.work) == (0, 3, 4, 12)


def test_figures_say_how_often_a_selector_takes_a_right_answer_that_is_there() -> None:
    right, wrong = ANSWERS[0], PUZZLES[0]

    def one(tokens: np.ndarray, q_halt: float, violations: int | None) -> Candidate:
        return Candidate(tokens, violations, q_halt, -1.0, 0.1, 1, 1)

    with_rules = [(0, [one(wrong, 2.0, 5), one(right, 1.0, 0)]), (0, [one(wrong, 0.0, 5)])]
    figures = SelectorFigures.of(with_rules, ANSWERS)
    assert (figures.puzzles, figures.among) == (2, 1)
    assert figures.chosen == {"verify": 1, "confidence": 0, "q_halt": 0, "residual": 0, "agreement": 0}
    without = SelectorFigures.of([(0, [one(right, 1.0, None)])], ANSWERS)
    assert "verify" not in without.chosen
