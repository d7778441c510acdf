"""Writes docs/playground/index.html, the page of `hrm export` with the bundled models: `make playground`."""

from __future__ import annotations

from pathlib import Path

from hrm_cli.exporting.page import export_page

TARGET = Path(__file__).parent / "playground" / "index.html"

if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    done = export_page([], TARGET)
    print(f"{TARGET.parent.name}/{TARGET.name}: {done.bytes:,} bytes, with {', '.join(done.models)}")
