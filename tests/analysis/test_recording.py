"""Recording changes nothing, and names the right module, for every core and mixer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hrm_cli.analysis.attention import AttentionTally, pair_kinds
from hrm_cli.analysis.dynamics import Puzzles, kept_steps, one_empty_cell, perturbed, record, run_steps
from hrm_cli.analysis.recording import blocks_per_step, recording
from hrm_cli.cli.studying.analyze import attention_rows
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.views.report.analysis_page import _updates

DOMAIN = SudokuDomain(4)
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_heads": 2, "H_layers": 1, "L_layers": 1, "H_cycles": 2, "L_cycles": 2,
    "halt_max_steps": 3, "forward_dtype": "float32", "expansion": 1,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "hrm": {},
    "hrm with a puzzle embedding": {"puzzle_emb_ndim": 16},
    "hrm mlp": {"mixer": "mlp", "pos_encodings": "none"},
    "hrm units": {"mixer": "units", "pos_encodings": "none"},
    "hrm neighbors": {"mixer": "neighbors", "pos_encodings": "none"},
    "hrm edges": {"mixer": "edges", "pos_encodings": "none"},
    "trm": {"core": "trm", "puzzle_emb_ndim": 0},
    "trm mlp": {"core": "trm", "mlp_t": True, "pos_encodings": "none", "puzzle_emb_ndim": 0},
    "trm units": {"core": "trm", "mixer": "units", "pos_encodings": "none", "puzzle_emb_ndim": 0},
}


def build(name: str) -> ACTModel:
    arch = ArchConfig(**{"puzzle_emb_ndim": 0, **SMALL, **MODELS[name]})
    generator = torch.Generator().manual_seed(0)
    return build_model(
        arch, DOMAIN.vocab_size, DOMAIN.seq_len, 1, domain={"name": "sudoku", "size": 4}, generator=generator
    )


def puzzles(count: int = 5) -> Puzzles:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, 6, (count, 16), generator=generator, dtype=torch.int32)
    hidden = torch.rand(count, 16, generator=generator) < 0.5
    return Puzzles(torch.where(hidden, 1, labels), labels, torch.zeros(count, dtype=torch.int32))


def answers(model: ACTModel, sample: Puzzles, steps: int) -> list[Tensor]:
    with torch.inference_mode():
        model.eval()
        return [found.clone() for _, _, _, found, _ in run_steps(model, sample, slice(0, len(sample)), steps)]


@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_model_gives_the_same_answers(name: str) -> None:
    model, sample = build(name), puzzles()
    plain = answers(model, sample, 4)
    found = record(model, sample, 4, 3, tally=AttentionTally(pair_kinds(DOMAIN)))  # type: ignore[arg-type]
    assert all((a.numpy() == b).all() for a, b in zip(plain, found.answers, strict=True))
    assert model.inner.compiled_inference is None  # type: ignore[union-attr]
    assert all((a == b).all() for a, b in zip(plain, answers(model, sample, 4), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_updates_alternate_as_the_cycles_say(name: str) -> None:
    found = record(build(name), puzzles(), 4, 3)
    assert [module for _, module, _ in found.updates] == ["L", "L", "H"] * 2 * 3
    assert [step for step, _, _ in found.updates] == [1] * 6 + [2] * 6 + [3] * 6
    assert all(value > 0 for _, _, value in found.updates)


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("hrm", "HL"),
        ("hrm with a puzzle embedding", "HL"),
        ("hrm units", "H"),
        ("trm", "HL"),
        ("trm mlp", ""),
        ("trm units", "HL"),
    ],
)
def test_attention_is_recorded_where_there_is_any(name: str, modules: str) -> None:
    tally = AttentionTally(pair_kinds(DOMAIN))  # type: ignore[arg-type]
    record(build(name), puzzles(), 2, 2, tally=tally, empty=puzzles().inputs == 1)
    found = tally.document(0.5)
    assert "".join(found["modules"] if found else "") == modules
    if found:
        assert all(sum(head["shares"].values()) == pytest.approx(1, abs=1e-5) for head in found["heads"])


def test_states_and_trajectories_have_the_stated_shapes() -> None:
    found = record(build("hrm"), puzzles(20), 5, 3)
    assert found.exact.shape == (5, 20)
    assert found.states["H"].shape == (20, 3, 8, 16)
    assert found.trajectories["L"].shape == (6, 6, 256)
    assert found.residuals["H"].shape == (5, 20)
    first = found.trajectories["H"][:, 0]
    assert np.allclose(first, first[0])  # the common initial state


def test_residuals_are_those_of_the_states() -> None:
    found = record(build("trm"), puzzles(3), 2, 2)
    before, after = found.trajectories["H"][:, 1], found.trajectories["H"][:, 2]
    expected = np.linalg.norm(after - before, axis=1) / np.linalg.norm(after, axis=1)
    assert found.residuals["H"][1] == pytest.approx(expected, rel=1e-4)


def test_kept_steps_are_spread_over_the_trained_depth() -> None:
    assert kept_steps(3) == [1, 2, 3]
    assert kept_steps(1) == [1]
    steps = kept_steps(64)
    assert len(steps) == 8
    assert steps[0] == 1
    assert steps[-1] == 64


def test_a_core_without_updates_is_only_followed_step_by_step() -> None:
    arch = ArchConfig(
        core="nova", hidden_size=16, num_heads=2, H_layers=1, L_layers=1, halt_max_steps=3, expansion=1
    )
    model = build_model(arch, 6, 16, 1, generator=torch.Generator().manual_seed(0))
    with recording(model) as recorder:
        assert recorder is None
    assert blocks_per_step(model) is None
    found = record(model, puzzles(), 4, 3)
    assert found.updates == []
    assert found.exact.shape == (4, 5)


@pytest.mark.parametrize(("name", "blocks"), [("hrm", 6), ("trm", 6)])
def test_the_blocks_of_a_step_are_counted(name: str, blocks: int) -> None:
    assert blocks_per_step(build(name)) == blocks


def test_undisturbed_states_give_what_more_steps_give() -> None:
    model, sample = build("hrm"), puzzles(12)
    # These answers become the labels, so that all puzzles count as solved.
    sample.labels = answers(model, sample, 3)[-1].int()
    later = answers(model, sample, 5)[-1]
    expected = float(sample.exact(later, slice(0, 12)).float().mean())
    found = perturbed(model, sample, 3, 2, (0.0, 50.0), seed=0)
    assert found["solved"] == 12
    assert found["scales"][0]["right_at_end"] == pytest.approx(expected)
    assert found["scales"][1]["right_at_end"] <= 1


def test_without_solved_puzzles_nothing_is_disturbed() -> None:
    sample = puzzles(3)
    sample.labels = torch.full_like(sample.labels, 0)
    found = perturbed(build("hrm"), sample, 2, 2, (0.0,), seed=0)
    assert found["solved"] == 0
    assert found["scales"] == []


def test_one_empty_cell_hides_exactly_one_cell_of_each_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    from hrm_cli.analysis import dynamics

    seen: list[Tensor] = []
    real = dynamics.run_steps

    def watched(model: ACTModel, sample: Puzzles, *rest: Any, **more: Any) -> Any:
        seen.append((sample.inputs != sample.labels).sum(1))
        return real(model, sample, *rest, **more)

    monkeypatch.setattr(dynamics, "run_steps", watched)
    found = one_empty_cell(build("hrm"), puzzles(7), 1, 3, seed=0)
    assert seen[0].tolist() == [1] * 7
    assert found["puzzles"] == 7
    assert 0 <= found["at_end"] <= found["best"] <= 1


def test_updates_of_middle_levels_are_named_counted_and_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "levels", {"fusion": "gated", "middle_cycles": [2]})
    model, sample = build("levels").eval(), puzzles()
    seen: list[str] = []
    with recording(model) as recorder:
        assert recorder is not None
        recorder.on_update = lambda module, before, after: seen.append(module)
        for _ in run_steps(model, sample, slice(0, 5), 1, recorder=recorder):
            pass
    assert seen == ["L", "L", "M1", "L", "L", "M1", "H"] * 2
    assert blocks_per_step(model) == len(seen)
    found = {"trained_steps": 1, "updates": [{"step": 1, "module": name, "residual": 0.5} for name in seen]}
    assert "z_M1" in _updates(found)
    recorded = record(model, sample, 2, 2)
    assert {module for _, module, _ in recorded.updates} == {"L", "M1", "H"}
    assert perturbed(model, sample, 1, 1, (0.1,), 0)["steps"] == 1
    kinds = {"kinds": ["row"], "uniform": {"row": 1.0}, "on_empty": {}}
    shares: dict[str, Any] = {name: {"row": 0.5} for name in ("H", "L", "M1", "M2")}
    columns, rows = attention_rows({**kinds, "modules": shares})
    assert columns == ("kind of cell", "uniform", "L", "M1", "M2", "H")
    assert len(rows[0]) == len(columns)
