"""What `hrm eval` measures: with every puzzle identifier replaced by the blank one, and how it tells its progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hrm_cli import api
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.distributed.world import World
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.effort import forward_flops
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.evaluation.measuring import measure
from hrm_cli.evaluation.request import EvalRequest
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.arc.names import pack_names
from hrm_cli.reporting import Progress, Reporter

ARCH = ArchConfig(
    hidden_size=16, num_heads=2, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, expansion=1, puzzle_emb_ndim=16,
    halt_max_steps=1, forward_dtype="float32",
)  # fmt: skip
TABLE = "inner.puzzle_emb.weights"
GRID = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("tasks") / "evaluation.json"
    pairs = [{"input": GRID, "output": [row[::-1] for row in GRID]}]
    source.write_text(
        json.dumps({"a": {"train": pairs, "test": pairs}, "b": {"train": pairs, "test": pairs}})
    )
    folder = tmp_path_factory.mktemp("data") / "arc"
    build_request(BuildRequest("arc", folder, {"source": str(source), "num_aug": 3}))
    return folder


@pytest.fixture(scope="module")
def tensors(data: Path) -> dict[str, Tensor]:
    count = len(json.loads((data / "identifiers.json").read_text()))
    made = build_model(ARCH, 12, 900, count, generator=torch.Generator().manual_seed(0)).state_dict()
    made[TABLE] = 3 * torch.randn(count, 16, generator=torch.Generator().manual_seed(1))
    return made


def model_file(path: Path, tensors: dict[str, Tensor], data: Path) -> Path:
    names = json.loads((data / "identifiers.json").read_text())
    facts = DatasetFacts(12, 900, len(names), {"name": "arc"}, pack_names(names))
    write_model_file(path, tensors, Preset(arch=ARCH), 1, facts)
    return path


def test_an_ablation_gives_the_figures_of_a_model_whose_embeddings_are_all_blank(
    tmp_path: Path, data: Path, tensors: dict[str, Tensor]
) -> None:
    own = model_file(tmp_path / "own.safetensors", tensors, data)
    blank = {**tensors, TABLE: tensors[TABLE][:1].expand_as(tensors[TABLE]).contiguous()}
    expected = api.evaluate(model_file(tmp_path / "blank.safetensors", blank, data), data, device="cpu")
    usual = api.evaluate(own, data, device="cpu")
    ablated = api.evaluate(own, data, device="cpu", ablate_puzzle_id=True)
    assert (usual["ablate_puzzle_id"], ablated["ablate_puzzle_id"]) == (False, True)
    assert ablated["cell_accuracy"] == expected["cell_accuracy"] != usual["cell_accuracy"]
    assert ablated["puzzles"] == usual["puzzles"] == 8, "only the model's input changes, not what is counted"


def test_the_regime_of_a_vote_counts_tasks_and_the_flops_of_all_their_copies(
    tmp_path: Path, data: Path, tensors: dict[str, Tensor]
) -> None:
    found = api.evaluate(model_file(tmp_path / "own.safetensors", tensors, data), data, device="cpu")
    regime, copies = found["regime"], found["puzzles"]
    assert (copies, regime["puzzles"]) == (8, 2)
    assert regime["interval"] == list(wilson_interval(found["arc"]["pass@2"], 2))
    assert regime["effort"].endswith("for each augmented copy of a task, whose votes select its answers")
    assert regime["rules"] == "not used"
    assert regime["flops_per_puzzle"] == 4 * found["mean_steps"] * forward_flops(ARCH, 12, 900)


def test_a_sample_would_tear_the_copies_of_a_task_apart(
    tmp_path: Path, data: Path, tensors: dict[str, Tensor]
) -> None:
    with pytest.raises(ConfigError, match="--sample: not for ARC tasks"):
        api.evaluate(model_file(tmp_path / "own.safetensors", tensors, data), data, device="cpu", sample=3)


def test_a_model_that_does_not_tell_puzzles_apart_is_refused(
    tmp_path: Path, data: Path, tensors: dict[str, Tensor]
) -> None:
    arch = ARCH.model_copy(update={"puzzle_emb_ndim": 0})
    plain = build_model(arch, 12, 900, 8, generator=torch.Generator().manual_seed(0)).state_dict()
    path = tmp_path / "plain.safetensors"
    write_model_file(path, plain, Preset(arch=arch), 1, DatasetFacts(12, 900, 8, {"name": "arc"}, ""))
    with pytest.raises(ConfigError, match=r"--ablate-puzzle-id: .* has no puzzle embeddings"):
        api.evaluate(path, data, device="cpu", ablate_puzzle_id=True)
    with pytest.raises(ConfigError, match="has only the blank puzzle identifier"):
        api.evaluate(_sudoku_model(tmp_path), _sudoku_data(tmp_path), device="cpu", ablate_puzzle_id=True)


def test_the_progress_of_several_processes_never_exceeds_all_puzzles(
    tmp_path: Path, data: Path, tensors: dict[str, Tensor]
) -> None:
    class Two(World):
        """The first of two processes, in which the other had no puzzle."""

        def rows(self, global_batch_size: int) -> slice:
            return slice(0, global_batch_size)

        def sum(self, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return dict(figures)

        def gather_bytes(self, data: bytes) -> list[bytes]:
            return [data]

    seen: list[float] = []

    class Display(Progress):
        def update(self, completed: float, note: str = "", total: float | None = None) -> None:
            seen.append(completed)

    class Watching(Reporter):
        def progress(
            self, description: str, total: float | None = None, *, start: float = 0
        ) -> AbstractContextManager[Progress]:
            return nullcontext(Display())

    path = model_file(tmp_path / "own.safetensors", tensors, data)
    measured = measure(EvalRequest(str(path), str(data), device="cpu"), Watching(), world=Two(size=2))
    assert seen[-1] == measured.result.puzzles == 8


def _sudoku_model(folder: Path) -> Path:
    facts = DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4}, "")
    made = build_model(ARCH, 6, 16, 1, generator=torch.Generator().manual_seed(0)).state_dict()
    write_model_file(folder / "four.safetensors", made, Preset(arch=ARCH), 1, facts)
    return folder / "four.safetensors"


def _sudoku_data(folder: Path) -> Path:
    settings = {"size": 4, "num_train": 2, "num_test": 2}
    build_request(BuildRequest("sudoku", folder / "four", settings))
    return folder / "four"
