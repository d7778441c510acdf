"""The actions that the page can request: puzzles to start from, pasted puzzles, the steps of a model, and hints.

Each function takes the JSON document of a request and returns that of the answer. Errors are those of `hrm solve`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hrm_cli.errors import ConfigError
from hrm_cli.playing.examples import LEVELS, example
from hrm_cli.playing.models import LARGEST_SIDE, Models, Offer, document_of_kinds
from hrm_cli.playing.puzzles import drawn_puzzle, pasted_puzzles
from hrm_cli.playing.worker import Stop
from hrm_cli.printable import cut, quoted
from hrm_cli.puzzles.domain import DOMAINS, Domain
from hrm_cli.solving.solution import Solution
from hrm_cli.views.drawing import draw
from hrm_cli.views.web.boards import board_of, empty_board, shown_chances

if TYPE_CHECKING:
    from hrm_cli.models.act import ACTModel

MOST_STEPS = 256
ONE_PASS = "one pass"
MOST_ADAPTING = 2000
EFFORTS: Mapping[str, Literal["low", "medium", "high"] | None] = {
    "default": None, "low": "low", "medium": "medium", "high": "high",
}  # fmt: skip
Document = Mapping[str, Any]


@dataclass(frozen=True)
class _Found:
    """A solution with its domain, and the model that gave it."""

    domain: Domain
    solution: Solution
    model: str


class PlaySession:
    """The actions of the page. They are called by one thread, one after the other."""

    def __init__(self, models: Models, *, seed: int = 0) -> None:
        self._models = models
        self._seed = seed
        self._latest: tuple[str, _Found] | None = None
        """The latest solution and its request, so that a hint does not solve the same puzzle again."""

    def actions(self) -> dict[str, Callable[[Any, Stop], Any]]:
        """The actions by their names."""
        return {
            "read": self.read,
            "example": self.example,
            "solve": self.solve,
            "hint": self.hint,
        }

    def offers(self) -> Document:
        """What the page offers: kinds of puzzles, models, levels of examples."""
        offers = self._models.offers
        return {
            "kinds": document_of_kinds(offers),
            "models": [offer.document() for offer in offers],
            "levels": list(LEVELS),
            "efforts": [ONE_PASS, *EFFORTS],
            "most_steps": MOST_STEPS,
        }

    def read(self, document: Document, stop: Stop) -> Document:
        """The puzzles of a pasted text: `{"text", "kind"}` → `{"puzzles", "note"}`."""
        document = _object(document)
        kind = str(document.get("kind"))
        trained = self._models.own_domain(kind)
        puzzles, note = pasted_puzzles(str(document.get("text", "")), kind, trained)
        if kind not in DOMAINS and trained is not None:
            # The page has no editor for the kinds of plugins: it shows their boards.
            puzzles = [
                {**one, "board": empty_board(trained, drawn_puzzle(one, trained).grid)} for one in puzzles
            ]
        return {"puzzles": puzzles, "note": note}

    def example(self, document: Document, stop: Stop) -> Document:
        """A generated puzzle: `{"kind", "rows", "columns", "level", "seed"}` → `{"puzzle", "seed"}`."""
        document = _object(document)
        kind = str(document.get("kind"))
        seed = _whole(document, "seed", 0, 2**31 - 1, secrets.randbelow(2**31))
        rows = _whole(document, "rows", 1, LARGEST_SIDE, 9)
        columns = _whole(document, "columns", 1, LARGEST_SIDE, 9)
        level = str(document.get("level", "easy"))
        puzzle = example(kind, rows, columns, level, seed, self._models.own_domain(kind))
        return {"puzzle": puzzle, "seed": seed}

    def solve(self, document: Document, stop: Stop) -> Document:
        """The steps of a model: `{"puzzle", "model", "max_steps", "effort"}` → `{"board", "seconds", …}`."""
        found = self._solved(_object(document), stop)
        solution = found.solution
        board = (
            None if solution.puzzle is None or solution.answer is None else board_of(found.domain, solution)
        )
        return {
            "board": board,
            "status": solution.status,
            "reason": _reason(solution),
            "verified": solution.verified,
            "model": found.model,
            "steps": solution.steps,
            "total_steps": solution.total_steps,
            "seconds": round(solution.seconds, 3),
        }

    def hint(self, document: Document, stop: Stop) -> Document:
        """One cell of the answer: `{…, "known": [cell, …]}` → `{"cell", "value", "symbol", "confidence", …}`.

        It is the cell of which the model is most certain, among those that are neither given nor known.
        """
        document = _object(document)
        known = document.get("known", [])
        if not isinstance(known, list) or not all(type(cell) is int for cell in known):
            raise ConfigError("known: expected a list of cells")
        found = self._solved(document, stop)
        solution = found.solution
        if (
            solution.answer is None
            or solution.puzzle is None
            or not (solution.verified or solution.status == "answered")
        ):
            raise ConfigError(f"no hint, because there is no verified answer: {_reason(solution)}")
        hint = _most_certain(found.domain, solution, set(known))
        if hint is None:
            return {"cell": None, "note": "nothing is left to find"}
        cell, confidence = hint
        rows, columns = solution.answer.shape
        return {
            "cell": cell,
            "row": cell // columns + 1,
            "column": cell % columns + 1,
            "rows": rows,
            "columns": columns,
            "value": int(solution.answer.reshape(-1)[cell]),
            "symbol": draw(found.domain, solution.answer).symbols[cell],
            "confidence": confidence,
            "verified": solution.verified,
            "model": found.model,
        }

    def _solved(self, document: Document, stop: Stop) -> _Found:
        key = json.dumps(
            {name: document.get(name) for name in ("puzzle", "model", "max_steps", "effort", "adapt")}
        )
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1]
        offer = self._models.offer(document.get("model"))
        puzzle = _object(document.get("puzzle"))
        kind = str(puzzle.get("kind"))
        if kind not in offer.kinds:
            kinds = document_of_kinds(self._models.offers)
            label = kinds[kind]["label"] if kind in kinds else cut(kind, 40)
            raise ConfigError(f"{offer.label}: was trained on other puzzles, not on this kind ({label})")
        solve = self._solve_task if kind == "arc" else self._solve_grid
        found = solve(document, puzzle, offer, stop)
        self._latest = key, found
        return found

    def _solve_grid(self, document: Document, drawn: Document, offer: Offer, stop: Stop) -> _Found:
        from hrm_cli.evaluation.effort import EffortRequest
        from hrm_cli.solving.choosing import SolveOptions

        puzzle = drawn_puzzle(drawn, offer.domain)
        loaded = self._models.serving(offer, puzzle)
        effort = _effort(document)
        has_rules = drawn.get("kind") != "grids"
        request = (
            EffortRequest(EFFORTS[effort]) if has_rules and effort != ONE_PASS else EffortRequest(copies=1)
        )
        asked = SolveOptions(
            _whole(document, "max_steps", 1, MOST_STEPS, None),
            None,
            request,
            self._seed,
            trace=True,
            chances=True,
        )
        with stopping(loaded.model, stop):
            solution = next(iter(loaded.solve([puzzle], asked)))
        return _Found(
            loaded.domain, solution, loaded.card.path.stem if offer.checkpoint is None else offer.label
        )

    def _solve_task(self, document: Document, drawn: Document, offer: Offer, stop: Stop) -> _Found:
        from hrm_cli.checkpoints.model_files import load_model
        from hrm_cli.evaluation.selection import default_select
        from hrm_cli.puzzles.arc.domain import ArcDomain
        from hrm_cli.puzzles.arc.tasks import parse_task
        from hrm_cli.solving.arc_adapting import Adaptation
        from hrm_cli.solving.arc_solver import ArcSolver, Effort

        name = drawn.get("name")
        task = parse_task(
            drawn.get("task"), name if isinstance(name, str) and name else "drawn", "the puzzle"
        )
        assert offer.checkpoint is not None
        model, card = load_model(offer.checkpoint, self._models.device)
        config = card.preset.eval
        steps = _whole(document, "max_steps", 1, MOST_STEPS, None)
        adapting = _whole(document, "adapt", 0, MOST_ADAPTING, 0)
        effort = Effort(
            steps or config.max_steps or model.arch.halt_max_steps,
            config.halt == "adaptive",
            adaptation=Adaptation(adapting, seed=self._seed) if adapting else None,
            trace=True,
            chances=True,
            select=default_select(has_rules=False),
        )
        with stopping(model, stop):
            solution = next(iter(ArcSolver(model, card, effort).solve([task])))
        return _Found(ArcDomain(), solution, offer.label)


@contextmanager
def stopping(model: ACTModel, stop: Stop) -> Iterator[None]:
    """Stops whatever uses the model before its next step."""
    handle = model.inner.register_forward_pre_hook(lambda *_: stop.check())
    try:
        stop.check()
        yield
    finally:
        handle.remove()


def _most_certain(domain: Domain, solution: Solution, known: set[int]) -> tuple[int, float | None] | None:
    """The open cell of the answer with the highest confidence; None if there is none.

    Cells where the model's last step agrees with the answer come first.
    """
    assert solution.answer is not None
    assert solution.puzzle is not None
    answer = solution.answer.reshape(-1)
    is_open = np.ones(answer.size, bool)
    if solution.answer.shape == solution.puzzle.grid.shape and domain.name in ("sudoku", "maze"):
        is_open = answer != solution.puzzle.grid.reshape(-1)
    is_open[[cell for cell in known if 0 <= cell < answer.size]] = False
    if not is_open.any():
        return None
    for step in reversed(solution.trace):
        chances = shown_chances(domain, step)
        if chances is None or step.grid.shape != solution.answer.shape:
            continue
        confidence = chances.probabilities[:, 0].astype(float)
        agrees = (step.grid.reshape(-1) == answer) & is_open
        if agrees.any():
            cell = int(np.where(agrees, confidence, -1.0).argmax())
            return cell, round(float(confidence[cell]), 4)
    return int(np.flatnonzero(is_open)[0]), None


def _reason(solution: Solution) -> str:
    return solution.reason or solution.status


def _effort(document: Document) -> str:
    given = document.get("effort") or "default"
    if given not in (*EFFORTS, ONE_PASS):
        raise ConfigError(f"effort {quoted(given, 40)}; known: {ONE_PASS}, {', '.join(EFFORTS)}")
    return str(given)


def _object(document: Any) -> Document:
    if not isinstance(document, Mapping):
        raise ConfigError("expected a JSON object")
    return document


def _whole(document: Document, name: str, low: int, high: int, default: Any) -> Any:
    """A whole number of a request, or `default` if it is missing. Raises ConfigError."""
    value = document.get(name)
    if value is None or value == "":
        return default
    if type(value) is not int or not low <= value <= high:
        raise ConfigError(f"{name}: found {quoted(value, 40)}; expected a whole number from {low} to {high}")
    return value
