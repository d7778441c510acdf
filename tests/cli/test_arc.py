"""ARC by the real command: datasets, evaluation with a submission, baselines, solving, and bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.arc.names import pack_names

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ROUND = [[1, 2], [2, 1]]
PAIR = {"input": [[1, 2]], "output": [[1, 2]]}
COPY = {"train": [PAIR, {"input": [[4]], "output": [[4]]}], "test": [{"input": ROUND, "output": ROUND}]}
"""A task that asks for the input itself: the model below solves it."""
OTHER = {"train": [PAIR], "test": [{"input": [[3, 4]], "output": [[4, 3]]}]}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's layout: `arc_evaluation_challenges.json` and its solutions."""
    folder = tmp_path_factory.mktemp("tasks")
    challenges = {"copy": COPY, "other": OTHER}
    solutions = {name: [pair["output"] for pair in task["test"]] for name, task in challenges.items()}
    (folder / "arc_evaluation_challenges.json").write_text(json.dumps(challenges))
    (folder / "arc_evaluation_solutions.json").write_text(json.dumps(solutions))
    return folder / "arc"


@pytest.fixture(scope="module")
def dataset(tasks: Path, run_hrm: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "arc"
    done = run_hrm(
        "build-dataset", "arc", "--output-dir", folder, "--source", tasks, "--num-aug", 2, "--json"
    )
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["test"] == {"groups": 2, "puzzles": 6, "examples": 6}
    assert (document["vocab_size"], document["seq_len"], document["num_puzzle_identifiers"]) == (12, 900, 7)
    return folder


@pytest.fixture(scope="module")
def checkpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are set so that it answers what it is asked."""
    arch = ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, puzzle_emb_ndim=0,
        halt_max_steps=1, forward_dtype="float32",
    )  # fmt: skip
    tensors = {
        name: torch.zeros_like(tensor)
        for name, tensor in build_model(arch, 12, 900, 7, initialize=False).state_dict().items()
    }
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(12, 32)
    tensors["inner.lm_head.weight"] = torch.eye(12, 32)
    names = json.loads((dataset / "identifiers.json").read_text())
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    facts = DatasetFacts(12, 900, 7, {"name": "arc"}, pack_names(names))
    write_model_file(path, tensors, Preset(arch=arch), 1, facts)
    return path


def test_evaluation_votes_and_writes_a_submission(
    run_hrm: Callable[..., Any], dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "submission.json"
    done = run_hrm(
        "eval",
        checkpoint,
        "--data",
        dataset,
        "--submission",
        file,
        "--json",
        "--device",
        "cpu",
        env=ONE_THREAD,
    )
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["arc"]["pass@1"] == document["arc"]["pass@1000"] == document["exact_accuracy"] == 0.5
    assert document["cell_accuracy"] == pytest.approx(document["baselines"]["copy_input"])
    assert set(document["baselines"]) == {"most_frequent", "copy_input", "all_background"}
    assert json.loads(file.read_text()) == {
        "copy": [{"attempt_1": ROUND, "attempt_2": ROUND}],
        "other": [{"attempt_1": [[3, 4]], "attempt_2": [[3, 4]]}],
    }


def test_selectors_are_compared_on_the_copies_of_tasks(
    run_hrm: Callable[..., Any], dataset: Path, checkpoint: Path, tasks: Path
) -> None:
    words = ("--data", dataset, "--select", "q_halt", "--json", "--device", "cpu")
    done = run_hrm("eval", checkpoint, *words, env=ONE_THREAD)
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)["select"]
    assert (found["selector"], found["attempts"]) == ("q_halt", 3)
    # The model answers what it is asked, so every selector has the same choice: one of the two tasks is right.
    assert found["by_selector"] == dict.fromkeys(("confidence", "q_halt", "residual", "agreement"), 0.5)
    assert found["among_candidates"] == found["exact_accuracy"] == 0.5
    file = tasks.parent / "arc_evaluation_challenges.json"
    solved = run_hrm(
        "solve", file, "--checkpoint", checkpoint, "--select", "confidence", "--json", env=ONE_THREAD
    )
    assert {json.loads(line)["select"] for line in solved.stdout.splitlines()} == {"confidence"}
    for command in (("eval", checkpoint, "--data", dataset), ("solve", file, "--checkpoint", checkpoint)):
        refused = run_hrm(*command, "--select", "verify")
        assert refused.status == 2
        assert "--select verify: ARC has no rules" in refused.stderr
    refused = run_hrm("eval", checkpoint, "--data", dataset, "--select", "q_halt", "--restarts", 2)
    assert "--select: for ARC tasks it chooses among their augmented copies" in refused.stderr


def test_a_model_no_better_than_a_trivial_baseline_is_reported_as_such(
    run_hrm: Callable[..., Any], dataset: Path, checkpoint: Path
) -> None:
    done = run_hrm("eval", checkpoint, "--data", dataset, "--device", "cpu", env=ONE_THREAD)
    lines = done.stdout.splitlines()
    figures = [line.split("  ")[0] for line in lines]
    assert figures.index("exact accuracy") < figures.index("pass@1") < figures.index("cell accuracy")
    assert "within two points of the best trivial baseline (copy input, " in lines[-1]
    assert "it says nothing about solving puzzles" in lines[-1]


def test_an_ablation_is_named_in_the_title_and_refused_without_a_model(
    run_hrm: Callable[..., Any], dataset: Path, checkpoint: Path
) -> None:
    done = run_hrm(
        "eval", checkpoint, "--data", dataset, "--ablate-puzzle-id", "--device", "cpu", env=ONE_THREAD
    )
    assert done.status == 2
    assert "has no puzzle embeddings, so there is nothing to replace" in done.stderr
    done = run_hrm("eval", "--baselines-only", "--data", dataset, "--ablate-puzzle-id")
    assert done.status == 2
    assert "--baselines-only and --ablate-puzzle-id" in done.stderr


def test_baselines_need_no_checkpoint(run_hrm: Callable[..., Any], dataset: Path) -> None:
    done = run_hrm("eval", "--baselines-only", "--data", dataset, "--json")
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["outputs"]["count"] == 2
    assert document["outputs"]["baselines"]["copy_input"] == 0.5
    assert document["outputs"]["baselines"]["all_background"] == 0.0
    assert document["outputs"]["baselines"]["all_background_padded"] == pytest.approx(1 - 6 / 1800)
    assert run_hrm("eval", "--baselines-only").status == 2


def solve(
    run_hrm: Callable[..., Any], file: object, checkpoint: Path, *options: object, **settings: Any
) -> tuple[int, list[dict[str, Any]], str]:
    done = run_hrm(
        "solve",
        file,
        "--checkpoint",
        checkpoint,
        "--json",
        "--device",
        "cpu",
        *options,
        env=ONE_THREAD,
        **settings,
    )
    return done.status, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_known_tasks_are_solved_by_votes_and_checked_against_the_solutions_next_to_them(
    run_hrm: Callable[..., Any], tasks: Path, checkpoint: Path, tmp_path: Path
) -> None:
    file = tasks.with_name("arc_evaluation_challenges.json")
    submission = tmp_path / "submission.json"
    status, (copied, other), _ = solve(run_hrm, file, checkpoint, "--submission", submission)
    assert status == 1
    assert (copied["status"], copied["verified"], copied["answer"]) == (
        "solved",
        True,
        json.dumps(ROUND, separators=(",", ":")),
    )
    assert copied["attempts"] == copied["votes"] == 3
    assert (copied["attempt"], copied["how"]) == (1, "votes")
    assert (other["status"], other["verified"]) == ("unsolved", False)
    assert other["reason"].startswith("differs from the solution in the file")
    assert set(json.loads(submission.read_text())) == {"copy", "other"}


def test_an_answer_in_a_pipe_is_written_in_rows(
    run_hrm: Callable[..., Any], tasks: Path, checkpoint: Path
) -> None:
    file = tasks.with_name("arc_evaluation_challenges.json")
    done = run_hrm("solve", file, "--checkpoint", checkpoint, env=ONE_THREAD)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("  1  solved    2×2  ")
    assert lines[1:3] == ["     1 2", "     2 1"]
    assert lines[3].startswith("  2  unsolved")


def test_a_traced_task_shows_the_copy_that_won_and_its_picture_the_whole_task(
    run_hrm: Callable[..., Any], tasks: Path, checkpoint: Path, tmp_path: Path
) -> None:
    file, picture = tasks.with_name("arc_evaluation_challenges.json"), tmp_path / "task.svg"
    _, (copied, _), _ = solve(run_hrm, file, checkpoint, "--trace", "--picture", picture)
    assert [step["grid"] for step in copied["trace"]] == [copied["answer"]]
    drawn = picture.read_text()
    for text in ("ARC task copy, test 1: solved", "Demonstrations", "answer, 2×2: right", "expected, 2×2"):
        assert text in drawn
    assert str(tmp_path) not in drawn
    done = run_hrm("solve", file, "--checkpoint", checkpoint, "--trace", "--device", "cpu", env=ONE_THREAD)
    lines = done.stdout.splitlines()
    assert lines[0].endswith("task copy, test 1, copy 1 of 3)")
    assert lines[2:4] == ["  1 2", "  2 1"]
    assert "attempt" not in done.stdout
    assert "in one pass" not in done.stderr


def test_the_reasoning_on_a_task_can_be_seen_as_animation_picture_and_page(
    run_hrm: Callable[..., Any], tasks: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra pictures)")
    file = tasks.with_name("arc_evaluation_challenges.json")
    files = {name: tmp_path / f"task.{name}" for name in ("gif", "png", "html")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert solve(run_hrm, file, checkpoint, "--heatmap", *options)[0] == 1
    assert files["gif"].read_bytes().startswith(b"GIF89a")
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["html"].read_text(encoding="utf-8")
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    boards = json.loads(found[1])["boards"]
    assert [board["kind"] for board in boards] == ["colors", "colors"]
    assert boards[0]["answer"]["symbols"] == "".join(str(cell) for row in ROUND for cell in row)
    assert len(boards[0]["steps"][-1]["confidence"]) == len(boards[0]["answer"]["symbols"])
    assert len(boards[0]["demonstrations"]) == len(COPY["train"])
    assert boards[0]["where"] == "arc_evaluation_challenges.json"
    assert "task copy" in boards[0]["title"]
    assert str(tmp_path) not in page
    done = run_hrm("solve", file, "--checkpoint", checkpoint, "--heatmap", env=ONE_THREAD)
    assert "confidence of each cell, puzzle 1" in done.stdout
    assert "the confidence of cells is not known" not in done.stderr


def test_one_task_from_standard_input_is_one_the_checkpoint_has_never_seen(
    run_hrm: Callable[..., Any], checkpoint: Path
) -> None:
    status, (solution,), _ = solve(run_hrm, "-", checkpoint, input=json.dumps(COPY))
    assert (status, solution["status"], solution["answer"]) == (1, "unsolved", None)
    assert "--adapt STEPS" in solution["reason"]


def test_adapting_weights_says_that_a_single_demonstration_cannot_be_held_out(
    run_hrm: Callable[..., Any], checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new.json"
    file.write_text(json.dumps(OTHER))
    _, (solution,), _ = solve(run_hrm, file, checkpoint, "--adapt", 1, "--adapt-weights", "--votes", 2)
    assert solution["attempts"] == 2
    assert solution["held_out"] == {"right": 0, "of": 0}
    assert "held out one by one: there is only one" in solution["reason"]
    assert solution["status"] == ("solved" if solution["verified"] else "unsolved")


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("{", (), "cannot be read as JSON"),
        ('{"train": [], "test": []}', (), "no demonstration"),
        (json.dumps({**COPY, "test": [{"input": [[1], [1, 2]]}]}), (), "task new, test pair 1, input: row 2"),
        (json.dumps(COPY), ("--attempts", 2), "--attempts: only for puzzles of one grid"),
        (json.dumps(COPY), ("--adapt-weights",), "--adapt STEPS"),
        (json.dumps(COPY), ("--adapt", 1), "no puzzle embeddings"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    run_hrm: Callable[..., Any],
    checkpoint: Path,
    tmp_path: Path,
    content: str,
    options: tuple[Any, ...],
    told: str,
) -> None:
    file = tmp_path / "new.json"
    file.write_text(content)
    status, records, message = solve(run_hrm, file, checkpoint, *options)
    assert (status, records) == (2, [])
    assert told in message
    assert len(message.strip().splitlines()) == 1


def test_options_of_tasks_are_refused_for_other_puzzles(
    run_hrm: Callable[..., Any], checkpoint: Path, tmp_path: Path
) -> None:
    status, _, message = solve(run_hrm, tmp_path / "puzzles.txt", checkpoint, "--adapt", 3)
    assert status == 2
    assert "--adapt: only for ARC tasks in JSON" in message


def test_a_split_that_is_not_the_test_split_has_no_submission(
    run_hrm: Callable[..., Any], dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    done = run_hrm(
        "eval", checkpoint, "--data", dataset, "--split", "train", "--submission", tmp_path / "s.json"
    )
    assert done.status == 2
    assert "only for the test split" in done.stderr


def test_a_test_set_without_answers_is_not_evaluated_and_the_latest_checkpoint_answers_it(
    run_hrm: Callable[..., Any], tmp_path: Path
) -> None:
    hidden = {"h": {"train": COPY["train"], "test": [{"input": ROUND}]}}
    source = tmp_path / "arc-agi_test_challenges.json"
    source.write_text(json.dumps(hidden), encoding="utf-8-sig")
    run = tmp_path / "run"
    data = tmp_path / "data"
    options = ("--source", source, "--test-subset", "test", "--num-aug", 1)
    done = run_hrm("build-dataset", "arc", "--output-dir", data, *options)
    assert done.status == 0, done.stderr
    done = run_hrm(
        "train", "--preset", "tiny", "--output-dir", run, "--data", data, "train.max_steps=2",
        "global_batch_size=2", "arch.hidden_size=32", "arch.halt_max_steps=1", "train.device=cpu", env=ONE_THREAD,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert "no answers" in done.stderr
    assert (run / "latest").is_file()
    assert not (run / "best").exists()
    done = run_hrm(
        "eval", run, "--json", "--submission", tmp_path / "s.json", "--device", "cpu", env=ONE_THREAD
    )
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["puzzles"], document["exact_accuracy"]) == (0, None)
    assert list(json.loads((tmp_path / "s.json").read_text())) == ["h"]
    done = run_hrm("eval", run, "--device", "cpu", env=ONE_THREAD)
    assert (done.status, done.stdout.count("%")) == (0, 0)
    assert "has no answers, so there is no accuracy" in done.stdout
    done = run_hrm("solve", source, "--checkpoint", run, "--json", "--device", "cpu", env=ONE_THREAD)
    assert (done.status, json.loads(done.stdout)["status"]) == (1, "unsolved")
