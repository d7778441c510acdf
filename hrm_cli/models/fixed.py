"""A model whose weights do not change any more: they are cast and laid out once, whatever it is asked."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from hrm_cli.models.act import ACTModel, InferenceStep


class FixedModel:
    """An `ACTModel` for inference only. It knows nothing of changes that its weights see later."""

    def __init__(self, model: ACTModel) -> None:
        self._model = model
        with torch.inference_mode():
            self._weights = model.eval().core.cast_weights()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.device

    def infer(
        self, inputs: Tensor, puzzle_identifiers: Tensor, max_steps: int, *, adaptive: bool
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """As `ACTModel.infer`."""
        return self._model.infer(
            inputs, puzzle_identifiers, max_steps, adaptive=adaptive, weights=self._weights
        )
