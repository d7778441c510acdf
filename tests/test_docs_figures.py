"""The documentation is true and plain: the figures it quotes are those that hrm prints, and old words stay out of it.

- Words that the project has replaced by the field's own terms are not in the text of a page or in a preset's comments.
- Parameter counts, memory and steps that a page or a comment quotes are those that `hrm params` prints.
- The accuracies of bundled models are those of their cards, those with further effort those of benchmarks/results.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.checkpoints.bundled import bundled_models
from hrm_cli.cli.app import _load
from hrm_cli.evaluation.publishing import card_text

from .documentation import FENCE, PAGES, PRESETS, REPOSITORY

OLD_WORDS = {
    r"images? of (?:a|an|each|every|its|the|itself|them|their|these|those)\b": "augmented copies",
    r"images of themselves": "augmented copies of themselves",
    r"contracts?\b": "objective",
    r"(?:value of )?going on\b|\bgoes on (?:with|from)\b": "Q-continue; continue, resume",
    r"surety|how sure|is sure of\b": "confidence; halt probability",
    r"have left\b|leaves? the batch\b": "finished rows",
    r"matrix products?|large product": "matrix multiplication, matmul",
    r"laid out for\b": "prepacked",
    r"written[- ]out (?:attention|products)": "explicit (unfused) attention",
    r"foretold": "predicted",
    r"truth values?|is no (?:number|puzzle)\b|nobody else's business|without a word": "see CONTRIBUTING.md",
    r"several solutions": "more than one solution",
    r"beside": "next to, compared with, in addition to",
    r"\d[\d.,]*(?: %| [GM]?FLOP/s| m?s)? against \d": "versus, compared with",
    r"looked for\b": "checked, detected",
    r"(?:finds?|found) out (?:from|what)\b": "detects",
    r"at the end stands": "ends with",
    r"cannot be said\b": "unknown, undefined",
    r"goes first\b": "is dropped first",
    r"optimis\w+|normalis\w+|initialis\w+|recognis\w+|memoris\w+|colou?rised?|colours?|recoloured|neighbours?|"
    r"behaviours?|labelled|relabelled|licences?|towards": "American spelling",
}
"""Patterns of words that the text does without, and what it says instead."""


def prose(page: Path) -> str:
    """The text of a page without code, or the comments and the purpose of a preset; the lines stay where they are."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        return "\n".join(
            line if line.startswith(("#", "purpose:")) else line.partition("  # ")[2]
            for line in text.splitlines()
        )
    text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", lambda match: "\n" * match[0].count("\n"), text)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in (*PAGES, *PRESETS)])
