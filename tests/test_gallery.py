"""The gallery: every picture has the command that made it, and the command still makes it."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "gallery.md"
PICTURES = REPOSITORY / "docs" / "pictures"
SCRIPT = runpy.run_path(str(REPOSITORY / "docs" / "draw_gallery.py"))
BLOCKS: list[tuple[list[str], list[str]]] = SCRIPT["blocks"](PAGE.read_text(encoding="utf-8"))
MOST_BYTES = 300_000
BEGINNINGS = {".gif": b"GIF89a", ".png": b"\x89PNG\r\n"}


def test_every_picture_of_the_page_follows_the_command_that_makes_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(pictures/([^)]+)\)", text)
    assert shown.pop()[1] == "play.png"  # made by tests/browser/test_play.py
    assert [name for _, name in shown] == [name for _, names in BLOCKS for name in names]
    assert len(shown) >= 4
    for _, name in shown:
        made, seen = text.index(f"docs/pictures/{name}"), text.index(f"(pictures/{name})")
        assert made < seen
        assert text[made:seen].count("```") == 1, f"{name} is not below its command"


@pytest.mark.parametrize("name", [name for _, names in BLOCKS for name in names])
def test_pictures_are_there_and_small(name: str) -> None:
    contents = (PICTURES / name).read_bytes()
    assert contents.startswith(BEGINNINGS[Path(name).suffix])
    assert len(contents) <= MOST_BYTES


def test_the_animation_opens_the_readme() -> None:
    first = re.search(r"!\[[^\]]+\]\(([^)]+)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert first
    assert first[1] == "docs/pictures/thinking-9x9.gif"


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize(
    "command", [line for lines, names in BLOCKS for line in lines if line.startswith("hrm ") and names]
)
def test_the_commands_still_make_these_pictures(command: str, run_hrm: Any, tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra pictures)")
    words = shlex.split(command.replace("docs/pictures/", ""))[1:]
    done = run_hrm(*words, cwd=tmp_path, env=SCRIPT["ENVIRONMENT"])
    assert done.status == 0
    (made,) = tmp_path.iterdir()
    if made.suffix == ".html":
        assert "hrmBoard.player(" in made.read_text(encoding="utf-8")
        return
    with images.open(made) as new, images.open(PICTURES / made.name) as kept:
        assert new.size == kept.size, "run python docs/draw_gallery.py"
        # Another processor rounds differently, which may cost or save a step.
        assert abs(getattr(new, "n_frames", 1) - getattr(kept, "n_frames", 1)) <= 1
