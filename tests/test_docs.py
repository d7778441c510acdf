"""The documentation holds: its Python runs, its commands parse, its output is real, its links lead somewhere.

In the Markdown files
- a ```python block runs; blocks of one page share their names. A ```text block right after it is its output.
- a ```console block holds commands after `$ `. With the word `run` after `console` they are run for real, in an empty
  folder, and their output must be the lines shown.
- every `hrm …` elsewhere, in blocks and in running text, must name commands, options and settings that exist.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from hrm_cli.cli.app import COMMANDS, _load
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.presets import list_presets, load_preset
from hrm_cli.runs.own_file import own_source

from .documentation import FENCE, NAMES, PAGES, REPOSITORY

ROOT_OPTIONS = {"--help", "--version", "--debug", "--install-completion", "--show-completion"}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SHELL_WORDS = {"<", ">", "|", "&&", ";", "2>&1"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    where: str
    language: str
    text: str
    ends: int
    starts: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            f"{NAMES[page]}:{text.count(chr(10), 0, match.start()) + 1}",
            match[3].strip(),
            re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE),
            match.end(),
            match.start(),
        )
        for match in FENCE.finditer(text)
    ]


def pages_with(language: str) -> list[Any]:
    return [
        pytest.param(page, id=NAMES[page])
        for page in PAGES
        if any(block.language == language for block in blocks(page))
    ]


def commands_in(block: Block) -> Iterator[str]:
    """The command lines of a shell block, continued lines joined."""
    if block.language.partition(" ")[0] not in ("console", "sh", "bash"):
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language.startswith("console"):
            if line.startswith("$ "):
                yield line[2:]
        elif line.strip():
            yield line


def hrm_words(line: str) -> list[str] | None:
    """What a shell line hands to `hrm`, or None where it runs something else."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if not words or words[0].rpartition("/")[2] != "hrm":
        return None
    end = next((i for i, word in enumerate(words) if word in SHELL_WORDS), len(words))
    return words[1:end]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    assert words[0] in COMMANDS, f"no command {words[0]}"
    command, rest = _load(words[0]), words[1:]
    while rest and hasattr(command, "commands"):
        if rest[0] not in command.commands and hasattr(command, "default"):
            command = command.commands[command.default]
            break
        if rest[0].startswith("-"):
            break
        assert rest[0] in command.commands, f"no command {words[0]} {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def check_line(words: list[str]) -> None:
    """Parses a whole command line, settings and presets included, without running it."""
    if not words or words[0] in ROOT_OPTIONS:
        return
    words = [word for word in words if word != "--debug"]
    command, rest = find_command(words)
    if "--help" in rest or "--list" in rest:  # they print and exit while the line is parsed
        return
    with command.make_context("hrm", rest) as context:
        params = context.params
    settings = params.get("overrides") or []
    parse_overrides(own_source(settings)[1] if words[0] == "train" else settings)
    preset = params.get("preset") or (params.get("name") if words[0] == "presets" else None)
    if preset is None or params.get("resume"):
        return
    is_own_file = str(preset).endswith((".yaml", ".yml"))
    assert is_own_file or preset in list_presets(), f"no preset {preset}"
    if not is_own_file:
        load_preset(preset, params.get("overrides") or [])


def check_mention(words: list[str]) -> None:
    """Checks that a command in running text, which may be cut short, names what exists."""
    words = [word for word in words if word not in ("…", "...")]
    if words[:1] == ["help"]:  # `hrm help COMMAND` is `hrm COMMAND --help`
        words = words[1:]
    if not words or words[0] in ROOT_OPTIONS or words[0].isupper():
        return
    command, rest = find_command(words)
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known | ROOT_OPTIONS, f"no option {word}"


def test_the_check_finds_all_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/quickstart.md", "docs/commands.md"} <= set(NAMES.values())


@pytest.mark.parametrize("page", pages_with("python"))
def test_every_python_block_runs_and_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__docs__"}
    found = blocks(page)
    text = page.read_text(encoding="utf-8")
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language != "python":
            continue
        capsys.readouterr()
        exec(compile(block.text, block.where, "exec"), names)
        printed = capsys.readouterr().out
        if following and following.language == "text" and not text[block.ends : following.starts].strip():
            assert printed.rstrip() == following.text.rstrip(), f"{following.where}: another output"


