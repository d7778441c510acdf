"""Makes the pictures of docs/gallery.md again, with the commands on that page: `python docs/draw_gallery.py [NAME…]`.

Commands are run in the checkout, in the order of the page. With names, such as `thinking-9x9`, only the blocks that
make these pictures are run. A screenshot needs Chromium and is left out, with a note, where there is none.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = "docs/pictures/"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ENVIRONMENT = {"HRM_CPU_INT8": "off"}
"""With int8 matmuls, which not every processor has, a model takes a different number of steps; a test compares it."""
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[list[str], list[str]]]:
    """The commands of every block that makes pictures, and the names of these pictures."""
    found = []
    for block in BLOCK.findall(page):
        commands = block.strip().splitlines()
        names = re.findall(rf"{re.escape(PICTURES)}(\S+)", block)
        if names:
            found.append((commands, names))
    return found


def run(command: str, folder: Path) -> bool:
    """Runs a command in the checkout; pages are written to `folder`. Returns whether it could be run."""
    words = [
        str(folder / word) if word.endswith(".html") else word.replace(PICTURES, f"{ROOT / PICTURES}/")
        for word in shlex.split(command)
    ]
    if words[0] == "hrm":
        # Status 1 means that the puzzle was not solved, which is not what a gallery shows.
        environment = {**os.environ, **ENVIRONMENT}
        subprocess.run([sys.executable, "-m", "hrm_cli", *words[1:]], cwd=ROOT, env=environment, check=True)
        return True
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"left out, because there is no Chromium: {command}")
        return False
    page = Path(words[-1]).as_uri()
    # In containers, Chromium mostly runs as root, for whom it has no sandbox; the page is our own.
    subprocess.run(
        [browser, "--no-sandbox", "--disable-gpu", *words[1:-1], page], check=True, capture_output=True
    )
    return True


def main(wanted: list[str]) -> None:
    """Makes all pictures, or those that are named."""
    with tempfile.TemporaryDirectory() as folder:
        for commands, names in blocks(PAGE.read_text(encoding="utf-8")):
            if wanted and not {Path(name).stem for name in names} & set(wanted):
                continue
            if all(run(command, Path(folder)) for command in commands):
                print(", ".join(f"{PICTURES}{name}" for name in names))


if __name__ == "__main__":
    main(sys.argv[1:])
