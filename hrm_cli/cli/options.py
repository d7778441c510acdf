"""Options and arguments that are shared by several commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hrm_cli.cli.completion import complete_models, complete_presets, complete_settings
from hrm_cli.errors import ConfigError

OWN_MODEL = "A run folder, a checkpoint folder or a .safetensors file."
ANY_MODEL = "A run folder, a checkpoint folder, a .safetensors file, bundled:NAME or hf:OWNER/NAME."

SEARCH = "Effort after a first answer that breaks a rule"
ARC = "ARC tasks"
SEEING = "See the reasoning"
PAUSE = "Pause and resume"
START = "Start and resume"
PROCESSES = "Several processes"
"""Titles of the option groups on help pages."""


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
            raise ConfigError(f"{word!r}: a preset is named by an option: --preset {word}")


def seed_option(default: str | bool) -> Any:
    """The option `--seed`; `default` describes on the help page what None means."""
    return option("--seed", "Seed; the same seed gives the same result.", default, min=0)


def run_folder_option(default: str) -> Any:
    """`--output-dir` of a command that trains."""
    return option(("--output-dir", "-o"), "Run folder.", default, metavar="RUN")


_PRESET = "A packaged preset (see `hrm presets`) or a YAML file."
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
        "adaptive: a puzzle stops when the model halts it; full: all steps.",
        "as configured",
    ),
]
SubmissionOption = Annotated[
    Path | None,
    option(
        "--submission",
        "ARC: also write Kaggle's submission.json, two attempts for each test input.",
        metavar="FILE",
        panel=ARC,
    ),
]
CheckOption = Annotated[
    str | None,
    option(
        "--check",
        "Own puzzles: also report how many answers this function of input and output accepts, or, with gym, the scorer "
        "of the dataset's reasoning-gym task. Only name code that you trust.",
        metavar="FILE.py:FUNCTION|gym",
    ),
]
EffortOption = Annotated[
    Literal["low", "medium", "high"] | None,
    option(
        "--effort",
        "What to try if the first answer breaks a rule. low: augmented copies; medium: also a search of at most "
        "64 nodes (or 8 restarts); high: 512 nodes (or 32 restarts).",
        "only the stages requested; hrm solve with bundled models: medium",
        panel=SEARCH,
    ),
]
SearchOption = Annotated[
    int | None,
    option(
        "--search",
        "Model-guided search that pins cells, of at most NODES nodes per puzzle; 0: none.",
        "by --effort",
        metavar="NODES",
        min=0,
        panel=SEARCH,
    ),
]
SearchStepsOption = Annotated[
    int | None, option("--search-steps", "Reasoning steps at each node.", "24", min=1, panel=SEARCH)
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
        "What chooses among the answers of --restarts or --attempts: the rules (verify), the model's confidence or "
        "halt value, the residual, or agreement. All but verify make every attempt at every puzzle.",
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