def test_the_text_uses_the_terms_of_the_field(page: Path) -> None:
    found = []
    text = prose(page)
    for pattern, better in OLD_WORDS.items():
        for match in re.finditer(rf"\b(?:{pattern})", text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{page.name}:{line}: {' '.join(match[0].split())!r}: {better}")
    assert not found, "\n".join(found)


PRESET_ROW = re.compile(r"^\| *((?:`[a-z0-9-]+`(?:, )?)+) *\| *([\d., ]+) million *\|", re.MULTILINE)
"""A row of a table: presets, and how many million parameters each has."""
MANY = r"(\d{3},\d{3}|\d{1,3}(?:,\d{3}){2,})"
COUNTED = re.compile(
    r"`hrm params (--preset (?:(?!--puzzle-identifiers)[^`])+)`(?: (?:counts|has|is)| \|(?: [\d,]+ \|)*?) "
    + MANY
)
"""A command and, right after it or in the columns of its row, the count that it prints."""
NAMED = re.compile(MANY + " trainable")
"""A count in the comment of a preset."""


TRAINED = re.compile(
    r"^\$ hrm train --preset ([a-z0-9-]+)(?![^\n]*--data)[^\n]*\n(?:(?!\$ ).*\n)*?hrm with " + MANY,
    re.MULTILINE,
)
"""The first line of a run that is shown, of the preset's own dataset."""


def params(options: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `hrm params --json` prints with these options."""
    capsys.readouterr()
    _load("params").main([*shlex.split(options), "--json"], "hrm params", standalone_mode=False)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def quoted_counts(page: Path) -> Iterator[tuple[str, str, float]]:
    """Of a page or preset: options of `hrm params`, the figure as it is written, and the factor of its unit."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        comments = " ".join(re.findall(r"^# ?(.*)$", text, re.MULTILINE))
        yield from ((f"--preset {page.stem}", figure, 1) for figure in NAMED.findall(comments))
        return
    for names, figures in PRESET_ROW.findall(text):
        for name, figure in zip(re.findall(r"`([^`]+)`", names), figures.split(", "), strict=False):
            yield f"--preset {name}", figure, 1e6
    yield from ((" ".join(options.split()), figure, 1) for options, figure in COUNTED.findall(text))
    yield from ((f"--preset {name}", figure, 1) for name, figure in TRAINED.findall(text))


QUOTING = [pytest.param(page, id=page.name) for page in (*PAGES, *PRESETS) if any(quoted_counts(page))]


@pytest.mark.parametrize("page", QUOTING)
def test_the_parameter_counts_that_a_page_quotes_are_those_of_hrm_params(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    for options, figure, unit in quoted_counts(page):
        counted = params(options, capsys)["exact"]["trainable"] / unit
        decimals = len(figure.partition(".")[2])
        if f"{counted:.{decimals}f}" != figure.replace(",", ""):
            wrong.append(f"hrm params {options}: {counted:,.{decimals}f}, the page says {figure}")
    assert wrong == []


def test_the_memory_that_the_overview_quotes_is_that_of_hrm_params(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    quoted = re.search(r"For `(\w+)` it is ([\d.]+) GB in float32 and ([\d.]+) GB in bfloat16", text)
    assert quoted is not None
    training = params(f"--preset {quoted[1]}", capsys)["memory"]["training"]
    assert [f"{training[dtype]['total'] / 1e9:.1f}" for dtype in ("float32", "bfloat16")] == [
        quoted[2],
        quoted[3],
    ]


@pytest.mark.parametrize("page", ["docs/concepts/steps-and-epochs.md", "docs/troubleshooting.md"])
def test_the_steps_of_the_papers_run_are_those_of_hrm_params(
    page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = params("--preset sudoku-extreme", capsys)["flops"]["run"]["steps"]
    quoted = re.findall(
        r"([\d,]+)\s+(?:training\s+)?steps\b", (REPOSITORY / page).read_text(encoding="utf-8")
    )
    assert f"{steps:,}" in quoted


PERCENTAGE = re.compile(r"(\d+(?:\.\d+)?) %")


def test_the_cards_of_bundled_models_say_what_their_headers_hold() -> None:
    for model in bundled_models():
        card, _, rest = model.card.read_text(encoding="utf-8").partition("## How it was made")
        notes = "## How it was made" + rest.partition("## Configuration")[0]
        assert card_text(model, notes).startswith(card + notes), (
            f"{model.card}: write it again with card_text"
        )


def test_the_accuracies_of_bundled_models_are_those_of_their_cards() -> None:
    rows = re.findall(
        r"^\|(.*)\|$", (REPOSITORY / "docs/weights.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    card, checked = "", 0
    for row in rows[
        2 : next(number for number, row in enumerate(rows) if " puzzles | one pass | default" in row)
    ]:
        name, *cells = (cell.strip() for cell in row.split("|"))
        if name:
            card = (REPOSITORY / "hrm_cli/bundled" / f"{name.strip('`')}.md").read_text(encoding="utf-8")
        for figure in PERCENTAGE.findall(" ".join(cells)):
            assert f" {figure}%" in card or f" {figure} %" in card, row
            checked += 1
    assert checked > 20


def test_the_accuracies_of_the_overview_are_those_of_the_page_on_bundled_models() -> None:
    overview, page = (
        (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "docs/weights.md")
    )
    table = re.search(
        r"^\| model \| puzzles \| solved in one pass.*?\n\n", overview, re.MULTILINE | re.DOTALL
    )
    assert table is not None
    known = {float(figure) for figure in PERCENTAGE.findall(page)}
    quoted = re.findall(r"(\d+(?:\.\d+)?)(?=;| %)", table[0])
    assert len(quoted) >= 15
    assert {float(figure) for figure in quoted} <= known


@pytest.mark.parametrize("page", ["README.md", "docs/parameter-counts.md"])
def test_the_quoted_counts_of_a_page_are_found(page: str) -> None:
    assert len(list(quoted_counts(REPOSITORY / page))) >= 8


@pytest.fixture
def effort_shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What benchmarks/effort_shown.py defines."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return runpy.run_path(str(REPOSITORY / "benchmarks/effort_shown.py"))


HARD = re.compile(
    r"^(together|puzzles5_\S+|new minimal puzzles) +[\d,]+" + 3 * r" +[\d,]+ = +([\d.]+)%",
    re.MULTILINE,
)
"""A line of benchmarks/results/hard_lists.txt: one pass, medium and high effort."""


@pytest.mark.parametrize(
    ("page", "count"), [("docs/weights.md", 2), ("hrm_cli/bundled/sudoku-any-size.md", 3)]
)
def test_scores_with_effort_are_those_of_the_results(page: str, count: int) -> None:
    text = (REPOSITORY / "benchmarks/results/hard_lists.txt").read_text(encoding="utf-8")
    measured = {tuple(shares) for _, *shares in HARD.findall(text)}
    row = re.compile(r"^\|[^|]*\| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|$", re.MULTILINE)
    page_text = (REPOSITORY / page).read_text(encoding="utf-8")
    table = re.search(
        r"^\| puzzles \| one pass \|[^\n]*--effort high[^\n]*\n(?:\|.*\n)+", page_text, re.MULTILINE
    )
    assert table is not None
    quoted = set(row.findall(table[0]))
    assert len(quoted) == count
    assert quoted <= measured


def test_the_page_on_inference_has_the_figures_of_the_results(effort_shown: dict[str, Any]) -> None:
    text = (REPOSITORY / "docs/inference.md").read_text(encoding="utf-8")
    measured = {
        (model, f"{one.solved:.1%}", f"{one.steps:.1f}", one.flops)
        for model, _, kinds in effort_shown["tables"](
            (REPOSITORY / "benchmarks/results/effort.txt").read_text(encoding="utf-8")
        )
        for one in kinds.values()
    }
    row = re.compile(
        r"^\| (?:`([\w-]+)`)? ?\| [^|]+\| ([\d.]+) % \| ([\d.,]+) \| ([\d.]+e\d+) \| [\d.]+ \|$", re.MULTILINE
    )
    model, checked = "", 0
    for name, solved, steps, flops in row.findall(text):
        model = name or model
        assert (model, f"{float(solved):.1f}%", steps.replace(",", ""), float(flops)) in measured, (
            model,
            steps,
        )
        checked += 1
    assert checked == 14


@pytest.mark.parametrize(
    ("model", "head", "kinds"),
    [
        ("sudoku-any-size", "| puzzles | n | one pass | depth × 4 | 32 starts |",
         ("pass", "depth", "restarts-32", "search-64", "search-512")),
        ("sudoku-9x9", "| puzzles | n | one pass | depth × 4 | 8 copies |", ("pass", "depth", "copies-8", "search-64")),
    ],
)  # fmt: skip
def test_the_page_on_inference_has_the_figures_of_all_puzzles(
    model: str, head: str, kinds: tuple[str, ...]
) -> None:
    page = (REPOSITORY / "docs/inference.md").read_text(encoding="utf-8")
    table = page.partition(head)[2].partition("\n\n")[0]
    text = (REPOSITORY / "benchmarks/results/effort_all.txt").read_text(encoding="utf-8")
    (own,) = (part for part in text.split("\n\n") if part.startswith(f"bundled:{model}, 1,996 puzzles"))
    lines = {line.split()[0]: line for line in own.splitlines()}
    by_source = [re.findall(r"(puzzles\d)\S* ([\d.]+)%", lines[kind]) for kind in kinds]
    sources = ("puzzles2", "puzzles3", "puzzles5", "puzzles6")
    measured = [[dict(found)[source] for found in by_source] for source in sources]
    measured.append([re.findall(r"[\d.]+(?=%)", lines[kind])[0] for kind in kinds])
    rows = [re.findall(r"([\d.]+) %", row) for row in table.splitlines() if " % |" in row]
    assert rows == measured
    steps = re.search(r"^\| steps per puzzle \| \| (.+) \|$", table, re.MULTILINE)
    assert steps is not None
    assert steps[1].split(" | ") == [lines[kind].split(")")[1].split()[0] for kind in kinds]


def test_the_picture_of_effort_is_drawn_from_the_results(effort_shown: dict[str, Any]) -> None:
    drawn = (REPOSITORY / "docs/pictures/effort.svg").read_text(encoding="utf-8")
    assert drawn == effort_shown["picture"](), "run python benchmarks/effort_shown.py"
