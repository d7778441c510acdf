"""What happens to the states of the rows before a training step: where new puzzles start, and noise.

A row that takes a new puzzle starts from the initial state. Settings change that for all such rows or for a fraction:
random initial states (`arch.initial_state`), the state of a damaged solution (`train.repair_rows`), and ACT steps
without gradient before the first training step (`train.warm_up_rows`), in this order. Noise (`train.state_noise`) is
added to the states of all rows.

All random numbers follow from the step's seed for each row (`hrm_cli.models.rng.StepRNG`). They do not depend on the
number of micro-batches, ranks or threads, and a resumed run uses the same ones.

Letters in shapes: B rows, P+S positions, S tokens of a puzzle, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hrm_cli.config.train import TrainConfig
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.core import Depth, InnerCarry
from hrm_cli.models.initial_states import random_states, state_of_answer
from hrm_cli.models.recurrent import RecurrentCore, RecurrentWeights
from hrm_cli.models.rng import StepRNG


def row_starts(model: ACTModel, config: TrainConfig, rng: StepRNG, depth: Depth) -> RowStarts | None:
    """The preparation of the rows of one step; None if every setting is off, and then no random number is used."""
    is_random = model.arch.initial_state == "random"
    if not (is_random or config.state_noise or config.warm_up_rows or config.repair_rows):
        return None
    core = model.inner
    assert isinstance(core, RecurrentCore)  # the configuration refuses others
    return RowStarts(core, config, rng, depth)


@dataclass(frozen=True)
class RowStarts:
    """Prepares the states of the rows of one training step."""

    core: RecurrentCore
    config: TrainConfig
    rng: StepRNG
    depth: Depth
    """Number of cycles of an ACT step."""

    @torch.no_grad()
    def prepare(
        self,
        states: InnerCarry,
        puzzles: PuzzleBatch,
        fresh: Tensor,
        puzzle_rows: Tensor | None,
        weights: RecurrentWeights,
    ) -> InnerCarry:
        """The states from which the step continues. `fresh` `[B]` marks rows with a new puzzle, in initial states."""
        if self.core.arch.initial_state == "random":
            states = self._randomize(states, fresh)
        if self.config.repair_rows:
            states = self._repair(states, puzzles, fresh, weights)
        if self.config.warm_up_rows:
            states = self._warm_up(states, puzzles, fresh, puzzle_rows, weights)
        if self.config.state_noise:
            noise = random_states(self.rng.row_seeds("state_noise"), states).tensors()
            scale = self.config.state_noise
            noisy = {n: state + scale * _rms(state) * noise[n] for n, state in states.tensors().items()}
            states = InnerCarry(**noisy)
        return states

    def _randomize(self, states: InnerCarry, fresh: Tensor) -> InnerCarry:
        seeds = self.rng.row_seeds("initial_state")
        if fresh.device.type != "cpu":
            # Which rows are fresh is known only on the device: sampling for all is cheaper than waiting for it.
            return _where(fresh, random_states(seeds, states), states)
        rows = fresh.nonzero().squeeze(-1)
        if len(rows) == 0:
            return states
        found = random_states([seeds[row] for row in rows.tolist()], states)
        return _with_rows(states, rows, found)

    def _repair(
        self, states: InnerCarry, puzzles: PuzzleBatch, fresh: Tensor, weights: RecurrentWeights
    ) -> InnerCarry:
        """Starts some fresh rows from a z_H that the output head reads as their solution with damaged cells."""
        device = fresh.device
        chosen = self.rng.shares_on_host("repair_rows") < self.config.repair_rows
        fractions = self.rng.shares_on_host("repair_cells") * self.config.repair_cells
        seeds = self.rng.row_seeds("repair_rows")
        if not chosen.any():
            return states
        answer = damaged(puzzles.labels, fractions.to(device), seeds)
        head = weights._replace(lm_head=weights.lm_head.detach())
        z_H = state_of_answer(
            lambda z: self.core.logits_of(z.to(self.core.dtype), head),
            answer,
            states.z_H,
            self.core.vocab_size,
        )
        rows = (fresh & chosen.to(device)).view(-1, 1, 1)
        return replace(states, z_H=torch.where(rows, z_H, states.z_H))

    def _warm_up(
        self,
        states: InnerCarry,
        puzzles: PuzzleBatch,
        fresh: Tensor,
        puzzle_rows: Tensor | None,
        weights: RecurrentWeights,
    ) -> InnerCarry:
        """Runs some fresh rows through ACT steps without gradient, each row through a number of its own."""
        chosen = self.rng.shares_on_host("warm_up_rows") < self.config.warm_up_rows
        counts = 1 + (self.rng.shares_on_host("warm_up_steps") * self.config.warm_up_steps).long()
        # On an accelerator, this waits for the device once per step: which rows are fresh is known only there.
        counts = torch.where(chosen & fresh.cpu(), counts, 0)
        # The rows with most steps first, so that those that still run are always the first ones.
        counts, order = counts.sort(descending=True, stable=True)
        running = [int((counts > step).sum()) for step in range(int(counts[0]))]
        if not running:
            return states
        rows = order[: running[0]].to(fresh.device)
        inputs = puzzles.inputs[rows]
        embeddings = None if puzzle_rows is None else puzzle_rows[rows]
        warm = states.select(rows)
        with _uncompiled(self.core):
            for count in running:
                after, _ = self.core(
                    warm.select(slice(count)),
                    inputs[:count],
                    None if embeddings is None else embeddings[:count],
                    weights,
                    depth=self.depth,
                )
                for name, state in after.tensors().items():
                    warm.tensors()[name][:count] = state
        return _with_rows(states, rows, warm)


def damaged(labels: Tensor, fractions: Tensor, seeds: list[int]) -> Tensor:
    """Solutions `[B, S]` in which some cells have the token of a random other cell of the same solution.

    Every cell is damaged with the probability `fractions` `[B]` of its row. Cells without a label stay negative. The
    tokens come from the solution itself, so they are always possible ones, whatever the puzzle.
    """
    generator = torch.Generator(labels.device)
    shape = (2, labels.shape[1])
    numbers = torch.stack(
        [torch.rand(shape, generator=generator.manual_seed(seed), device=labels.device) for seed in seeds]
    )
    source = (numbers[:, 1] * labels.shape[1]).long().clamp(max=labels.shape[1] - 1)
    others = labels.gather(1, source)
    hit = (numbers[:, 0] < fractions.unsqueeze(1)) & (labels >= 0) & (others >= 0)
    return torch.where(hit, others, labels)


def _where(rows: Tensor, chosen: InnerCarry, others: InnerCarry) -> InnerCarry:
    """`chosen` in the rows where the mask `[B]` is set, elsewhere `others`."""
    kept = others.tensors()
    found = {
        name: torch.where(rows.view(-1, *[1] * (state.ndim - 1)), state, kept[name])
        for name, state in chosen.tensors().items()
    }
    return InnerCarry(**found)


def _with_rows(states: InnerCarry, rows: Tensor, new: InnerCarry) -> InnerCarry:
    """`states` with the rows of `new` at the indices `rows`."""
    found = new.tensors()
    return InnerCarry(
        **{name: one.index_copy(0, rows, found[name]) for name, one in states.tensors().items()}
    )


def _rms(state: Tensor) -> Tensor:
    """The root mean square of every row of a state, with one number per row, in its dtype."""
    return state.float().square().mean(tuple(range(1, state.ndim)), keepdim=True).sqrt().to(state.dtype)


@contextmanager
def _uncompiled(core: RecurrentCore) -> Iterator[None]:
    """Within this context, a compiled core computes as at inference, where one graph serves any number of rows.

    Without compilation nothing changes, so threads that train on shards at the same time do not affect each other.
    """
    if core.compiled_update is None and core.compiled_step is None:
        yield
        return
    core.training = False
    try:
        yield
    finally:
        core.training = True
