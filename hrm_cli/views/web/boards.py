"""One drawing model for browsers: a solution, or a single grid, of any domain as a board that JSON can hold.

`board_of` makes the board of a solution, `empty_board` that of a puzzle; `board.js`, `charts.js` and `player.js` here
draw it. Every page with puzzles uses them: put `style()` in a style element, `script()` in a script element and
`embedded(board)` in a script element of type application/json, then call `hrmBoard.player(container, board)` or
`hrmBoard.drawBoard(container, board, step)`. The functions and their options are described at the top of the scripts.

A board is a dictionary with these keys:

- `kind`: `symbols` (Sudoku, own puzzles), `plan` (mazes: walls, marks, two ends) or `colors` (ARC).
- `domain`, `title` (`9×9 Sudoku`), `where` (file and line), `status`, `verified`, `reason`, `how` (text).
- `fills_in`: whether answers fill in the puzzle's own grid. If not (ARC, own puzzles), the input stands next to them.
- `blank`, `solid`, `dot`: the symbols drawn as an empty cell, a wall and a mark; null if there is none.
- `palette`: the color of each symbol, if cells are colored. `with_symbols`: whether these also show their symbol.
- `puzzle`, `answer`, `truth`, `second`: grids; null if there is none. `demonstrations`: `{input, output}`.
- `given`: positions of the cells that the puzzle gives.
- `steps`: the reasoning steps, each a grid with `step` (from 1), `changed` and `wrong` (positions), `conflicts`
  (positions of cells that break a rule of Sudoku), `halt` (0 to 1, or null), `confidence` (percent
  for each cell, or null), `candidates` (null, or for each uncertain position its likely symbols with percentages).
  If no step was traced, there is one, with the answer.
- `halt_name`: what `halt` is for this model, such as `halt probability` (`ArchConfig.halt_name`).
- `search`: null, or `{nodes: […]}` with `number`, `parent`, `cell` (position), `symbol`, `probability`, `order`,
  `violations` and `refuted` for each node of the search tree, and `left_out`, the number of nodes not listed.

A grid has `rows`, `columns`, `symbols` (a text with one character for each cell or, if one has several, a list),
`ruled_rows` and `ruled_columns` (rows and columns that have a thick line before them). Positions count cells in
reading order, from 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hrm_cli.printable import counted, printable
from hrm_cli.puzzles.domain import OWN_PUZZLES, PAD, Domain, Grid, Tokens
from hrm_cli.solving.solution import CellChances, Solution, TraceStep
from hrm_cli.views.drawing import BLANK, DOT, SOLID, Drawing, draw
from hrm_cli.views.trace import Frame, frames, given_cells, wrong_cells

if TYPE_CHECKING:
    from hrm_cli.evaluation.search import SearchNode
    from hrm_cli.puzzles.sudoku.domain import SudokuDomain

Board = dict[str, Any]
Position = int

PLAUSIBLE = 0.02
"""A symbol with a lower probability is not listed as a candidate."""
CERTAIN = 0.9
"""A cell whose answer is more probable has no candidates."""
MOST_NODES = 600
"""Largest number of search nodes in a board; nodes that were never evaluated are left out first."""
MOST_TINTS = 24
"""Own puzzles with more symbols are drawn without colors, which could not be told apart."""


def board_of(domain: Domain, solution: Solution) -> Board:
    """The board of a solution with a puzzle."""
    assert solution.puzzle is not None
    board = empty_board(domain, solution.puzzle.grid)
    has_chances = any(step.chances is not None for step in solution.trace)
    names = symbols_of_tokens(domain) if has_chances or solution.tree else []
    traced = zip(solution.trace, frames(domain, solution), strict=True)
    steps = [_step(domain, frame, step, board["given"], names) for step, frame in traced]
    if not steps and solution.answer is not None:
        steps = [_answer_as_step(domain, solution, solution.answer)]
    # Without the folder of the file: pages are shown to others.
    where = solution.where.rpartition("/")[2]
    file, _, task = where.rpartition(".json: task ")
    if domain.name == "arc" and file:
        board["title"], where = printable(f"ARC task {task}"), f"{file}.json"
    return board | {
        "where": printable(where),
        "status": solution.status,
        "verified": solution.verified,
        "reason": printable(solution.reason),
        "how": how_found(solution),
        "answer": _grid(domain, solution.answer),
        "second": _grid(domain, solution.second),
        "truth": _grid(domain, solution.truth),
        "demonstrations": [
            {"input": _grid(domain, given), "output": _grid(domain, output)}
            for given, output in solution.demonstrations
        ],
        "steps": steps,
        "halt_name": solution.halt_name,
        "search": _search(solution.tree, names),
    }


def empty_board(domain: Domain, puzzle: Grid) -> Board:
    """The board of a puzzle that nobody has tried to solve yet."""
    drawing = draw(domain, puzzle)
    is_own = drawing.texts is not None
    palette = _tints(domain) if is_own else dict(drawing.palette)
    is_plan = drawing.is_plan or domain.name == "maze"  # a maze may have no wall
    return {
        "kind": "colors" if drawing.palette else "plan" if is_plan else "symbols",
        "domain": domain.name,
        "title": printable(domain.describe()),
        "fills_in": not (is_own or drawing.palette),
        "blank": None if is_own else BLANK,
        "solid": SOLID if is_plan else None,
        "dot": DOT if is_plan else None,
        "palette": palette,
        "with_symbols": is_own,
        "where": "",
        "status": None,
        "verified": False,
        "reason": "",
        "how": "",
        "puzzle": grid_of(drawing),
        "given": sorted(given_cells(domain, puzzle)),
        "answer": None,
        "second": None,
        "truth": None,
        "demonstrations": [],
        "steps": [],
        "halt_name": "halt probability",
        "search": None,
    }


def grid_of(drawing: Drawing) -> dict[str, Any]:
    """A drawing as a grid of the board."""
    clean = {symbol: printable(symbol) for symbol in set(drawing.symbols)}
    symbols = [clean[symbol] for symbol in drawing.symbols]
    are_characters = all(len(symbol) == 1 for symbol in clean.values())
    return {
        "rows": len(drawing.rows),
        "columns": len(drawing.columns),
        "symbols": "".join(symbols) if are_characters else symbols,
        "ruled_rows": [] if drawing.texts is not None else drawing.ruled_rows,
        "ruled_columns": [] if drawing.texts is not None else drawing.ruled_columns,
    }


def conflicting_cells(domain: Domain, grid: Grid) -> set[Position]:
    """Cells of a Sudoku that share a row, column or box with an equal digit; empty for other domains."""
    if domain.name != "sudoku":
        return set()
    units = cast("SudokuDomain", domain).layout.units
    cells = np.asarray(grid).reshape(-1)
    found: set[Position] = set()
    for unit in units:
        digits = cells[unit]
        values, counts = np.unique(digits[digits > 0], return_counts=True)
        found.update(unit[np.isin(digits, values[counts > 1])].tolist())
    return found


def how_found(solution: Solution) -> str:
    """How the answer was found: `5 steps`, `24 steps, search of 9 nodes`, `12 steps, copy 3 of 8`."""
    if solution.answer is None:
        return ""
    steps = counted(solution.steps, "step")
    if solution.how == "search":
        return f"{steps}, search of {counted(solution.nodes, 'node')}"
    if solution.how == "votes":
        return f"{steps}, {counted(solution.attempts, 'copy').replace('copys', 'copies')} voted"
    if solution.attempts <= 1:
        return steps
    return f"{steps}, attempt {solution.attempt:,} of {solution.attempts:,}"


def script() -> str:
    """The JavaScript that draws boards, for a script element. It defines `hrmBoard` and needs nothing else."""
    return "\n".join(_asset(name) for name in ("board.js", "charts.js", "player.js"))


def style() -> str:
    """The CSS of boards, for a style element."""
    return _asset("board.css")


def embedded(data: Any) -> str:
    """Data as JSON inside a script element: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return printable(text).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _grid(domain: Domain, grid: Grid | None) -> dict[str, Any] | None:
    return None if grid is None else grid_of(draw(domain, grid))


