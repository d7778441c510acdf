"""Switches a model between sizes of its domain, for mixers whose weights do not depend on the size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from hrm_cli.config.mixers import MIXERS_FOR_EVERY_SIZE, serves_every_size
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel
from hrm_cli.models.mixers.structure import Structure, structure_of
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.models.size_adapters import take_size
from hrm_cli.puzzles.domain import domain_of


class _Shape(NamedTuple):
    vocab_size: int
    structure: Structure
    tables: Mapping[str, Tensor]
    """The structure's tables, on the model's device."""


class Shapes:
    """The sizes that a model is used for. The tables of a size are made once and kept on the model's device.

    Raises ConfigError for a model whose weights depend on the size.
    """

    def __init__(self, model: ACTModel) -> None:
        core = model.inner
        serves = serves_every_size(model.arch.mixer)
        if not isinstance(core, RecurrentCore) or core.structure is None or not serves:
            raise ConfigError(
                f"arch.mixer {model.arch.mixer}: the weights depend on the size of the puzzles; several sizes "
                f"need arch.mixer={MIXERS_FOR_EVERY_SIZE}"
            )
        self._core = core
        tables = {name: getattr(core, name) for name in core.structure.buffers}
        self._known = {core.seq_len: _Shape(core.vocab_size, core.structure, tables)}

    def take(self, vocab_size: int, seq_len: int, domain: Mapping[str, Any] | None = None) -> None:
        """Switches the model to puzzles of this vocabulary and length; `domain` is theirs as files state it.

        Raises ConfigError if no domain has them, or if it lacks what the mixer needs.
        """
        core = self._core
        if core.seq_len == seq_len:
            return
        if seq_len not in self._known:
            structure = structure_of(str(core.arch.mixer), domain_of(domain, vocab_size, seq_len))
            tables = {name: table.to(core.H_init.device) for name, table in structure.tables().items()}
            self._known[seq_len] = _Shape(vocab_size, structure, tables)
        shape = self._known[seq_len]
        core.vocab_size, core.seq_len, core.structure = shape.vocab_size, seq_len, shape.structure
        core.positions = shape.structure.positions
        for name, table in shape.tables.items():
            setattr(core, name, table)
        if core.arch.size_adapter_rank:
            take_size(core)
