"""Runs `hrm` for the tests: in this process, which has torch already, or in a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hrm_cli.cli.app import main

UNSET = ("NO_COLOR", "CI", "FORCE_COLOR", "COLUMNS", "TERM")
"""What the shell that runs the tests may have set and the output depends on."""
READ_WHEN_LOADED = ("GOMP_", "HF_", "NUMBA_", "OMP_DISPLAY", "ONEDNN_", "PYTHON")
"""Begin the names of variables that a library or the interpreter reads once, which is too late in this process."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


RunHrm = Callable[..., Finished]


def environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """The environment of a command: the one of the tests without `UNSET`, and `env`."""
    return {name: value for name, value in os.environ.items() if name not in UNSET} | dict(env or {})


def arguments_of(arguments: Iterable[object]) -> list[str]:
    """The arguments of a command as text. `hrm train` writes its report only if the test passes `--report`.

    Most tests that train a model are not about the report, which takes 3 s of processor time.
    """
    words = [str(argument) for argument in arguments]
    return (
        [*words, "--no-report"] if words[:1] == ["train"] and not {"--report", "--help"} & {*words} else words
    )


def checked(words: list[str], status: int, stdout: str, stderr: str) -> Finished:
    """A traceback that nobody requested fails the test."""
    if "--debug" not in words:
        assert "Traceback" not in stderr, stderr
    return Finished(status, stdout, stderr)


def run_process(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float = 300,
) -> Finished:
    """Runs the command in a process of its own: for signals, launchers, what is imported, and the environment."""
    words = arguments_of(arguments)
    done = subprocess.run(
        [sys.executable, "-m", "hrm_cli", *words],
        cwd=cwd, env=environment(env), input=input, timeout=timeout, check=False, capture_output=True, text=True,
    )  # fmt: skip
    return checked(words, done.returncode, done.stdout, done.stderr)


def run_here(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> Finished:
    """Runs the command in this process.

    It saves the two seconds that importing torch takes. What a process has to itself is set up for the command and put
    back after it: streams with their descriptors, folder, environment, signal handlers, torch's threads.
    """
    words = arguments_of(arguments)

    def command() -> None:
        main(words)
        raise AssertionError("the command returned instead of ending the process")

    return checked(words, *_run_here(command, cwd, env, input))


def run_script(script: Path, *arguments: object) -> Finished:
    """Runs a Python script as `python SCRIPT ARGUMENTS` does, in this process, which has torch already."""
    words, before = [str(argument) for argument in arguments], (sys.argv, [*sys.path])
    sys.argv = [str(script), *words]
    sys.path.insert(0, str(script.parent))

    def program() -> None:
        runpy.run_path(str(script), run_name="__main__")

    try:
        return checked(words, *_run_here(program))
    finally:
        sys.argv, sys.path[:] = before


def _run_here(
    program: Callable[[], None],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a program that ends with SystemExit, or returns (status 0)."""
    late = [name for name in env or {} if name.startswith(READ_WHEN_LOADED)]
    assert not late, f"{', '.join(late)}: without effect in this process; use hrm_process"
    with contextlib.ExitStack() as put_back:
        files = [put_back.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write((input or "").encode())
        files[0].seek(0)
        put_back.enter_context(_process_state())
        variables = environment(env)
        os.environ.clear()
        os.environ.update(variables)
        if cwd is not None:
            os.chdir(cwd)
        if "torch" in sys.modules and "OMP_NUM_THREADS" in (env or {}):
            sys.modules["torch"].set_num_threads(int(variables["OMP_NUM_THREADS"]))
        with _streams(files), _plain_warnings():
            status: object = None
            try:
                program()
            except SystemExit as end:
                status = end.code
                if isinstance(status, str):
                    print(status, file=sys.stderr)
        texts = []
        for file in files[1:]:
            file.seek(0)
            texts.append(file.read().decode())
    return (status if isinstance(status, int) else int(status is not None), texts[0], texts[1])


@contextlib.contextmanager
def _process_state() -> Iterator[None]:
    folder, variables = os.getcwd(), dict(os.environ)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if torch:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def _streams(files: list[IO[bytes]]) -> Iterator[None]:
    """Files in the place of the descriptors 0, 1, 2 and of Python's streams on them."""
    names = ("stdin", "stdout", "stderr")
    before = {name: getattr(sys, name) for name in names}
    for name in names[1:]:
        before[name].flush()
    kept = [os.dup(number) for number in range(3)]
    try:
        for number, (name, file) in enumerate(zip(names, files, strict=True)):
            os.dup2(file.fileno(), number)
            raw = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115
            setattr(sys, name, io.TextIOWrapper(raw, encoding="utf-8", line_buffering=number == 2))
        yield
    finally:
        for number, name in enumerate(names):
            stream: Any = getattr(sys, name)
            setattr(sys, name, before[name])
            with contextlib.suppress(OSError, ValueError):
                stream.close()
            os.dup2(kept[number], number)
            os.close(kept[number])


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings go to stderr as in a process that no test framework watches."""

    def show(message: Any, category: type[Warning], name: str, line: int, *_: Any) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, name, line))

    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield
