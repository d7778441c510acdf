"""Options and arguments that are shared by several commands, and what the shell completes for them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hrm_cli.cli import streams
from hrm_cli.errors import ConfigError

if TYPE_CHECKING:
    import torch

OWN_MODEL = "A run folder, a checkpoint folder or a .safetensors file."
ANY_MODEL = "A run folder, a checkpoint folder, a .safetensors file, bundled:NAME or hf:OWNER/NAME."

SEARCH = "Effort after a first answer that breaks a rule"
ARC = "ARC tasks"
SEEING = "See the reasoning"
PAUSE = "Pause and resume"
START = "Start and resume"
PROCESSES = "Several processes"
"""Titles of the option groups on help pages."""


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
    """`KEY=` of every setting: its full key and, once something is typed, its bare name unless that is ambiguous."""
    from hrm_cli.config.schema import dotted_keys, find_key

    keys = dotted_keys()
    found = [key for key in keys if key.startswith(incomplete)]
    for name in dict.fromkeys(key.rpartition(".")[2] for key in keys) if incomplete else ():
        if name.startswith(incomplete):
            with suppress(ConfigError):
                find_key(name)
                found.append(name)
    return [f"{key}=" for key in found]


def complete_paths(incomplete: str) -> list[str]:
    """Files and folders; a folder ends in a slash, and the next one is completed behind it."""
    head = incomplete.rpartition("/")[0]
    folder = Path(f"{head}/" if "/" in incomplete else ".")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [f"{path.as_posix()}{'/' if path.is_dir() else ''}" for path in found if path.name[0] != "."]
    return [name for name in names if name.startswith(incomplete)]


def option(
    name: str | tuple[str, str],
    text: str,
    default: str | bool = False,
    *,
    metavar: str | None = None,
    min: int | None = None,
    max: int | None = None,
    panel: str | None = None,
    complete: Callable[[str], list[str]] | None = None,
) -> Any:
    """An option that is None if not given; `default` describes on the help page what None means."""
    names = (name,) if isinstance(name, str) else name
    return typer.Option(
        *names,
        help=text,
        show_default=default,
        metavar=metavar,
        min=min,
        max=max,
        rich_help_panel=panel,
        autocompletion=complete,
    )


def preset_option(default: str) -> Any:
    """The option `--preset` for commands that need to know whether it was given."""
    return option("--preset", _PRESET, default, metavar="NAME", complete=complete_presets)


def refuse_preset_names(words: Sequence[str]) -> None:
    """Raises ConfigError if a preset is given like a setting: `hrm train tiny`."""
    from hrm_cli.config.presets import list_presets

    for word in words:
        if word in list_presets() or ("=" not in word and word.endswith((".yaml", ".yml"))):
            raise ConfigError(f"{word!r}: to name a preset, use --preset {word}")


def seed_option(default: str | bool) -> Any:
    """The option `--seed`; `default` describes on the help page what None means."""
    return option("--seed", "Seed; the same seed gives the same result.", default, min=0)


def run_folder_option(default: str) -> Any:
    """`--output-dir` of a command that trains."""
    return option(("--output-dir", "-o"), "Run folder.", default, metavar="RUN")


_PRESET = "A packaged preset (see `hrm presets`), a YAML file or a run folder."
PresetOption = Annotated[str, typer.Option("--preset", metavar="NAME", help=_PRESET)]


def preset_argument(metavar: str = "NAME") -> Any:
    """A preset as a positional argument."""
    return typer.Argument(metavar=metavar, help=_PRESET, autocompletion=complete_presets)


PresetArgument = Annotated[str, preset_argument()]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        autocompletion=complete_settings,
        help="Settings to change, as in arch.hidden_size=256 or epochs=20.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only errors and warnings on stderr: no notes, no progress.")
]
SeedOption = Annotated[int | None, seed_option(True)]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
OwnModelArgument = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help=OWN_MODEL, autocompletion=complete_models)
]
AnyModelArgument = Annotated[
    Path | None,
    typer.Argument(metavar="CHECKPOINT", help=ANY_MODEL, show_default=False, autocompletion=complete_models),
]
AnyModelOption = Annotated[
    Path | None,
    option(
        "--checkpoint",
        ANY_MODEL,
        "the bundled model for the puzzles' size",
        metavar="CHECKPOINT",
        complete=complete_models,
    ),
]
MaxStepsOption = Annotated[
    int | None,
    option(
        "--max-steps",
        "Maximum number of reasoning (ACT) steps; may exceed the number in training.",
        "as trained",
        min=1,
    ),
]
HaltOption = Annotated[
    Literal["adaptive", "full"] | None,
    option(
        "--halt",
        "adaptive: stop each puzzle when the model halts it; full: run all steps.",
        "as configured",
    ),
]
SubmissionOption = Annotated[
    Path | None,
    option(
        "--submission",
        "ARC: also write Kaggle's submission.json, with two attempts per test input.",
        metavar="FILE",
        panel=ARC,
    ),
]
CheckOption = Annotated[
    str | None,
    option(
        "--check",
        "Own puzzles: also report how many answers a check accepts: FUNCTION, which gets the input and the output, or, "
        "with gym, the scorer of the dataset's reasoning-gym task. Name only code that you trust.",
        metavar="FILE.py:FUNCTION|gym",
    ),
]
EffortOption = Annotated[
    Literal["low", "medium", "high"] | None,
    option(
        "--effort",
        "What to try if the first answer breaks a rule. low: augmented copies; medium: also a search of at most "
        "64 nodes (mazes: then 8 restarts); high: 512 nodes (mazes: 32 restarts).",
        "only the stages requested; hrm solve with bundled models: medium",
        panel=SEARCH,
    ),
]
SearchOption = Annotated[
    int | None,
    option(
        "--search",
        "Model-guided search that pins cells (in mazes: adds walls), with at most NODES nodes per puzzle; 0: no "
        "search.",
        "by --effort",
        metavar="NODES",
        min=0,
        panel=SEARCH,
    ),
]
SearchStepsOption = Annotated[
    int | None,
    option(
        "--search-steps", "Reasoning steps at each node.", "24; mazes: those of a pass", min=1, panel=SEARCH
    ),
]
SearchRulesOption = Annotated[
    bool,
    typer.Option(
        "--search-rules",
        help="Discard nodes that naked singles refute, before the model sees them.",
        rich_help_panel=SEARCH,
    ),
]
RestartsOption = Annotated[
    int | None,
    option(
        "--restarts",
        "Additional attempts from noisy initial states.",
        "by --effort",
        metavar="K",
        min=0,
        panel=SEARCH,
    ),
]
NoiseInitOption = Annotated[
    float | None,
    option(
        "--noise-init",
        "Restarts: standard deviation of the noise on the initial states.",
        "1",
        min=0,
        panel=SEARCH,
    ),
]
NoiseOption = Annotated[
    float | None,
    option(
        "--noise",
        "Restarts: standard deviation of the noise on the states at every step.",
        "0",
        min=0,
        panel=SEARCH,
    ),
]
SelectOption = Annotated[
    Literal["verify", "confidence", "q_halt", "residual", "agreement"] | None,
    option(
        "--select",
        "How to choose among the answers of --restarts or --attempts: by the rules (verify), by the model's confidence "
        "or halt value, by the residual, or by agreement. All but verify run every attempt for every puzzle.",
        "verify where rules exist, else agreement",
        panel=SEARCH,
    ),
]
SecondsOption = Annotated[
    float | None,
    option(
        "--max-seconds", "Time limit for all stages after the first pass.", "no limit", min=0, panel=SEARCH
    ),
]


def device_of_command(name: str, given: torch.device | None = None) -> torch.device:
    """`given`, or the device of that name. On a CPU, malloc trimming is disabled from now on.

    Only commands do this. A Python program that uses the package keeps its own malloc settings.
    """
    from hrm_cli.environment import keep_freed_memory
    from hrm_cli.models.device import resolve_device

    device = resolve_device(name) if given is None else given
    if device.type == "cpu":
        keep_freed_memory()
    return device


COMPLETION = "_HRM_COMPLETE"
"""Set by the shells' scripts when they ask for completions."""


def complete(answer: Callable[[], None]) -> None:
    """Runs `answer`, which prints the completions for the words in the environment and exits.

    bash treats `:` and `=` as separate words (COMP_WORDBREAKS) and replaces only the text after them. So
    `bundled : sud` is joined for `answer`, and `bundled:` is removed from its completions.
    """
    given = os.environ.get("COMP_WORDS", "").split("\n")
    if os.environ.get(COMPLETION) != "complete_bash" or not {":", "="} & set(given):
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
