"""Size adapters: the weights as they are at the base size, changed at others, and trained alone if asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file

from hrm_cli.accounting.components import components
from hrm_cli.accounting.counting import count_exactly
from hrm_cli.checkpoints.model_files import find_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model
from hrm_cli.models.shapes import Shapes
from hrm_cli.models.size_adapters import share_of, size_adapters
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.training.muon import block_matrices
from hrm_cli.training.starting import freeze

ROOT = Path(__file__).resolve().parents[2]
UNITS: dict[str, Any] = {
    "mixer": "units", "hidden_size": 16, "num_heads": 2, "H_layers": 1, "L_layers": 1, "L_cycles": 2,
    "pos_encodings": "none", "forward_dtype": "float32", "expansion": 1,
}  # fmt: skip
ADAPTED = {**UNITS, "size_adapter_rank": 3, "size_adapter_base": 6}


def made(settings: dict[str, Any], size: int = 6) -> ACTModel:
    domain = SudokuDomain(size)
    generator = torch.Generator().manual_seed(3)
    return build_model(ArchConfig(**settings), domain.vocab_size, domain.seq_len, 1, generator=generator)


def with_random_changes(model: ACTModel) -> ACTModel:
    generator = torch.Generator().manual_seed(4)
    for adapter in size_adapters(model).values():
        torch.nn.init.normal_(adapter.up, std=0.3, generator=generator)
    return model


def logits(model: ACTModel, tokens: np.ndarray) -> torch.Tensor:
    inputs = torch.from_numpy(tokens.astype(np.int32))
    with torch.no_grad():
        carry, _ = model.core(model.core.initial_carry(inputs), inputs, None)
        return model.core(carry, inputs, None)[1].logits


def puzzles(size: int, rows: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(1, size + 2, (rows, size * size))


def test_a_new_model_has_the_weights_and_answers_of_one_without_adapters() -> None:
    plain, adapted = made(UNITS), made(ADAPTED)
    own = adapted.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    for size in (4, 6, 12):
        domain = SudokuDomain(size)
        for model in (plain, adapted):
            Shapes(model).take(domain.vocab_size, domain.seq_len, {"name": "sudoku", "size": size})
        assert torch.equal(logits(plain, puzzles(size)), logits(adapted, puzzles(size)))


def test_changes_count_only_at_other_sizes_than_the_base() -> None:
    plain, adapted = made(UNITS), with_random_changes(made(ADAPTED))
    sizes, plain_sizes = Shapes(adapted), Shapes(plain)
    for size, changed in ((6, False), (12, True), (4, True), (9, True), (6, False)):
        domain = SudokuDomain(size)
        facts = domain.vocab_size, domain.seq_len, {"name": "sudoku", "size": size}
        sizes.take(*facts)
        plain_sizes.take(*facts)
        assert torch.equal(logits(plain, puzzles(size)), logits(adapted, puzzles(size))) is not changed


def test_a_model_built_for_a_size_agrees_with_one_switched_to_it() -> None:
    switched, built = with_random_changes(made(ADAPTED)), with_random_changes(made(ADAPTED, size=12))
    built.load_state_dict(switched.state_dict())
    domain = SudokuDomain(12)
    Shapes(switched).take(domain.vocab_size, domain.seq_len, {"name": "sudoku", "size": 12})
    assert torch.equal(logits(switched, puzzles(12)), logits(built, puzzles(12)))


@given(base=st.integers(1, 25), symbols=st.integers(1, 64))
def test_the_share_grows_with_the_distance_from_the_base(base: int, symbols: int) -> None:
    share = share_of(base, symbols)
    assert 0 <= share < 1
    assert (share > 0) == (symbols != base)
    assert share == share_of(symbols, base)
    assert symbols < base or share_of(base, symbols + 1) > share


@settings(max_examples=10, deadline=None)
@given(size=st.sampled_from([6, 9]), seed=st.integers(0, 2**32))
def test_outputs_still_permute_with_every_symmetry(size: int, seed: int) -> None:
    model = with_random_changes(made({**ADAPTED, "size_adapter_base": 4}, size=size))
    domain, rng = SudokuDomain(size), np.random.default_rng(seed)
    tokens = rng.integers(1, domain.vocab_size, domain.seq_len).astype(np.uint8)
    symmetries = domain.sample_symmetries(rng, 3)
    plain, moved = logits(model, tokens[None])[0].numpy(), logits(model, symmetries.apply(tokens))
    for row in range(len(symmetries)):
        expected = np.empty_like(plain)
        expected[:, symmetries.tokens[row]] = plain[symmetries.cells[row]]
        np.testing.assert_allclose(moved[row].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_the_ledger_counts_adapters(core: str) -> None:
    settings = {**ADAPTED, "core": core}
    domain = SudokuDomain(9)
    counted = count_exactly(ArchConfig(**settings), domain.vocab_size, domain.seq_len, 1)
    parts = components(ArchConfig(**settings), domain.vocab_size, domain.seq_len, 1)
    adapters = sum(part.trainable for part in parts if part.kind == "size adapters")
    model = made(settings, size=9)
    assert adapters == sum(p.numel() for one in size_adapters(model).values() for p in one.parameters()) > 0
    assert sum(part.trainable for part in parts) == counted.trainable
    assert {id(p) for one in size_adapters(model).values() for p in one.parameters()} <= {
        id(matrix) for matrix in block_matrices(model)
    }


def test_other_mixers_refuse_adapters() -> None:
    with pytest.raises(ValidationError, match="size_adapter_rank works only with mixer units"):
        ArchConfig(size_adapter_rank=4)


def hrm(*arguments: str, folder: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hrm_cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


TINY = (
    "hidden_size=16", "num_heads=2", "expansion=1", "L_cycles=1", "train.log_interval=1", "train.global_batch_size=16",
    "train.epochs=40", "train.lr=1e-2",
)  # fmt: skip


def test_freezing_the_base_keeps_the_current_adapters_and_takes_averages_of_the_rest() -> None:
    model = with_random_changes(made(ADAPTED))
    before = {name: value.clone() for name, value in model.named_parameters()}
    averages = {name: value + 1 for name, value in before.items()}
    state: Any = SimpleNamespace(model=model, sparse=None, average=SimpleNamespace(parameters=averages))
    freeze(state, TrainConfig(freeze="base"))
    for name, parameter in model.named_parameters():
        is_adapter = ".size_adapter." in name
        assert parameter.requires_grad is is_adapter
        assert torch.equal(parameter, before[name] if is_adapter else averages[name])


def test_adapters_are_trained_alone_on_larger_puzzles(tmp_path: Path) -> None:
    for size, count in ((4, 16), (6, 24)):
        hrm(
            "build-dataset", "sudoku", "-o", f"s{size}", "--size", str(size), "--num-train", str(count), "--num-test",
            "4", folder=tmp_path,
        )  # fmt: skip
    hrm(
        "train",
        "--preset",
        "sudoku-units",
        "--data",
        "s4",
        "-o",
        "base",
        *TINY,
        "train.max_steps=3",
        folder=tmp_path,
    )
    adapting = (
        "train", "--preset", "sudoku-units", "--data", "s4", "--checkpoint", "base", "data.other_sizes=[s6]",
        "arch.size_adapter_rank=2", "arch.size_adapter_base=4", "train.freeze=base", *TINY,
    )  # fmt: skip
    refused = hrm(*(one for one in adapting if "rank" not in one), "-o", "no", folder=tmp_path, code=2)
    assert "set arch.size_adapter_rank, or use train.freeze=none" in " ".join(refused.split())
    hrm(*adapting, "-o", "whole", "train.max_steps=8", folder=tmp_path)
    base, whole = (load_file(find_model_file(tmp_path / run)) for run in ("base", "whole"))
    assert all(torch.equal(whole[name], value) for name, value in base.items())
    changed = [name for name in whole if name.endswith(".up")]
    assert changed
    assert all(bool(whole[name].any()) for name in changed)

    plain = (
        "train",
        "--preset",
        "sudoku-units",
        "--data",
        "s4",
        "--checkpoint",
        "whole",
        "-o",
        "plain",
        *TINY,
    )
    said = hrm(*plain, "train.max_steps=1", "train.lr=1e-9", folder=tmp_path)
    assert "Starts from the weights of" in said
    assert "whole, without its size adapters." in " ".join(said.split())
    kept = load_file(find_model_file(tmp_path / "plain"))
    assert kept.keys() == base.keys()
    assert all(torch.allclose(kept[name], value, atol=1e-5) for name, value in base.items())
