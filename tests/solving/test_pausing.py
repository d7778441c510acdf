"""A paused solve continues bit-exactly, and a carry is refused where it means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import load_model, write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.solving.pausing import PausingModel, load_carry, resume_puzzles, save_carry
from hrm_cli.solving.request import SolveRequest
from hrm_cli.solving.solver import solve_puzzles

PUZZLES = ["1234341221434321", "123434122143432.", "12343412214343..", "1234341221......", "................"]


LEVELS = {"fusion": "gated", "middle_cycles": [2, 1]}
UNITS = {"mixer": "units", "pos_encodings": "none"}


def write_checkpoint(path: Path, core: str = "hrm", seed: int = 0, **settings: Any) -> Path:
    arch = ArchConfig(
        core=core,
        hidden_size=32,
        num_heads=2,
        H_layers=1,
        L_layers=1,
        puzzle_emb_ndim=0,
        forward_dtype="float32",
        **settings,
    )
    model = build_model(arch, 6, 16, 1, generator=torch.Generator().manual_seed(seed))
    if core == "hrm":
        with torch.no_grad():
            model.inner.q_head.weight.normal_(generator=torch.Generator().manual_seed(seed + 5))
            model.inner.q_head.bias.copy_(torch.tensor([-3.0, -9.0]))
    facts = DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4})
    write_model_file(path, model.state_dict(), Preset(arch=arch), 1, facts)
    return path


@pytest.mark.parametrize(("core", "settings"), [("hrm", {}), ("nova", {}), ("hrm", LEVELS), ("hrm", UNITS)])
def test_a_paused_solve_resumes_bit_exactly_even_when_paused_twice(
    tmp_path: Path, core: str, settings: dict[str, Any]
) -> None:
    model, card = load_model(write_checkpoint(tmp_path / "model.safetensors", core, **settings))
    domain = make_domain("sudoku", size=4)
    puzzles = [domain.parse(text, f"line {n}") for n, text in enumerate(PUZZLES)]
    states: dict[int, torch.Tensor] = {}
    inputs = torch.stack([torch.from_numpy(domain.encode(p.grid)).int() for p in puzzles])
    for step in model.infer(inputs, torch.zeros(5, dtype=torch.int32), 9, adaptive=True):
        states |= {int(row): z for row, z in zip(step.rows, step.carry.z_H, strict=True)}
    whole = {s.index: s for s in solve_puzzles(model, domain, puzzles, max_steps=9)}

    file, again = tmp_path / "state.safetensors", tmp_path / "again.safetensors"
    batches: list = []
    first = list(solve_puzzles(PausingModel(model, batches), domain, puzzles, max_steps=2))
    assert save_carry(file, card, domain, 2, batches, [s for s in first if s.steps == 2]) > 0
    more: list = []
    second = list(
        resume_puzzles(
            model, domain, load_carry(file, card, domain), max_steps=5, adaptive=True, paused_again=more
        )
    )
    save_carry(again, card, domain, 5, more, [s for s in second if s.steps == 5])
    last: list = []
    third = list(
        resume_puzzles(
            model, domain, load_carry(again, card, domain), max_steps=9, adaptive=True, paused_again=last
        )
    )
    ended = {s.index: s for s in [*first, *second, *third]}
    for index, solution in whole.items():
        assert (ended[index].answer == solution.answer).all()
        assert (ended[index].steps, ended[index].where) == (solution.steps, solution.where)
    for batch in last:
        for tokens, z_H in zip(batch.tokens, batch.carry.z_H, strict=True):
            row = next(i for i in range(5) if torch.equal(inputs[i], tokens))
            assert torch.equal(z_H, states[row])


def test_a_resumed_solve_shows_the_confidence_of_cells_within_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, card = load_model(write_checkpoint(tmp_path / "model.safetensors"))
    domain, file = make_domain("sudoku", size=4), tmp_path / "state.safetensors"
    puzzles = [domain.parse(text, f"line {n}") for n, text in enumerate(PUZZLES)]
    batches: list = []
    first = list(solve_puzzles(PausingModel(model, batches), domain, puzzles, max_steps=1, adaptive=False))
    assert save_carry(file, card, domain, 1, batches, [s for s in first if s.steps == 1]) > 2
    paused = load_carry(file, card, domain)
    plain = list(resume_puzzles(model, domain, paused, max_steps=3, adaptive=False))
    monkeypatch.setattr("hrm_cli.solving.tracing.TRACED_BYTES", 2 * 3 * 16 * 6 * 4)  # of two puzzles
    shown = list(resume_puzzles(model, domain, paused, max_steps=3, adaptive=False, trace=True, chances=True))
    assert [s.index for s in shown] == [s.index for s in plain]
    for solution, other in zip(shown, plain, strict=True):
        assert (solution.answer == other.answer).all()
        assert [step.step for step in solution.trace] == [2, 3]
        assert all(step.chances is not None for step in solution.trace)


def test_a_carry_of_another_checkpoint_and_a_file_that_is_not_a_carry_are_refused(tmp_path: Path) -> None:
    model, card = load_model(write_checkpoint(tmp_path / "model.safetensors"))
    _, other = load_model(write_checkpoint(tmp_path / "other.safetensors", seed=1))
    domain = make_domain("sudoku", size=4)
    batches: list = []
    solutions = list(
        solve_puzzles(PausingModel(model, batches), domain, [domain.parse(PUZZLES[3])], max_steps=1)
    )
    file = tmp_path / "state.safetensors"
    save_carry(file, card, domain, 1, batches, solutions)
    with pytest.raises(CheckpointError, match="a checkpoint other than"):
        load_carry(file, other, domain)
    with pytest.raises(CheckpointError, match="not a saved carry"):
        load_carry(card.path, card, domain)
    with pytest.raises(CheckpointError, match="no such file"):
        load_carry(tmp_path / "nowhere", card, domain)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="not a complete carry file"):
        load_carry(file, card, domain)


def test_resuming_needs_more_steps_than_were_taken(tmp_path: Path) -> None:
    model, card = load_model(write_checkpoint(tmp_path / "model.safetensors"))
    domain = make_domain("sudoku", size=4)
    batches: list = []
    solutions = list(
        solve_puzzles(PausingModel(model, batches), domain, [domain.parse(PUZZLES[3])], max_steps=4)
    )
    file = tmp_path / "state.safetensors"
    save_carry(file, card, domain, 4, batches, solutions)
    with pytest.raises(ConfigError, match="has already taken 4 steps; give"):
        list(resume_puzzles(model, domain, load_carry(file, card, domain), max_steps=4, adaptive=True))


def test_the_command_pauses_and_continues(run_hrm, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors")
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("\n".join(PUZZLES[1:4]) + "\n")
    state = tmp_path / "state.safetensors"
    # `--halt full`: random weights of another torch version may halt at the first step.
    one_step = ("--max-steps", 1, "--halt", "full")
    done = run_hrm("solve", puzzles, "--checkpoint", checkpoint, *one_step, "--save-carry", state)
    assert done.status == 1
    assert "ran out of steps" in done.stderr
    done = run_hrm("solve", "--resume-carry", state, "--checkpoint", checkpoint, "--max-steps", 6)
    assert done.status in (0, 1), done.stderr
    assert len(done.stdout.splitlines()) == 3
    both = run_hrm("solve", puzzles, "--resume-carry", state, "--checkpoint", checkpoint)
    assert both.status == 2
    assert "either a PUZZLE_FILE or a saved state" in both.stderr


def test_a_request_without_puzzles_names_what_could_be_solved() -> None:
    with pytest.raises(ConfigError, match=r"name a PUZZLE_FILE(.|\n)*hrm solve puzzles\.txt"):
        SolveRequest(()).check_sources()


def test_a_folder_of_puzzles_is_answered_with_the_names_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is a folder; name its files, as in .*\*\.json$"):
        SolveRequest((str(tmp_path),), submission=tmp_path / "submission.json").check_sources()
    SolveRequest(("." * 5000,)).check_sources()
