"""What is printed fits a terminal of 60, 80 and 120 columns, and names and numbers stay whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.checkpoints.bundled import bundled_models
from hrm_cli.cli import console
from hrm_cli.cli.render.layout import Columns, fit, fitting_lines, fitting_markdown, wrapped
from hrm_cli.config.presets import list_presets

WIDTHS = (60, 80, 120)
NAMES = ("tiny-20261126-180000", "small-20261126-180000-with-a-longer-name")


@pytest.fixture
def shown(run_hrm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a command prints on a terminal of some width; every line fits, and no word of a pipe's output is cut."""

    def run(width: int, *words: object, cwd: Path | None = None) -> str:
        piped = run_hrm(*words, cwd=cwd)
        with monkeypatch.context() as terminal:
            terminal.setattr(console, "is_plain", lambda stream: False)
            done = run_hrm(*words, cwd=cwd, env={"COLUMNS": str(width), "TERM": "xterm"})
        assert (done.status, piped.status) == (0, 0), done.stderr
        assert max(map(len, done.stdout.splitlines())) <= width, done.stdout
        table = re.sub(r"Left out to fit.*|puzzles per second.*", "", done.stdout)
        cut = {word for word in table.split() if word.strip("─█")} - set(piped.stdout.split())
        assert not cut
        return str(done.stdout)

    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in NAMES:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("purpose: x\n")
        state = {"state": "interrupted", "step": 460_937, "total_steps": 937_000, "reason": "interrupted"}
        (folder / "status.json").write_text(json.dumps(state))
        lines = [
            {"kind": "train", "step": 460_937, "loss": 0.125, "elapsed": 940.0, "seconds": 940.0},
            {
                "kind": "eval",
                "step": 460_937,
                "exact_accuracy": 0.998,
                "cell_accuracy": 0.9995,
                "q_halt_accuracy": 0.9,
            },
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path


@pytest.mark.parametrize("width", WIDTHS)
def test_runs_keep_names_steps_and_the_best_accuracy_whole(
    shown: Callable[..., str], runs: Path, width: int
) -> None:
    text = shown(width, "runs", cwd=runs)
    words = text.split()
    assert {f"runs/{name}" for name in NAMES} <= set(words)
    assert words.count("460,937") >= 2
    assert words.count("99.80%") == 2
    if width < 120:
        assert "Left out to fit the terminal: " in text or "  step" in text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "words", [("show", f"runs/{NAMES[0]}"), ("compare", *(f"runs/{name}" for name in NAMES))]
)
def test_curves_of_runs_fit_the_terminal_width(
    shown: Callable[..., str], runs: Path, width: int, words: tuple[str, ...]
) -> None:
    assert "halting: puzzles whose halt decision" in shown(width, "runs", *words, "--width", 50, cwd=runs)


@pytest.mark.parametrize("width", WIDTHS)
def test_models_name_every_model_once_and_every_accuracy(shown: Callable[..., str], width: int) -> None:
    text = shown(width, "models")
    for model in bundled_models():
        assert sum(line.startswith(f"{model.name} ") for line in text.splitlines()) == 1
        for one in model.facts.measured:
            assert f"{one.exact_accuracy:.1%}" in text.split()
    assert "(1)" not in text, "one attempt is the one pass"


@pytest.mark.parametrize("width", WIDTHS)
def test_presets_take_few_lines_and_name_every_preset(shown: Callable[..., str], width: int) -> None:
    text = shown(width, "presets")
    starts = [line.split(" ")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert set(list_presets()) <= set(starts)
    assert len(text.splitlines()) <= 4 * len(list_presets())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "words",
    [
        ("presets", "diff", "tiny", "sudoku-extreme"),
        ("params", "--preset", "tiny"),
        ("params", "--explain"),
        ("params", "--compare", "tiny", "small", "sudoku-extreme"),
        ("params", "--preset", "tiny", "--budget", "7M"),
        ("build-dataset", "grids", "--list", "gym"),
    ],
)
def test_tables_of_settings_and_counts_fit_the_terminal_width(
    shown: Callable[..., str], width: int, words: tuple[str, ...]
) -> None:
    shown(width, *words)


@pytest.mark.parametrize("width", WIDTHS)
def test_an_evaluation_fits_the_terminal_width(shown: Callable[..., str], whole: Path, width: int) -> None:
    text = shown(width, "eval", "whole", "--max-steps", "4", "--attempts", "2", cwd=whole.parent)
    assert "exact accuracy" in text
    assert "puzzles per second" in text


ROWS = [("sudoku-9x9", "1,000", "held-out puzzles with few clues", "98.0%")]
COLUMNS = Columns(
    ("model", "puzzles", "measured on", "one pass"), (False,) * 4, ("measured on",), ("puzzles",)
)


def test_a_table_that_fits_is_printed_in_full() -> None:
    layout = fit(COLUMNS, ROWS, 80)
    assert layout.head == ["model       puzzles  measured on                      one pass"]
    assert layout.dropped == []


def test_text_folds_at_words_before_a_column_is_dropped() -> None:
    layout = fit(COLUMNS, ROWS, 50)
    assert layout.body == [
        "sudoku-9x9  1,000    held-out puzzles with   98.0%",
        "                     few clues",
    ]


def test_columns_are_dropped_in_their_order_and_then_rows_become_blocks() -> None:
    assert fit(COLUMNS, ROWS, 38).dropped == ["puzzles"]
    blocks = fit(COLUMNS, ROWS, 30)
    assert blocks.head == []
    assert blocks.body == [
        "sudoku-9x9",
        "  puzzles      1,000",
        "  measured on  held-out",
        "               puzzles with",
        "               few clues",
        "  one pass     98.0%",
    ]


def test_long_text_moves_below_its_row() -> None:
    columns = Columns(("preset", "purpose"), (False, False), (), (), prose=True)
    layout = fit(columns, [("sudoku-extreme-with-a-name", "hard puzzles of nine digits, for a GPU")], 40)
    assert layout.body == ["sudoku-extreme-with-a-name", "    hard puzzles of nine digits, for a", "    GPU"]


def test_in_markdown_prose_breaks_at_words_and_what_is_copied_stays_whole() -> None:
    words = " ".join(["word"] * 30)
    whole = f"---\ntags: {words}\n---\n| {words} |\n```sh\nhrm {words}\n```"
    assert fitting_markdown(whole, 60) == whole
    broken = fitting_markdown(f"```\n```\n{words}\n\n---\n{words}", 60).splitlines()
    assert max(map(len, broken)) <= 60
    assert " ".join(broken).split() == ["```", "```", *words.split(), "---", *words.split()]


def test_a_number_keeps_its_percent_sign() -> None:
    text = "exact accuracy of all the puzzles (95 %: 0.0% to 3.7%)"
    for width in range(40, 60):
        for lines in (fitting_lines(text, width), wrapped(text, width)):
            assert " ".join(lines) == text
            assert not any(line.startswith("%") for line in lines)
