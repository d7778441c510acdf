"""The models that the page offers, and the kinds of puzzles that each solves. Weights are loaded at the first solve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrm_cli.checkpoints.bundled import SCHEME, bundled_models, model_for
from hrm_cli.checkpoints.model_files import read_model_card
from hrm_cli.config.mixers import is_structured
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.printable import quoted
from hrm_cli.puzzles.domain import DOMAINS, OWN_PUZZLES, Domain, Puzzle, domain_of_puzzle
from hrm_cli.solving.solver import trained_domain

if TYPE_CHECKING:
    import torch

    from hrm_cli.solving.choosing import LoadedModel

AUTOMATIC = "auto"
MOST_LOADED = 6
"""Number of models kept in memory. The least recently used one is dropped first."""


@dataclass(frozen=True)
class Offer:
    """A model that the page offers."""

    name: str
    """What the page sends to choose it."""
    label: str
    checkpoint: Path | None
    """None: the bundled model for the size of each puzzle."""
    kinds: tuple[str, ...]
    """Names of the domains that it can solve."""
    domain: Domain | None = None
    """The domain that it was trained on."""
    serves_every_size: bool = False

    def document(self) -> dict[str, Any]:
        """The offer for the page."""
        fixed = self.domain is not None and not self.serves_every_size
        return {
            "name": self.name,
            "label": self.label,
            "kinds": list(self.kinds),
            "trained_on": "" if self.domain is None else self.domain.describe(),
            "shape": _shape(self.domain) if fixed and self.domain is not None else None,
            "symbols": list(getattr(self.domain, "symbols", ())) if self.kinds == (OWN_PUZZLES,) else None,
        }


def _shape(domain: Domain) -> dict[str, Any] | None:
    """The sizes of puzzles that a domain takes: exactly `rows` × `columns` if `fixed`, else at most; None for all."""
    if domain.name == "sudoku":
        size = domain.facts()["size"]
        return {"rows": size, "columns": size, "fixed": True}
    if domain.name == "maze":
        return {**domain.facts(), "fixed": True}
    if domain.name == OWN_PUZZLES:
        facts = domain.facts()
        fixed = "input_rows" in facts
        rows, columns = ("input_rows", "input_columns") if fixed else ("rows", "columns")
        return {"rows": facts[rows], "columns": facts[columns], "fixed": fixed}
    return None


def offers_of(checkpoints: Sequence[str]) -> list[Offer]:
    """The named models; without any, the bundled ones. Raises CheckpointError for one that cannot be used."""
    if not checkpoints:
        bundled = bundled_models()
        if not bundled:
            raise CheckpointError(
                "this installation has no bundled models; name a CHECKPOINT (a run folder, a checkpoint folder or a "
                ".safetensors file)"
            )
        kinds = tuple(dict.fromkeys(str(model.domain["name"]) for model in bundled))
        # Sudoku first: it is what most people know.
        kinds = tuple(sorted(kinds, key=lambda kind: (kind != "sudoku", kind)))
        automatic = Offer(AUTOMATIC, "the bundled model for each size", None, kinds)
        return [automatic, *(_named(f"{SCHEME}{model.name}") for model in bundled)]
    repeated = next((name for name in checkpoints if list(checkpoints).count(name) > 1), None)
    if repeated is not None:
        raise ConfigError(f"{repeated}: is named twice")
    return [_named(name) for name in checkpoints]


def _named(name: str) -> Offer:
    card = read_model_card(Path(name))
    domain = trained_domain(card)
    label = name.removeprefix(SCHEME)
    return Offer(name, label, Path(name), (domain.name,), domain, is_structured(card.preset.arch.mixer))


@dataclass
class Models:
    """The offered models, loaded when they are needed."""

    offers: Sequence[Offer]
    device: torch.device
    _loaded: dict[tuple[str, str], LoadedModel] = field(default_factory=dict)

    def offer(self, name: Any) -> Offer:
        """The offer of that name. Raises ConfigError."""
        for offer in self.offers:
            if offer.name == name:
                return offer
        raise ConfigError(
            f"model {quoted(name, 80)}: not offered here; known: {', '.join(o.name for o in self.offers)}"
        )

    def own_domain(self, kind: str) -> Domain | None:
        """The domain of the first offered model of a kind, where the kind alone does not say how puzzles look."""
        return next((offer.domain for offer in self.offers if kind in offer.kinds), None)

    def serving(self, offer: Offer, puzzle: Puzzle) -> LoadedModel:
        """The model of an offer, for the size of a puzzle. Raises CheckpointError if there is none."""
        from hrm_cli.solving.choosing import LoadedModel

        checkpoint = offer.checkpoint or Path(f"{SCHEME}{model_for(puzzle).name}")
        domain = None
        if offer.serves_every_size or offer.checkpoint is None:
            try:
                domain = domain_of_puzzle(puzzle) if puzzle.domain in DOMAINS else None
            except ConfigError:
                domain = None  # a size that the domain does not have; the model refuses it
        key = (str(checkpoint), "" if domain is None else domain.describe())
        if key not in self._loaded:
            while len(self._loaded) >= MOST_LOADED:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[key] = LoadedModel.load(checkpoint, self.device, domain)
        self._loaded[key] = self._loaded.pop(key)
        return self._loaded[key]


def kinds_of(offers: Sequence[Offer]) -> list[str]:
    """Names of the domains that the offered models can solve, in their order."""
    return list(dict.fromkeys(kind for offer in offers for kind in offer.kinds))


def document_of_kinds(offers: Sequence[Offer]) -> dict[str, Mapping[str, Any]]:
    """What the page needs to know of each kind: its name, sizes and symbols."""
    return {kind: _kind(kind, offers) for kind in kinds_of(offers)}


def _kind(kind: str, offers: Sequence[Offer]) -> dict[str, Any]:
    if kind == "sudoku":
        from hrm_cli.puzzles.sudoku.layout import BOXES, SYMBOLS

        boxes = {str(size): list(box) for size, box in BOXES.items()}
        return {"label": "Sudoku", "boxes": boxes, "symbols": SYMBOLS}
    if kind == "maze":
        return {"label": "Maze", "largest": LARGEST_SIDE}
    if kind == "arc":
        from hrm_cli.puzzles.arc.domain import PALETTE

        return {"label": "ARC task", "largest": 30, "palette": list(PALETTE)}
    label = "Own puzzle" if kind == OWN_PUZZLES else kind
    return {"label": label, "largest": LARGEST_SIDE}


LARGEST_SIDE = 64
"""Rows and columns of the largest grid that the page draws."""
