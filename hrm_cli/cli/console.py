"""Output of commands: Rich on a terminal, plain lines without control codes elsewhere.

All text goes through this module. It escapes control characters, which may come from files, names and headers
(`hrm_cli.printable`), and never interprets text as Rich markup.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, ClassVar

from hrm_cli.cli import streams
from hrm_cli.config.renamed_settings import RenamedSettingWarning
from hrm_cli.printable import clock, printable, shortened
from hrm_cli.reporting import Progress, Reporter, when_compiling

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

PLAIN_LINE_SECONDS = 10.0
"""Seconds between two progress lines if stderr is not a terminal."""


HEARTBEAT_SECONDS = 60.0
"""Seconds of silence after which a job without a terminal prints a heartbeat. CI systems kill silent jobs."""


class _Activity:
    """The time of the last write to stderr, and the current activity of the command."""

    at = 0.0
    doing: ClassVar[list[str]] = []
    is_quiet = False


def is_plain(stream: IO[str]) -> bool:
    """Whether `stream` gets plain lines: a pipe or file, CI, or a terminal that cannot draw.

    NO_COLOR removes only the colors, which Rich handles.
    """
    return bool(os.environ.get("CI")) or os.environ.get("TERM") == "dumb" or not stream.isatty()


def width_of(stream: IO[str]) -> int:
    """Columns of the terminal at `stream`: as COLUMNS says, else as the terminal does, else 80."""
    if not os.environ.get("COLUMNS", "").isdecimal():
        with suppress(OSError, ValueError):  # stdout may be a pipe while stderr is a terminal
            return os.get_terminal_size(stream.fileno()).columns or 80
    return shutil.get_terminal_size().columns


def console(stream: IO[str]) -> Console:
    """A Rich console on `sys.stdout` or `sys.stderr`; without control codes if `is_plain`."""
    from rich.console import Console
    from rich.segment import Segment

    class PrintableConsole(Console):
        def on_broken_pipe(self) -> None:
            # Rich would exit with status 1, which has another meaning in hrm: a negative result.
            raise BrokenPipeError

        def render(self, *args: Any, **options: Any) -> Iterator[Segment]:
            """Renders segments with control characters in their text escaped.

            Rich adds its own control codes afterwards.
            """
            for segment in super().render(*args, **options):
                text = segment.text if segment.control else printable(segment.text)
                yield segment if text == segment.text else Segment(text, segment.style)

    options: dict[str, Any] = {"file": stream, "highlight": False, "markup": False, "emoji": False}
    if is_plain(stream):
        options |= {"color_system": None, "force_terminal": False}
    return PrintableConsole(**options)


def print_line(text: str = "") -> None:
    """Prints one line on stdout, without markup or wrapping."""
    streams.write_out(f"{printable(text)}\n")


def print_message(text: str) -> None:
    """Prints a message on stderr: a note, a warning, the current activity."""
    _Activity.at = time.perf_counter()
    streams.write_error(f"{fitting_message(printable(text))}\n")


def fitting_message(text: str) -> str:
    """A text for stderr, broken at words to fit its terminal. Without a terminal it is unchanged, for `grep`."""
    if is_plain(sys.stderr):
        return text
    from hrm_cli.cli.render.layout import fitting_text

    return fitting_text(text, width_of(sys.stderr))


def print_error(text: str) -> None:
    """Prints the final error message of a command on stderr, with bounded length."""
    print_message(f"Error: {shortened(printable(text))}")


def print_json(document: Any, *, indent: int | None = 2) -> None:
    """Prints one JSON document on stdout; `indent=None` keeps it on one line, for JSON lines.

    JSON has no NaN or infinity, so they become null.
    """
    plain = json.loads(json.dumps(document, default=_plain_value), parse_constant=lambda _: None)
    # Elsewhere, such as in pipes on Windows, characters that stdout cannot encode would become question marks.
    is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")
    print_line(json.dumps(plain, indent=indent, ensure_ascii=not is_utf8))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    folds: Collection[str] | None = None,
    drops: Sequence[str] = (),
    prose: bool = False,
) -> None:
    """Prints a table on stdout. Numeric columns are right-aligned.

    On a terminal it fits the width (`hrm_cli.cli.render.layout`): the columns `folds` wrap at words (by default the
    last one, if it is text), those of `drops` are left out, the first of them first, and with `prose` the last column
    may stand below its row. Plain tables have two spaces between columns and are never cut: `awk` and `grep` find
    whole values.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    if is_plain(sys.stdout):
        _print_plain_table(columns, cells, numeric, title)
        return
    from rich.cells import cell_len
    from rich.text import Text

    from hrm_cli.cli.render.layout import Columns, fit, wrapped

    if folds is None:
        folds = () if numeric[-1] else columns[-1:]
    terminal = console(sys.stdout)
    layout = fit(Columns(columns, numeric, folds, drops, prose), cells, terminal.width, cell_len)

    def show(line: str, style: str = "") -> None:
        terminal.print(Text(line, style=style), no_wrap=True, overflow="ignore", crop=False)

    for line in wrapped(title, terminal.width):
        print_line(line)
    for line in layout.head:
        show(line, "bold")
    if layout.head:
        show("─" * max(cell_len(line) for line in (*layout.head, *layout.body)), "dim")
    for line in layout.body:
        show(line)
    if dropped := ", ".join(filter(None, layout.dropped)):
        print_line(f"Left out to fit the terminal: {dropped}.")


