"""Solving ARC tasks: embeddings of their own or none, adapting, and what is said of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.names import pack_names
from hrm_cli.puzzles.arc.symmetry import ArcSymmetry
from hrm_cli.puzzles.arc.tasks import Pair, Task
from hrm_cli.solving.arc_adapting import Adaptation, adapt
from hrm_cli.solving.arc_solver import ArcSolver, Effort
from hrm_cli.views.web.boards import shown_chances

NAMES = ["<blank>", "known", ArcSymmetry(1).name("known"), ArcSymmetry(4).name("known"), "other"]
ARCH = ArchConfig(
    hidden_size=8, num_heads=2, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, expansion=1,
    halt_max_steps=2, forward_dtype="float32",
)  # fmt: skip
GRID = np.array([[1, 2], [3, 4]], np.uint8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models are tiny; threads would only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def card(domain: dict[str, object] | None = None, arch: ArchConfig = ARCH) -> ModelCard:
    facts = DatasetFacts(12, 900, len(NAMES), domain or {"name": "arc"}, pack_names(NAMES))
    return ModelCard(Path("m.safetensors"), Preset(arch=arch), 1, facts, {})


def model(arch: ArchConfig = ARCH) -> ACTModel:
    made = build_model(arch, 12, 900, len(NAMES), generator=torch.Generator().manual_seed(0))
    if arch.puzzle_emb_size:
        made.inner.puzzle_emb.weights.normal_(generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
    return made


def task(name: str, output: np.ndarray | None = None) -> Task:
    shown = tuple(Pair(GRID + np.uint8(i), GRID[::-1] + np.uint8(i)) for i in range(2))
    return Task(name, shown, (Pair(GRID, output),), "file.json")


def effort(**changes: object) -> Effort:
    return Effort(**{"max_steps": 1, "adaptive": False, "batch_size": 2, **changes})  # type: ignore[arg-type]


def test_a_known_task_is_voted_on_by_all_its_copies_and_by_no_more_than_asked_for() -> None:
    (solution,) = ArcSolver(model(), card(), effort()).solve([task("known")])
    assert (solution.attempts, solution.steps, solution.answer is None) == (3, 1, False)
    (solution,) = ArcSolver(model(), card(), effort(votes=2)).solve([task("known")])
    assert solution.attempts == 2


def test_a_selector_takes_the_answer_of_the_most_confident_copy() -> None:
    (voted,) = ArcSolver(model(), card(), effort()).solve([task("known")])
    assert (voted.select, voted.agreeing) == ("agreement", voted.details["votes"])
    for select in ("confidence", "q_halt", "residual"):
        (solution,) = ArcSolver(model(), card(), effort(select=select)).solve([task("known")])
        assert (solution.select, solution.how, solution.attempts) == (select, "votes", 3)
        assert f"chosen by {select}" in solution.reason


def test_an_answer_is_verified_only_against_a_solution_because_there_are_no_rules() -> None:
    (unknown,) = ArcSolver(model(), card(), effort()).solve([task("known")])
    assert (unknown.status, unknown.verified) == ("unsolved", False)
    assert "ARC has no rules" in unknown.reason
    (right,) = ArcSolver(model(), card(), effort()).solve([task("known", unknown.answer)])
    assert (right.status, right.verified) == ("solved", True)
    assert "equals the solution in the file" in right.reason
    (wrong,) = ArcSolver(model(), card(), effort()).solve([task("known", np.zeros((1, 1), np.uint8))])
    assert (wrong.status, wrong.verified) == ("unsolved", False)
    assert "differs from the solution" in wrong.reason


def test_the_trace_is_of_the_first_copy_that_gave_the_answer_and_ends_with_it() -> None:
    attempts = set()
    for seed in range(6):
        made = build_model(ARCH, 12, 900, len(NAMES), generator=torch.Generator().manual_seed(seed))
        made.inner.puzzle_emb.weights.normal_(generator=torch.Generator().manual_seed(seed))  # type: ignore[union-attr]
        two = Task("known", task("known").train, (Pair(GRID), Pair(GRID[:1])), "file.json")
        solver = ArcSolver(made, card(), effort(trace=True, max_steps=2))
        for solution in solver.solve([two]):
            assert solution.answer is not None
            assert [step.step for step in solution.trace] == [1, 2]
            np.testing.assert_array_equal(solution.trace[-1].grid, solution.answer)
            attempts.add(solution.attempt)
    assert attempts <= {1, 2, 3}
    assert len(attempts) > 1, "answers of other copies than the task itself are brought back to it"


def test_probabilities_of_copies_are_mapped_back_to_the_cells_and_colors_of_the_task() -> None:
    for seed in range(4):
        made = build_model(ARCH, 12, 900, len(NAMES), generator=torch.Generator().manual_seed(seed))
        made.inner.puzzle_emb.weights.normal_(generator=torch.Generator().manual_seed(seed))  # type: ignore[union-attr]
        with torch.no_grad():
            made.inner.lm_head.weight[:2] = 0  # grids of several rows and columns
        asked = effort(trace=True, chances=True, max_steps=2)
        (solution,) = ArcSolver(made, card(), asked).solve([task("known")])
        assert solution.answer is not None
        for step in solution.trace:
            chances = shown_chances(ArcDomain(), step)
            assert chances is not None
            np.testing.assert_array_equal(chances.tokens[:, 0] - 2, step.grid.reshape(-1))
            assert (chances.probabilities[:, 0] > 0).all()
        (plain,) = ArcSolver(made, card(), effort(trace=True, max_steps=2)).solve([task("known")])
        assert all(step.chances is None for step in plain.trace)


def test_a_solution_holds_the_demonstrations_and_both_answers() -> None:
    (solution,) = ArcSolver(model(), card(), effort()).solve([task("known")])
    assert len(solution.demonstrations) == 2
    np.testing.assert_array_equal(solution.demonstrations[1][1], GRID[::-1] + np.uint8(1))
    assert solution.second is not None
    assert solution.details["attempt_2"] == solution.second.tolist()
    assert solution.trace == ()


def test_a_task_never_seen_gets_no_answer_but_the_reason() -> None:
    solver = ArcSolver(model(), card(), effort())
    (solution,) = solver.solve([task("new")])
    assert (solution.status, solution.answer, solution.attempts) == ("unsolved", None, 0)
    assert "never seen task new" in solution.reason
    assert "--adapt" in solution.reason
    assert solver.submission == {"new": [{"attempt_1": GRID.tolist(), "attempt_2": GRID.tolist()}]}


def test_adapting_answers_an_unseen_task_and_reports_held_out_demonstrations() -> None:
    adaptation = Adaptation(steps=1, copies=2, batch_size=1)
    (solution,) = ArcSolver(model(), card(), effort(adaptation=adaptation)).solve([task("new")])
    assert solution.answer is not None
    assert solution.attempts == 2
    assert solution.details["held_out"] == {"right": 0, "of": 2}
    assert "demonstrations held out one by one: 0 of 2 right" in solution.reason


def test_adapting_reports_the_steps_that_are_left() -> None:
    left: list[tuple[str, int]] = []
    adaptation = Adaptation(steps=2, copies=2, batch_size=1)
    solver = ArcSolver(model(), card(), effort(adaptation=adaptation), lambda *stage: left.append(stage))
    list(solver.solve([task("new")]))
    assert {stage for stage, _ in left} == {"fitting new"}
    # Two demonstrations: one fit without each of them, and one with both.
    assert list(dict.fromkeys(count for _, count in left)) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("weights", [False, True])
def test_adapting_moves_embeddings_of_a_copy_and_its_weights_only_when_asked_to(weights: bool) -> None:
    original = model()
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    adapted = adapt(
        original, Preset().train, "new", task("new").train, Adaptation(2, weights, copies=4, batch_size=4)
    )
    after = adapted.model.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in original.state_dict().items())
    mean = before["inner.puzzle_emb.weights"][1:].mean(0)
    table = after["inner.puzzle_emb.weights"]
    assert table.shape[0] == 5
    assert not torch.isclose(table[1:], mean.expand_as(table[1:])).all()
    unmoved = torch.equal(after["inner.lm_head.weight"], before["inner.lm_head.weight"])
    assert unmoved is not weights


def test_adapting_learns_its_demonstrations_better_and_better() -> None:
    # Weights too: a random model cannot be steered by embeddings alone.
    config = Preset().train.model_copy(update={"lr": 1e-2})
    pair = Pair(np.full((1, 2), 3, np.uint8), np.full((1, 2), 5, np.uint8))
    losses = []
    for steps in (1, 15):
        learned = adapt(model(), config, "new", [pair], Adaptation(steps, True, copies=1, batch_size=1))
        inputs = torch.zeros(1, 900, dtype=torch.int32)
        inputs[0, :2] = 5
        step = next(iter(learned.model.infer(inputs, torch.ones(1, dtype=torch.int32), 1, adaptive=False)))
        assert step.logits is not None
        losses.append(float(-step.logits.log_softmax(-1)[0, 0, 7]))
    assert losses[1] < losses[0] / 2


def test_a_model_without_embeddings_cannot_be_adapted_by_them_alone() -> None:
    arch = ARCH.model_copy(update={"puzzle_emb_ndim": 0})
    with pytest.raises(ConfigError, match="--adapt-weights"):
        ArcSolver(model(arch), card(arch=arch), effort(adaptation=Adaptation(1)))


def test_a_checkpoint_of_another_domain_is_refused() -> None:
    with pytest.raises(CheckpointError, match="was trained on sudoku"):
        ArcSolver(model(), card({"name": "sudoku", "size": 9}), effort())
