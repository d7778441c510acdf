"""Training, evaluating, saving and resuming on MPS, by a stand-in that refuses and forgets what the real one does."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hrm_cli.checkpoints.model_files import find_model_file
from hrm_cli.config.data import DataConfig
from hrm_cli.data.build import build_dataset
from hrm_cli.models.device import to_device, widest_float
from hrm_cli.models.recomputing import recomputed
from hrm_cli.models.rng import forked_rng
from hrm_cli.runs.execution import run_training
from hrm_cli.runs.preparing import prepare_run
from hrm_cli.runs.request import TrainRequest

_spec = importlib.util.spec_from_file_location("mps_standin", Path(__file__).with_name("mps_standin.py"))
assert _spec is not None
assert _spec.loader is not None
standin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(standin)

SMALL = (
    "arch.hidden_size=32", "arch.num_heads=4", "arch.H_layers=1", "arch.L_layers=1", "arch.forward_dtype=float32",
    "arch.halt_max_steps=3", "train.global_batch_size=8", "train.epochs=100", "train.max_steps=6", "train.device=cpu",
    "train.log_interval=1", "train.eval_interval=1", "eval.batch_size=4", "train.lr_warmup_steps=0",
    "train.lr_schedule=constant", "train.lr_min_ratio=1",
)  # fmt: skip
CASES = {
    "hrm": ("arch.puzzle_emb_ndim=32", "train.ema_decay=0.9", "train.grad_clip=1"),
    "hrm, Adam": ("train.optimizer=adamw", "train.accumulation_steps=2"),
    "trm": ("arch.core=trm", "arch.q_continue=false", "arch.mlp_t=true"),
    "rsm": ("train.objective=rsm", "train.loss=softmax_cross_entropy"),
    "nova": ("arch.core=nova", "arch.dropout=0.2", "arch.puzzle_emb_ndim=0", "train.activation_checkpointing=true"),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mps") / "d"
    build_dataset(DataConfig(domain="sudoku", size=4, num_train=16, num_test=5), folder)
    return folder


class Generator:
    """MPS's generator: a number that every operation there moves."""

    def __init__(self) -> None:
        self.state = torch.tensor([0], dtype=torch.uint8)
        self.put_back = 0

    def get(self) -> torch.Tensor:
        return self.state.clone()

    def set(self, state: torch.Tensor) -> None:
        self.put_back += 1
        self.state = state.clone()


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("HRM_CPU_KERNELS", "off")
    generator = Generator()
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set)
    with standin.MpsStandIn() as mode:
        mode.generator = generator
        yield mode


def figures(listener_file: Path) -> list[dict[str, float]]:
    import json

    lines = [json.loads(line) for line in listener_file.read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k and k != "kind"} for line in lines]


def trained(prepared: Any, device: torch.device) -> Any:
    with prepared:
        return run_training(prepared, device=device)


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_mps_trains_evaluates_saves_and_resumes_with_the_numbers_of_a_cpu(
    case: str, data: Path, tmp_path: Path, mps: Any
) -> None:
    def new(name: str, *more: str) -> Any:
        return prepare_run(
            TrainRequest(overrides=[*SMALL, *CASES[case], *more], data=data, output_dir=tmp_path / name)
        )

    trained(new("cpu"), device=torch.device("cpu"))
    before = mps.operations.total()
    outcome = trained(new("mps", "train.max_steps=4"), device=standin.MPS)
    assert mps.operations.total() - before > 1000, "the stand-in has computed nothing"
    assert outcome.result.best is not None
    prepared = prepare_run(TrainRequest(resume=str(tmp_path / "mps"), overrides=["train.max_steps=6"]))
    outcome = trained(prepared, device=standin.MPS)
    assert (outcome.result.reason, outcome.result.step) == ("finished", 6)
    for there, here in zip(
        figures(tmp_path / "mps/metrics.jsonl"), figures(tmp_path / "cpu/metrics.jsonl"), strict=True
    ):
        assert there == pytest.approx(here, rel=2e-3, abs=1e-5)
    assert find_model_file(tmp_path / "mps").is_file()


def test_sums_saved_as_float64_are_converted_to_float32(data: Path, tmp_path: Path, mps: Any) -> None:
    overrides = [*SMALL, "train.log_interval=100", "train.max_steps=2", "eval.max_puzzles=2"]
    prepared = prepare_run(TrainRequest(overrides=overrides, data=data, output_dir=tmp_path / "run"))
    folder = trained(prepared, device=torch.device("cpu")).result.checkpoint
    file = folder / "training.safetensors"
    sums = {"sums/lm_loss": torch.ones((), dtype=torch.float64), "sums/log_steps": torch.tensor(1)}
    save_file(load_file(file) | sums, file)
    resumed = prepare_run(TrainRequest(resume=str(tmp_path / "run"), overrides=["train.max_steps=3"]))
    assert trained(resumed, device=standin.MPS).result.step == 3


def test_dropout_on_mps_puts_its_generator_back(mps: Any) -> None:
    mps.generator.state[0] = 7
    with forked_rng(standin.MPS, seed=3):
        mps.generator.state[0] = 9
    assert mps.generator.state.item() == 7
    assert mps.generator.put_back == 1


def test_the_mps_stand_in_refuses_what_mps_refuses_or_corrupts(mps: Any) -> None:
    there = torch.ones(3).to(standin.MPS)
    for wrong in (
        there.double,
        lambda: torch.zeros(2, dtype=torch.float64, device=standin.MPS),
        lambda: there + torch.ones(3),
        lambda: torch.ones(3).to(standin.MPS, non_blocking=True),
        lambda: there.to("cpu", non_blocking=True),
    ):
        with pytest.raises((TypeError, RuntimeError)):
            wrong()
    assert there.device.type == "mps"
    assert to_device(torch.ones(2, dtype=torch.float64), standin.MPS).dtype == torch.float32
    assert widest_float(torch.device("cpu")) == torch.float64


def test_recomputed_activations_use_the_same_random_numbers(mps: Any) -> None:
    seen = []

    def part(x: torch.Tensor) -> torch.Tensor:
        seen.append(mps.generator.state.item())
        mps.generator.state += 1
        return x * x

    x = torch.ones(3, device=standin.MPS, requires_grad=True)
    out = recomputed(part, x, uses_rng=True)
    mps.generator.state += 5
    out.sum().backward()
    assert seen == [0, 0]
    assert mps.generator.state.item() == 6
