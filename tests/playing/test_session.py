"""What the page asks for: puzzles, steps and hints, with the errors of `hrm solve`."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.bundled import FOLDER_VARIABLE, bundled_folder
from hrm_cli.checkpoints.model_files import load_model
from hrm_cli.errors import CheckpointError, ConfigError, PuzzleError
from hrm_cli.playing.examples import LEVELS, example
from hrm_cli.playing.models import offers_of
from hrm_cli.playing.session import stopping
from hrm_cli.playing.worker import Stop, Stopped
from hrm_cli.puzzles.domain import make_domain

from .conftest import Player

SMALL = [[1, 0, 3, 0], [0, 4, 0, 1], [2, 0, 4, 0], [4, 0, 0, 2]]
COPY = {"train": [{"input": [[1, 2]], "output": [[1, 2]]}], "test": [{"input": [[1, 2], [2, 1]]}]}
DRAWN = "+-----+-----+\n| 1 . | 3 . |\n| . 4 | . 1 |\n+-----+-----+\n| 2 . | 4 . |\n| 4 . | . 2 |\n+-----+-----+\n"


def sudoku(grid: list[list[int]] | None = None, **more: Any) -> dict[str, Any]:
    return {"puzzle": {"kind": "sudoku", "grid": grid or SMALL}, "model": "auto", **more}


def test_the_page_is_offered_the_bundled_models_and_their_kinds(bundled: Player) -> None:
    offers = bundled.session.offers()
    json.dumps(offers)
    assert next(iter(offers["kinds"])) == "sudoku"
    assert "maze" in offers["kinds"]
    names = [model["name"] for model in offers["models"]]
    assert names[0] == "auto"
    assert "bundled:sudoku-4x4" in names
    assert offers["kinds"]["sudoku"]["boxes"]["6"] == [2, 3]


def test_named_models_are_offered_alone(own_checkpoint: Path) -> None:
    offers = Player("bundled:maze-any-size", own_checkpoint, "bundled:sudoku-6x6").session.offers()
    assert list(offers["kinds"]) == ["maze", "grids", "sudoku"]
    every_size, own, sudoku = offers["models"]
    assert (every_size["trained_on"], every_size["shape"]) == ("10×10 maze", None)
    assert own["symbols"] == ["a", "b", "<c>"]
    assert own["shape"] == {"rows": 2, "columns": 3, "fixed": True}
    assert sudoku["shape"] == {"rows": 6, "columns": 6, "fixed": True}


def test_a_model_that_does_not_exist_or_is_named_twice_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no such bundled model"):
        offers_of(["bundled:sudoku-5x5"])
    with pytest.raises(ConfigError, match="is named twice"):
        offers_of(["bundled:sudoku-4x4", "bundled:sudoku-4x4"])


def test_a_solve_gives_the_steps_with_confidence_and_the_verified_answer(bundled: Player) -> None:
    found = bundled("solve", **sudoku())
    json.dumps(found)
    assert (found["status"], found["verified"], found["model"]) == ("solved", True, "sudoku-4x4")
    board = found["board"]
    assert board["answer"]["symbols"] == "1234342121434312" or board["verified"]
    assert len(board["steps"]) == found["steps"]
    assert all(0 <= step["halt"] <= 1 for step in board["steps"])
    assert len(board["steps"][-1]["confidence"]) == 16


def test_the_steps_are_those_of_hrm_solve_with_trace(bundled: Player, run_hrm: Any) -> None:
    text = "".join(str(digit or ".") for row in SMALL for digit in row)
    record = json.loads(run_hrm("solve", text, "--trace", "--json").stdout)
    board = bundled("solve", **sudoku())["board"]
    assert [step["symbols"].replace(".", "0") for step in board["steps"]] == [
        step["grid"].replace(".", "0") for step in record["trace"]
    ]


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        ([[1, 1, 0, 0], *SMALL[1:]], "row 1 contains 1 more than once"),
        ([[0] * 4] * 4, "more than one solution"),
        ([[9, 0, 0, 0], *SMALL[1:]], "row 1, column 1: found 9; expected a digit from 1 to 4"),
    ],
)
def test_what_is_wrong_with_a_puzzle_is_said_in_the_words_of_hrm_solve(
    bundled: Player, grid: list[list[int]], reason: str
) -> None:
    try:
        said = bundled("solve", **sudoku(grid))["reason"]
    except (PuzzleError, CheckpointError) as error:
        said = str(error)
    assert reason in said


def test_a_size_without_a_model_is_refused_as_by_hrm_solve(
    bundled: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(bundled_folder() / "sudoku-4x4.safetensors", tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(CheckpointError, match="no bundled model for 8×8 sudoku puzzles"):
        bundled("solve", **sudoku([[0] * 8] * 8))


def test_a_model_of_another_size_says_what_it_was_trained_on(bundled: Player) -> None:
    found = bundled("solve", **(sudoku([[0] * 9] * 9) | {"model": "bundled:sudoku-4x4"}))
    assert found["board"] is None
    assert "the checkpoint was trained on 4×4 Sudoku puzzles, and this is a different kind" in found["reason"]


@pytest.mark.parametrize(
    "grid",
    [
        None,
        [],
        [[]],
        [[1, 2], [3]],
        [[1.5]],
        [[True]],
        [["1"]],
        [[-1]],
        [[1000]],
        [[0] * 65],
        "53..7",
        {"a": 1},
    ],
)
def test_a_grid_of_another_form_is_refused(bundled: Player, grid: Any) -> None:
    with pytest.raises((PuzzleError, CheckpointError)):
        bundled("solve", puzzle={"kind": "sudoku", "grid": grid}, model="auto")


@pytest.mark.parametrize(
    "document",
    [
        {"model": "auto"},
        {"puzzle": [], "model": "auto"},
        sudoku(model="/etc/passwd"),
        sudoku(model=None),
        sudoku(max_steps=0),
        sudoku(max_steps="many"),
        sudoku(effort="enormous"),
        {"puzzle": {"kind": "nothing", "grid": SMALL}, "model": "auto"},
        {"puzzle": {"kind": "arc", "task": COPY}, "model": "auto"},
    ],
)
def test_a_request_of_another_form_is_refused(bundled: Player, document: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, PuzzleError, CheckpointError)):
        bundled("solve", **document)


def test_steps_are_bounded_as_requested(bundled: Player) -> None:
    found = bundled("solve", **sudoku([[0] * 4] * 4, max_steps=3, effort="one pass"))
    assert len(found["board"]["steps"]) <= 3


@pytest.mark.parametrize(
    "text", [DRAWN, "1.3..4.12.4.4..2", "1.3./.4.1/2.4./4..2", "puzzle\n1.3..4.12.4.4..2\n"]
)
def test_pasted_text_of_any_format_is_read(bundled: Player, text: str) -> None:
    found = bundled("read", text=text, kind="maze")
    assert found["puzzles"] == [{"kind": "sudoku", "grid": SMALL}]


def test_several_pasted_puzzles_are_read_and_the_others_are_noted(bundled: Player) -> None:
    found = bundled("read", text="1.3..4.12.4.4..2\n..1..4...3....2.\n11..............x\n", kind="sudoku")
    assert [len(one["grid"]) for one in found["puzzles"]] == [4, 4]
    assert "the pasted text:3" in found["note"]


def test_a_pasted_maze_is_read_while_the_page_shows_sudoku(bundled: Player) -> None:
    found = bundled("read", text="S.#\n#..\n#.G\n", kind="sudoku")
    assert found["puzzles"] == [{"kind": "maze", "grid": [[2, 1, 0], [0, 1, 1], [0, 1, 3]]}]


@pytest.mark.parametrize("kind", ["sudoku", "maze"])
@pytest.mark.parametrize("text", ["", "   \n", "/etc/passwd", "puzzles.txt", "../README.md", "hello"])
def test_pasted_text_is_never_taken_for_the_name_of_a_file(
    bundled: Player, text: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "puzzles.txt").write_text("1.3..4.12.4.4..2\n")
    with pytest.raises(PuzzleError, match="the pasted text"):
        bundled("read", text=text, kind=kind)


@pytest.mark.parametrize("grid", [[[2, 1, 0], [0, 1, 1]], [[2, 2], [1, 3]], [[2, 4], [1, 3]]])
def test_a_maze_without_one_start_and_one_goal_is_refused(bundled: Player, grid: list[list[int]]) -> None:
    with pytest.raises(PuzzleError, match=r"no G|2 cells with S|'o' in row 1"):
        bundled("solve", puzzle={"kind": "maze", "grid": grid}, model="auto")


def test_hints_reveal_the_verified_answer_cell_by_cell(bundled: Player) -> None:
    grid = [list(row) for row in SMALL]
    blanks = sum(cell == 0 for row in grid for cell in row)
    domain = make_domain("sudoku", size=4)
    solution = domain.diagnose(np.array(SMALL, np.uint8)).solution
    confidences = []
    for _ in range(blanks):
        hint = bundled("hint", **sudoku(grid))
        row, column = hint["row"] - 1, hint["column"] - 1
        assert grid[row][column] == 0
        assert hint["value"] == solution[row, column]
        assert hint["verified"]
        confidences.append(hint["confidence"])
        grid[row][column] = hint["value"]
    assert min(confidences) > 0.2
    assert bundled("hint", **sudoku(grid))["cell"] is None


def test_a_hint_is_the_cell_of_which_the_model_is_most_certain(bundled: Player) -> None:
    hint = bundled("hint", **sudoku())
    step = bundled("solve", **sudoku())["board"]["steps"][-1]
    open_cells = [cell for cell, digit in enumerate(np.ravel(SMALL)) if digit == 0]
    assert step["confidence"][hint["cell"]] == max(step["confidence"][cell] for cell in open_cells)


def test_known_cells_are_not_hinted_again(bundled: Player) -> None:
    maze = bundled("example", kind="maze", rows=10, columns=10, level="easy", seed=3)["puzzle"]
    known: list[int] = []
    while (hint := bundled("hint", puzzle=maze, model="auto", known=known))["cell"] is not None:
        assert hint["symbol"] == "o"
        assert hint["cell"] not in known
        known.append(hint["cell"])
    answer = bundled("solve", puzzle=maze, model="auto")["board"]["answer"]["symbols"]
    assert sorted(known) == [cell for cell, symbol in enumerate(answer) if symbol == "o"]


def test_there_is_no_hint_without_a_verified_answer(bundled: Player) -> None:
    with pytest.raises(
        ConfigError, match="no hint, because there is no verified answer: row 1 contains 1 more than once"
    ):
        bundled("hint", **sudoku([[1, 1, 0, 0], *SMALL[1:]]))


def test_a_solve_is_stopped_between_two_steps(bundled: Player) -> None:
    stop = Stop(60)
    stop.request()
    with pytest.raises(Stopped):
        bundled.session.solve(sudoku([[0, 1, 0, 0]] + [[0] * 4] * 3), stop)
    assert bundled("solve", **sudoku())["verified"], "the model serves again"


def test_adapting_is_stopped_too_although_it_trains_a_copy_of_the_model(arc_checkpoint: Path) -> None:
    model, _ = load_model(arc_checkpoint)
    stop = Stop(60)
    with stopping(model, stop):
        student = copy.deepcopy(model)
        stop.request()
        with pytest.raises(Stopped):
            next(student.infer(torch.zeros(1, 900, dtype=torch.int32), torch.zeros(1), 1, adaptive=False))
    next(model.infer(torch.zeros(1, 900, dtype=torch.int32), torch.zeros(1), 1, adaptive=False))


def test_the_time_limit_holds_inside_a_solve(bundled: Player) -> None:
    with pytest.raises(Stopped, match="the time limit"):
        bundled("solve", seconds=0.0, **sudoku([[0, 2, 0, 0]] + [[0] * 4] * 3))


def test_an_arc_task_is_solved_and_one_that_the_checkpoint_does_not_know_is_named(
    arc_checkpoint: Path,
) -> None:
    play, name = Player(arc_checkpoint), str(arc_checkpoint)
    found = play("solve", puzzle={"kind": "arc", "name": "copy", "task": COPY}, model=name)
    assert found["board"]["answer"]["symbols"] == "1221"
    assert "not verified" in found["reason"]
    with pytest.raises(ConfigError, match="no hint"):
        play("hint", puzzle={"kind": "arc", "name": "copy", "task": COPY}, model=name)
    other = play("solve", puzzle={"kind": "arc", "task": COPY}, model=name)
    assert other["board"] is None
    assert "has never seen task drawn" in other["reason"]


def test_an_arc_task_with_its_solution_gives_hints(arc_checkpoint: Path) -> None:
    task = {**COPY, "test": [{"input": [[1, 2], [2, 1]], "output": [[1, 2], [2, 1]]}]}
    hint = Player(arc_checkpoint)(
        "hint",
        puzzle={"kind": "arc", "name": "copy", "task": task},
        model=str(arc_checkpoint),
        known=[0, 1, 2],
    )
    assert (hint["cell"], hint["value"], hint["verified"]) == (3, 1, True)


def test_pasted_arc_tasks_keep_names_and_solutions(arc_checkpoint: Path) -> None:
    play = Player(arc_checkpoint)
    text = json.dumps(
        {"one": COPY, "two": {**COPY, "test": [*COPY["test"], {"input": [[3]], "output": [[4]]}]}}
    )
    found = play("read", text=text, kind="arc")["puzzles"]
    assert [one["name"] for one in found] == ["one", "two", "two"]
    assert found[2]["task"]["test"] == [{"input": [[3]], "output": [[4]]}]
    for wrong in ("[[1]]", "{", '{"train": []}', "1.3..4.12.4.4..2"):
        with pytest.raises(PuzzleError, match="the pasted text"):
            play("read", text=wrong, kind="arc")


def test_own_puzzles_are_answered_in_their_symbols_and_hints_are_not_verified(own_checkpoint: Path) -> None:
    play = Player(own_checkpoint)
    own = {"puzzle": {"kind": "grids", "grid": [[0, 1, 2], [2, 1, 0]]}, "model": str(own_checkpoint)}
    found = play("solve", **own)
    assert found["status"] == "answered"
    assert found["board"]["answer"]["symbols"] == ["a", "b", "<c>", "<c>", "b", "a"]
    hint = play("hint", **own, known=[0, 1])
    assert (hint["cell"] in (2, 3, 4, 5), hint["verified"]) == (True, False)
    with pytest.raises(PuzzleError, match="symbol 3; expected 0 to 2"):
        play("solve", puzzle={"kind": "grids", "grid": [[0, 1, 2], [3, 0, 0]]}, model=str(own_checkpoint))


def test_pasted_own_puzzles_are_read_in_the_symbols_of_the_checkpoint(own_checkpoint: Path) -> None:
    play = Player(own_checkpoint)
    for text in (
        "a b <c>/<c> b a",
        "a b <c>\n<c> b a",
        '[["a","b","<c>"],["<c>","b","a"]]',
        '{"input": "a b <c>/<c> b a"}',
    ):
        assert play("read", text=text, kind="grids")["puzzles"][0]["grid"] == [[0, 1, 2], [2, 1, 0]], text
    for wrong in ("a b x/<c> b a", "a b", ""):
        with pytest.raises(PuzzleError):
            play("read", text=wrong, kind="grids")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [4, 6, 9, 12, 16])
def test_examples_of_sudoku_have_one_solution(level: str, size: int) -> None:
    found = example("sudoku", size, size, level, 5, None)
    grid = np.array(found["grid"], np.uint8)
    assert make_domain("sudoku", size=size).diagnose(grid).solutions == 1
    assert found == example("sudoku", size, size, level, 5, None)


@pytest.mark.parametrize("level", LEVELS)
def test_examples_of_mazes_can_be_solved(level: str) -> None:
    grid = np.array(example("maze", 8, 11, level, 5, None)["grid"], np.uint8)
    assert make_domain("maze", rows=8, columns=11).diagnose(grid).solutions >= 1


def test_examples_of_arc_tasks_obey_one_rule() -> None:
    from hrm_cli.puzzles.arc.tasks import parse_task

    names = set()
    for seed in range(30):
        found = example("arc", 1, 1, "easy", seed, None)
        parse_task(found["task"], found["name"], "an example")
        names.add(found["name"])
    assert len(names) >= 4


def test_a_size_without_examples_is_named(bundled: Player) -> None:
    with pytest.raises(ConfigError, match="Sudoku size 7"):
        bundled("example", kind="sudoku", rows=7, columns=7, level="easy")
    with pytest.raises(ConfigError, match="level 'fiendish'"):
        bundled("example", kind="sudoku", rows=9, columns=9, level="fiendish")
