"""What `architectures.py` compares: sets of methods, each a dictionary of settings, and the tasks."""

from __future__ import annotations

from typing import Any

Method = dict[str, Any]

MODEL: Method = {
    "arch.puzzle_emb_ndim": 0,
    "arch.forward_dtype": "auto",
    "train.loss": "stablemax_cross_entropy",
    "train.beta2": 0.95,
    "train.lr_min_ratio": 0.1,
    "train.lr_warmup_steps": 50,
    "train.global_batch_size": 64,
    "train.weight_decay": 0.1,
    "train.ema_decay": 0.99,
    "train.grad_clip": 1.0,
}
"""Settings shared by all methods."""

MIXING: Method = {
    **MODEL,
    "arch.core": "trm",
    "arch.hidden_size": 192,
    "arch.num_heads": 4,
    "arch.L_layers": 1,
    "arch.mlp_t": True,
    "arch.pos_encodings": "none",
}
"""One block with a token-mixing MLP."""

SETTLING: Method = {
    **MIXING,
    "arch.H_cycles": 1,
    "arch.L_cycles": 4,
    "arch.halting": "certain",
    "arch.tied_output": True,
    "arch.halt_max_steps": 16,
    "train.objective": "rsm",
    "train.loss": "softmax_cross_entropy",
    "train.lr": 4e-3,
}
"""One outer step is one ACT step; a puzzle finishes when every cell is certain."""

ARCHITECTURES: dict[str, Method] = {
    "HRM": {
        **MODEL,
        "arch.core": "hrm",
        "arch.hidden_size": 128,
        "arch.num_heads": 4,
        "arch.pos_encodings": "learned",
        "arch.H_layers": 1,
        "arch.L_layers": 1,
        "arch.H_cycles": 1,
        "arch.L_cycles": 2,
        "arch.halt_max_steps": 4,
        "arch.q_continue": False,
        "train.loss": "softmax_cross_entropy",
        "train.global_batch_size": 128,
        "train.lr": 2e-3,
    },
    "TRM": {
        **MIXING,
        "arch.H_cycles": 2,
        "arch.L_cycles": 3,
        "arch.halt_max_steps": 4,
        "train.lr": 4e-3,
    },
    "RSM": {
        **SETTLING,
        "train.depth_schedule": "2x2@0 3x2@0.3 4x3@0.6",
    },
    "RSM, carried": {
        **SETTLING,
        "train.carry_over": 0.5,
        "train.depth_schedule": "2x2@0 2x4@0.3",
    },
}
"""Settings of each method, tuned in short runs; all models have 0.3 to 0.6 million parameters."""

MIXERS: dict[str, Method] = {
    "attention": {
        "arch.mixer": "attention",
        "arch.mlp_t": False,
        "arch.hidden_size": 64,
        "arch.pos_encodings": "learned",
        "train.lr": 3e-3,
    },
    "mlp": {
        "arch.mixer": "mlp",
        "arch.mlp_t": True,
        "arch.hidden_size": 96,
        "arch.pos_encodings": "none",
        "train.lr": 5e-3,
    },
    "units": {
        "arch.mixer": "units",
        "arch.mlp_t": False,
        "arch.hidden_size": 64,
        "arch.expansion": 3,
        "arch.pos_encodings": "none",
        "arch.tied_output": False,
        "train.lr": 4e-3,
    },
}
"""What mixes positions, for each of HRM, TRM and RSM. Width and learning rate were chosen on validation puzzles."""


def mixers() -> dict[str, Method]:
    """Every mixer with every architecture."""
    return {
        f"{architecture}, {mixer}": {**ARCHITECTURES[architecture], **changes, "train.global_batch_size": 64}
        for architecture in ("HRM", "TRM", "RSM")
        for mixer, changes in MIXERS.items()
    }


SMALL_HRM: Method = mixers()["HRM, mlp"]
"""The baseline of the settings: its accuracy after half a minute on 6×6 differs little between seeds."""

ATTENDING_HRM: Method = mixers()["HRM, attention"]
"""The baseline of settings that need attention."""

