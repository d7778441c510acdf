"""One plan for everyone who asks, and a run that cannot fit is refused with settings that would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import hrm_cli.runs.resources as resources_module
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import Preset
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.errors import ConfigError
from hrm_cli.runs.plan import plan_run
from hrm_cli.runs.preparing import dataset_facts, prepare_run
from hrm_cli.runs.request import TrainRequest
from hrm_cli.runs.resources import Computation, Resources, check_resources, size
from hrm_cli.runs.subjects import AssumedSizes, report_of_preset
from hrm_cli.training.state import make_plan

GB = 10**9
SUDOKU = DatasetFacts(11, 81, 1, {})
MUCH = Resources(1000 * GB, 1000 * GB, 1000 * GB, "here")


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["train.objective=rsm"],
        ["train.depth_schedule=1x1@0 2x2@0.3 3x4@0.6", "train.epochs=7"],
        ["train.accumulation_steps=3", "train.ema_decay=0.9"],
        ["train.activation_checkpointing=true", "train.max_steps=9"],
        ["train.gradient=last_cycle"],
        ["train.gradient=all_cycles", "train.objective=rsm"],
    ],
)
def test_params_and_plan_give_the_same_steps_flops_and_memory(settings: list[str], tmp_path: Path) -> None:
    data = ["data.size=4", "data.num_train=40", "data.num_test=4", "data.clues=6-10"]
    preset = load_preset("tiny", [*settings, *data])
    build_dataset(preset.data, tmp_path / "d")
    dataset = Dataset.open(tmp_path / "d")
    plan = make_plan(preset.train, dataset)
    report = report_of_preset("tiny", [*settings, *data], AssumedSizes())
    assert report.training is not None
    assert report.run is not None
    for dtype, held in report.training.items():
        for device_type, memory in (("cpu", held.total_on_cpu), ("cuda", held.total)):
            found = plan_run(preset, dataset_facts(dataset), plan, dtype, tmp_path, device_type=device_type)
            assert found.memory == memory
    assert (found.steps, found.flops) == (report.run.steps, report.run.training)


def preset_of(*settings: str) -> Preset:
    return load_preset("base", list(settings))


def refusal(preset: Preset, computation: Computation, resources: Resources) -> str:
    with pytest.raises(ConfigError) as error:
        check_resources(preset, SUDOKU, computation, resources, force=False)
    return str(error.value)


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize(("settings", "world_size"), [((), 1), (("train.accumulation_steps=2",), 4)])
def test_a_run_that_needs_too_much_memory_is_refused_with_settings_that_fit(
    device_type: str, settings: tuple[str, ...], world_size: int
) -> None:
    preset = preset_of("train.global_batch_size=1024", *settings)
    computation = Computation("bfloat16", device_type, world_size)
    limit = 3 * GB if world_size == 1 else GB
    message = refusal(preset, computation, Resources(limit, None, None, "here"))
    needed = computation.cost(preset, SUDOKU).memory
    assert f"needs about {size(needed)} of memory, but there are {size(limit)} here" in message
    assert "--force" in message
    advised = re.findall(r"((?:train\.\w+=\w+ )+)\(([\d.]+ [MG]B), ", message)
    assert len(advised) >= 3, message
    for words, promised in advised:
        train = preset.train.model_copy(update=parse_overrides(words.split())["train"])
        memory = computation.cost(preset.model_copy(update={"train": train}), SUDOKU).memory
        assert size(memory) == promised
        assert memory <= limit


def test_if_no_batch_fits_a_smaller_model_is_advised() -> None:
    message = refusal(preset_of(), Computation("float32", "cpu"), Resources(10**6, None, None, "here"))
    assert "use a smaller model" in message


def test_a_run_that_does_not_fit_the_disk_is_refused_with_a_setting_that_fits() -> None:
    preset = preset_of("train.keep_checkpoints=9")
    cost = Computation("float32", "cpu").cost(preset, SUDOKU)
    disk = 5 * cost.checkpoint
    message = refusal(preset, Computation("float32", "cpu"), Resources(None, None, disk, "here"))
    assert (
        f"{size(cost.disk)} of disk space, but {size(disk)} are free; train.keep_checkpoints=3 fits"
        in message
    )


def test_force_turns_refusals_into_warnings_and_what_fits_says_nothing() -> None:
    preset, computation = preset_of(), Computation("float32", "cpu")
    assert check_resources(preset, SUDOKU, computation, MUCH, force=False) == []
    unknown = Resources(None, None, None, "here")
    assert check_resources(preset, SUDOKU, computation, unknown, force=False) == []
    little = Resources(10**6, 10**6, 10**6, "here")
    assert len(check_resources(preset, SUDOKU, computation, little, force=True)) == 2
    busy = Resources(1000 * GB, 10**6, None, "here")
    (warning,) = check_resources(preset, SUDOKU, computation, busy, force=False)
    assert "free now" in warning


def test_a_new_run_is_refused_before_its_dataset_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources_module, "memory_bytes", lambda: 24 * GB)
    with pytest.raises(ConfigError, match=r"needs about 1\d\d GB of memory, but there are 23\.5 GB here"):
        prepare_run(
            TrainRequest(
                "arc-1", ["train.device=cpu", "arch.forward_dtype=bfloat16"], output_dir=tmp_path / "run"
            )
        )
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_puzzle_embeddings_that_is_too_large_is_found_once_the_dataset_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def limit() -> int:
        seen.append(1)
        return 24 * GB if len(seen) < 3 else 600_000_000

    settings = ["train.device=cpu", "data.size=4", "data.num_train=8", "data.num_test=2", "data.clues=6-10"]
    monkeypatch.setattr(resources_module, "memory_bytes", lambda: 24 * GB)
    with prepare_run(TrainRequest("tiny", settings, output_dir=tmp_path / "fits")):
        pass
    monkeypatch.setattr(resources_module, "memory_bytes", limit)
    seen.append(1)
    with pytest.raises(ConfigError, match="100 MB here"):
        prepare_run(TrainRequest("base", settings, output_dir=tmp_path / "run"))
    assert len(seen) == 3
