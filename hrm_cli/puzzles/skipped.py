"""The lines of a puzzle file that belong to no puzzle, counted and named in constant memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NAMED = 20
"""Lines that are named; more are counted."""


@dataclass
class SkippedLines:
    """Titles, notes and whatever else was skipped: a reader adds them, messages name them."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    """The numbers of the first ones."""
    names_files: bool = False
    """Whether the lines are those of several files, and named `file.txt:3`."""
    where: list[str] = field(default_factory=list)
    """The places of the first ones."""

    def add(self, where: str) -> None:
        """Counts the line at `where`, which is `file.txt:3`."""
        self.count += 1
        number = where.rpartition(":")[2]
        if len(self.first) < NAMED and number.isdecimal():
            self.first.append(int(number))
            self.where.append(where)

    def document(self) -> dict[str, Any]:
        """The JSON record, with the keys that those of puzzles have too."""
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
        """`3 lines are not puzzles: 12, 40, 41`; nothing where there is none."""
        if not self.count:
            return ""
        named = ", ".join(self.where if self.names_files else map(str, self.first))
        more = f" and {self.count - len(self.first):,} more" if self.count > len(self.first) else ""
        what = "line is not a puzzle" if self.count == 1 else "lines are not puzzles"
        return f"{self.count:,} {what}: {named}{more}"
