"""Small models of every core, and batches for them: 9×9 Sudoku's shape, with a few puzzle identifiers."""

from __future__ import annotations

from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.registry import build_model
from hrm_cli.models.shapes import Shapes
from hrm_cli.training.state import TrainState, initial_state

FACTS = DatasetFacts(vocab_size=11, seq_len=81, num_puzzle_identifiers=5, domain={})
ROWS = 6

CASES: dict[str, dict[str, Any]] = {
    "hrm": {"core": "hrm", "puzzle_emb_ndim": 40},
    "hrm-tables": {"core": "hrm", "puzzle_emb_ndim": 40, "position_tables": True, "qk_norm": True},
    "trm-attention": {"core": "trm", "pos_encodings": "learned", "puzzle_emb_ndim": 0, "damping": 0.9},
    "trm-mlp": {"core": "trm", "mlp_t": True, "pos_encodings": "none", "puzzle_emb_ndim": 40},
    "rsm": {
        "core": "trm", "mlp_t": True, "pos_encodings": "none", "puzzle_emb_ndim": 0, "halting": "certain",
        "tied_output": True,
    },
    "units": {"core": "hrm", "mixer": "units", "pos_encodings": "none", "q_continue": False},
    "units-adapted": {
        "core": "hrm", "mixer": "units", "pos_encodings": "none", "q_continue": False, "size_adapter_rank": 3,
        "size_adapter_base": 4,
    },
    "neighbors": {"core": "hrm", "mixer": "neighbors", "pos_encodings": "none", "q_continue": False},
    "edges": {"core": "hrm", "mixer": "edges", "pos_encodings": "none", "q_continue": False},
    "grid": {"core": "trm", "mixer": "grid", "pos_encodings": "none"},
    "trm-units": {
        "core": "trm", "mixer": "units", "pos_encodings": "none", "puzzle_emb_ndim": 0, "q_continue": False,
    },
    "nova": {"core": "nova", "puzzle_emb_ndim": 0, "dropout": 0.0, "nova_bridge_loss_weight": 0.1},
}  # fmt: skip
"""`arch` of the models; a new core or mixer gets an entry here."""

TRAIN: dict[str, dict[str, Any]] = {
    "hrm-tables": {"constraint_loss": 0.3},
    "rsm": {"objective": "rsm", "depth_schedule": "2x2@0", "grad_clip": 1.0},
    "units": {"gradient": "last_cycle", "grad_clip": 1.0, "loss": "softmax_cross_entropy"},
    "units-adapted": {"gradient": "last_cycle", "grad_clip": 1.0, "loss": "softmax_cross_entropy"},
    "neighbors": {"gradient": "last_cycle", "grad_clip": 1.0, "loss": "softmax_cross_entropy"},
    "edges": {"gradient": "last_cycle", "grad_clip": 1.0, "loss": "softmax_cross_entropy"},
    "trm-units": {"grad_clip": 1.0, "loss": "softmax_cross_entropy"},
    "nova": {"loss": "softmax_cross_entropy"},
}
"""`train` of those that are trained in a way of their own."""


def arch(case: str, **settings: Any) -> ArchConfig:
    """The architecture of a case, in float32 unless `settings` say otherwise."""
    small = {
        "hidden_size": 32, "num_heads": 2, "H_layers": 2, "L_layers": 1, "H_cycles": 2, "L_cycles": 2,
        "halt_max_steps": 3, "halt_exploration_prob": 0.0, "forward_dtype": "float32",
    }  # fmt: skip
    return ArchConfig(**{**small, **CASES[case], **settings})


def model(case: str, device: torch.device | str, **settings: Any) -> ACTModel:
    """A model with the same weights on every device, its Q head no longer constant."""
    generator = torch.Generator().manual_seed(0)
    made = build_model(
        arch(case, **settings), FACTS.vocab_size, FACTS.seq_len, FACTS.num_puzzle_identifiers,
        device=device, generator=generator,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("q_head.weight"):
                drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.copy_(drawn.to(parameter.device))
    return made


def preset(case: str, settings: dict[str, Any] | None = None, **train: Any) -> Preset:
    """A run of a case, uncompiled, with averaged weights; `settings` are for its architecture."""
    defaults = {
        "global_batch_size": ROWS, "lr": 1e-3, "lr_warmup_steps": 1, "puzzle_emb_lr": 1e-2, "ema_decay": 0.9,
        "compile": "off",
    }  # fmt: skip
    return Preset(
        arch=arch(case, **(settings or {})), train=TrainConfig(**{**defaults, **TRAIN.get(case, {}), **train})
    )


def state(
    case: str, device: torch.device, settings: dict[str, Any] | None = None, **train: Any
) -> TrainState:
    """The state before a run's first step."""
    return initial_state(preset(case, settings, **train), FACTS, device)


VOCABULARIES = {81: 11, 16: 6}
"""The vocabulary of each size that `several_sizes` trains on, by number of cells."""


def several_sizes(state: TrainState) -> TrainState:
    """The state, for batches of 9×9 and of 4×4 puzzles (`data.other_sizes`)."""
    state.shapes, state.vocabularies = Shapes(state.model), dict(VOCABULARIES)
    return state


def batch(number: int, device: torch.device | str, cells: int = FACTS.seq_len) -> PuzzleBatch:
    """The random puzzles of that number, a few cells unlabeled and some identifiers twice."""
    generator = torch.Generator().manual_seed(number)
    vocab_size = VOCABULARIES[cells]

    def tokens(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator, dtype=torch.int32)

    labels = tokens(1, vocab_size, ROWS, cells)
    labels[:, :7] = -100
    made = PuzzleBatch(
        tokens(1, vocab_size, ROWS, cells),
        labels,
        tokens(0, FACTS.num_puzzle_identifiers, ROWS),
    )
    return PuzzleBatch(made.inputs.to(device), made.labels.to(device), made.puzzle_identifiers.to(device))
