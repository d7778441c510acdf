"""Whole commands on damaged files, for what their readers alone do not show: what is printed."""

from __future__ import annotations

import random
from pathlib import Path

from config_kinds import preset_text
from dataset_kinds import arrays, npy, odd_npy
from kinds import Read, command, kind
from values import dumps, encoded, mutate_document

FILE_NAMES = (
    "p.yaml",
    "[red]p[/].yaml",
    "d[/x]y.yaml",
    "\x1b[31mp.yaml",
    "$x$.yaml",
    "p q.yaml",
    "\x9bp.yaml",
)


@kind(0.4)
def preset_commands(r: random.Random, folder: Path) -> Read:
    """`hrm presets validate`, `diff` `show` and `hrm params` of a file, which may have an odd name."""
    file = folder / r.choice(FILE_NAMES).replace("/", "∕")
    file.write_bytes(preset_text(r))

    def read() -> None:
        command("presets", "validate", file)
        command("presets", "diff", "tiny", file)
        command("presets", "show", file)
        command("params", "--preset", file)

    return read


@kind(0.3)
def dataset_commands(r: random.Random, folder: Path) -> Read:
    """`hrm eval --baselines-only` of a damaged dataset."""
    from dataset_kinds import FACTS

    sound = arrays()
    damaged = r.choice((*sound, "facts", "facts"))
    for split in ("train", "test"):
        (folder / split).mkdir()
        facts = mutate_document(r, FACTS) if damaged == "facts" else FACTS
        (folder / split / "dataset.json").write_bytes(encoded(dumps(facts)))
        for name, array in sound.items():
            content = odd_npy(r, array) if name == damaged else npy(array)
            (folder / split / f"all__{name}.npy").write_bytes(content)
    (folder / "identifiers.json").write_text('["<blank>"]')

    def read() -> None:
        command("eval", "--baselines-only", "--data", folder)
        command("eval", "--baselines-only", "--data", folder, "--json")

    return read
