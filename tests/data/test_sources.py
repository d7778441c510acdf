from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.sources import Source, load
from hrm_cli.errors import ConfigError, DatasetError, PuzzleError

from .conftest import ANSWERS_4

CsvWriter = Callable[..., Path]


def read(source: Path | str, scratch: Path, **fields: object) -> Source:
    scratch.mkdir(exist_ok=True)
    config = DataConfig(source=str(source), **fields)
    return load(config, scratch, np.random.default_rng(0), lambda stage, done, total: None)


def written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def texts(source: Source, *, test: bool = False, answers: bool = False) -> list[str]:
    pool = source.test if test else source.train
    assert pool is not None
    tokens = pool.rows(np.arange(len(pool)))[answers]
    return ["".join(map(str, source.domain.decode(row).reshape(-1))) for row in tokens]


def test_a_csv_gives_puzzles_and_answers_in_order(csv_file: CsvWriter, tmp_path: Path) -> None:
    source = read(csv_file(), tmp_path / "s")
    assert source.domain.size == 4
    assert source.test is None
    assert texts(source)[:2] == ["0" + ANSWERS_4[0][1:], "00" + ANSWERS_4[0][2:]]
    assert texts(source, answers=True) == [answer for answer in ANSWERS_4 for _ in range(4)]


def test_columns_are_found_by_name_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text(f"rating,Answer,note,Question\n1,{ANSWERS_4[0]},x,..{ANSWERS_4[0][2:]}\n")
    assert texts(read(file, tmp_path / "s")) == ["00" + ANSWERS_4[0][2:]]


def test_missing_answers_are_computed(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("".join(f"...{answer[3:]}\n" for answer in ANSWERS_4))
    assert texts(read(file, tmp_path / "s"), answers=True) == list(ANSWERS_4)


def test_lines_that_cannot_be_used_are_named_all_at_once(csv_file: CsvWriter, tmp_path: Path) -> None:
    answer = ANSWERS_4[0]
    file = csv_file(
        rows=[
            (answer[:15], answer, "0"),
            ("." + answer[1:], answer, "0"),
            ("." + answer[1:], "2" + answer[1:], "0"),
            ("2" + answer[1:], answer, "0"),
            ("11" + "." * 14, "", "0"),
        ]
    )
    with pytest.raises(DatasetError) as caught:
        read(file, tmp_path / "s")
    message = str(caught.value)
    assert [f"puzzles.csv:{line}" in message for line in range(2, 7)] == [True, False, True, True, True]
    assert "given answer is wrong" in message
    assert "no solution" in message


def test_of_many_bad_lines_the_first_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("..3.............\n" + "11..............\n" * 20)
    with pytest.raises(DatasetError, match=r"p\.txt:6: [^\n]*\n  and 15 more"):
        read(file, tmp_path / "s")


def test_puzzles_of_another_size_are_named(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("." + ANSWERS_4[0][1:] + "\n" + "." * 81 + "\n")
    with pytest.raises(DatasetError, match=r"p\.txt:2"):
        read(file, tmp_path / "s")


def test_puzzles_with_more_than_one_solution_are_left_out_and_counted(tmp_path: Path, shared: Path) -> None:
    several = (shared / "data" / "sudoku" / "multi_solution.txt").read_text()
    one = (shared / "data" / "sudoku" / "test.csv").read_text().splitlines()[1].split(",")[1]
    file = tmp_path / "p.txt"
    file.write_text(several + one + "\n")
    source = read(file, tmp_path / "s")
    assert texts(source) == [one.replace(".", "0")]
    assert source.notes == ["p.txt: left out 58 puzzles with more than one solution"]


def test_min_difficulty_uses_the_rating(csv_file: CsvWriter, tmp_path: Path) -> None:
    source = read(csv_file(), tmp_path / "s", min_difficulty=3)
    assert [text.count("0") for text in texts(source)] == [3, 4] * 4
    assert source.notes == ["puzzles.csv: left out 8 puzzles below difficulty 3"]


def test_min_difficulty_uses_the_solver_if_there_is_no_rating(shared: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (shared / "data/sudoku/test.csv").read_text().splitlines()[1:101]]
    file = tmp_path / "p.txt"
    file.write_text("".join(row[1] + "\n" for row in rows))
    source = read(file, tmp_path / "s", min_difficulty=50)
    assert texts(source) == [row[1].replace(".", "0") for row in rows if int(row[3]) >= 50]


def test_a_folder_gives_its_own_test_set(csv_file: CsvWriter, tmp_path: Path) -> None:
    train = csv_file("both/train.csv")
    csv_file("both/test.csv", rows=[("." * 5 + ANSWERS_4[0][5:], ANSWERS_4[0], "1")])
    source = read(train.parent, tmp_path / "s")
    assert len(source.train) == 16
    assert texts(source, test=True) == ["00000" + ANSWERS_4[0][5:]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: d / "nowhere.csv", "nowhere.csv: does not exist; accepted: builtin"),
        (lambda d: d, "contains no train.csv"),
        (lambda d: written(d / "e.txt", b""), r"e\.txt"),
        (lambda d: written(d / "b.txt", bytes(range(256))), r"b\.txt"),
        (lambda d: "hf:noslash", "hf:OWNER/NAME"),
    ],
)
def test_sources_that_cannot_be_read_are_named(
    tmp_path: Path, make: Callable[[Path], Path | str], message: str
) -> None:
    with pytest.raises((DatasetError, ConfigError, PuzzleError), match=message):
        read(make(tmp_path), tmp_path / "s")


