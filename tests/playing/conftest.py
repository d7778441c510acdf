"""A session as the page uses it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hrm_cli.playing.models import Models, offers_of
from hrm_cli.playing.session import PlaySession
from hrm_cli.playing.worker import Stop


class Player:
    """A session, and its actions as the page calls them."""

    def __init__(self, *checkpoints: object) -> None:
        models = Models(offers_of([str(name) for name in checkpoints]), torch.device("cpu"))
        self.session = PlaySession(models)

    def __call__(self, action: str, seconds: float = 60, **document: Any) -> Any:
        return self.session.actions()[action](document, Stop(seconds))


@pytest.fixture(scope="session")
def bundled() -> Player:
    return Player()