def _step(
    domain: Domain, frame: Frame, step: TraceStep, given: Sequence[Position], names: Sequence[str]
) -> dict[str, Any]:
    chances = shown_chances(domain, step)
    is_finite = np.isfinite(step.q_halt)
    return {
        **grid_of(frame.drawing),
        "step": frame.step,
        "changed": sorted(frame.changed),
        "wrong": sorted(frame.wrong),
        "conflicts": sorted(conflicting_cells(domain, step.grid)),
        "halt": round(frame.probability, 4) if is_finite else None,
        "confidence": None if chances is None else confidence_of(chances),
        "candidates": None if chances is None else _candidates(chances, set(given), names),
    }


def _answer_as_step(domain: Domain, solution: Solution, answer: Grid) -> dict[str, Any]:
    drawing = draw(domain, answer)
    return {
        **grid_of(drawing),
        "step": max(1, solution.steps),
        "changed": [],
        "wrong": sorted(wrong_cells(domain, solution, drawing)),
        "conflicts": sorted(conflicting_cells(domain, answer)),
        "halt": None,
        "confidence": None,
        "candidates": None,
    }


def shown_chances(domain: Domain, step: TraceStep) -> CellChances | None:
    """The probabilities of the cells that the step's grid shows, in reading order; None if they were not traced."""
    if step.chances is None:
        return None
    rows, columns = step.grid.shape
    width = _canvas_columns(domain, columns)
    cells = (np.arange(rows)[:, None] * width + np.arange(columns)).reshape(-1)
    if len(cells) and cells[-1] >= len(step.chances.tokens):
        return None  # a plugin's grid is not made of its tokens in reading order
    return CellChances(step.chances.tokens[cells], step.chances.probabilities[cells])


