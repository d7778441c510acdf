"""The pages of the documentation, and what a fenced block in them looks like."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md") for path in REPOSITORY.glob(pattern)
)
NAMES = {page: str(page.relative_to(REPOSITORY)) for page in PAGES}
PRESETS = sorted((REPOSITORY / "presets").glob("*.yaml"))
FENCE = re.compile(r"^( *)(```+)([^\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
