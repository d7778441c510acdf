"""A dataset is read from end to end once on each host, whatever the number of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hrm_cli.data.format as data_format
from hrm_cli.cli.worker import _checks_dataset
from hrm_cli.config.data import DataConfig
from hrm_cli.data.build import build_dataset
from hrm_cli.distributed.process_group import RankInfo
from hrm_cli.distributed.world import ALONE
from hrm_cli.evaluation import measuring
from hrm_cli.evaluation.measuring import measure
from hrm_cli.evaluation.request import EvalRequest
from hrm_cli.runs.execution import run_training
from hrm_cli.runs.preparing import prepare_run, reopened_run
from hrm_cli.runs.request import TrainRequest


class StoppedError(Exception):
    pass


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that were read from end to end."""
    found: list[str] = []
    check = data_format._check_tokens

    def record(folder: Path, *given: Any) -> None:
        found.append(folder.name)
        check(folder, *given)

    monkeypatch.setattr(data_format, "_check_tokens", record)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans") / "d"
    build_dataset(DataConfig(domain="sudoku", size=4, num_train=8, num_test=3), folder)
    return folder


def test_the_process_that_prepares_a_run_reads_its_dataset_and_its_workers_do_not(
    scans: list[str], data: Path, tmp_path: Path
) -> None:
    prepared = prepare_run(TrainRequest(data=data, output_dir=tmp_path / "run"))
    assert scans == ["train", "test"]
    reopened_run(prepared.folder, prepared.preset, data, resumed=False, named=None)
    assert scans == ["train", "test"]
    reopened_run(prepared.folder, prepared.preset, data, resumed=False, named=None, checks_tokens=True)
    assert scans == ["train", "test"] * 2


def test_one_worker_of_every_other_host_reads_that_hosts_dataset() -> None:
    places = [RankInfo(2, 2, host, local) for host in (0, 1) for local in (0, 1)]
    assert [_checks_dataset(place, 0) for place in places] == [False, False, True, False]
    assert not any(_checks_dataset(place, 1) for place in places)


@pytest.mark.parametrize("is_first", [True, False])
def test_of_the_ranks_that_evaluate_the_first_reads_the_dataset(
    scans: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    small = ["arch.hidden_size=16", "arch.num_heads=2", "train.max_steps=1", "train.device=cpu"]
    with prepare_run(TrainRequest(overrides=small, data=data, output_dir=tmp_path / "run")) as prepared:
        run_training(prepared)
    scans.clear()
    monkeypatch.setattr(type(ALONE), "is_first", property(lambda self: is_first))

    def stop(*_: Any, **__: Any) -> None:
        raise StoppedError

    monkeypatch.setattr(measuring, "load_model", stop)
    with pytest.raises(StoppedError):
        measure(EvalRequest(str(tmp_path / "run"), str(data), device="cpu"))
    assert scans == (["test"] if is_first else [])
