"""Options that several commands take are one option: the same name, the same help."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from hrm_cli.cli.app import COMMANDS, _load

OF_THE_COMMAND = {
    "--attempts", "--batch-size", "--check", "--checkpoint", "--data", "--dry-run", "--effort", "--force", "--html",
    "--json", "--max-steps", "--output", "--output-dir", "--png", "--preset", "--quiet", "--size", "--split",
    "--symmetries", "--test-subset",
}  # fmt: skip
"""Options whose object differs: `--data` is trained on or evaluated, `--test-subset` built or inspected."""
OF_THE_DOMAIN = {
    "--augment", "--num-aug", "--source", "--subsample-size", "--test-subsample-size",
    "--num-train", "--num-test", "--num-validation", "--strict-split",
}  # fmt: skip


def options() -> Iterator[tuple[str, str, Any]]:
    """Command, option and its help, for every command."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, str, Any]]:
        for inner, child in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {inner}", child)
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield name, parameter.opts[0], parameter

    for name in COMMANDS:
        yield from walk(name, _load(name))


def helps() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for command, option, parameter in options():
        found[option][parameter.help].append(command)
    return found


def test_every_option_has_a_help_that_is_a_sentence() -> None:
    for command, option, parameter in options():
        assert parameter.help, f"{command} {option}"
        assert parameter.help.endswith((".", "…", "]")), f"{command} {option}: {parameter.help}"


def test_an_option_of_several_commands_reads_the_same_in_all() -> None:
    several = {name: dict(texts) for name, texts in helps().items() if len(texts) > 1}
    assert several.keys() <= OF_THE_COMMAND | OF_THE_DOMAIN, several


@pytest.mark.parametrize("option", sorted(OF_THE_COMMAND | OF_THE_DOMAIN))
def test_an_exempt_option_differs_between_commands(option: str) -> None:
    assert len(helps()[option]) > 1
    if option in OF_THE_DOMAIN:
        commands = {command for names in helps()[option].values() for command in names}
        assert all(command.startswith("build-dataset ") for command in commands)