class FakeHub:
    """Stands in for the hub's client: serves a folder, or refuses."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, refusal: Exception | None = None
    ) -> None:
        errors = SimpleNamespace(
            EntryNotFoundError=type("EntryNotFoundError", (Exception,), {}),
        )
        errors.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (errors.EntryNotFoundError,), {})
        self.asked: list[tuple[str, str]] = []

        def hf_hub_download(repo_id: str, filename: str, *, repo_type: str, **_: bool) -> str:
            assert repo_type == "dataset"
            self.asked.append((repo_id, filename))
            if refusal is not None:
                raise refusal
            if not (folder / filename).is_file():
                raise errors.EntryNotFoundError(filename)
            return str(folder / filename)

        package, module = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")
        package.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
        module.__dict__.update(vars(errors))
        monkeypatch.setitem(sys.modules, "huggingface_hub", package)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", module)


def test_a_hub_dataset_gives_train_and_test(
    monkeypatch: pytest.MonkeyPatch, csv_file: CsvWriter, tmp_path: Path
) -> None:
    folder = csv_file("hub/train.csv").parent
    csv_file("hub/test.csv", rows=[("." * 5 + ANSWERS_4[0][5:], ANSWERS_4[0], "1")])
    hub = FakeHub(monkeypatch, folder)
    source = read("hf:someone/sudoku", tmp_path / "s")
    assert hub.asked == [("someone/sudoku", "train.csv"), ("someone/sudoku", "test.csv")]
    assert (len(source.train), len(texts(source, test=True))) == (16, 1)


def test_a_hub_dataset_may_lack_a_test_set(
    monkeypatch: pytest.MonkeyPatch, csv_file: CsvWriter, tmp_path: Path
) -> None:
    FakeHub(monkeypatch, csv_file("hub/train.csv").parent)
    assert read("hf:someone/sudoku", tmp_path / "s").test is None


def test_a_refusal_of_the_hub_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakeHub(monkeypatch, tmp_path, ConnectionError("no route to host\nmore"))
    with pytest.raises(DatasetError, match=r"could not be fetched \(ConnectionError: no route to host\)"):
        read("hf:someone/sudoku", tmp_path / "s")


def test_without_the_hub_client_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DatasetError, match=r"pip install 'hrm-cli\[hub\]'"):
        read("hf:someone/sudoku", tmp_path / "s")
