"""Probabilities of answers from augmented copies and restarts: in the cells and tokens of the puzzle itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.bundled import SCHEME
from hrm_cli.config.arch import ArchConfig
from hrm_cli.evaluation.attempts import AttemptBudget, AttemptsStep, try_copies
from hrm_cli.evaluation.effort import Effort
from hrm_cli.evaluation.restarts import gather_candidates
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import Domain, TokenSymmetries, make_domain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.choosing import LoadedModel
from hrm_cli.solving.solution import CellChances, Solution
from hrm_cli.solving.solver import solve_puzzles
from hrm_cli.solving.tracing import (
    MOST_TOKENS,
    TRACED_BYTES,
    mapped_chances,
    moved,
    tokens_that_fit,
    traced_batch,
)

from .believers import FOUR, PUZZLE, Believer, solution, sure_of

ARCH = ArchConfig(
    hidden_size=8, num_heads=2, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, expansion=1, puzzle_emb_ndim=0,
    halt_max_steps=2, forward_dtype="float32",
)  # fmt: skip
GRIDS = make_domain(
    "grids", rows=3, columns=4, symbols=["a", "b", "c"], symmetries=["rotations", "reflections", "symbols"]
)


def untrained(domain: Domain, seed: int = 0) -> FixedModel:
    rng = torch.Generator().manual_seed(seed)
    model = build_model(ARCH, domain.vocab_size, domain.seq_len, 1, generator=rng)
    with torch.no_grad():
        model.inner.lm_head.weight.normal_(generator=rng)  # answers of several tokens
    return FixedModel(model)


@pytest.mark.parametrize(
    ("domain", "puzzle"),
    [
        (SudokuDomain(4), "..1..4...3....2."),
        (MazeDomain(rows=4, columns=4), "S #   # #   #  G"),
        (GRIDS, "abc/cab"),
    ],
    ids=["sudoku", "maze", "own"],
)
def test_the_most_probable_token_of_every_copy_is_its_answer(domain: Domain, puzzle: str) -> None:
    tokens = domain.encode(domain.parse(puzzle).grid)[None]
    seen: list[AttemptsStep] = []
    budget = AttemptBudget(6, 2)
    if domain is GRIDS:  # no rules that could end attempts
        list(gather_candidates(untrained(domain), domain, tokens, budget, [1], watch=seen.append))
    else:
        list(try_copies(untrained(domain), domain, tokens, budget, [1], watch=seen.append))
    assert [step.step for step in seen] == [1, 2]
    assert len({step.predictions[row].tobytes() for step in seen for row in range(6)}) > 2
    for step in seen:
        assert step.are_copies
        for chances, answer in zip(mapped_chances(step), step.answers, strict=True):
            grid = domain.decode(answer)
            inside = np.zeros(domain.seq_len, np.bool_)
            columns = getattr(domain, "columns", grid.shape[1])
            inside.reshape(-1, columns)[: grid.shape[0], : grid.shape[1]] = True
            np.testing.assert_array_equal(chances.tokens[inside, 0], answer[inside])
            assert (chances.probabilities[inside, 0] > 0).all()


def test_copies_of_an_equivariant_model_have_the_probabilities_of_the_puzzle_itself() -> None:
    loaded = LoadedModel.load(Path(f"{SCHEME}sudoku-any-size"), torch.device("cpu"))
    assert loaded.model.arch.is_equivariant
    domain = loaded.domain
    text = "000000010400000000020000000000050407008000300001090000300400200050100000000806000"
    tokens = domain.encode(domain.parse(text.replace("0", ".")).grid)
    symmetries = domain.sample_symmetries(np.random.default_rng(0), 3)
    assert isinstance(symmetries, TokenSymmetries)
    copies = np.concatenate([tokens[None], symmetries.apply(tokens)])
    inputs = torch.from_numpy(copies.astype(np.int32))
    step = next(loaded.model.infer(inputs, torch.zeros(4, dtype=torch.int32), 2, adaptive=False))
    assert step.logits is not None
    back = symmetries.inverse()
    sources = back.sources(step.predictions[1:].numpy().astype(np.uint8))
    shares = step.logits.float().softmax(-1).numpy()
    every = np.broadcast_to(np.arange(domain.vocab_size, dtype=np.uint8), shares[0].shape)
    for row in range(3):
        assert not np.allclose(shares[row + 1], shares[0], atol=1e-2), "the copy itself is another puzzle"
        mapped = moved(CellChances(every, shares[row + 1]), sources[row], back.tokens[row])
        found = np.zeros_like(shares[0])
        np.put_along_axis(found, mapped.tokens.astype(np.intp), mapped.probabilities, axis=1)
        np.testing.assert_allclose(found, shares[0], atol=1e-5)


def solved(model: Believer, effort: Effort, *, chances: bool = True) -> Solution:
    puzzle = FOUR.parse(FOUR.text(FOUR.decode(PUZZLE)))
    return next(
        iter(solve_puzzles(ACTModel(model), FOUR, [puzzle], max_steps=2, effort=effort, chances=chances))
    )


def test_an_answer_of_a_copy_comes_with_its_probabilities() -> None:
    def knows_copies_only(puzzle: np.ndarray) -> np.ndarray:
        answer = solution(PUZZLE) if np.array_equal(puzzle, PUZZLE) else solution(puzzle)
        beliefs = 0.8 * sure_of(answer) + 0.04
        if np.array_equal(puzzle, PUZZLE):
            beliefs[0] = np.eye(FOUR.vocab_size)[2 + answer[0] % 4]
        return beliefs

    found = solved(Believer(knows_copies_only), Effort(3, copies=4))
    assert (found.how, found.status) == ("copies", "solved")
    assert found.attempt > 1
    for step in found.trace:
        assert step.chances is not None
        np.testing.assert_array_equal(FOUR.decode(step.chances.tokens[:, 0]), found.answer)
        np.testing.assert_allclose(step.chances.probabilities[:, 0].astype(float), 0.84 / 1.04, atol=1e-3)
    plain = solved(Believer(knows_copies_only), Effort(3, copies=4), chances=False)
    assert plain.trace == ()


@pytest.mark.parametrize("select", ["agreement", "confidence"])
def test_an_answer_that_a_selector_chose_comes_with_its_probabilities(select: str) -> None:
    found = solved(
        Believer(lambda puzzle: 0.8 * sure_of(solution(puzzle)) + 0.04), Effort(2, copies=3, select=select)
    )  # type: ignore[arg-type]
    assert found.trace
    for step in found.trace:
        assert step.chances is not None
        np.testing.assert_array_equal(FOUR.decode(step.chances.tokens[:, 0]), found.answer)


def test_steps_of_copies_and_restarts_with_the_same_number_are_not_mixed() -> None:
    def always_wrong(puzzle: np.ndarray) -> np.ndarray:
        return sure_of(np.where(puzzle == 1, 2, puzzle))

    found = solved(Believer(always_wrong), Effort(2, copies=2, restarts=2))
    assert found.status == "unsolved"
    assert [step.step for step in found.trace] == list(range(1, len(found.trace) + 1))
    assert all(step.chances is not None for step in found.trace)


def test_memory_of_traces_is_bounded_with_copies_and_restarts_too() -> None:
    maze = MazeDomain(rows=30, columns=30)
    alone = traced_batch(maze, 16, 10_000)
    assert traced_batch(maze, 16, 10_000, Effort(32)) == alone, "one pass makes no attempts"
    effort = Effort(32, copies=8, restarts=32)
    batch = traced_batch(maze, 16, 10_000, effort)
    assert 1 <= batch < alone
    assert batch * (16 + (8 + 33) * 32) * 900 * 6 * 3 <= TRACED_BYTES


def test_many_votes_keep_fewer_tokens_for_each_cell() -> None:
    assert tokens_that_fit(900) == MOST_TOKENS
    rows = 1_000 * 16 * 900
    assert 1 <= tokens_that_fit(rows) < MOST_TOKENS
    assert tokens_that_fit(rows) * rows * 3 <= TRACED_BYTES
    assert tokens_that_fit(10**12) == 1


def test_no_cell_takes_probabilities_from_outside_a_grid() -> None:
    chances = CellChances(np.array([[1, 0], [0, 1]]), np.array([[0.7, 0.3], [0.6, 0.4]]))
    found = moved(chances, np.array([1, -1]), np.array([5, 6]))
    assert found.tokens[0].tolist() == [5, 6]
    assert found.probabilities.tolist() == [[0.6, 0.4], [0.0, 0.0]]