def _canvas_columns(domain: Domain, columns: int) -> int:
    """Columns of the field of tokens: ARC grids and own grids may be smaller than it."""
    neighborhood = getattr(domain, "neighborhood", None)
    return int(neighborhood.columns) if neighborhood is not None else columns


def confidence_of(chances: CellChances) -> list[int]:
    """The probability of each cell's most likely token, in percent."""
    return [round(100 * float(most)) for most in chances.probabilities[:, 0]]


def _candidates(
    chances: CellChances, given: set[Position], names: Sequence[str]
) -> dict[str, list[tuple[str, int]]]:
    found = {}
    is_open = ((chances.probabilities >= PLAUSIBLE).sum(axis=1) > 1) & (chances.probabilities[:, 0] < CERTAIN)
    for position in np.flatnonzero(is_open).tolist():
        if position in given:
            continue
        pairs = zip(chances.tokens[position].tolist(), chances.probabilities[position].tolist(), strict=True)
        likely = [(names[token], round(100 * share)) for token, share in pairs if share >= PLAUSIBLE]
        found[str(position)] = sorted((name, share) for name, share in likely if name)
    return found


def symbols_of_tokens(domain: Domain) -> list[str]:
    """The symbol that each token is drawn as; empty for tokens that are not symbols, such as padding."""
    names = [""]
    for token in range(PAD + 1, domain.vocab_size):
        field: Tokens = np.full(domain.seq_len, token, np.uint8 if domain.vocab_size <= 256 else np.uint16)
        symbols = draw(domain, domain.decode(field)).symbols
        is_blank = domain.blank_token is not None and symbols[:1] == [BLANK]
        names.append("" if not symbols or is_blank else printable(symbols[0]))
    return names


def _tints(domain: Domain) -> dict[str, str]:
    """A pale color for each symbol of own puzzles, if they are few. The symbol is always written on it."""
    symbols = getattr(domain, "symbols", ())
    if domain.name != OWN_PUZZLES or len(symbols) > MOST_TINTS:
        return {}
    return {
        printable(
            symbol
        ): f"hsl({(round(360 * number / len(symbols)) + 205) % 360} 62% {74 if number % 2 else 82}%)"
        for number, symbol in enumerate(symbols)
    }


def _search(tree: Sequence[SearchNode], names: Sequence[str]) -> dict[str, Any] | None:
    if not tree:
        return None
    # Nodes are made after their parents and evaluated nodes have evaluated parents, so no kept node loses its parent.
    ranked = sorted(tree, key=lambda node: (node.order is None, node.order or 0, node.number))
    kept = sorted(ranked[:MOST_NODES], key=lambda node: node.number)
    return {
        "nodes": [
            {
                "number": node.number,
                "parent": node.parent,
                "cell": node.cell,
                "symbol": "" if node.token is None else names[node.token],
                "probability": round(node.probability, 4),
                "order": node.order,
                "violations": node.violations,
                "refuted": node.is_refuted,
            }
            for node in kept
        ],
        "left_out": len(tree) - len(kept),
    }
