"""Options that several commands share, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

PresetOption = Annotated[
    str,
    typer.Option("--preset", metavar="NAME", help="A packaged preset (see `hrm presets`) or a YAML file."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings to change, as in arch.hidden_size=256 or epochs=20.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed; the same seed gives the same result.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
