"""Every core trains, saves and resumes through the one loop; a teacher adds its term."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import load_model
from hrm_cli.config.arch import ArchConfig
from hrm_cli.errors import CheckpointError
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.loop import train
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.state import initial_state
from hrm_cli.training.step import train_one_step


def of_core(run, core: str):
    arch = run.preset.arch
    update = {"core": core, "puzzle_emb_ndim": 0 if core == "nova" else arch.puzzle_emb_ndim}
    run.preset = run.preset.model_copy(update={"arch": ArchConfig(**{**arch.model_dump(), **update})})
    return run, initial_state(run.preset, run.facts, torch.device("cpu"))


@pytest.mark.parametrize("core", ["trm", "nova"])
def test_other_cores_resume_bit_identically_dropout_included(make_run, core: str) -> None:
    run, state = of_core(make_run(12, folder="whole")[0], core)
    train(run, state)
    first, half = of_core(make_run(5, folder="parts")[0], core)
    train(first, half)
    second, resumed = of_core(make_run(12, folder="parts")[0], core)
    second.batches.position = load_training_state(second.folder, resumed)["position"]
    result = train(second, resumed)
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    model, _ = load_model(result.checkpoint)
    assert model.arch.core == core


@pytest.fixture
def teacher_checkpoint(make_run):
    run, state = make_run(60, folder="teacher", lr=5e-3)
    return train(run, state).checkpoint


def test_a_teacher_moves_the_students_answers_toward_its_own(make_run, teacher_checkpoint) -> None:
    run, state = make_run(40, folder="student", distill_weight=4.0, lr=5e-3)
    state.teacher = load_teacher(teacher_checkpoint, run.facts, torch.device("cpu"))
    taught = []
    for _ in range(60):
        batch = as_tensors(next(run.batches))
        taught.append(train_one_step(state, batch, run.preset.train, 40)["distill_loss"].item())
    assert sum(taught[-10:]) < 0.8 * sum(taught[:10])
    assert all(value >= 0 for value in taught)


def test_a_teacher_that_is_the_student_itself_has_nothing_to_add(make_run, teacher_checkpoint) -> None:
    run, state = make_run(1, folder="twin")
    model, _ = load_model(teacher_checkpoint)
    state.model.load_state_dict(model.state_dict())
    teacher = load_teacher(teacher_checkpoint, run.facts, torch.device("cpu"))
    teacher.model.arch.__dict__["halt_max_steps"] = 1
    state.teacher = teacher
    batch = as_tensors(next(run.batches))
    assert train_one_step(state, batch, run.preset.train, 1)["distill_loss"].item() == pytest.approx(
        0, abs=1e-5
    )


def test_a_teacher_of_other_puzzles_is_refused(teacher_checkpoint) -> None:
    facts = DatasetFacts(vocab_size=11, seq_len=81, num_puzzle_identifiers=1, domain={})
    with pytest.raises(CheckpointError, match="cannot be the teacher for this dataset: its vocab_size is 6"):
        load_teacher(teacher_checkpoint, facts, torch.device("cpu"))
