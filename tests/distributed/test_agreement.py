"""How often the ranks of a run ask one another whether to stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hrm_cli.distributed.world import ALONE, World
from hrm_cli.training.loop import Agreement
from hrm_cli.training.state import TrainState


class Counting(World):
    """A world of several ranks that counts how often they ask."""

    asked = 0

    def largest(self, *numbers: float) -> tuple[float, ...]:
        self.asked += 1
        return numbers


def taken(agreement: Agreement, steps: range, seconds: float, signal: int = 0) -> list[Any]:
    return [
        agreement.sync(
            cast(TrainState, SimpleNamespace(step=step, wall_seconds=step * seconds)), signal, now=False
        )
        for step in steps
    ]


@pytest.mark.parametrize(("seconds", "most"), [(0.001, 4), (0.1, 260), (1.0, 1000)])
def test_ranks_synchronize_about_twice_a_second_or_at_every_long_step(seconds: float, most: int) -> None:
    world = Counting(0, 2)
    told = taken(Agreement(world), range(1, 1001), seconds)
    assert world.asked == sum(answer is not None for answer in told)
    assert most / 2 <= world.asked <= most


def test_a_signal_takes_effect_when_the_ranks_next_synchronize_or_at_once_on_request() -> None:
    agreement = Agreement(Counting(0, 2))
    taken(agreement, range(1, 401), 0.001)
    assert taken(agreement, range(402, 403), 0.001, signal=15) == [None]
    state = cast(TrainState, SimpleNamespace(step=403, wall_seconds=0.6))
    assert agreement.sync(state, 15, now=True) == (15, 0.6)
    heard = [answer for answer in taken(agreement, range(404, 1200), 0.001, signal=15) if answer]
    assert heard[0][0] == 15


def test_ranks_that_rolled_back_synchronize_at_the_earlier_step() -> None:
    agreement = Agreement(Counting(0, 2))
    taken(agreement, range(1, 900), 0.001)
    assert taken(agreement, range(100, 101), 0.001) != [None]


def test_a_single_process_handles_every_signal_at_once_without_communication() -> None:
    assert taken(Agreement(ALONE), range(1, 4), 0.001, signal=2) == [
        (2, 0.001),
        (2, 0.002),
        (2, 0.003),
    ]
