"""The files of a solve: refused before anything runs, written whole, kept when interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import Domain, Puzzle, Unreadable
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.files import MOST_DRAWN, MOST_ON_PAGE, answer_files, open_puzzles, open_sources
from hrm_cli.solving.solution import Solution
from hrm_cli.solving.solver import solve_puzzles
from hrm_cli.views.pictures import solve_picture


def drawn(option: str, shown: Sequence[tuple[Domain, Solution]]) -> bytes:
    return solve_picture(*shown[0]).encode()


@pytest.fixture
def solutions(domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]) -> list[Solution]:
    """unsolved, solved, unreadable."""
    first = domain.encode(puzzles[0].grid).tobytes()
    model = scripted(
        lambda tokens, step: (tokens, 1.0) if tokens.tobytes() == first else right_model.respond(tokens, step)
    )
    items = [*puzzles[:2], Unreadable("file:3", "nonsense")]
    return list(solve_puzzles(model, domain, items, max_steps=1, trace=True))


def test_text_output_keeps_one_line_a_puzzle_and_holds_verified_answers_only(
    domain: SudokuDomain, solutions: list[Solution], tmp_path: Path
) -> None:
    with answer_files((), tmp_path / "answers.txt", None) as write:
        for solution in solutions:
            write(domain, solution)
    answer = solutions[1].answer
    assert answer is not None
    assert (tmp_path / "answers.txt").read_text() == f"\n{domain.text(answer)}\n\n"


@pytest.mark.parametrize("with_trace", [False, True])
def test_jsonl_output_holds_every_record(
    domain: SudokuDomain, solutions: list[Solution], tmp_path: Path, with_trace: bool
) -> None:
    with answer_files((), tmp_path / "answers.jsonl", None, with_trace=with_trace) as write:
        for solution in solutions:
            write(domain, solution)
    records = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["unsolved", "solved", "invalid"]
    assert all(("trace" in record) == with_trace for record in records)


def test_picture_shows_the_first_solved_puzzle_rather_than_the_first(
    domain: SudokuDomain, solutions: list[Solution], tmp_path: Path
) -> None:
    with answer_files((), None, {"--picture": tmp_path / "solve.svg"}, draw=drawn) as write:
        for solution in solutions:
            write(domain, solution)
    assert "solved in 1 reasoning step" in (tmp_path / "solve.svg").read_text(encoding="utf-8")
    with answer_files((), None, {"--picture": tmp_path / "wrong.svg"}, draw=drawn) as write:
        write(domain, solutions[0])
    assert "not solved" in (tmp_path / "wrong.svg").read_text(encoding="utf-8")


def test_without_an_answer_there_is_no_picture(
    domain: SudokuDomain, solutions: list[Solution], tmp_path: Path
) -> None:
    notes: list[str] = []
    with answer_files(
        (), None, {"--picture": tmp_path / "solve.svg"}, draw=drawn, note=notes.append
    ) as write:
        write(domain, solutions[2])
    assert list(tmp_path.iterdir()) == []
    assert notes == [f"--picture {tmp_path / 'solve.svg'}: not written, because no puzzle has an answer."]


def test_output_may_not_replace_the_puzzles_or_the_picture(tmp_path: Path) -> None:
    puzzles = tmp_path / "puzzles.svg"
    puzzles.write_text("kept")
    for output, picture in ((puzzles, None), (None, puzzles), (tmp_path / "a.svg", tmp_path / "a.svg")):
        pictures = {} if picture is None else {"--picture": picture}
        with pytest.raises(ConfigError, match="same file"), answer_files([puzzles], output, pictures):
            pass
    both = {"--gif": tmp_path / "a.gif", "--picture": tmp_path / "b.svg"}
    with (
        pytest.raises(ConfigError, match=r"--gif.*same file"),
        answer_files([tmp_path / "a.gif"], None, both),
    ):
        pass
    assert puzzles.read_text() == "kept"


@pytest.mark.parametrize(
    ("option", "name", "ending"),
    [
        ("--picture", "a.png", ".svg"),
        ("--picture", "a", ".svg"),
        ("--gif", "a.png", ".gif"),
        ("--png", "a.jpg", ".png"),
        ("--html", "a.txt", ".html"),
    ],
)
def test_a_picture_whose_name_has_another_ending_is_refused(
    tmp_path: Path, option: str, name: str, ending: str
) -> None:
    with (
        pytest.raises(ConfigError, match=rf"^{option} .*ends in \{ending}$"),
        answer_files((), None, {option: tmp_path / name}),
    ):
        pass


def test_a_page_shows_the_first_puzzles_and_the_other_pictures_the_first_solved_one(
    domain: SudokuDomain, solutions: list[Solution], tmp_path: Path
) -> None:
    shown: dict[str, list[int]] = {}

    def draw(option: str, drawn: Sequence[tuple[Domain, Solution]]) -> bytes:
        shown[option] = [solution.index for _, solution in drawn]
        return option.encode()

    paths = {"--gif": tmp_path / "a.gif", "--html": tmp_path / "a.html"}
    with answer_files((), None, paths, draw=draw) as write:
        for index in range(MOST_ON_PAGE):
            for solution in solutions:
                write(domain, replace(solution, index=10 * index + solution.index))
    assert shown["--gif"] == [2]
    assert len(shown["--html"]) == MOST_ON_PAGE
    assert shown["--html"][:4] == [1, 2, 11, 12], "what is not a puzzle is left out"
    assert paths["--html"].read_bytes() == b"--html"


@pytest.mark.parametrize(
    ("count", "are_few"), [(1, True), (MOST_DRAWN, True), (MOST_DRAWN + 1, False), (100, False)]
)
def test_opening_a_file_reports_whether_it_is_short_and_loses_no_puzzle(
    tmp_path: Path, count: int, are_few: bool
) -> None:
    file = tmp_path / "puzzles.txt"
    file.write_text("..1..4...3....2.\n" * count)
    opened = open_puzzles(file)
    assert opened.are_few == are_few
    assert len(list(opened)) == count


def test_a_missing_file_is_reported_when_opened_and_not_after_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(PuzzleError, match=r"nowhere\.txt"):
        open_puzzles(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("sources", [[""], ["  "], ["1....2..4.....3.", ""]])
def test_an_empty_text_is_not_taken_for_the_current_folder(sources: list[str]) -> None:
    with pytest.raises(PuzzleError, match="the given text is empty"):
        open_sources(sources, None)
