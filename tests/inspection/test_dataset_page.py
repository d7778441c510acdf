"""The page of `hrm inspect --html`: complete in one file, with nothing that a network would have to give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.inspection.report import InspectRequest, inspect_source
from hrm_cli.views import dataset_page
from hrm_cli.views.dataset_page import page

RunHrm = Callable[..., Any]
VOID = {"meta", "input", "br", "link", "img", "hr"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


@pytest.fixture(scope="module")
def written(run_hrm: RunHrm, sudoku: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "page.html"
    done = run_hrm("inspect", sudoku, "--html", file, "--examples", 5)
    assert done.status == 0, done.stderr
    assert f"Page: {file}" in done.stderr
    return file.read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    return found


def test_the_page_is_well_formed_and_refers_to_nothing_outside(written: str) -> None:
    parsed = Page(written)
    assert {tag for tag, _, _ in parsed.attributes} & {"link", "img", "iframe", "object", "embed"} == set()
    for tag, name, value in parsed.attributes:
        assert name not in ("src", "href", "srcset", "action", "data"), (tag, name, value)
        assert "//" not in value, (tag, name, value)
    assert not re.search(
        r"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket", written.replace("http://www.w3.org/2000/svg", "")
    )
    assert "default-src 'none'" in written


def test_the_page_has_the_examples_with_answers_and_copies(written: str) -> None:
    data = data_of(written)
    assert (data["board"]["domain"], data["board"]["kind"]) == ("sudoku", "symbols")
    assert [one["split"] for one in data["examples"]] == ["train"] * 5 + ["test"] * 5
    for one in data["examples"]:
        assert len(one["input"]["symbols"]) == len(one["output"]["symbols"]) == 16
        assert one["input"]["ruled_rows"] == one["output"]["ruled_columns"] == [2]
        assert len(one["copies"]) == 2


def test_the_summary_needs_no_script(written: str) -> None:
    before = written.partition('id="examples"')[0]
    for text in (
        "Findings",
        "no duplicates among 40 original examples",
        "Clues, train",
        "copy input",
        "<svg",
    ):
        assert text in before


def test_names_of_files_and_symbols_cannot_end_the_data_or_add_elements(
    run_hrm: RunHrm, tmp_path: Path
) -> None:
    file = tmp_path / "<b>&.jsonl"
    symbols = ["</script>", "<!--", "&amp;", "'\""]
    lines = [{"input": [symbols[i:] + symbols[:i]], "output": [symbols]} for i in range(4)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = run_hrm("inspect", file, "--html", tmp_path / "page.html")
    assert done.status == 0, done.stderr
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    Page(text)
    assert sorted(data_of(text)["examples"][0]["input"]["symbols"]) == sorted(symbols)
    assert "<b>" not in text.partition("<main>")[2].partition("</h1>")[0]


def test_the_number_of_cells_on_the_page_is_bounded(sudoku: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_page, "MOST_CELLS", 500)
    text, left_out = page(inspect_source(InspectRequest(str(sudoku), examples=20)))
    assert f"<h1>{sudoku.name}</h1>" in text
    assert str(sudoku.parent) not in text, "pages are passed on"
    kept = data_of(text)["examples"]
    assert {one["split"] for one in kept} == {"train", "test"}
    assert sum(64 for _ in kept) <= 500
    assert f"{len(kept)} of 40 examples" in left_out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("page.txt", "expected a name that ends in .html"),
        ("old.html", "already exists; --force overwrites it"),
        ("no/folder.html", "does not exist"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_read(
    run_hrm: RunHrm, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "old.html").write_text("old", encoding="utf-8")
    done = run_hrm("inspect", "nowhere.csv", "--html", tmp_path / name)
    assert done.status == 2
    assert message in done.stderr
    assert (tmp_path / "old.html").read_text(encoding="utf-8") == "old"
