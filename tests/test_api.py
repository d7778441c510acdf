"""The Python face, used as a user's script or notebook would."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hrm_cli as hrm

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "docs" / "notebooks").glob("*.ipynb"))
EASY = "1.3..4.12.4.4..2"


def test_importing_it_takes_no_torch_and_names_what_it_has() -> None:
    code = (
        "import sys, hrm_cli as hrm; assert set(hrm.__all__) <= set(dir(hrm)); hrm.load; hrm.HRMError; "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="solve_everything"):
        _ = hrm.solve_everything  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", hrm.__all__)
def test_every_public_function_says_what_it_raises_or_holds(name: str) -> None:
    assert getattr(hrm, name).__doc__


def test_a_puzzle_is_given_as_text_file_grid_or_list(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text(f"{EASY}\n{EASY}\n", encoding="utf-8")
    grid = np.array([[int(c) if c.isdigit() else 0 for c in EASY[r * 4 : r * 4 + 4]] for r in range(4)])
    model = hrm.load("bundled:sudoku-4x4")
    rows = [[int(cell) for cell in row] for row in grid]
    for given, count in (
        (EASY, 1), (file, 2), (str(file), 2), (grid, 1), ([grid, EASY, file], 4),
        (rows, 1), ([rows, rows, EASY], 3), ([rows], 1),
    ):  # fmt: skip
        solutions = list(model.solve(given))
        assert [solution.index for solution in solutions] == list(range(1, count + 1))
        assert {solution.status for solution in solutions} == {"solved"}
        assert {solution.text for solution in solutions} == {"1234342121434312"}


def test_what_is_no_grid_is_an_error_that_says_what_is_accepted() -> None:
    model = hrm.load("bundled:sudoku-4x4")
    with pytest.raises(hrm.HRMError, match="rows of 1 and 2 cells; rows must be equally long"):
        list(model.solve([[1, 2], [3]]))
    with pytest.raises(hrm.HRMError, match="found 7; expected a file, text, a grid"):
        list(model.solve(7))  # type: ignore[arg-type]
    wrong, right = model.solve([[[1, 2], [3]], EASY])
    assert (wrong.status, right.status) == ("invalid", "solved")


def test_one_setting_need_not_be_in_a_list() -> None:
    assert hrm.count_parameters("tiny", "hidden_size=64") == hrm.count_parameters("tiny", ["hidden_size=64"])


def test_without_a_name_each_puzzle_gets_the_model_for_its_size() -> None:
    nine = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
    assert [solution.status for solution in hrm.load().solve([EASY, nine])] == ["solved", "solved"]


def test_a_domain_stands_for_the_model_of_its_usual_size() -> None:
    assert hrm.load("bundled:sudoku").loaded.domain.facts() == {"size": 9}
    assert hrm.load("bundled:maze").loaded.domain.name == "maze"


def test_what_is_not_a_puzzle_is_named_and_the_others_are_solved() -> None:
    solutions = list(hrm.load().solve([EASY, "missing.txt", np.ones((2, 2)), np.full((4, 4), 300), EASY]))
    assert [solution.status for solution in solutions] == [
        "solved",
        "invalid",
        "invalid",
        "invalid",
        "solved",
    ]
    reasons = [solution.reason for solution in solutions]
    assert "no such file" in reasons[1]
    assert "float64" in reasons[2]
    assert "300" in reasons[3]


def test_nothing_but_a_missing_file_is_the_commands_error() -> None:
    with pytest.raises(hrm.HRMError, match=r"missing\.txt: no such file"):
        list(hrm.load().solve("missing.txt"))
    with pytest.raises(hrm.HRMError, match="no such bundled model"):
        hrm.load("bundled:sudok")


@pytest.mark.parametrize("trace", [False, True])
def test_a_solution_draws_itself_and_one_without_an_answer_does_not(trace: bool) -> None:
    solved, wrong = hrm.load("bundled:sudoku-4x4").solve([EASY, "11.............."], trace=trace)
    assert str(solved._repr_svg_()).startswith("<svg")
    assert ("step 1" in solved.svg()) is trace
    assert wrong._repr_svg_() is None
    with pytest.raises(ValueError, match="no answer to draw"):
        wrong.svg()


def test_a_range_may_be_a_pair_and_errors_show_it_as_a_setting(tmp_path: Path) -> None:
    summary = hrm.build_dataset(
        "sudoku", size=4, clues=(6, 10), num_train=8, num_test=2, output_dir=tmp_path / "d"
    )
    assert (summary.train.examples, summary.test.examples) == (8, 2)
    with pytest.raises(hrm.HRMError, match="num_trian"):
        hrm.build_dataset("sudoku", num_trian=8, output_dir=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_count_parameters_counts_presets_and_bundled_models() -> None:
    assert hrm.count_parameters("base")["exact"]["trainable"] == 27_275_266
    assert hrm.count_parameters("bundled:sudoku-4x4")["exact"]["trainable"] > 0


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom_and_draws(
    notebook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    shown = 0
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [], "a notebook is kept without outputs"
        tree = ast.parse("".join(cell["source"]).replace("train.max_minutes=1", "train.max_steps=10"))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(notebook), "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(notebook), "eval"), names)
            drawings = (getattr(value, name, None) for name in ("_repr_svg_", "_repr_html_"))
            shown += any(draw is not None and draw() is not None for draw in drawings)
    assert shown >= 1
    assert "Traceback" not in capsys.readouterr().out


def test_accuracy_can_be_measured_at_several_numbers_of_steps(tmp_path: Path) -> None:
    hrm.build_dataset("sudoku", size=4, num_train=8, num_test=8, output_dir=tmp_path / "data")
    several = hrm.evaluate("bundled:sudoku-4x4", tmp_path / "data", max_steps=[1, 4], effort="low")
    assert several["max_steps"] == 4
    assert several["effort"]
    for wrong in ([0, 4], "many", []):
        with pytest.raises(hrm.HRMError, match="is not a number of steps"):
            hrm.evaluate("bundled:sudoku-4x4", tmp_path / "data", max_steps=wrong)  # type: ignore[arg-type]


def frame_of(html: str | None) -> str:
    """The page inside a notebook's frame."""
    assert html is not None
    found = re.fullmatch(r'<iframe [^>]*srcdoc="([^"]*)"></iframe>', html)
    assert found
    assert 'sandbox="allow-scripts"' in html
    return unescape(found[1])


