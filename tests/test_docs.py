"""The documentation holds: its Python runs, its commands parse, its output is real, its links lead somewhere.

In the Markdown files
- a ```python block runs; blocks of one page share their names. A ```text block right behind it is its output.
- a ```console block holds commands behind `$ `. With the word `run` behind `console` they are run for real, in an empty
  folder, and their output must be the lines shown.
- every `hrm …` elsewhere, in blocks and in running text, must name commands, options and settings that exist.
- words that the project has replaced by the field's own terms stay out of the text.
- parameter counts that a page or a preset's comment quotes are those that `hrm params` prints.
"""

from __future__ import annotations

import json
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

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md") for path in REPOSITORY.glob(pattern)
)
NAMES = {page: str(page.relative_to(REPOSITORY)) for page in PAGES}
ROOT_OPTIONS = {"--help", "--version", "--debug"}
PRESETS = sorted((REPOSITORY / "presets").glob("*.yaml"))
FENCE = re.compile(r"^( *)(```+)([^\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
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
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {words[0]} {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def check_line(words: list[str]) -> None:
    """Parses a whole command line, settings and presets included, without running it."""
    if not words or words[0] in ROOT_OPTIONS:
        return
    words = [word for word in words if word != "--debug"]
    command, rest = find_command(words)
    if "--help" in rest:
        return
    with command.make_context("hrm", rest) as context:
        params = context.params
    parse_overrides(params.get("overrides") or [])
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
    if not words or words[0] in ROOT_OPTIONS or words[0].isupper():
        return
    command, rest = find_command(words)
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known | ROOT_OPTIONS, f"no option {word}"


def test_the_walk_finds_the_pages() -> None:
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


OLD_WORDS = {
    r"images? of (?:a|an|each|every|its|the|itself|them|their|these|those)\b": "augmented copies",
    r"images of themselves": "augmented copies of themselves",
    r"contracts?\b": "objective",
    r"(?:value of )?going on\b|\bgoes on (?:with|from)\b": "Q-continue; continue, resume",
    r"surety|how sure|is sure of\b": "confidence; halt probability",
    r"have left\b|leaves? the batch\b": "finished rows",
    r"matrix products?|large product": "matrix multiplication, matmul",
    r"laid out for\b": "prepacked",
    r"written[- ]out (?:attention|products)": "explicit (unfused) attention",
    r"foretold": "predicted",
    r"truth values?|is no (?:number|puzzle)\b|nobody else's business|without a word": "see CONTRIBUTING.md",
    r"several solutions": "more than one solution",
    r"beside": "next to, compared with, in addition to",
    r"optimis\w+|normalis\w+|initialis\w+|recognis\w+|memoris\w+|colou?rised?|colours?|recoloured|neighbours?|"
    r"behaviours?|labelled|relabelled|licences?|towards": "American spelling",
}
"""Patterns of words that the text does without, and what it says instead."""


def prose(page: Path) -> str:
    """The text of a page without code, or the comments and the purpose of a preset; the lines stay where they are."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        return "\n".join(
            line if line.startswith(("#", "purpose:")) else line.partition("  # ")[2]
            for line in text.splitlines()
        )
    text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", lambda match: "\n" * match[0].count("\n"), text)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in (*PAGES, *PRESETS)])
def test_the_text_uses_the_terms_of_the_field(page: Path) -> None:
    found = []
    text = prose(page)
    for pattern, better in OLD_WORDS.items():
        for match in re.finditer(rf"\b(?:{pattern})", text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{page.name}:{line}: {' '.join(match[0].split())!r}: {better}")
    assert not found, "\n".join(found)


PRESET_ROW = re.compile(r"^\| *((?:`[a-z0-9-]+`(?:, )?)+) *\| *([\d., ]+) million *\|", re.MULTILINE)
"""A row of a table: presets, and how many million parameters each has."""
MANY = r"(\d{3},\d{3}|\d{1,3}(?:,\d{3}){2,})"
COUNTED = re.compile(
    r"`hrm params (--preset (?:(?!--puzzle-identifiers)[^`])+)`(?: (?:counts|has|is)| \|(?: [\d,]+ \|)*?) "
    + MANY
)
"""A command and, right behind it or in the columns of its row, the count that it prints."""
NAMED = re.compile(MANY + " trainable")
"""A count in the comment of a preset."""


def trainable(options: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """What `hrm params` with these options says is trainable."""
    capsys.readouterr()
    _load("params").main([*options, "--json"], "hrm params", standalone_mode=False)
    return int(json.loads(capsys.readouterr().out)["exact"]["trainable"])


def quoted_counts(page: Path) -> Iterator[tuple[str, str, float]]:
    """Of a page or preset: options of `hrm params`, the figure as it is written, and the factor of its unit."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        comments = " ".join(re.findall(r"^# ?(.*)$", text, re.MULTILINE))
        yield from ((f"--preset {page.stem}", figure, 1) for figure in NAMED.findall(comments))
        return
    for names, figures in PRESET_ROW.findall(text):
        for name, figure in zip(re.findall(r"`([^`]+)`", names), figures.split(", "), strict=False):
            yield f"--preset {name}", figure, 1e6
    yield from ((" ".join(options.split()), figure, 1) for options, figure in COUNTED.findall(text))


QUOTING = [pytest.param(page, id=page.name) for page in (*PAGES, *PRESETS) if any(quoted_counts(page))]


@pytest.mark.parametrize("page", QUOTING)
def test_the_parameter_counts_that_a_page_quotes_are_those_of_hrm_params(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    for options, figure, unit in quoted_counts(page):
        counted = trainable(shlex.split(options), capsys) / unit
        decimals = len(figure.partition(".")[2])
        if f"{counted:.{decimals}f}" != figure.replace(",", ""):
            wrong.append(f"hrm params {options}: {counted:,.{decimals}f}, the page says {figure}")
    assert wrong == []


@pytest.mark.parametrize("page", ["README.md", "docs/parameter-counts.md"])
def test_the_quoted_counts_of_a_page_are_found(page: str) -> None:
    assert len(list(quoted_counts(REPOSITORY / page))) >= 8


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
        "hrm eval runs/demo --max-steps zero",
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
