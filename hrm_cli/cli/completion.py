"""The shell's completion: what may be typed for an option, and Typer's answer for words that bash has split."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from hrm_cli.cli import streams

VARIABLE = "_HRM_COMPLETE"
"""Set by the shells' scripts when they ask for completions."""


def complete(answer: Callable[[], None]) -> None:
    """Runs `answer`, which prints the completions for the words in the environment and exits.

    bash treats `:` and `=` as separate words (COMP_WORDBREAKS) and replaces only the text after them. So
    `bundled : sud` is joined for `answer`, and `bundled:` is removed from its completions.
    """
    given = os.environ.get("COMP_WORDS", "").split("\n")
    if os.environ.get(VARIABLE) != "complete_bash" or not {":", "="} & set(given):
        answer()
        return
    words, at, replaced = joined(given, int(os.environ.get("COMP_CWORD") or 0))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(at)
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            answer()
    finally:
        for line in text.getvalue().splitlines():
            streams.write_out(f"{line.removeprefix(replaced)}\n")


def joined(words: list[str], at: int) -> tuple[list[str], int, str]:
    """The words as typed, the index of the word `at` among them, and its part before bash's word.

    `--preset = ti` becomes two words, an option and its value.
    """
    whole: list[str] = []
    now, prefix, continues = at, "", False
    for index, word in enumerate(words):
        if word == "=" and whole and whole[-1].startswith("--"):
            # The value is a separate word, which is empty if nothing has been typed.
            if index == at:
                whole.append("")
                now, prefix = len(whole) - 1, ""
            continues = False
            continue
        is_break = word in (":", "=") and bool(whole)
        before = whole[-1] if is_break or continues else ""
        if is_break or continues:
            whole[-1] += word
        else:
            whole.append(word)
        if index == at:
            now, prefix = len(whole) - 1, f"{before}{word}" if is_break else before
        continues = is_break
    if at >= len(words):
        now = len(whole)
    return whole, now, prefix


def complete_presets(incomplete: str) -> list[str]:
    """Names of packaged presets, and YAML files, for the shell's completion."""
    from hrm_cli.config.presets import list_presets

    files = [path for path in complete_paths(incomplete) if path.endswith(("/", ".yaml", ".yml"))]
    return [name for name in list_presets() if name.startswith(incomplete)] + files


def complete_models(incomplete: str) -> list[str]:
    """Bundled models, runs and model files."""
    from hrm_cli.checkpoints.bundled import SCHEME, bundled_folder

    names = sorted(f"{SCHEME}{file.stem}" for file in bundled_folder().glob("*.safetensors"))
    files = [path for path in complete_paths(incomplete) if path.endswith(("/", ".safetensors"))]
    return [name for name in names if name.startswith(incomplete)] + files


def complete_settings(incomplete: str) -> list[str]:
    """`KEY=` of every setting, by its full key."""
    from hrm_cli.config.schema import dotted_keys

    return [f"{key}=" for key in dotted_keys() if key.startswith(incomplete)]


def complete_paths(incomplete: str) -> list[str]:
    """Files and folders; a folder ends in a slash, and the next one is completed behind it."""
    head = incomplete.rpartition("/")[0]
    folder = Path(f"{head}/" if "/" in incomplete else ".")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [f"{path.as_posix()}{'/' if path.is_dir() else ''}" for path in found if path.name[0] != "."]
    return [name for name in names if name.startswith(incomplete)]
