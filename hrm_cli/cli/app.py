"""The `hrm` executable: finds the command, runs it, turns errors into a message and an exit status."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from hrm_cli import __version__
from hrm_cli.cli import console, streams
from hrm_cli.cli.render.help import PlainGroup, load_command, plain_command
from hrm_cli.environment import cpu_int8_switch, cpu_kernels_enabled, exit_on_signals, limit_spinning
from hrm_cli.errors import EXIT_FAULT, HRMError, fault
from hrm_cli.printable import expectation, printable, quoted

# Command → where it is defined (a function with a Typer signature, or a Typer app) and its line in
# `hrm --help`. The modules are imported when their command runs: help must not wait for torch.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("hrm_cli.cli.demo:demo", "Build, train, evaluate and solve once, in about a minute."),
    "presets": ("hrm_cli.cli.presets:app", "List, show, copy, compare and check configurations."),
    "build-dataset": ("hrm_cli.cli.building.dataset:app", "Build a dataset of puzzles."),
    "inspect": ("hrm_cli.cli.inspection.command:inspect", "Show what a dataset or a file of puzzles holds."),
    "params": ("hrm_cli.cli.params:params", "Count a model's parameters, exactly and by formula."),
    "train": ("hrm_cli.cli.train:train", "Train a model."),
    "eval": ("hrm_cli.cli.eval:evaluate", "Evaluate a checkpoint on a dataset."),
    "runs": ("hrm_cli.cli.runs:app", "List training runs, plot and compare their curves."),
    "report": ("hrm_cli.cli.studying.report:report", "Write a page about a run or a checkpoint."),
    "analyze": ("hrm_cli.cli.studying.analyze:analyze", "Measure what a model's states and attention do."),
    "models": ("hrm_cli.cli.models:app", "List the models that come with the package."),
    "solve": ("hrm_cli.cli.solve:solve", "Solve puzzles from a file and verify every answer."),
    "play": ("hrm_cli.cli.play:play", "Play with models on a local page: puzzles, steps, hints."),
    "convert": ("hrm_cli.cli.convert:convert", "Convert checkpoints of the reference implementations."),
    "push": ("hrm_cli.cli.push:push", "Upload a trained model to the Hugging Face hub."),
    "export": ("hrm_cli.cli.export:export", "Write models for other programs: ONNX, or one HTML page."),
    "bench": ("hrm_cli.cli.bench:bench", "Measure how fast this machine trains and solves."),
    "info": ("hrm_cli.cli.info:info", "Show versions and hardware, for a bug report."),
}

HELP_OPTIONS = {"help_option_names": ["--help", "-h"]}
"""Context settings of every command; subcommands inherit them."""

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""The exit status that shells report for a program ended by a closed pipe."""


class Interrupted(SystemExit):
    """The end of a command that a signal has interrupted, after it has cleaned up."""


