"""Settings of the states that rows start from: random states, noise, damping, warm-up, repair and float32 states."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.mixers import MIXERS
from hrm_cli.config.presets import load_preset
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.core import Depth
from hrm_cli.models.initial_states import state_of_answer
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.training import row_starts as starts_module
from hrm_cli.training.loop import train
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.row_starts import RowStarts, damaged, row_starts
from hrm_cli.training.state import TrainState, initial_state
from hrm_cli.training.step import train_one_step

SETTINGS: dict[str, dict[str, Any]] = {
    "random": {"arch": {"initial_state": "random"}},
    "damping": {"arch": {"damping": 0.8}},
    "noise": {"state_noise": 0.1},
    "warm_up": {"warm_up_rows": 0.5, "warm_up_steps": 4},
    "repair": {"repair_rows": 0.5, "repair_cells": 0.8},
    "float32": {"arch": {"state_dtype": "float32", "forward_dtype": "bfloat16"}},
    "all": {
        "arch": {
            "initial_state": "random",
            "damping": 0.9,
            "state_dtype": "float32",
            "forward_dtype": "bfloat16",
        },
        "state_noise": 0.05,
        "warm_up_rows": 0.5,
        "warm_up_steps": 3,
        "repair_rows": 0.5,
    },
}


def run_with(make_run, name: str | None, *, steps: int = 8, folder: str = "run", **more: Any):
    settings = dict(SETTINGS[name]) if name else {}
    arch = {**settings.pop("arch", {}), **more.pop("arch", {})}
    run, _ = make_run(steps, folder=folder, **{**settings, **more})
    arch = ArchConfig(**{**run.preset.arch.model_dump(), **arch})
    run.preset = run.preset.model_copy(update={"arch": arch})
    return run, initial_state(run.preset, run.facts, torch.device("cpu"))


def weights_after(make_run, name: str | None, **more: Any) -> dict[str, torch.Tensor]:
    run, state = run_with(make_run, name, folder=f"{name}-{more}"[:60], **more)
    train(run, state)
    return state.model.state_dict()


def starts_of(state: TrainState, run, rows: int, seed: int = 1) -> RowStarts:
    rng = StepRNG(torch.Generator().manual_seed(seed), rows)
    arch = run.preset.arch
    found = row_starts(state.model, run.preset.train, rng, Depth(arch.H_cycles, arch.L_cycles))
    assert found is not None
    return found


def prepared(state: TrainState, run, batch: PuzzleBatch, fresh: torch.Tensor, seed: int = 1):
    core = state.model.core
    starts = starts_of(state, run, len(fresh), seed)
    rows = state.model.puzzle_rows(batch.puzzle_identifiers)
    return starts.prepare(core.initial_carry(batch.inputs), batch, fresh, rows, core.cast_weights())


@pytest.mark.parametrize(
    ("name", "core", "objective"),
    [
        *[(name, "hrm", "deep_supervision") for name in SETTINGS],
        *[(name, "trm", "rsm") for name in SETTINGS],
        ("all", "hrm", "rsm"),
        ("all", "trm", "deep_supervision"),
    ],
)
def test_every_setting_changes_the_training_and_resumes_bit_identically(
    make_run, name: str, core: str, objective: str
) -> None:
    def begun(folder: str, which: str | None = name):
        return run_with(make_run, which, folder=folder, objective=objective, arch={"core": core})

    run, whole = begun("whole")
    train(run, whole)
    plain_run, plain = begun("plain", None)
    train(plain_run, plain)
    first, half = begun("parts")
    config = first.preset.train.model_copy(update={"checkpoint_interval": 5})
    first.preset = first.preset.model_copy(update={"train": config})
    train(first, half)
    second, resumed = begun("parts")
    (second.folder / "latest").write_text("checkpoints/step-000000005")
    second.batches.position = load_training_state(second.folder, resumed)["position"]
    assert resumed.step == 5
    train(second, resumed)
    differs = False
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], tensor), key
        differs |= not torch.equal(plain.model.state_dict()[key], tensor)
    assert differs
    assert torch.equal(resumed.generator.get_state(), whole.generator.get_state())


def test_without_the_settings_no_random_number_is_used(make_run) -> None:
    run, state = run_with(make_run, None)
    assert row_starts(state.model, run.preset.train, StepRNG(None, 8), Depth(1, 1)) is None


@pytest.mark.parametrize("name", ["random", "noise", "warm_up", "repair"])
def test_micro_batches_change_nothing_but_rounding(make_run, name: str) -> None:
    def steps(count: int) -> TrainState:
        run, state = run_with(make_run, name, folder=f"in-{count}", accumulation_steps=count)
        for _ in range(5):
            train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 5)
        return state

    whole, parts = steps(1), steps(3)
    assert torch.equal(parts.generator.get_state(), whole.generator.get_state())
    for key, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[key], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["on", "cudagraphs"])
def test_compiled_training_takes_every_setting(make_run, mode: str) -> None:
    def steps(compiled: bool) -> TrainState:
        run, state = run_with(make_run, "all", folder=f"{mode}-{compiled}")
        if compiled:
            compile_updates(state.model, mode, backend="eager")
        for _ in range(3):
            train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 3)
        return state

    compiled, plain = steps(True), steps(False)
    assert compiled.model.inner.training
    for key, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[key], tensor, rtol=1e-2, atol=1e-3)


def test_random_states_replace_those_of_fresh_rows_only_and_differ_between_rows_and_steps(make_run) -> None:
    run, state = run_with(make_run, "random")
    batch, core = as_tensors(next(run.batches)), state.model.core
    fresh = torch.arange(8) % 2 == 0
    found = prepared(state, run, batch, fresh)
    usual = core.initial_carry(batch.inputs)
    assert torch.equal(found.z_H[~fresh], usual.z_H[~fresh])
    assert torch.equal(found.z_L[~fresh], usual.z_L[~fresh])
    assert found.z_H[fresh].unique(dim=0).shape[0] == 4
    assert not torch.equal(found.z_H, found.z_L)
    assert found.z_H[fresh].std().item() == pytest.approx(1, abs=0.1)
    assert not torch.equal(prepared(state, run, batch, fresh, seed=2).z_H, found.z_H)


def test_random_models_answer_reproducibly_and_a_row_does_not_depend_on_the_others(make_run) -> None:
    run, state = run_with(make_run, "random")
    batch = as_tensors(next(run.batches))
    model = state.model

    def answers(rows: slice) -> torch.Tensor:
        *_, last = model.infer(batch.inputs[rows], batch.puzzle_identifiers[rows], 3, adaptive=False)
        assert last.logits is not None
        return last.logits

    together = answers(slice(None))
    assert torch.equal(answers(slice(None)), together)
    torch.testing.assert_close(answers(slice(2, 3)), together[2:3])


def test_noise_has_the_size_of_the_setting_relative_to_each_rows_state(make_run) -> None:
    run, state = run_with(make_run, "noise")
    batch, core = as_tensors(next(run.batches)), state.model.core
    usual = core.initial_carry(batch.inputs)
    found = prepared(state, run, batch, torch.zeros(8, dtype=torch.bool))
    for before, after in ((usual.z_H, found.z_H), (usual.z_L, found.z_L)):
        rms = before.square().mean().sqrt()
        assert ((after - before).std() / rms).item() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_damping_mixes_the_states_of_a_step_with_those_before_it(make_run, core: str) -> None:
    run, state = run_with(make_run, None, arch={"core": core})
    batch, inner = as_tensors(next(run.batches)), state.model.inner
    rows = state.model.puzzle_rows(batch.puzzle_identifiers)
    with torch.no_grad():
        before, _ = inner(inner.initial_carry(batch.inputs), batch.inputs, rows)
        plain, _ = inner(before, batch.inputs, rows)
        inner.arch = inner.arch.model_copy(update={"damping": 0.25})
        found, out = inner(before, batch.inputs, rows)
        torch.testing.assert_close(found.z_H, 0.25 * plain.z_H + 0.75 * before.z_H)
        torch.testing.assert_close(found.z_L, 0.25 * plain.z_L + 0.75 * before.z_L)
        # The answer and the halt values are read from the damped state.
        torch.testing.assert_close(out.logits, inner.logits_of(found.z_H, inner.cast_weights()))
        _, values = inner(before, batch.inputs, rows, with_logits=False)
        torch.testing.assert_close(values.q_halt, out.q_halt)


def test_a_warmed_up_row_is_in_the_state_after_its_own_number_of_steps(make_run) -> None:
    run, state = run_with(make_run, "warm_up", warm_up_rows=1.0)
    batch, core = as_tensors(next(run.batches)), state.model.core
    fresh = torch.tensor([True, True, False, True, True, True, False, True])
    found = prepared(state, run, batch, fresh)
    rng = starts_of(state, run, 8).rng
    rng.shares_on_host("warm_up_rows")
    counts = 1 + (rng.shares_on_host("warm_up_steps") * 4).long()
    assert len(set(counts[fresh].tolist())) > 1
    rows, carry = state.model.puzzle_rows(batch.puzzle_identifiers), core.initial_carry(batch.inputs)
    with torch.no_grad():
        for step in range(5):
            here = counts == step if step else ~fresh
            here = here & fresh if step else here
            torch.testing.assert_close(found.z_H[here], carry.z_H[here])
            torch.testing.assert_close(found.z_L[here], carry.z_L[here])
            carry, _ = core(carry, batch.inputs, rows)


@pytest.mark.parametrize("name", ["noise", "warm_up", "repair"])
def test_middle_levels_keep_states_of_their_own(make_run, name: str) -> None:
    levels = {"middle_cycles": (2,), "fusion": "gated"}
    run, state = run_with(make_run, name, arch=levels, **{f"{name}_rows": 1.0} if name != "noise" else {})
    batch, core = as_tensors(next(run.batches)), state.model.core
    usual = core.initial_carry(batch.inputs)
    found = prepared(state, run, batch, torch.ones(8, dtype=torch.bool))
    assert usual.z_M is not None
    assert found.z_M is not None
    assert found.z_M.shape == usual.z_M.shape
    assert torch.equal(found.z_M, usual.z_M) == (name == "repair")
    train_one_step(state, batch, run.preset.train, 5)
    assert state.carry is not None
    assert state.carry.inner.z_M is not None


def test_warm_up_steps_get_no_gradient_and_do_not_count_as_act_steps(make_run) -> None:
    run, state = run_with(make_run, "warm_up", warm_up_rows=1.0)
    train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 5)
    assert state.carry is not None
    assert state.carry.steps.tolist() == [1] * 8


def test_a_repair_row_starts_from_a_state_that_reads_as_its_damaged_solution(make_run) -> None:
    run, state = run_with(make_run, "repair", repair_rows=1.0)
    batch, inner = as_tensors(next(run.batches)), state.model.inner
    batch.labels[0, 4] = -100
    fresh = torch.tensor([True] * 6 + [False] * 2)
    found = prepared(state, run, batch, fresh)
    read = inner.logits_of(found.z_H, inner.cast_weights()).argmax(-1)
    rng = starts_of(state, run, 8).rng
    rng.shares_on_host("repair_rows")
    fractions = rng.shares_on_host("repair_cells") * 0.8
    wanted = damaged(batch.labels, fractions, rng.row_seeds("repair_rows"))
    known = wanted >= 0
    known[6:] = False
    assert torch.equal(read[known], wanted[known].long())
    assert (wanted[known] != batch.labels[known]).any()
    usual = inner.initial_carry(batch.inputs)
    assert torch.equal(found.z_H[6:], usual.z_H[6:])
    # Without a label nothing is known of a cell, and puzzle positions hold no answer.
    prefix = inner.arch.puzzle_positions
    assert torch.equal(found.z_H[:, :prefix], usual.z_H[:, :prefix])
    assert torch.equal(found.z_H[0, prefix + 4], usual.z_H[0, prefix + 4])
    torch.testing.assert_close(found.z_H[1].square().mean(-1)[prefix:], torch.ones(9), rtol=1e-3, atol=1e-3)
    assert torch.equal(found.z_L, usual.z_L)


def test_damaged_solutions_have_the_wanted_fraction_of_wrong_cells_and_known_tokens_only() -> None:
    labels = torch.arange(1, 401).repeat(3, 1)
    labels[:, :20] = -100
    found = damaged(labels, torch.tensor([0.0, 0.3, 1.0]), [1, 2, 3])
    assert torch.equal(found[:, :20], labels[:, :20])
    assert found[:, 20:].min() >= 21
    wrong = (found != labels).float().mean(1).tolist()
    assert wrong == pytest.approx([0, 0.27, 0.9], abs=0.06)


def test_float32_states_stay_float32_while_matmuls_use_the_forward_dtype(make_run) -> None:
    run, state = run_with(make_run, "float32")
    batch, inner = as_tensors(next(run.batches)), state.model.inner
    seen = set()
    original = starts_module.torch.nn.functional.linear

    def linear(x, *rest):
        seen.add(x.dtype)
        return original(x, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", linear)
        carry, out = inner(
            inner.initial_carry(batch.inputs), batch.inputs, state.model.puzzle_rows(batch.puzzle_identifiers)
        )
    assert seen == {torch.bfloat16}
    assert (carry.z_H.dtype, carry.z_L.dtype, out.logits.dtype) == (
        torch.float32,
        torch.float32,
        torch.bfloat16,
    )
    # Not numbers of bfloat16 in float32.
    assert not torch.equal(carry.z_H.bfloat16().float(), carry.z_H)
    assert not inner.takes_cpu_blocks


@pytest.mark.parametrize(
    "setting",
    ["arch.initial_state=random", "arch.damping=0.9", "arch.state_dtype=float32", "train.state_noise=0.1",
     "train.warm_up_rows=0.2", "train.repair_rows=0.2"],
)  # fmt: skip
def test_nova_refuses_the_settings_by_name(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"works only with the cores hrm and trm, but .*core is nova"):
        load_preset("nova", overrides=[setting])


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_with_every_mixer_a_state_reads_as_the_answer_it_is_made_from(mixer: str) -> None:
    domain = SudokuDomain(4)
    own = {} if mixer == "attention" else {"pos_encodings": "none", "puzzle_emb_ndim": 0}
    arch = ArchConfig(hidden_size=32, num_heads=4, H_layers=1, L_layers=1, mixer=mixer, **own)
    model = build_model(
        arch, domain.vocab_size, domain.seq_len, 1, generator=torch.Generator().manual_seed(0)
    )
    core, generator = model.inner, torch.Generator().manual_seed(1)
    first = domain.vocab_size - 4
    answer = torch.randint(first, domain.vocab_size, (3, 16), generator=generator)
    weights, like = core.cast_weights(), core.initial_carry(answer.int()).z_H
    z_H = state_of_answer(lambda z: core.logits_of(z, weights), answer, like, core.vocab_size)
    assert z_H.dtype == like.dtype
    assert torch.equal(core.logits_of(z_H, weights).argmax(-1), answer)


def test_ranks_and_micro_batches_take_slices_of_the_same_numbers() -> None:
    def rng() -> StepRNG:
        return StepRNG(torch.Generator().manual_seed(0), 6)

    whole, parts = rng(), rng()
    seeds, shares = whole.row_seeds("a"), whole.shares_on_host("a")
    first, second = parts.of(slice(0, 4)), parts.of(slice(4, 6))
    assert [*first.row_seeds("a"), *second.row_seeds("a")] == seeds
    assert torch.equal(torch.cat([first.shares_on_host("a"), second.shares_on_host("a")]), shares)
    assert len({*seeds, *whole.row_seeds("b")}) == 12


def test_random_states_end_the_equivariance_of_a_structured_mixer() -> None:
    own = {"mixer": "units", "pos_encodings": "none", "puzzle_emb_ndim": 0}
    assert ArchConfig(**own).is_equivariant
    assert not ArchConfig(**own, initial_state="random").is_equivariant
