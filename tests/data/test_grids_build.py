"""Datasets of own puzzles: every format, the split, what is reported, and input that is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.train import TrainConfig
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.format import Dataset
from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.data.summary import BuildSummary
from hrm_cli.errors import HRMError
from hrm_cli.puzzles.domain import parse_domain
from hrm_cli.puzzles.grids.domain import GridsDomain


def some_pairs(count: int = 40, rows: int = 3, columns: int = 3, symbols: int = 4) -> list[tuple[list, list]]:
    rng = np.random.default_rng(0)
    grids = rng.integers(0, symbols, (count, rows, columns))
    return [(grid.tolist(), grid.T.tolist()) for grid in grids]


def build(source: Path, target: Path, **settings) -> BuildSummary:
    return build_request(BuildRequest("grids", target, {"source": str(source), **settings}, as_options=True))


def text(grid: list) -> str:
    return "/".join("".join(map(str, row)) for row in grid)


def write_csv(path: Path, rows: list, header=("input", "output"), delimiter=",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([header, *rows])
    return path


def write_jsonl(path: Path, pairs: list) -> Path:
    path.write_text("".join(f"{json.dumps({'input': a, 'output': b})}\n" for a, b in pairs), encoding="utf-8")
    return path


def stored(folder: Path, split: str) -> set[tuple[str, str]]:
    dataset = Dataset.open(folder, split)
    domain = parse_domain(dataset.metadata.domain)
    assert isinstance(domain, GridsDomain)
    inputs, labels = dataset.gather(np.arange(dataset.num_examples))
    found = set()
    for given, wanted in zip(inputs, labels, strict=True):
        # An input is drawn as an output is where both have the same size.
        found.add((domain.text(domain.decode(given)), domain.text(domain.decode(wanted))))
    return found


def everything(folder: Path) -> set[tuple[str, str]]:
    return set().union(*(stored(folder, split) for split in ("train", "validation", "test")))


PAIRS = some_pairs()
AS_TEXT = {(text(a), text(b)) for a, b in PAIRS}


def json_pairs(folder: Path) -> Path:
    path = folder / "pairs.json"
    path.write_text(json.dumps([{"question": a, "answer": b} for a, b in PAIRS]))
    return path


def arc_like(folder: Path) -> Path:
    path = folder / "task.json"
    parts = {"train": PAIRS[:30], "valid": PAIRS[30:35], "test": PAIRS[35:]}
    path.write_text(
        json.dumps({k: [{"input": a, "output": b} for a, b in part] for k, part in parts.items()})
    )
    return path


def archive(folder: Path) -> Path:
    np.savez_compressed(folder / "p.npz", inputs=[a for a, _ in PAIRS], outputs=[b for _, b in PAIRS])
    return folder / "p.npz"


def arrays(folder: Path) -> Path:
    for name, part in (("train", PAIRS[:30]), ("test", PAIRS[30:])):
        (folder / name).mkdir()
        np.save(folder / name / "inputs.npy", [a for a, _ in part])
        np.save(folder / name / "outputs.npy", [b for _, b in part])
    return folder


def files_of_splits(folder: Path) -> Path:
    write_csv(folder / "train.csv", [(text(a), text(b)) for a, b in PAIRS[:30]])
    write_jsonl(folder / "test.jsonl", PAIRS[30:])
    return folder


def lines_in_cells(folder: Path) -> Path:
    rows = [(text(a).replace("/", "\n"), json.dumps(b)) for a, b in PAIRS]
    return write_csv(folder / "p.csv", rows, ("question", "answer"))


def tabs(folder: Path) -> Path:
    return write_csv(folder / "p.tsv", [(text(a), text(b)) for a, b in PAIRS], delimiter="\t")


@pytest.mark.parametrize(
    "source", [json_pairs, arc_like, archive, arrays, files_of_splits, lines_in_cells, tabs]
)
def test_every_format_gives_the_same_pairs(source, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    summary = build(source(folder), tmp_path / "data")
    assert everything(tmp_path / "data") == AS_TEXT
    assert (summary.seq_len, summary.vocab_size) == (9, 5)
    assert summary.domain["symbols"] == ["0", "1", "2", "3"]
    assert summary.train.examples + summary.validation.examples + summary.test.examples == len(PAIRS)


def test_splits_of_the_source_are_kept_and_missing_ones_are_held_out(tmp_path):
    (tmp_path / "source").mkdir()
    summary = build(arc_like(tmp_path / "source"), tmp_path / "data")
    assert [part.examples for part in (summary.train, summary.validation, summary.test)] == [30, 5, 5]
    assert stored(tmp_path / "data", "test") == {(text(a), text(b)) for a, b in PAIRS[35:]}
    own = build(tabs(tmp_path), tmp_path / "own", num_test=7, num_validation=0)
    assert [part.examples for part in (own.train, own.validation, own.test)] == [33, 0, 7]


def test_columns_are_named_on_request(tmp_path):
    rows = [(n, text(a), text(b)) for n, (a, b) in enumerate(PAIRS)]
    path = write_csv(tmp_path / "p.csv", rows, ("id", "before", "after"))
    build(path, tmp_path / "data", input_column="before", output_column="after")
    assert everything(tmp_path / "data") == AS_TEXT


def test_words_and_emoji_are_symbols_and_sizes_may_differ(tmp_path):
    words = [("red blue", "blue red red"), ("blue", "red"), ("red red/blue 10", "10"), ("10 10", "blue blue")]
    summary = build(write_csv(tmp_path / "w.csv", words), tmp_path / "words", num_test=1, num_validation=1)
    assert summary.domain["symbols"] == ["10", "blue", "red"]
    assert (summary.domain["rows"], summary.domain["columns"]) == (2, 3)
    assert everything(tmp_path / "words") == set(words)
    emoji = [("🟥🟦", "🟦🟥"), ("🟥👩‍🚀", "👩‍🚀🟥"), ("👩‍🚀🟦", "🟦👩‍🚀")]
    build(write_csv(tmp_path / "e.csv", emoji), tmp_path / "emoji", num_test=1, num_validation=1)
    assert everything(tmp_path / "emoji") == set(emoji)


def test_more_than_256_symbols_are_stored_in_two_bytes(tmp_path):
    pairs = [([[n, n + 1]], [[n + 1, n]]) for n in range(600)]
    summary = build(write_jsonl(tmp_path / "p.jsonl", pairs), tmp_path / "data")
    assert summary.vocab_size == 602
    assert {wanted for _, wanted in everything(tmp_path / "data")} == {f"{n + 1} {n}" for n in range(600)}


def test_duplicates_conflicts_leaks_and_the_like_are_named_with_their_lines(tmp_path):
    train = ["01,10", "02,20", "01,10", "02,00", "11,11", "12,21", "10,01"]
    (tmp_path / "train.csv").write_text("input,output\n" + "\n".join(train))
    (tmp_path / "test.csv").write_text("input,output\n12,21\n13,31\n21,12\n")
    summary = build(tmp_path, tmp_path / "data", num_validation=0)
    notes = "\n".join(summary.notes)
    file, test = tmp_path / "train.csv", tmp_path / "test.csv"
    assert f"1 duplicate left out: {file}:4 repeats {file}:2" in notes
    assert f"same input and a different output: {file}:5 and {file}:3" in notes
    assert f"the output equals the input in 1 pair (12.5%): {file}:6" in notes
    assert f"1 train pair left out, because the test split has its input: {file}:7 is in {test}:2" in notes
    assert (
        f"1 symbol only in validation or test pairs, so no model can learn to use them: '3' ({test}:3)"
        in notes
    )
    assert stored(tmp_path / "data", "train") == {("01", "10"), ("02", "20"), ("11", "11"), ("10", "01")}


def test_outputs_that_are_all_the_same_are_named(tmp_path):
    path = write_csv(tmp_path / "p.csv", [(text(a), "7") for a, _ in PAIRS])
    assert any("same in every pair" in note for note in build(path, tmp_path / "data").notes)


def test_no_input_of_a_split_is_symmetric_to_one_of_another(tmp_path):
    pairs = [(np.rot90(a, k).tolist(), np.rot90(b, k).tolist()) for a, b in PAIRS[:10] for k in range(4)]
    path = write_jsonl(tmp_path / "p.jsonl", pairs)
    build(path, tmp_path / "data", symmetries=["rotations"], num_test=3, num_validation=2)

    def canonical(given: str) -> str:
        grid = np.array([list(row) for row in given.split("/")])
        return min("/".join(map("".join, np.rot90(grid, k))) for k in range(4))

    inputs = {
        split: {canonical(a) for a, _ in stored(tmp_path / "data", split)}
        for split in ("train", "validation", "test")
    }
    assert [len(inputs[split]) for split in inputs] == [5, 2, 3]
    assert not inputs["train"] & inputs["test"]
    assert not inputs["train"] & inputs["validation"]


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (2, 3)])
def test_training_samples_copies_by_the_declared_symmetries_which_are_valid_pairs(tmp_path, rows, columns):
    """The task commutes with its symmetries: every cell is raised by one, modulo four."""
    grids = np.random.default_rng(1).integers(0, 4, (30, rows, columns))
    pairs = [(grid.tolist(), ((grid + 1) % 4).tolist()) for grid in grids]
    build(
        write_jsonl(tmp_path / "p.jsonl", pairs), tmp_path / "data", symmetries=["rotations", "reflections"]
    )
    dataset = Dataset.open(tmp_path / "data", "train")
    domain = parse_domain(dataset.metadata.domain)
    assert isinstance(domain, GridsDomain)
    before = {tuple(row) for row in dataset.gather(np.arange(dataset.num_examples))[0].tolist()}
    batches = TrainingBatches(dataset, 24)
    unseen = 0
    for _ in range(4):
        batch = next(batches)
        for given, wanted in zip(batch.inputs, batch.labels, strict=True):
            unseen += tuple(given.tolist()) not in before
            answer = domain.decode(np.maximum(wanted, 0))
            asked = domain.decode(given)
            assert ((asked.astype(int) + 1) % 4).tolist() == answer.tolist()
    assert unseen > 30


@pytest.mark.parametrize("sizes", [[(3, 3)], [(2, 3), (3, 2), (4, 4)]])
def test_translations_shift_input_and_output_alike_and_never_leak(tmp_path, sizes):
    rng = np.random.default_rng(2)
    inputs = [rng.integers(0, 3, sizes[n % len(sizes)]) for n in range(24)]
    pairs = [
        (shifted.tolist(), ((shifted + np.roll(shifted, 1, 0)) % 3).tolist())
        for grid in inputs
        for shifted in (grid, np.roll(grid, (1, 2), (0, 1)))
    ]
    folder = tmp_path / "data"
    build(write_jsonl(tmp_path / "p.jsonl", pairs), folder, symmetries=["translations"], num_test=5)

    def canonical(given: str) -> str:
        grid = np.array([list(row) for row in given.split("/")])
        shifts = [(r, c) for r in range(grid.shape[0]) for c in range(grid.shape[1])]
        return min("/".join(map("".join, np.roll(grid, shift, (0, 1)))) for shift in shifts)

    classes = {split: {canonical(a) for a, _ in stored(folder, split)} for split in ("train", "test")}
    assert len(classes["test"]) == 5
    assert not classes["train"] & classes["test"]
    dataset = Dataset.open(folder, "train")
    domain = parse_domain(dataset.metadata.domain)
    assert isinstance(domain, GridsDomain)
    before = {tuple(row) for row in dataset.gather(np.arange(dataset.num_examples))[0].tolist()}
    unseen = 0
    batches = TrainingBatches(dataset, 16)
    for batch in (next(batches), next(batches)):
        for given, wanted in zip(batch.inputs, batch.labels, strict=True):
            unseen += tuple(given.tolist()) not in before
            asked, answer = domain.decode(given).astype(int), domain.decode(np.maximum(wanted, 0))
            assert ((asked + np.roll(asked, 1, 0)) % 3).tolist() == answer.tolist()
    assert unseen > 8


def test_translations_need_outputs_of_the_size_of_their_inputs(tmp_path):
    path = write_csv(tmp_path / "p.csv", [["01/10", "10/01"], ["011/100", "10/01"]])
    with pytest.raises(HRMError, match=r"p.csv:3: input and output have 2×3 and 2×2 cells; --symmetries"):
        build(path, tmp_path / "data", symmetries=["translations"])


def test_permuted_symbols_are_permuted_in_input_and_output_alike(tmp_path):
    build(write_jsonl(tmp_path / "p.jsonl", PAIRS), tmp_path / "data", symmetries=["symbols"])
    dataset = Dataset.open(tmp_path / "data", "train")
    batch = next(TrainingBatches(dataset, 24))
    for given, wanted in zip(batch.inputs, batch.labels, strict=True):
        assert given.reshape(3, 3).T.tolist() == wanted.reshape(3, 3).tolist()
    assert TrainConfig().seed == 0


BAD = {
    "ragged": (
        "p.csv",
        "input,output\n01/2,01\n",
        r"p.csv:2: input: rows differ in length: row 2 has 1 cell",
    ),
    "empty file": ("p.csv", "", "contains no pairs"),
    "header only": ("p.csv", "input,output\n", "contains no pairs"),
    "one pair": ("p.csv", "input,output\n01,10\n", "only one input"),
    "all pairs equal": ("p.csv", "input,output\n01,10\n01,10\n", "only one input"),
    "no output": ("p.jsonl", '{"input": "01"}\n', "p.jsonl:1: the output is missing"),
    "mixed types": ("p.jsonl", '{"input": [[1], 2], "output": 1}\n', r"p.jsonl:1: input: row 2: found 2"),
    "null": ("p.jsonl", '{"input": [[null]], "output": 1}\n', "p.jsonl:1: input: a cell is null"),
    "too wide": ("p.jsonl", json.dumps({"input": [[0] * 65], "output": 1}), "p.jsonl:1: input: 1×65 cells"),
    "no such column": ("p.csv", "first,second\n01,10\n", r"p.csv:1: the columns are first, second"),
    "columns missing": ("p.csv", "input,output\n01,10\n01\n", r"p.csv:3: 1 columns; the header has 2"),
    "open quotation": ("p.csv", 'input,output\n"01,10\n', r"p.csv:2: not a row of CSV"),
    "not JSON": ("p.jsonl", '{"input": 1, "output": 2}\n{"input"\n', "p.jsonl:2: not valid JSON"),
    "not a pair": ("p.jsonl", "[1, 2, 3]\n", "p.jsonl:1: found a list of 3"),
    "unknown split": (
        "p.jsonl",
        '{"input": 1, "output": 2, "split": "exam"}',
        "p.jsonl:1: found split 'exam'",
    ),
    "long line": (
        "p.jsonl",
        '{"input": 1, "output": 2}\n' + "x" * 3_000_000,
        r"p.jsonl:2: a line of 3,000,000",
    ),
    "binary": ("p.csv", "input,output\n\0\0\1", "p.csv:2: is a binary file"),
    "ARC tasks": ("p.json", '{"a": {"train": [], "test": []}}', "contains ARC tasks"),
    "a number": ("p.json", "3", "a list of pairs"),
    "no archive": ("p.npz", "PK", "not a complete .npz archive"),
    "another ending": ("p.xlsx", "x", "a name that ends in .csv"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(name, tmp_path):
    file, content, message = BAD[name]
    (tmp_path / file).write_text(content)
    with pytest.raises(HRMError, match=message):
        build(tmp_path / file, tmp_path / "made" / "data")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [file]


def test_arrays_of_other_kinds_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", inputs=np.zeros((2, 2, 2)), outputs=np.zeros((2, 2, 2)))
    with pytest.raises(HRMError, match="found type float64; expected an integer type"):
        build(tmp_path / "p.npz", tmp_path / "data")
    np.savez(tmp_path / "q.npz", inputs=np.zeros((2, 2), int), outputs=np.zeros((3, 2), int))
    with pytest.raises(HRMError, match="2 inputs, but 3 outputs"):
        build(tmp_path / "q.npz", tmp_path / "data")


def test_too_many_symbols_are_refused_at_the_first_excess_symbol(tmp_path):
    path = write_jsonl(tmp_path / "p.jsonl", [(n, 0) for n in range(1100)])
    with pytest.raises(
        HRMError,
        match=r"p.jsonl:1001: input: '1000' is symbol number 1,001; at most 1,000 different symbols are supported",
    ):
        build(path, tmp_path / "data")


def test_a_source_that_is_missing_or_empty_says_what_is_accepted(tmp_path):
    with pytest.raises(HRMError, match=r"does not exist; accepted: a \.csv"):
        build(tmp_path / "absent.csv", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HRMError, match="the folder contains no pairs"):
        build(tmp_path / "empty", tmp_path / "data")
    with pytest.raises(HRMError, match="--source"):
        build_request(BuildRequest("grids", tmp_path / "data", as_options=True))


def test_settings_without_effect_are_refused(tmp_path):
    path = write_jsonl(tmp_path / "p.jsonl", PAIRS)
    for setting in ({"num_aug": 3}, {"clues": "30"}, {"num_train": 3}):
        with pytest.raises(
            HRMError, match=r"no effect for the domain grids|only for puzzles from the built-in"
        ):
            build(path, tmp_path / "data", **setting)
    with pytest.raises(HRMError, match="so none is left for training"):
        build(path, tmp_path / "data", num_test=40)


def test_rows_of_text_in_json_that_look_like_a_grid_are_noted(tmp_path):
    rows = [["#..#", ".##.", f"{n:04b}"] for n in range(12)]
    summary = build(write_jsonl(tmp_path / "a.jsonl", [(row, row[::-1]) for row in rows]), tmp_path / "a")
    (note,) = [note for note in summary.notes if "a JSON list of texts is one row of symbols" in note]
    assert note.startswith("all 14 symbols are texts of 4 characters, as in ")
    words = [(["red", "green", f"w{n}"], ["red"]) for n in range(12)]
    summary = build(write_jsonl(tmp_path / "b.jsonl", words), tmp_path / "b")
    assert not [note for note in summary.notes if "one row" in note]


def test_half_of_a_character_is_no_symbol(tmp_path):
    (tmp_path / "a.jsonl").write_text('["\\ud800", "1"]\n["1", "0"]\n')
    with pytest.raises(HRMError, match=r"a.jsonl:1: input: .*lone surrogate"):
        build(tmp_path / "a.jsonl", tmp_path / "a")