def test_a_traced_solution_has_a_player_in_notebooks_and_an_untraced_one_a_picture() -> None:
    (traced,) = hrm.load().solve(EASY, trace=True)
    page = frame_of(traced._repr_html_())
    assert "hrmBoard.player(" in page
    assert traced.text is not None
    assert f'"symbols":"{traced.text}"' in page
    (plain,) = hrm.load().solve(EASY)
    assert plain._repr_html_() is None
    assert plain._repr_svg_() is not None


@pytest.mark.parametrize("domain", ["sudoku", "maze"])
def test_a_dataset_shows_its_first_examples_in_notebooks(domain: str, tmp_path: Path) -> None:
    size = 4 if domain == "sudoku" else 6
    hrm.build_dataset(domain, size=size, num_train=6, num_test=2, output_dir=tmp_path / "d")
    page = frame_of(hrm.open_dataset(tmp_path / "d")._repr_html_())  # type: ignore[attr-defined]
    found = re.search(r'id="data">(.*?)</script>', page)
    assert found
    pairs = json.loads(found[1])
    assert len(pairs) == 4
    for board, output in pairs:
        assert board["kind"] == ("symbols" if domain == "sudoku" else "plan")
        assert len(output["symbols"]) == size * size
        assert set(output["symbols"]) - set(board["puzzle"]["symbols"]) <= set("1234o")
    assert "train: 6 original puzzles" in page


def test_own_pairs_are_shown_in_notebooks_in_their_symbols(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("input,output\ncat dog,dog cat\ndog,cat\ncat,dog\ndog dog,cat cat\n")
    hrm.build_dataset("grids", source=str(tmp_path / "pairs.csv"), num_test=1, output_dir=tmp_path / "d")
    page = frame_of(hrm.open_dataset(tmp_path / "d")._repr_html_())  # type: ignore[attr-defined]
    assert '"cat","dog"' in page or '"dog","dog"' in page


@pytest.mark.slow(seconds=10)
def test_a_run_shows_its_curves_in_notebooks(tmp_path: Path) -> None:
    hrm.build_dataset("sudoku", size=4, num_train=32, num_test=4, output_dir=tmp_path / "d")
    settings = ["train.max_steps=6", "train.eval_interval=3", "train.log_interval=1", "global_batch_size=8"]
    run = hrm.train("tiny", data=tmp_path / "d", output_dir=tmp_path / "r", overrides=settings)
    html = run._repr_html_()  # type: ignore[attr-defined]
    assert html.count("<svg") >= 2
    assert "exact accuracy" in html
    assert "finished, 6 steps" in html
    assert str(tmp_path) not in html
