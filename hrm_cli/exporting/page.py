"""One HTML file that solves puzzles by itself: models, engine, drawing and styles, without a server or a network."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrm_cli import __version__, playing
from hrm_cli.errors import ConfigError
from hrm_cli.exporting import wasm
from hrm_cli.exporting.page_models import PageModel, default_models, models_of_all_sizes, page_model
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.playing.examples import LEVELS, example
from hrm_cli.puzzles.maze import generator as mazes
from hrm_cli.puzzles.sudoku import generator as sudoku
from hrm_cli.views.web.boards import embedded, script, style

WEB = Path(__file__).parent / "web"
EDITOR = Path(playing.__file__).parent / "web"
"""The editor of `hrm play`."""
_MAZES = (
    ("short", "perfect", 12),
    ("long", "perfect", 24),
    ("with loops", "braided", 16),
    ("random walls", "walls", 14),
)
"""Name, style and fewest moves of the examples."""
_BRANCHES = 20
"""Difficulty of the hardest 9×9 example: branches of the exact solver."""
_PLACE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class PageExport:
    """What was written."""

    path: Path
    bytes: int
    models: Sequence[str]
    weights: int
    """Bytes of the models in the page."""

    def document(self) -> dict[str, Any]:
        """The object of `hrm export --json`."""
        return {**vars(self), "path": str(self.path), "format": "html"}


def export_page(checkpoints: Sequence[str], output: Path) -> PageExport:
    """Writes a page with these models, or with the best bundled ones. Raises CheckpointError or ConfigError."""
    refuse_unwritable(output)
    given = [page_model(name) for name in checkpoints]
    names = [model.name for model in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two models are called {twice}; name each only once")
    models = [one for model in given for one in models_of_all_sizes(model)] or default_models()
    if not models:
        raise ConfigError("there are no bundled models for Sudoku or mazes; name a CHECKPOINT")
    text = page_text(models)
    with written_whole(output) as partial:
        partial.write_bytes(text.encode())
    weights = sum(path.stat().st_size for path in {model.path for model in models})
    return PageExport(output, len(text.encode()), [model.name for model in models], weights)


def page_text(models: Sequence[PageModel]) -> str:
    """The page. The same models give the same text."""
    shared = [_read(WEB / f"{name}.js") for name in ("kernels", "engine", "puzzles")]
    parts = {
        "version": __version__,
        "style": "\n".join((style(), _read(EDITOR / "play.css"), _read(WEB / "playground.css"))),
        "data": embedded(
            {
                "wasm": base64.b64encode(wasm.module()).decode(),
                "models": [_document(model, models) for model in _in_order(models)],
            }
        ),
        "weights": "\n".join(
            f'<script type="text/plain" id="weights-{name}">{model.weights()}</script>'
            for name, model in {model.weights_name: model for model in models}.items()
        ),
        "worker": "\n".join([*shared, _read(WEB / "worker.js")]),
        "script": "\n".join(
            (
                script(),
                _read(EDITOR / "editor.js"),
                _read(EDITOR / "kinds.js"),
                shared[-1],
                _read(WEB / "solver.js"),
                _read(WEB / "playground.js"),
            )
        ),
    }
    assert not any(end in parts[name] for name in ("worker", "script") for end in ("</script", "<!--"))
    return _PLACE.sub(lambda match: parts[match[1]], _read(WEB / "playground.html"))


def _in_order(models: Sequence[PageModel]) -> list[PageModel]:
    """9×9 Sudoku first, then other sizes, then mazes."""
    return sorted(
        models, key=lambda one: (one.domain.name != "sudoku", one.domain.seq_len != 81, one.domain.seq_len)
    )


def _document(model: PageModel, models: Sequence[PageModel]) -> dict[str, Any]:
    alike = [other for other in models if other.domain.describe() == model.domain.describe()]
    kind = model.domain.describe().replace(" maze", "").replace(" Sudoku", "")
    tab = f"{model.domain.name.capitalize()} {kind}"
    return {
        **model.document(),
        "tab": f"{tab}, {model.name}" if len(alike) > 1 else tab,
        "examples": list(_examples(model)),
    }


def _examples(model: PageModel) -> Iterator[dict[str, Any]]:
    rng, facts = np.random.default_rng(3), model.domain.facts()
    if model.domain.name == "maze":
        rows, columns = int(facts["rows"]), int(facts["columns"])
        for name, kind, moves in _MAZES:
            least = min(moves, rows + columns - 2, mazes.longest_possible(rows, columns, kind))
            grids, _ = next(mazes.generate(rows, 1, rng, columns=columns, style=kind, min_path=least))
            yield {"name": name, "cells": grids[0].tolist()}
        return
    size = int(facts["size"])
    for name in LEVELS:
        found = example("sudoku", size, size, name, int(rng.integers(1000)), None)
        yield {"name": name, "cells": [int(cell) for row in found["grid"] for cell in row]}
    if size == 9:
        grids, _ = next(sudoku.generate(size, 1, rng, min_difficulty=_BRANCHES))
        yield {"name": "very hard", "cells": grids[0].tolist()}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
