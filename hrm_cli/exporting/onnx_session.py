"""Runs an exported ONNX model with onnxruntime: one step, and the ACT loop.

Letters in shapes: B batch, S tokens of a puzzle, n puzzles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.exporting.onnx_model import OUTPUTS

Arrays = dict[str, NDArray[Any]]
_ROWS = 64


class OnnxStep:
    """One step of an exported model, from its bytes."""

    def __init__(self, content: bytes, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.has_identifiers = "puzzle_identifiers" in [one.name for one in self._session.get_inputs()]

    def run(self, arrays: Arrays) -> Arrays:
        """The outputs of one step by name. Puzzle identifiers are dropped for models without puzzle embeddings."""
        taken = {
            name: value
            for name, value in arrays.items()
            if self.has_identifiers or name != "puzzle_identifiers"
        }
        return dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), taken), strict=True))

    def blank_states(self, rows: int) -> Arrays:
        """States for the first step, whose values do not matter."""
        shape = rows, int(self.metadata["positions"]), int(self.metadata["hidden_size"])
        return {name: np.zeros(shape, np.float32) for name in ("z_H", "z_L")}

    def answers(
        self, inputs: NDArray[np.int32], identifiers: NDArray[np.int32], max_steps: int
    ) -> NDArray[np.int64]:
        """The answers to puzzles `[n, S]`, each after the step at which it halts: `[n, S]`."""
        found = np.zeros(inputs.shape, np.int64)
        for start in range(0, len(inputs), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(inputs)))
            states = self.blank_states(len(rows))
            for step in range(1, max_steps + 1):
                steps = np.full(len(rows), step, np.int64)
                given: Arrays = {
                    "inputs": inputs[rows],
                    "step": steps,
                    "puzzle_identifiers": identifiers[rows],
                    **states,
                }
                out = self.run(given)
                done = out["halt"] | (step == max_steps)
                found[rows[done]] = out["logits"][done].argmax(-1)
                states = {"z_H": out["next_z_H"][~done], "z_L": out["next_z_L"][~done]}
                rows = rows[~done]
                if not len(rows):
                    break
        return found
