"""The models in the package solve what they are shipped for, as their cards say; the weights are the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.checkpoints.bundled import bundled_models

NEWSPAPERS = """\
# Monday, as the paper prints it
5 3 . | . 7 . | . . .
6 . . | 1 9 5 | . . .
. 9 8 | . . . | . 6 .
------+-------+------
8 . . | . 6 . | . . 3
4 . . | 8 . 3 | . . 1
7 . . | . 2 . | . . 6
------+-------+------
. 6 . | . . . | 2 8 .
. . . | 4 1 9 | . . 5
. . . | . 8 . | . 7 9

# Tuesday, zeros
003020600
900305001
001806400
008102900
700000008
006708200
002609500
800203009
005010300

# Wednesday, in one line
2135.9..4.6.81..9.59..6.2...8..461....9281...13.95...6......63.85.73.9..3...9..48

# Thursday, numbered and quoted
4. "2_35_9__4_6__1__9_5___6_____8___61____928____13_95__________63_85__3____________8"

# Friday, commas
2,1,3,5,*,9,*,*,4
*,6,*,*,1,*,*,9,*
5,9,*,*,6,*,*,*,*
*,8,*,*,*,6,1,*,*
*,*,9,2,8,*,*,*,*
1,3,*,9,5,*,*,*,*
*,*,*,*,*,*,6,3,*
8,5,*,*,3,*,*,*,*
*,*,*,*,9,*,*,4,8

# Saturday, the hard one
+-------+-------+-------+
| . . . | . . . | . 1 . |
| . . . | . . 2 | . . 3 |
| . . . | 4 . . | . . . |
+-------+-------+-------+
| . . . | . . . | 5 . . |
| 4 . 1 | 6 . . | . . . |
| . . 7 | 1 . . | . . . |
+-------+-------+-------+
| . 5 . | . . . | 2 . . |
| . . . | . 8 . | . 4 . |
| . 3 . | 9 1 . | . . . |
+-------+-------+-------+

# Children's page, 6×6
. . 6 | . . 5
5 4 . | . . .
------+------
. 5 . | 1 . 2
1 3 . | 6 . 4
------+------
3 . . | . . 6
. 6 . | . . .

# Children's page, 6×6 in one line
.3.6.2.......2.......5.45.2.4.....1.

# Children's page, 4×4
.12. .4.. ...1 1...

# A nearly finished one
534678912672195348198342567859761423426853791713924856961537284287419635345286170
"""


def test_ten_puzzles_typed_as_newspapers_print_them_are_solved_without_naming_a_model(
    run_hrm: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "puzzles.txt").write_text(NEWSPAPERS)
    done = run_hrm("solve", "puzzles.txt", "--json", cwd=tmp_path)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["status"] for record in records] == ["solved"] * 10, done.stdout
    assert done.status == 0


@pytest.mark.parametrize("model", [pytest.param(model, id=model.name) for model in bundled_models()])
def test_a_bundled_model_is_as_accurate_as_its_card_says_on_puzzles_it_has_not_seen(
    run_hrm: Callable[..., Any], tmp_path: Path, model: Any
) -> None:
    name = model.domain["name"]
    size = max(value for value in model.domain.values() if isinstance(value, int))
    kind = ("--clues", size * size * 2 // 5) if name == "sudoku" else ("--min-path", size)
    built = run_hrm(
        "build-dataset", name, "--size", size, *kind,
        "--num-train", 1, "--num-test", 60, "--seed", 20261125, "--output-dir", "fresh", cwd=tmp_path,
    )  # fmt: skip
    assert built.status == 0, built.stderr
    done = run_hrm("eval", f"bundled:{model.name}", "--data", "fresh", "--json", cwd=tmp_path)
    figures = json.loads(done.stdout)
    assert figures["exact_accuracy"] >= 0.85
    assert figures["exact_accuracy_with_attempts"] >= 0.95
