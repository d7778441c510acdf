"""Draws docs/pictures/architecture.svg from the imports of hrm_cli: `python docs/draw_architecture.py`.

Each floor is a row with its purpose, the highest first. A dot means that it imports from the floor of that column.
Every dot is right of the diagonal: imports go downward only. tests/test_architecture.py compares the file with this
output.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hrm_cli"
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
ROW, LEFT, COLUMN, TOP = 34, 700, 34, 150

STYLE = """
.card{fill:#fff;stroke:#d0d7de}.name{font:600 14px ui-monospace,monospace;fill:#1f2328}
.what{font:13px system-ui,sans-serif;fill:#57606a}.column{font:12px ui-monospace,monospace;fill:#57606a}
.dot{fill:#0969da}.own{fill:#d0d7de}.line{stroke:#eaeef2}
@media(prefers-color-scheme:dark){.card{fill:#0d1117;stroke:#30363d}.name{fill:#e6edf3}.what,.column{fill:#8d96a0}
.dot{fill:#4493f8}.own{fill:#30363d}.line{stroke:#21262d}}
"""


def floors() -> tuple[str, ...]:
    """The floors from the lowest up, as the test of the architecture names them."""
    text = (ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8")
    found = re.search(r"^FLOORS = (\(.*?\))$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return tuple(ast.literal_eval(found[1]))


def files_of(floor: str) -> list[Path]:
    """The modules of a floor."""
    folder = PACKAGE / floor
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{floor}.py"]


def purpose(floor: str) -> str:
    """The first line of a floor's docstring."""
    folder = PACKAGE / floor
    path = folder / "__init__.py" if folder.is_dir() else PACKAGE / f"{floor}.py"
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def imports() -> set[tuple[str, str]]:
    """Pairs of floors, the first of which imports from the second."""
    found = set()
    for floor in floors():
        for path in files_of(floor):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hrm_cli."):
                    found.add((floor, str(node.module).split(".")[1]))
                elif isinstance(node, ast.ImportFrom) and node.module == "hrm_cli":
                    found |= {(floor, alias.name) for alias in node.names}
    return {(floor, other) for floor, other in found if other in floors() and other != floor}


def drawing() -> str:
    """The SVG."""
    rows = floors()[::-1]
    found = imports()
    width, height = LEFT + COLUMN * len(rows) + 30, TOP + ROW * len(rows) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img">',
        "<title>The floors of hrm_cli, and which floor imports from which</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12"/>',
        '<text class="what" x="24" y="40">Each row is a floor of hrm_cli. '
        "A dot: it imports from the floor of that column.</text>",
        '<text class="what" x="24" y="60">Imports go downward only: no dot is left of the diagonal.</text>',
    ]
    for i, floor in enumerate(rows):
        y, x = TOP + ROW * i + ROW // 2, LEFT + COLUMN * i + COLUMN // 2
        parts.append(
            f'<line class="line" x1="24" y1="{y + ROW // 2}" x2="{width - 24}" y2="{y + ROW // 2}"/>'
        )
        parts.append(f'<text class="name" x="24" y="{y + 5}">{floor}</text>')
        parts.append(f'<text class="what" x="164" y="{y + 5}">{escape(_short(purpose(floor)))}</text>')
        parts.append(
            f'<text class="column" transform="translate({x + 4} {TOP - 10}) rotate(-60)">{floor}</text>'
        )
        parts.append(f'<rect class="own" x="{x - 5}" y="{y - 5}" width="10" height="10" rx="2"/>')
        for j, other in enumerate(rows):
            if (floor, other) in found:
                cx = LEFT + COLUMN * j + COLUMN // 2
                parts.append(
                    f'<circle class="dot" cx="{cx}" cy="{y}" r="6"><title>{floor} → {other}</title></circle>'
                )
    return "\n".join([*parts, "</svg>", ""])


def _short(text: str, longest: int = 84) -> str:
    text = text.replace("`", "").removesuffix(".")
    if len(text) <= longest:
        return text
    return text[:longest].rpartition(",")[0] or text[:longest].rpartition(" ")[0]


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
