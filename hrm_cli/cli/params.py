"""`hrm params`: how many parameters a configuration really has."""

from __future__ import annotations

from typing import Annotated

import typer

from hrm_cli.cli.options import JsonOption, Overrides, PresetOption


def params(
    overrides: Overrides = None,
    preset: PresetOption = "base",
    puzzle_identifiers: Annotated[
        int, typer.Option("--puzzle-identifiers", min=1, help="Rows of the puzzle-embedding table.")
    ] = 1,
    json: JsonOption = False,
) -> None:
    """Count a model's parameters exactly, by module, beside the two published approximations.

    \b
    Examples:
      hrm params --preset base
      hrm params --preset small arch.hidden_size=320 arch.num_heads=10 --json

    Modules are instantiated without memory, so that any size can be counted on any machine.
    """
    from dataclasses import asdict

    from hrm_cli.cli import console
    from hrm_cli.cli.configuration import domain_of, load_configuration
    from hrm_cli.models.counting import approximate, count_exactly

    configuration = load_configuration(preset, overrides)
    arch, domain = configuration.arch, domain_of(configuration.data)
    exact = count_exactly(arch, domain.vocab_size, domain.seq_len, puzzle_identifiers)
    approximations = approximate(arch, domain.vocab_size, puzzle_identifiers)
    if json:
        counts = asdict(exact)
        modules = counts.pop("modules")
        console.print_json(
            {
                "preset": preset,
                "arch": arch.model_dump(),
                "vocab_size": domain.vocab_size,
                "seq_len": domain.seq_len,
                "exact": counts,
                "approx": asdict(approximations),
                "modules": modules,
            }
        )
        return
    rows: list[tuple[object, ...]] = [(m.name, m.trainable, m.buffers) for m in exact.modules]
    rows.append(("total", exact.trainable, exact.state_dict - exact.trainable))
    console.print_table(
        ("module", "trainable", "stored, not trained"), rows, title=f"{preset} on {domain.describe()}"
    )
    off = [
        ("exact, trainable", exact.trainable, ""),
        ("guide function", approximations.guide, _error(approximations.guide, exact.trainable)),
        (
            "rule of thumb 12·H²",
            approximations.rule_of_thumb,
            _error(approximations.rule_of_thumb, exact.trainable),
        ),
    ]
    console.print_table(("count", "parameters", "error"), off)


def _error(approximate: int, exact: int) -> str:
    return f"{approximate / exact - 1:+.2%}"
