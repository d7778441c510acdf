"""hrm: datasets, parameter counts, training, evaluation and solving for the Hierarchical Reasoning Model.

    import hrm_cli as hrm
    for solution in hrm.load().solve("puzzles.txt"):
        print(solution.status, solution.text)

These functions are the ones the commands call (`hrm_cli.api`). docs/python.md describes all of them. Importing this
package does not import torch: each name loads what it needs on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrm_cli.api import (
        Model,
        PuzzleSolution,
        build_dataset,
        count_parameters,
        evaluate,
        inspect_dataset,
        load,
        open_dataset,
        train,
    )
    from hrm_cli.errors import HRMError

__version__ = "0.1.0"
__all__ = [
    "HRMError",
    "Model",
    "PuzzleSolution",
    "build_dataset",
    "count_parameters",
    "evaluate",
    "inspect_dataset",
    "load",
    "open_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hrm_cli' has no attribute {name!r}")
    if name == "HRMError":
        from hrm_cli.errors import HRMError

        return HRMError
    from hrm_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
