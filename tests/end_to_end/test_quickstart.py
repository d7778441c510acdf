"""The script that runs the quickstart finds its commands; `.ci/run` runs it for real."""

from __future__ import annotations

from .quickstart import PAGE, exact_accuracy, sections


def test_every_numbered_section_has_commands_and_the_trained_model_is_evaluated() -> None:
    found = sections(PAGE.read_text(encoding="utf-8"))
    assert [section.number for section in found] == list(range(1, len(found) + 1))
    assert all(section.scripts for section in found)
    by_number = {section.number: "".join(section.scripts) for section in found}
    assert "hrm build-dataset" in by_number[4]
    assert "hrm train" in by_number[5]
    assert "hrm eval" in by_number[6]
    assert "hrm train" in by_number[7]


def test_of_a_console_block_the_commands_are_taken_and_of_a_shell_block_everything() -> None:
    console = "```console run\n$ hrm x\nout\n$ hrm y\n```\n\n"
    page = f"## 1. A\n\n{console}```sh\ncat > f <<E\n1\nE\n```\n\n## End\n\n```sh\nno\n```\n"
    (section,) = sections(page)
    assert section.scripts == ("hrm x\nhrm y\n", "cat > f <<E\n1\nE\n")


def test_the_accuracy_is_read_from_the_table_of_an_evaluation_and_from_the_text_of_the_demo() -> None:
    assert exact_accuracy("runs/x: 500 puzzles\nfigure\nexact accuracy      99.80%  whole puzzles\n") == 99.8
    assert exact_accuracy("trained\n500 puzzles: 99.2% are solved\ncompletely, in 2.1 steps\n") == 99.2
    assert exact_accuracy("nothing here") is None
