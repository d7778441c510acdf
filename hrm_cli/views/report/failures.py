"""The hardest failures on the page of `hrm report`, each with a player for its reasoning steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrm_cli.analysis.sampled import Scored, Steps
from hrm_cli.analysis.scores import shown_steps
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import Domain, Puzzle
from hrm_cli.runs.report_facts import ReportFacts
from hrm_cli.solving.solution import CellChances, Solution, TraceStep
from hrm_cli.views.report.files import card, text_of
from hrm_cli.views.web.boards import Board, board_of, embedded, script

FAILURES_STYLE = """
.choices { display: flex; flex-wrap: wrap; gap: 8px; margin: 10px 0 14px; }
.choices button {
  font: inherit; font-size: 0.9rem; text-align: left; color: inherit; background: var(--page); cursor: pointer;
  border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; min-height: 40px;
}
.choices button[aria-pressed="true"] {
  border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); font-weight: 600;
}
.choices span { color: var(--dim); font-weight: 400; }
"""

_SCRIPT = """
"use strict";
(() => {
  const boards = JSON.parse(document.getElementById("boards").textContent);
  const place = document.getElementById("player");
  const buttons = [...document.querySelectorAll(".choices button")];
  let shown = null;
  const show = (number) => {
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === number)));
    if (shown) shown.update(boards[number]);
    else shown = hrmBoard.player(place, boards[number], { heading: false });
  };
  buttons.forEach((button, number) => button.addEventListener("click", () => show(number)));
  show(0);
})();
"""


def failure_boards(facts: ReportFacts) -> list[Board]:
    """The boards of the failures; none if there are none, or if the domain of the puzzles is unknown."""
    scored, steps = facts.scored, facts.failures
    if scored is None or steps is None:
        return []
    reader = TokenReader.of(scored.dataset.metadata)
    if reader.domain is None:
        return []
    return [_board(reader, reader.domain, scored, steps, number) for number in range(len(steps.places))]


def _board(reader: TokenReader, domain: Domain, scored: Scored, steps: Steps, number: int) -> Board:
    answers, place = scored.answers, int(steps.places[number])
    puzzle = reader.grid(answers.inputs[place])
    assert puzzle is not None
    taken = min(int(answers.steps[place]), len(steps.tokens))
    found = (_step(reader, steps, at, number) for at in shown_steps(taken))
    trace = [step for step in found if step is not None]
    solution = Solution(
        index=number + 1,
        where="",
        status="unsolved",
        puzzle=Puzzle(puzzle, domain=domain.name),
        answer=trace[-1].grid if trace else None,
        steps=taken,
        truth=reader.grid(answers.labels[place], is_output=True),
        trace=tuple(trace),
        halt_name=scored.model.arch.halt_name,
    )
    return board_of(domain, solution)


def _step(reader: TokenReader, steps: Steps, at: int, number: int) -> TraceStep | None:
    tokens = steps.tokens[at, number]
    grid = reader.grid(tokens[:, 0], is_output=True)
    if grid is None:  # no cell of this answer is a symbol
        return None
    chances = CellChances(tokens, steps.probabilities[at, number])
    return TraceStep(at + 1, grid, float(steps.halt_values[at, number]), chances)


def failures_section(records: Sequence[Mapping[str, Any]], boards: Sequence[Board]) -> str:
    """The section with one button for each failure, and the player."""
    buttons = []
    for record in records[: len(boards)]:
        facts = ", ".join(f"{value:,} {unit}" for unit, value in record["properties"].items())
        wrong = f"{counted(record['wrong_cells'], 'wrong cell')}, {counted(record['steps'], 'step')}"
        buttons.append(
            f'<button type="button" aria-pressed="false">Example {record["example"]:,}<br>'
            f"<span>{text_of(facts)}; {wrong}</span></button>"
        )
    intro = (
        "Puzzles of the sample with a wrong answer after one pass, the hardest first. Each answer is compared with the "
        "dataset's solution."
    )
    parts = [
        f'<p class="dim">{intro}</p>',
        "<noscript><p>A script in this file draws the steps; your browser does not run it.</p></noscript>",
        f'<div class="choices">{"".join(buttons)}</div><div id="player"></div>',
    ]
    return card("failures", "Hardest failures", parts)


def failures_script(boards: Sequence[Board]) -> str:
    """The script elements of the section."""
    data = f'<script type="application/json" id="boards">{embedded(list(boards))}</script>'
    return f"{data}\n<script>{script()}</script>\n<script>{_SCRIPT}</script>"
