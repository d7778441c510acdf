"""Results written to disk immediately: JSON lines, from which a later call continues, and a readable text."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ERROR_LINES = 6


class Results:
    """`results.jsonl` and `results.txt` in a folder; every line is written through when it comes.

    `earlier` are results of an earlier call, whose finished rows count as finished here. What processes say on stderr
    goes to `logs`.
    """

    def __init__(
        self, folder: Path, earlier: Path | None = None, *, logs: Path | None = None, quiet: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = logs or folder
        self.logs.mkdir(parents=True, exist_ok=True)
        self.folder, self.file, self._text = folder, folder / "results.jsonl", folder / "results.txt"
        self._earlier, self._quiet = earlier, quiet

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, those of the earlier call first, without incomplete lines of killed processes."""
        found = []
        for file in (self._earlier, self.file):
            if file is None or not file.is_file():
                continue
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        return found

    def finished(self, stage: str) -> set[str]:
        """Names of the finished rows of a stage."""
        return {row["row"] for row in self.rows() if row["stage"] == stage and row["status"] == "ok"}

    def add(self, stage: str, row: str, status: str, **figures: Any) -> None:
        """Saves a row."""
        document = {"stage": stage, "row": row, "status": status, **figures}
        _append(self.file, json.dumps(document, ensure_ascii=False))

    def not_reached(
        self, stage: str, names: Sequence[str], why: str, lines: Sequence[str] | None = None
    ) -> None:
        """Saves which rows of a stage have no result, and why; `lines` are to read in place of the names."""
        if names:
            self.add(stage, "not reached", "not reached", why=why, rows=list(names))
            self.say(f"{stage}: {len(names)} not reached ({why}); the same command continues with them:")
            for line in names if lines is None else lines:
                self.say(f"  {line}")

    def say(self, line: str = "") -> None:
        """Writes a line to the text file and to stdout."""
        if not self._quiet:
            print(line, flush=True)
        _append(self._text, line)


def _append(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def last_lines(text: str, count: int = _ERROR_LINES) -> list[str]:
    """The last lines of a text that are not empty."""
    return [line.rstrip()[:500] for line in text.splitlines() if line.strip()][-count:]


def error_lines(error: BaseException) -> list[str]:
    """The location and the message of an error."""
    return last_lines("".join(traceback.format_exception(error)))
