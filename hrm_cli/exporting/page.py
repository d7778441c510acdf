"""One HTML file that solves puzzles by itself: models, engine, drawing and styles, without a server or a network.

The bundled models are stored in bfloat16, which float32 represents exactly, so the page embeds their files as they are.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hrm_cli import __version__, playing
from hrm_cli.checkpoints.bundled import SCHEME, BundledModel, bundled_models, named_model
from hrm_cli.checkpoints.model_files import ModelCard, read_model_card
from hrm_cli.config.arch import ArchConfig
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.exporting import wasm
from hrm_cli.files import refuse_unwritable, written_whole
from hrm_cli.models.mixers.structure import structure_of
from hrm_cli.playing.examples import LEVELS, example
from hrm_cli.puzzles.domain import Domain, domain_of, make_domain
from hrm_cli.puzzles.maze import generator as mazes
from hrm_cli.puzzles.sudoku import generator as sudoku
from hrm_cli.views.web.boards import Board, embedded, empty_board, script, style

WEB = Path(__file__).parent / "web"
EDITOR = Path(playing.__file__).parent / "web"
"""The editor of `hrm play`."""
CORES = ("hrm", "trm")
MIXERS = ("attention", "mlp", "units", "neighbors", "edges", "grid")
UNSUPPORTED = ("position_tables", "qk_norm", "initial_state", "damping", "fusion", "middle_cycles")
"""Settings of `arch` for which the engine of a page has only the default."""
SIZES: Mapping[str, Sequence[Mapping[str, int]]] = {"sudoku": ({"size": 6}, {"size": 12}, {"size": 16})}
"""Sizes for which a page offers a bundled model for every size, in addition to the size that its file names."""
LARGEST_FILE = 40_000_000
"""Bytes of a model file; larger ones are too slow in a browser anyway."""
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


@dataclass(frozen=True)
class PageModel:
    """A model of the page, for puzzles of one size. Models of several sizes may share their weights."""

    name: str
    path: Path
    domain: Domain
    card: ModelCard
    bundled: BundledModel | None = None
    resized: bool = False
    """Whether the size is not the one that the file names."""

    @property
    def weights_name(self) -> str:
        """The name of the weights in the page, the same for all sizes of a model."""
        return self.name.rpartition("-")[0] if self.resized else self.name

    def document(self) -> dict[str, Any]:
        """Everything that the page needs to know, except the weights."""
        arch, facts = self.card.preset.arch, self.card.facts
        keys = ("core", "mixer", "hidden_size", "num_heads", "H_cycles", "L_cycles", "rms_norm_eps", "rope_theta",
                "halting", "halts_at", "tied_output", "pos_encodings", "size_adapter_base")  # fmt: skip
        measured = () if self.bundled is None else self.bundled.facts.measured
        return {
            "name": self.name,
            "weights": self.weights_name,
            "domain": self.domain.name,
            "title": self.domain.describe(),
            "arch": {key: getattr(arch, key) for key in keys},
            "vocab_size": facts.vocab_size,
            "seq_len": facts.seq_len,
            "puzzle_positions": arch.puzzle_positions,
            "structure": structure_document(str(arch.mixer), self.domain),
            "max_steps": self.card.preset.eval.max_steps or arch.halt_max_steps,
            "is_equivariant": arch.is_equivariant,
            "board": board_template(self.domain) | {"halt_name": arch.halt_name},
            "parameters": parameters(self.card),
            "trained_on": self.card.training_data(),
            "built_in_knowledge": self.card.built_in_knowledge(),
            "measured": [vars(one) for one in measured],
        }

    def weights(self) -> str:
        """The model file as base64."""
        return base64.b64encode(self.path.read_bytes()).decode()


def default_models() -> list[PageModel]:
    """For each kind and size of puzzle, the bundled model that solves most of them in one pass.

    A model for every size is also used for the sizes that have none of their own.
    """
    best: dict[str, tuple[bool, float, PageModel]] = {}
    for bundled in bundled_models():
        if bundled.domain["name"] not in ("sudoku", "maze") or unsupported(
            read_model_card(bundled.path).preset.arch
        ):
            continue
        shares = [one.exact_accuracy for one in bundled.facts.measured] or [0.0]
        accuracy = sum(shares) / len(shares)
        for model in models_of_all_sizes(page_model(f"{SCHEME}{bundled.name}")):
            found = not model.resized, accuracy, model
            kind = model.domain.describe()
            best[kind] = max(best.get(kind, found), found, key=lambda one: one[:2])
    return [model for _, _, model in best.values()]


def serves_all(model: PageModel) -> bool:
    """Whether it is a bundled model for every size."""
    return model.bundled is not None and model.bundled.facts.every_size


def models_of_all_sizes(model: PageModel) -> list[PageModel]:
    """The model, and if it is a bundled one for every size, the same for the sizes of `SIZES`."""
    if not serves_all(model):
        return [model]
    others = [make_domain(model.domain.name, **options) for options in SIZES.get(model.domain.name, ())]
    return [model, *(_resized(model, domain) for domain in others)]


def _resized(model: PageModel, domain: Domain) -> PageModel:
    card = replace(model.card, facts=model.card.facts.resized(domain))
    size = "x".join(str(value) for value in domain.facts().values())
    return replace(model, name=f"{model.name}-{size}", domain=domain, card=card, resized=True)


def page_model(checkpoint: str) -> PageModel:
    """The model of a checkpoint. Raises CheckpointError or ConfigError if a page cannot run it."""
    card = read_model_card(Path(checkpoint))
    arch, facts = card.preset.arch, card.facts
    bundled = named_model(checkpoint) if checkpoint.startswith(SCHEME) else None
    domain = domain_of(facts.domain, facts.vocab_size, facts.seq_len)
    if domain.name not in ("sudoku", "maze"):
        raise ConfigError(
            f"{checkpoint}: {domain.describe()}; a page solves only Sudoku and mazes. `hrm play "
            f"{checkpoint}` is a page for all puzzles, and `hrm solve --html` writes one with finished solutions"
        )
    if arch.core not in CORES or arch.mixer not in MIXERS:
        raise ConfigError(
            f"{checkpoint}: core {arch.core}, mixer {arch.mixer}; a page runs the cores {', '.join(CORES)} with the "
            f"mixers {', '.join(MIXERS)}"
        )
    if own := unsupported(arch):
        instead = "" if arch.middle_cycles else "; export it as ONNX (--format onnx)"
        raise ConfigError(
            f"{checkpoint}: trained with {' and '.join(own)}, which a page cannot compute{instead}"
        )
    if card.path.stat().st_size > LARGEST_FILE:
        raise CheckpointError(
            f"{checkpoint}: {card.path.stat().st_size:,} bytes; a page takes at most {LARGEST_FILE:,}"
        )
    name = _name(checkpoint, card.path) if bundled is None else bundled.name
    return PageModel(name, card.path, domain, card, bundled)


def unsupported(arch: ArchConfig) -> list[str]:
    """The settings of a model that a page cannot compute, such as `arch.position_tables`."""
    fields = ArchConfig.model_fields
    return [f"arch.{name}" for name in UNSUPPORTED if getattr(arch, name) != fields[name].default]


def _name(checkpoint: str, path: Path) -> str:
    """A short name: of the run, the repository, the file or its folder."""
    if checkpoint.startswith("hf:"):
        return checkpoint.rpartition("/")[2].partition("@")[0]
    folder = path.resolve().parent
    if folder.parent.name == "checkpoints":
        folder = folder.parent.parent
    elif path.stem != "model":
        return path.stem
    return folder.name or path.stem


def parameters(card: ModelCard) -> int:
    """Number of stored numbers of a model, without its initial states."""
    return sum(int(np.prod(shape)) for name, shape in card.shapes.items() if not name.endswith("_init"))


def structure_document(mixer: str, domain: Domain) -> Mapping[str, Any] | None:
    """The relations or the grid that a mixer uses; None for other mixers."""
    if mixer == "units":
        relations = structure_of(mixer, domain).relations  # type: ignore[attr-defined]
        return {
            "classes": [units.tolist() for _, units in relations.classes],
            "bases": relations.bases(),
            "first_symbol": relations.first_symbol,
            "num_symbols": relations.num_symbols,
        }
    if mixer in ("neighbors", "edges", "grid"):
        grid = domain.neighborhood  # type: ignore[attr-defined]
        return {"rows": grid.rows, "columns": grid.columns}
    return None


def board_template(domain: Domain) -> Board:
    """The board of an empty puzzle, with the sizes and rules that the drawing needs."""
    if domain.name == "sudoku":
        return empty_board(domain, np.zeros(domain.seq_len, np.uint8))
    rows, columns = (int(domain.facts()[key]) for key in ("rows", "columns"))
    maze = np.ones((rows, columns), np.uint8)
    maze[0, 0], maze[-1, -1], maze[0, 1] = 2, 3, 0
    return empty_board(domain, maze)