class LazyGroup(PlainGroup):
    """The top-level group. Its help needs only the table above; a command is imported when it runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, summary) in COMMANDS.items():
            self.add_command(plain_command(name, _placeholder, summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command at the start of `args` and replaces its placeholder by the real command."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, stub if name is None else _load(name), rest


def _placeholder() -> None:
    """Never runs."""


def _load(name: str) -> Any:
    return load_command(name, COMMANDS[name][0])


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print_line(f"hrm {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Accepted anywhere on the line.")
    ] = False,
) -> None:
    """The Hierarchical Reasoning Model: datasets, training, evaluation, solving.

    \b
    Start here:
      hrm demo

    \b
    Every command has its own help, with examples:
      hrm train --help, or hrm help train
    """
    # Do this before the command is imported: torch reads the first variable when it is loaded, and an invalid value of
    # the others would end a run in the middle.
    limit_spinning()
    cpu_kernels_enabled()
    cpu_int8_switch()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug, given = _take_debug(given)
    given = _with_dots(given)
    if given[:1] == ["help"]:
        given = [*given[1:], "--help"]
    streams.open_missing_streams()
    # A name that cannot be encoded for the terminal must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # Turn signals into an exception, so that partial outputs are removed during cleanup.
    exit_on_signals()
    try:
        status = _run(given)
        streams.flush_out()
    except BrokenPipeError:
        status = EXIT_BROKEN_PIPE
    except SystemExit as error:  # a signal
        raise Interrupted(error.code) from None
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            streams.write_error(printable("".join(traceback.format_exception(error))))
        status = _report(error)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(status) from None
    finally:
        streams.abandon_unwritable()
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    app = typer.Typer(
        cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None, context_settings=HELP_OPTIONS
    )
    app.callback()(_root)
    group = typer.main.get_command(app)
    if "_HRM_COMPLETE" in os.environ:  # a shell asks for completions instead of a command
        from hrm_cli.cli.options import complete

        complete(lambda: group.main(prog_name="hrm"))
    try:
        with console.renamed_settings_as_notes(), group.make_context("hrm", arguments) as context:
            words = [word for word in arguments if not word.startswith("-")]
            with console.heartbeat(" ".join(["hrm", *words[:1]])):
                group.invoke(context)
    except typer.Exit as error:
        return error.exit_code
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except typer.TyperException as error:
        _add_suggestion(error, arguments)
        if hasattr(error, "show"):  # the usage line of the command, then the message
            with suppress(OSError):
                error.show(_PrintableErrors())
        else:
            console.print_error(str(error))
        return error.exit_code
    return 0


def _add_suggestion(error: Any, arguments: list[str]) -> None:
    """Adds a suggestion to the parser's message."""
    if hasattr(error, "message"):
        error.message = _plain_reason(error, arguments)
    params = getattr(getattr(getattr(error, "ctx", None), "command", None), "params", ())
    option = getattr(error, "option_name", None)
    if option and any(param.metavar == "KEY=VALUE" for param in params):
        from hrm_cli.config.overrides import suggest_setting

        given = next((word for word in arguments if word.partition("=")[0] == option), option)
        following = arguments[arguments.index(given) + 1 :] if given in arguments else []
        value = given.partition("=")[2] or next(iter(following), "")
        if value.startswith("--"):  # the next option
            value = ""
        if setting := suggest_setting(option, value):
            error.message = f"No such option: {option}. Settings have no dashes: {setting}"
            error.possibilities = None
    elif "--attempts" in getattr(getattr(error, "param", None), "opts", ()):
        error.message += "; 1 is a single pass, without augmented copies"
    elif "--fail-under" in getattr(getattr(error, "param", None), "opts", ()):
        error.message += "; 95 % is 0.95"


def _take_debug(arguments: list[str]) -> tuple[bool, list[str]]:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    rest = arguments[len(options) :]
    return "--debug" in options, [option for option in options if option != "--debug"] + rest


def _plain_reason(error: Any, arguments: list[str]) -> str:
    """The parser's message, without the words of pydantic, which Typer 0.29 lets check values."""
    message: str = error.message.removeprefix("Value error, ")
    if not message.startswith("Input should be "):
        return message
    wanted = expectation(message)
    value = _value_of(getattr(getattr(error, "param", None), "opts", ()), arguments)
    if value is None:
        return f"accepted: {wanted}"
    meant = ""
    if wanted == "a whole number":
        with suppress(ValueError, OverflowError):
            number = float(value.replace("_", "").replace(",", ""))
            meant = f"; did you mean {int(number)}?" if number == int(number) else ""
    return f"found {quoted(value, 60)}; accepted: {wanted}{meant}"


def _value_of(names: Sequence[str], arguments: list[str]) -> str | None:
    """The last value that the line gives to an option."""
    found = None
    for index, word in enumerate(arguments):
        name, separator, value = word.partition("=")
        if name in names:
            found = value if separator else next(iter(arguments[index + 1 :]), None)
    return found


_TYPED_PUZZLE = re.compile(r"-[-.\w*?]{15,}")


def _with_dots(arguments: list[str]) -> list[str]:
    """A typed puzzle that begins with a dash for a blank cell looks like an option: it gets dots instead."""
    if arguments[:1] != ["solve"]:
        return arguments
    return [
        word.replace("-", ".")
        if _TYPED_PUZZLE.fullmatch(word) and not re.search(r"[a-wyz]{2}", word)
        else word
        for word in arguments
    ]


def _report(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        console.print_message("Interrupted.")
        return EXIT_INTERRUPTED
    if isinstance(error, HRMError):
        console.print_error(str(error))
        return error.exit_status
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        console.print_error(f"{where}{error.strerror or error}")
        return HRMError.exit_status
    # Compare by name, because torch may not have been loaded.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        console.print_error(f"not enough memory: {error or 'the request does not fit'}")
        return HRMError.exit_status
    console.print_error(fault(error))
    return EXIT_FAULT


class _PrintableErrors:
    """Stderr for messages of the option parser, which quote the command line: escaped, and broken at words."""

    def write(self, text: str) -> int:
        streams.write_error(console.fitting_message(printable(text)))
        return len(text)

    def flush(self) -> None:
        """Does nothing, because there is no buffer."""
