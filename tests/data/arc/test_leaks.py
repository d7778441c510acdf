"""Leaks between training and test tasks: the same task or pair once more, turned, mirrored or recolored."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.arc.leaks import canonical_pair, find_leaks, is_same_task, without_leaks
from hrm_cli.data.arc.sources import load_tasks
from hrm_cli.data.build import build_dataset
from hrm_cli.puzzles.arc.symmetry import ArcSymmetry
from hrm_cli.puzzles.arc.tasks import Pair, Task

QUARTER = ArcSymmetry(1, (0, 2, 3, 1, 4, 5, 6, 7, 9, 8))
IDENTITY = ArcSymmetry()
MIRROR = ArcSymmetry(4, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9))


def pair(seed: int) -> Pair:
    rng = np.random.default_rng(seed)
    return Pair(rng.integers(0, 10, (3, 4), np.uint8), rng.integers(0, 10, (5, 2), np.uint8))


def copy(of: Pair, symmetry: ArcSymmetry) -> Pair:
    assert of.output is not None
    return Pair(symmetry.apply(of.input), symmetry.apply(of.output))


def task(name: str, *seeds: int, test: int, symmetry: ArcSymmetry = IDENTITY) -> Task:
    return Task(
        name, tuple(copy(pair(seed), symmetry) for seed in seeds), (copy(pair(test), symmetry),), "file.json"
    )


def test_a_pair_and_all_its_copies_have_one_canonical_form_and_others_have_another() -> None:
    rng = np.random.default_rng(0)
    original = pair(1)
    for number in range(8):
        permutation = (0, *(int(color) for color in rng.permutation(np.arange(1, 10))))
        assert canonical_pair(copy(original, ArcSymmetry(number, permutation))) == canonical_pair(original)
    assert original.output is not None
    changed = original.output.copy()
    changed[0, 0] = (changed[0, 0] + 1) % 10
    assert canonical_pair(Pair(original.input, changed)) != canonical_pair(original)
    assert canonical_pair(pair(2)) != canonical_pair(original)
    background = Pair(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    ones = Pair(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8))
    assert canonical_pair(background) != canonical_pair(ones), "color 0 stays what it is"


def test_tasks_are_the_same_only_under_one_symmetry_for_all_their_pairs() -> None:
    first = [pair(1), pair(2), pair(3)]
    assert is_same_task(first, [copy(one, QUARTER) for one in reversed(first)])
    assert is_same_task(first[:2], [copy(one, MIRROR) for one in first]), "one may have more pairs"
    assert not is_same_task(first[:2], [copy(first[0], QUARTER), copy(first[1], MIRROR)])
    assert not is_same_task(first[:1], [copy(first[0], QUARTER)]), "one pair makes no task"
    assert not is_same_task(first, [pair(1), pair(2), pair(4)])


def test_many_tiny_pairs_that_resemble_each_other_do_not_take_forever() -> None:
    def tiny(*edges: tuple[int, int]) -> list[Pair]:
        """Each color becomes black: nothing tells which is which. Then two pairs that a color connects, or does not."""
        cells = [(color, 0) for color in range(1, 10)] + list(edges)
        return [Pair(np.array([[a]], np.uint8), np.array([[b]], np.uint8)) for a, b in cells]

    started = time.perf_counter()
    assert is_same_task(tiny((1, 2), (2, 3)), tiny((1, 2), (2, 3)))
    assert not is_same_task(tiny((1, 2), (2, 3)), tiny((1, 2), (3, 4)))
    assert time.perf_counter() - started < 10


def test_copies_of_test_tasks_and_of_test_pairs_are_named() -> None:
    train = [
        task("whole", 1, 2, test=3, symmetry=QUARTER),
        task("part", 20, 21, test=3, symmetry=MIRROR),
        task("clean", 30, 31, test=32),
    ]
    test = [task("tested", 1, 2, test=3), task("shows", 3, 40, test=41), task("own", 50, test=50)]
    leaks = find_leaks(train, test)
    assert leaks.same_tasks == (("whole", "tested"),)
    assert leaks.answers == (("whole", "tested"), ("part", "tested"), ("shows", "tested"))
    notes = leaks.notes()
    assert notes[0].startswith("leak check: 1 training task is the same as a test task")
    assert "whole of test task tested" in notes[0]
    assert "3 tasks are used for training with a pair that is a test pair of another task" in notes[1]
    assert find_leaks(train[2:], test[2:]).notes() == []


def test_answers_that_are_not_known_are_no_leak() -> None:
    hidden = Task("tested", (pair(1),), (Pair(pair(3).input),), "file.json")
    assert find_leaks([task("part", 20, 21, test=3)], [hidden]).answers == ()


def test_a_strict_split_leaves_them_out() -> None:
    train = [
        task("whole", 1, 2, test=3, symmetry=QUARTER),
        task("part", 20, 21, test=3, symmetry=MIRROR),
        task("clean", 30, 31, test=32),
    ]
    test = [task("tested", 1, 2, test=3)]
    part, clean = without_leaks(train, test)
    assert (part.name, len(part.train), part.test) == ("part", 2, ())
    assert clean == train[2]
    assert find_leaks([part, clean], test) == find_leaks([], [])


def test_a_build_notes_leaks_and_a_strict_one_has_none(tmp_path: Path) -> None:
    tasks = {"training": [task("whole", 1, 2, test=3, symmetry=QUARTER), task("clean", 30, 31, test=32)],
             "evaluation": [task("tested", 1, 2, test=3)]}  # fmt: skip
    for subset, members in tasks.items():
        (tmp_path / "tasks" / subset).mkdir(parents=True)
        for one in members:
            (tmp_path / "tasks" / subset / f"{one.name}.json").write_text(json.dumps(one.document()))
    config = DataConfig(domain="arc", source=str(tmp_path / "tasks"))
    summary = build_dataset(config, tmp_path / "loose")
    assert [note for note in summary.notes if "whole of test task tested" in note]
    strict = build_dataset(config.model_copy(update={"strict_split": True}), tmp_path / "strict")
    assert strict.notes == ["left out 1 training task that is symmetric to a test task"]
    assert strict.train.groups == summary.train.groups - 1


def test_real_tasks_hold_the_leaks_that_the_documentation_names(shared: Path) -> None:
    source = shared / "data" / "arc" / "arc-agi"
    if not source.with_name("arc-agi_training_challenges.json").is_file():
        pytest.skip("the real tasks are not here")
    config = DataConfig(
        domain="arc", source=str(source), subsets="training,evaluation", test_subset="evaluation"
    )
    tasks = load_tasks(config)
    leaks = find_leaks(tasks.train, tasks.test)
    assert leaks.same_tasks == (("40853293", "070dd51e"),)
    assert leaks.answers == (("caa06a1f", "50a16a69"),)
