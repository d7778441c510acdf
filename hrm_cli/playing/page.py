"""Serves the page: its files, its actions, and shutting down on Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hrm_cli.playing.models import Models, offers_of
from hrm_cli.playing.server import File, PlayServer
from hrm_cli.playing.session import PlaySession
from hrm_cli.playing.worker import Worker
from hrm_cli.views.web.boards import script, style

if TYPE_CHECKING:
    import torch

WEB = Path(__file__).parent / "web"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


@dataclass(frozen=True)
class PlayRequest:
    """The options of `hrm play`."""

    checkpoints: Sequence[str] = ()
    """If empty, the bundled models."""
    port: int = 0
    """0 means any free port."""
    seconds: float = 300.0
    """Time limit of a solve."""
    seed: int = 0


def serve(
    request: PlayRequest,
    find_device: Callable[[], torch.device],
    on_start: Callable[[str], None],
    on_fault: Callable[[BaseException], None],
) -> None:
    """Serves the page until an interrupt, which is raised again after a running solve has stopped.

    `on_start` is called with the address of the page once it can be opened. Raises CheckpointError or ConfigError.
    """
    # Wrong names end the command before torch is loaded.
    offers = offers_of(request.checkpoints)
    session = PlaySession(Models(offers, find_device()), seed=request.seed)
    worker = Worker(request.seconds)
    server = PlayServer(files(session), session.actions(), worker, port=request.port, on_fault=on_fault)
    try:
        on_start(server.url)
        server.serve_forever(poll_interval=0.25)
    finally:
        # A second interrupt must not leave the port open.
        with suppress(KeyboardInterrupt):
            server.server_close()
            worker.close()


def files(session: PlaySession) -> dict[str, File]:
    """Everything that is served; the page is the empty name. They are read once."""
    own = {path.name: path.read_bytes() for path in sorted(WEB.iterdir()) if path.suffix in _TYPES}
    page = own.pop("play.html")
    shared = {"board.js": script().encode(), "board.css": style().encode()}
    found = {
        name: File(body, f"{_TYPES[Path(name).suffix]}; charset=utf-8")
        for name, body in (own | shared).items()
    }
    offers = json.dumps(session.offers()).encode()
    return found | {
        "": File(page, "text/html; charset=utf-8"),
        "offers.json": File(offers, "application/json"),
    }
