"""Counts and lists the lines of a puzzle file that are not part of a puzzle, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_LISTED = 20
"""Maximum number of lines that are listed. Further lines are only counted."""


@dataclass
class SkippedLines:
    """The skipped lines, such as titles and notes. Readers add them; messages list them."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    """The line numbers of the first skipped lines."""
    names_files: bool = False
    """Whether the lines come from several files and are therefore listed as `file.txt:3`."""
    where: list[str] = field(default_factory=list)
    """File and line of the first skipped lines."""

    def add(self, where: str) -> None:
        """Counts the line at `where`, for example `file.txt:3`."""
        self.count += 1
        number = where.rpartition(":")[2]
        if len(self.first) < MAX_LISTED and number.isdecimal():
            self.first.append(int(number))
            self.where.append(where)

    def document(self) -> dict[str, Any]:
        """The JSON record. It has the same keys as the records of puzzles."""
        return {
            "index": None,
            "status": "skipped",
            "answer": None,
            "verified": False,
            "reason": str(self),
            "count": self.count,
            "lines": self.first,
            **({"where": self.where} if self.names_files else {}),
        }

    def __str__(self) -> str:
        """For example `3 lines are not puzzles: 12, 40, 41`; empty if no line was skipped."""
        if not self.count:
            return ""
        named = ", ".join(self.where if self.names_files else map(str, self.first))
        more = f" and {self.count - len(self.first):,} more" if self.count > len(self.first) else ""
        what = "line is not a puzzle" if self.count == 1 else "lines are not puzzles"
        return f"{self.count:,} {what}: {named}{more}"