@pytest.mark.parametrize("page", [pytest.param(page, id=NAMES[page]) for page in PAGES])
def test_every_command_named_in_a_page_exists_with_its_options_and_settings(page: Path) -> None:
    problems = []

    def attempt(check: Callable[[list[str]], None], words: list[str], where: str) -> None:
        try:
            check(words)
        except (Exception, typer.Exit) as error:
            message = str(error) or repr(error)
            problems.append(f"{where}: hrm {shlex.join(words)}: {message}")

    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        for line in commands_in(block):
            words = hrm_words(line)
            # A line shown with its error message is meant to be wrong.
            if words is not None and f"$ {line}\nError" not in block.text.replace("\\\n", " "):
                attempt(check_line, words, block.where)
    running_text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in re.finditer(r"`(hrm [^`]+)`", running_text):
        where = f"{NAMES[page]}:{running_text.count(chr(10), 0, match.start()) + 1}"
        attempt(check_mention, shlex.split(match[1])[1:], where)
    for target in re.findall(r"\bmake ([a-z-]+)", " ".join(re.findall(r"`[^`]+`", running_text))):
        if not re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE):
            problems.append(f"{NAMES[page]}: make {target}: no such target")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", pages_with("console run"))
def test_commands_marked_to_be_run_print_what_the_page_shows(
    page: Path, tmp_path: Path, run_hrm: Callable[..., Any]
) -> None:
    status = None
    for block in blocks(page):
        if block.language != "console run":
            continue
        assert re.search(r"^\$ hrm ", block.text, re.MULTILINE), f"{block.where}: no command"
        for command, _, shown in re.findall(r"^\$ (.*?)(\n|\Z)((?:(?!\$ ).*\n?)*)", block.text, re.MULTILINE):
            if command == "echo $?":
                assert shown.strip() == str(status), block.where
                continue
            words = hrm_words(command)
            assert words is not None, f"{block.where}: {command}: only hrm itself is run"
            done = run_hrm(*words, cwd=tmp_path)
            status = done.status
            printed = (done.stdout + done.stderr).splitlines()
            if head := re.search(r"\| head -(\d+)$", command):
                printed = printed[: int(head[1])]
            assert printed == shown.rstrip("\n").splitlines(), f"{block.where}: $ {command}"


@pytest.mark.parametrize("page", [pytest.param(page, id=NAMES[page]) for page in PAGES])
def test_links_inside_the_documentation_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            broken.append(target)
        elif anchor and anchor not in headings(file):
            broken.append(f"{target} (no such heading)")
    assert broken == []


def test_the_page_of_commands_lists_every_command() -> None:
    listed = re.findall(r"^\| \[`hrm ([\w-]+)`\]", (REPOSITORY / "docs" / "commands.md").read_text(), re.M)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_no_text_continues_a_table_as_a_row(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    assert not re.findall(r"^\|.*\|\n(?![|\n]|\Z)(.*)", text, re.M)


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    lines = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize(
    "line",
    [
        "hrm frain",
        "hrm train --presset tiny",
        "hrm train --preset tinny",
        "hrm train --preset tiny arch.hiden_size=3",
        "hrm train --preset tiny num_heads=7",
        "hrm eval runs/demo --batch-size zero",
        "hrm presets shaw tiny",
        "hrm build-dataset sudoku",
    ],
)
def test_the_check_catches_a_command_that_does_not_exist(line: str) -> None:
    words = hrm_words(line)
    assert words is not None
    with pytest.raises(Exception, match=r"."):
        check_line(words)


@pytest.mark.parametrize("line", ["hrm frain", "hrm train --presset tiny", "hrm solve … --pictures FILE"])
def test_the_check_catches_a_mention_of_what_does_not_exist(line: str) -> None:
    with pytest.raises(AssertionError):
        check_mention(shlex.split(line)[1:])
