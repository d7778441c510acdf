"""`hrm play`: a local page to type puzzles in, watch a model solve them, and ask for hints."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hrm_cli.cli import console, streams
from hrm_cli.cli.options import ANY_MODEL, DeviceOption, SeedOption, complete_models


def play(
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help=f"{ANY_MODEL} Name several to compare them.",
            show_default="the bundled models",
            autocompletion=complete_models,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on this machine.", show_default="a free one")
    ] = 0,
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in a browser.",
            show_default="open it if this is a terminal on a machine with a display",
        ),
    ] = None,
    solve_seconds: Annotated[
        float, typer.Option("--solve-seconds", min=1, help="Time limit for solving one puzzle, in seconds.")
    ] = 300,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Play with models on a local web page: type or draw a puzzle, watch the reasoning steps, ask for hints.

    The page is served on this machine only, at an address with a secret token. Ctrl-C stops the server (exit status
    130).

    On a machine that you reach by SSH, forward the port: ssh -L 8000:127.0.0.1:8000 HOST, then
    hrm play --port 8000 there, and open the printed address here.

    \b
    Examples:
      hrm play
      hrm play runs/demo
      hrm play runs/demo bundled:sudoku-4x4
      hrm play --port 8000 --no-open
    """
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.playing.page import PlayRequest, serve

    opens = has_display() if open_page is None else open_page

    def started(url: str) -> None:
        console.print_line(f"hrm play: {url}")
        streams.flush_out()  # a script reads the address while the command runs
        console.disable_heartbeat()
        console.print_message("Press Ctrl-C to stop.")
        if opens:
            import webbrowser

            if not webbrowser.open(url) and open_page:
                console.print_message("No browser could be opened; open the address above.")

    def failed(error: BaseException) -> None:
        from hrm_cli.errors import fault

        console.print_error(fault(error))

    request = PlayRequest(tuple(checkpoints or ()), port, solve_seconds, seed or 0)
    serve(request, lambda: device_of_command(device), started, failed)


def has_display() -> bool:
    """Whether a user is probably at this machine: a terminal, and a display for a browser."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ or "CI" in os.environ:
        return False
    return sys.platform in ("win32", "darwin") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