@contextmanager
def heartbeat(command: str) -> Iterator[None]:
    """Prints once a minute on stderr that `command` is still running, unless there is other output.

    Does nothing on a terminal, which shows a progress bar, or if the command is quiet.
    """
    _Activity.at, _Activity.is_quiet = time.perf_counter(), False
    _Activity.doing[:] = [command]
    when_compiling(_report_compiling)
    if not is_plain(sys.stderr):
        yield
        return
    started, ended = time.perf_counter(), threading.Event()

    def beat() -> None:
        while not ended.wait(max(0.0, _Activity.at + HEARTBEAT_SECONDS - time.perf_counter())):
            now = time.perf_counter()
            if now - _Activity.at < HEARTBEAT_SECONDS:
                continue
            if _Activity.is_quiet:
                _Activity.at = now
            else:
                print_message(f"{_Activity.doing[-1]}: still running, {clock(now - started)} since the start")

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _report_compiling() -> None:
    if not _Activity.is_quiet:
        print_message("Compiling CPU kernels for their first use here: 10 to 30 s on an idle machine…")


def disable_heartbeat() -> None:
    """Disables the heartbeat, because the command is quiet or other processes print their own."""
    _Activity.is_quiet = True


@contextmanager
def progress(
    description: str, total: float | None = None, *, start: float = 0, quiet: bool = False
) -> Iterator[Progress]:
    """Shows progress on stderr: a bar with the remaining time on a terminal, occasional plain lines elsewhere.

    The first `start` of the total were done before; the remaining time is estimated from the rest.
    stdout is never used, so `--json` and pipes still work. `quiet` shows nothing.
    """
    if quiet:
        yield Progress()
    elif is_plain(sys.stderr):
        lines = _PlainProgress(description, total, start)
        _Activity.doing.append(description)
        try:
            yield lines
        finally:
            _Activity.doing.remove(description)
        lines.finish()
    else:
        from rich import progress as bars

        with bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=20),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(elapsed_when_finished=True),
            bars.TextColumn("{task.fields[note]}", markup=False),
            console=console(sys.stderr),
            refresh_per_second=4,
        ) as display:
            yield _BarProgress(
                display, display.add_task(description, total=total, completed=int(start), note="")
            )


@contextmanager
def renamed_settings_as_notes() -> Iterator[None]:
    """Prints one note for each renamed setting that the user wrote with its old name."""
    shown: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedSettingWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            text = str(message)
            if not issubclass(category, RenamedSettingWarning):
                usual(message, category, *place, **more)
            elif text not in shown:
                shown.add(text)
                print_message(f"Note: {text}")

        warnings.showwarning = show
        yield


class ConsoleReporter(Reporter):
    """Shows a job's notes, warnings and progress on stderr. `quiet` keeps only warnings."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        if quiet:
            disable_heartbeat()

    def note(self, text: str) -> None:
        """One line on stderr."""
        if not self._quiet:
            print_message(text)

    def warn(self, text: str) -> None:
        """A warning on stderr, independent of stdout."""
        print_message(f"Warning: {text}")

    def progress(
        self, description: str, total: float | None = None, *, start: float = 0
    ) -> AbstractContextManager[Progress]:
        """A bar on a terminal, occasional plain lines elsewhere."""
        return progress(description, total, start=start, quiet=self._quiet)


class _BarProgress(Progress):
    def __init__(self, display: Any, task: Any) -> None:
        self._display, self._task = display, task

    def update(self, completed: float, note: str = "", total: float | None = None) -> None:
        changed = {} if total is None else {"total": total}
        self._display.update(self._task, completed=completed, note=note, **changed)


class _PlainProgress(Progress):
    def __init__(self, description: str, total: float | None, start: float) -> None:
        self._description, self._total, self._start = description, total, start
        self._started = self._last_line = time.monotonic()
        self._pending_line = ""

    def update(self, completed: float, note: str = "", total: float | None = None) -> None:
        self._total = self._total if total is None else total
        share = f"/{self._total:,.0f} ({completed / self._total:.0%})" if self._total else ""
        line = f"{self._description}: {completed:,.0f}{share}{', ' if note else ''}{note}"
        now = time.monotonic()
        if now - self._last_line < PLAIN_LINE_SECONDS:
            self._pending_line = line
            return
        self._last_line, self._pending_line = now, ""
        left = ""
        done = completed - self._start
        if self._total and done > 0:
            left = f", {clock((now - self._started) * (self._total - completed) / done)} left"
        print_message(line + left)

    def finish(self) -> None:
        if self._pending_line:
            print_message(f"{self._pending_line}, {clock(time.monotonic() - self._started)} taken")


def _print_plain_table(
    columns: Sequence[str], cells: list[list[str]], numeric: Sequence[bool], title: str
) -> None:
    if title:
        print_line(title)
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        padded = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ]
        print_line("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return shortened(printable(str(value)))


def _plain_value(value: Any) -> Any:
    """Converts paths to strings and numpy scalars to Python numbers."""
    return value.item() if hasattr(value, "item") else str(value)