CHANGES: dict[str, Method] = {
    "baseline": {},
    "random initial states": {"arch.initial_state": "random"},
    "state noise": {"train.state_noise": 0.01},
    "damping": {"arch.damping": 0.95},
    "these three": {"arch.initial_state": "random", "train.state_noise": 0.01, "arch.damping": 0.95},
    "warmed-up rows": {"train.warm_up_rows": 0.1, "train.warm_up_steps": 32},
    "repair rows": {"train.repair_rows": 0.2, "train.repair_cells": 0.5},
    "float32 states": {"arch.state_dtype": "float32"},
    "position tables": {"arch.position_tables": True},
    "constraint loss": {"train.constraint_loss": 0.3},
    "Muon": {"train.optimizer": "muon"},
}
"""One change of the baseline each."""

CHANGES_OF_ATTENTION: dict[str, Method] = {
    "attention": {},
    "attention, QK norm": {"arch.qk_norm": True},
    "attention, position tables": {"arch.position_tables": True},
}

HIERARCHY: dict[str, Method] = {
    "two levels": {},
    "gates": {"arch.fusion": "gated"},
    "three levels": {"arch.middle_cycles": [2]},
    "distillation into L": {"train.l_distill_weight": 0.1},
}
"""Changes of the levels of an HRM. An ACT step of `three levels` has 4 updates of L, 2 of M1 and 1 of H."""

GRADIENTS: dict[str, Method] = {
    name: {"arch.H_cycles": 2, "train.gradient": gradient}
    for name, gradient in {
        "last updates": "last_updates", "last cycle": "last_cycle", "all cycles": "all_cycles"
    }.items()
}  # fmt: skip
"""Which updates of an ACT step with two cycles get gradient."""

GRID: Method = {
    "arch.core": "hrm",
    "arch.num_heads": 1,
    "arch.expansion": 3,
    "arch.H_layers": 1,
    "arch.L_layers": 1,
    "arch.H_cycles": 1,
    "arch.L_cycles": 7,
    "arch.puzzle_emb_ndim": 0,
    "arch.pos_encodings": "none",
    "arch.halting": "certain",
    "arch.halt_max_steps": 12,
    "arch.forward_dtype": "float32",
    "train.objective": "rsm",
    "train.carry_over": 0.6,
    "train.global_batch_size": 64,
    "train.lr": 3e-3,
    "train.lr_min_ratio": 0.02,
    "train.lr_warmup_steps": 50,
    "train.weight_decay": 0.1,
    "train.grad_clip": 1.0,
    "train.loss": "softmax_cross_entropy",
    "train.ema_decay": 0.99,
}
"""The settings of the preset `neighbors-maze`."""

GRIDS: dict[str, Method] = {
    "HRM, neighbors": {**GRID, "arch.mixer": "neighbors", "arch.hidden_size": 32},
    "HRM, edges": {**GRID, "arch.mixer": "edges", "arch.hidden_size": 16},
}
"""Mixers for grids whose weights work for every size."""

SETS: dict[str, dict[str, Method]] = {
    "architectures": ARCHITECTURES,
    "mixers": mixers(),
    "settings": {name: {**SMALL_HRM, **change} for name, change in CHANGES.items()}
    | {name: {**ATTENDING_HRM, **change} for name, change in CHANGES_OF_ATTENTION.items()},
    "hierarchy": {name: {**SMALL_HRM, **change} for name, change in HIERARCHY.items()},
    "gradients": {name: {**SMALL_HRM, **change} for name, change in GRADIENTS.items()},
    "grids": GRIDS,
}
"""Sets of methods that are compared with each other."""

TASKS: dict[str, dict[str, Any]] = {
    "6x6": {"size": 6, "clues": "10-24", "num_train": 20_000},
    "9x9": {"size": 9, "clues": "34-60", "num_train": 20_000},
    "mazes-6x6": {
        "domain": "maze",
        "size": 6,
        "name": "perfect",
        "num_train": 4000,
        "num_test": 67,
        "num_validation": 67,
        "also": [
            {"name": style, "style": style, "num_train": 4000, "num_test": 67, "num_validation": 67}
            for style in ("braided", "walls")
        ],
    },
}
