"""`hrm inspect`: what it counts, and what it finds in datasets that have something to find."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.text import Text

import hrm_cli as hrm
from hrm_cli.cli.inspection import rendering
from hrm_cli.cli.inspection.rendering import _print_blocks, _spark
from hrm_cli.inspection.findings import how_built
from hrm_cli.inspection.overlaps import sudoku_invariants
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

RunHrm = Callable[..., Any]

KEYS = {
    "source", "is_dataset", "domain", "description", "built_from", "built_with_seed", "augment", "hints", "vocab_size",
    "seq_len", "num_puzzle_identifiers", "storage", "splits", "symbols", "unused_symbols", "held_out_only_symbols",
    "baselines", "leaks", "symmetries", "notes", "findings", "examples",
}  # fmt: skip


def document(run_hrm: RunHrm, *arguments: object) -> dict[str, Any]:
    done = run_hrm("inspect", *arguments, "--json", "--quiet")
    assert done.status == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def array(folder: Path, split: str, name: str) -> Path:
    return folder / split / f"all__{name}.npy"


def texts(found: dict[str, Any], kind: str) -> str:
    return "\n".join(one["text"] for one in found["findings"] if one["kind"] == kind)


def test_the_document_has_the_documented_keys_and_counts_what_was_built(
    run_hrm: RunHrm, sudoku: Path
) -> None:
    found = document(run_hrm, sudoku)
    assert set(found) == KEYS
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert (train["groups"], test["groups"], test["examples"]) == (40, 20, 20)
    assert train["examples"] == train["puzzles"] > 3 * 40
    assert train["input_sizes"] == [{"rows": 4, "columns": 4, "count": train["examples"]}]
    assert sum(count for _, count in train["clues"]["counts"]) == train["examples"]
    assert found["storage"]["dtype"] == "uint8"
    assert found["storage"]["bytes"] == sum(
        file.stat().st_size for file in sudoku.rglob("*") if file.is_file()
    )
    digits = {one["symbol"]: one["splits"]["test"] for one in found["symbols"]}
    assert sum(counts["outputs"] for counts in digits.values()) == 20 * 16
    assert digits["blank"]["outputs"] == 0
    assert test["checked"]["right_answers"] == test["checked"]["one_solution"] == 20
    assert found["baselines"]["scores"]["copy_input"]["exact_accuracy"] == 0


def test_copies_of_an_example_are_those_of_its_group(run_hrm: RunHrm, sudoku: Path) -> None:
    found = document(run_hrm, sudoku, "--examples", 3, "--copies", 2)
    trained = [one for one in found["examples"] if one["split"] == "train"]
    assert len(trained) == 3
    domain = SudokuDomain(4)
    for one in trained:
        assert [copy["kind"] for copy in one["copies"]] == ["stored", "stored"]
        grids = np.array([one["input"], *(copy["input"] for copy in one["copies"])])
        keys = domain.canonical(domain.encode_all(grids.reshape(3, 16).astype(np.uint8)))
        assert len(set(keys)) == 1
    assert {
        copy["kind"] for one in found["examples"] if one["split"] == "test" for copy in one["copies"]
    } == {"possible"}


def test_a_leak_and_a_duplicate_put_into_a_dataset_are_found(
    run_hrm: RunHrm, sudoku: Path, tmp_path: Path
) -> None:
    folder = copied(sudoku, tmp_path / "leaky")
    train, test = (np.load(array(folder, split, "inputs")) for split in ("train", "test"))
    test[3], test[7] = train[0], test[5]
    np.save(array(folder, "test", "inputs"), test)
    labels = np.load(array(folder, "test", "labels"))
    labels[3], labels[7] = np.load(array(folder, "train", "labels"))[0], labels[5]
    np.save(array(folder, "test", "labels"), labels)
    found = document(run_hrm, folder)
    leak = found["leaks"][0]
    assert (leak["from"], leak["into"], leak["identical"]) == ("train", "test", 1)
    assert leak["where"] == [[3, 0]]
    assert leak["up_to_symmetry"] >= 1
    repeated = found["splits"]["test"]["duplicates"]
    assert (repeated["inputs"], repeated["pairs"], repeated["conflicts"]) == (1, 1, 0)
    assert repeated["where"] == [[7, 5]]
    assert "leak: 1 of 20 test examples are also in train" in texts(found, "problem")
    assert "test: 1 duplicate" in texts(found, "problem")


def test_a_wrong_answer_is_found_by_the_rules(run_hrm: RunHrm, sudoku: Path, tmp_path: Path) -> None:
    folder = copied(sudoku, tmp_path / "wrong")
    labels = np.load(array(folder, "test", "labels"))
    labels[4, :2] = labels[4, 0]
    np.save(array(folder, "test", "labels"), labels)
    found = document(run_hrm, folder)
    assert found["splits"]["test"]["checked"]["wrong"] == [4]
    assert "1 of 20 sampled puzzles are wrong" in texts(found, "problem")


def test_symmetric_sudoku_agree_in_their_invariants(sudoku: Path) -> None:
    for size in (4, 6, 9):
        domain = SudokuDomain(size)
        rng = np.random.default_rng(size)
        puzzles = np.where(
            rng.random((50, size * size)) < 0.6, 1, rng.integers(2, size + 2, (50, size * size))
        )
        copies = domain.sample_symmetries(rng, 50).apply(puzzles.astype(np.uint8))
        one, other = (sudoku_invariants(rows, domain) for rows in (puzzles, copies))
        assert (one == other).all()
        assert len(np.unique(one)) > 1


def test_a_file_of_pairs_is_read_with_the_notes_of_a_build_and_not_kept(run_hrm: RunHrm, pairs: Path) -> None:
    before = sorted(pairs.parent.iterdir())
    found = document(run_hrm, pairs)
    assert not found["is_dataset"]
    assert found["storage"] is None
    assert found["domain"]["name"] == "grids"
    assert "duplicate left out" in "\n".join(found["notes"])
    assert f"{pairs}:63 and {pairs}:3" in "\n".join(found["notes"])
    assert sorted(pairs.parent.iterdir()) == before


def test_text_on_a_pipe_draws_input_and_output_side_by_side(run_hrm: RunHrm, pairs: Path) -> None:
    done = run_hrm("inspect", pairs)
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("Example "))
    assert lines[at + 1].split() == ["input", "output"]
    drawn = [line.split("    ") for line in lines[at + 2 : at + 5]]
    grid = np.array([row[0].split() for row in drawn])
    assert (np.array([row[1].split() for row in drawn]) == grid.T).all()


def flipped(tmp_path: Path, *, letters: bool = False) -> Path:
    """Grids turned upside down: reflections are right, rotations are wrong."""
    grids = [[[a, b], [c, d]] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)]
    names = "xy" if letters else "01"
    lines = ["input,output"]
    for grid in grids:
        one, two = (
            "/".join("".join(names[cell] for cell in row) for row in rows) for rows in (grid, grid[::-1])
        )
        lines.append(f"{one},{two}")
    file = tmp_path / "flipped.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_claimed_symmetries_are_tested_against_the_pairs(run_hrm: RunHrm, tmp_path: Path) -> None:
    found = document(run_hrm, flipped(tmp_path), "--symmetries", "rotations,symbols")
    claims = {one["claim"]: one for one in found["symmetries"]}
    assert {name: one["status"] for name, one in claims.items()} == {
        "rotations": "refuted", "reflections": "consistent", "translations": "consistent", "symbols": "consistent",
    }  # fmt: skip
    # All 16 inputs are there: each of three transforms meets an input for each of them.
    assert claims["rotations"]["compared"] == claims["reflections"]["compared"] == 48
    # Under cyclic shifts, the 16 inputs form 7 classes.
    assert claims["translations"]["compared"] == 16 - 7
    assert claims["rotations"]["claimed"]
    assert not claims["reflections"]["claimed"]
    assert "claimed symmetry rotations: refuted" in texts(found, "problem")


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        # Reversal turns a shift to the left into a shift to the right.
        (("012,210", "120,021", "111,111"), "but the outputs do not match"),
        (("012,0", "345,3"), "input and output differ in size"),
    ],
)
def test_translations_are_refuted_where_outputs_do_not_shift_alike(
    run_hrm: RunHrm, tmp_path: Path, rows: tuple[str, ...], where: str
) -> None:
    file = tmp_path / "shifts.csv"
    file.write_text("\n".join(("input,output", *rows)), encoding="utf-8")
    claims = {one["claim"]: one for one in document(run_hrm, file)["symmetries"]}
    assert claims["translations"]["status"] == "refuted"
    assert where in claims["translations"]["where"]


def test_a_claim_that_no_pair_can_test_is_called_so(run_hrm: RunHrm, tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text("input,output\n0123,0\n4445,4\n6677,6\n", encoding="utf-8")
    found = document(run_hrm, file)
    claims = {one["claim"]: one for one in found["symmetries"]}
    assert claims["rotations"]["status"] == "untestable"
    assert "no two inputs are symmetric to each other" in claims["rotations"]["text"]


def test_an_output_with_a_symbol_of_its_own_refutes_exchanges_of_symbols(
    run_hrm: RunHrm, tmp_path: Path
) -> None:
    file = tmp_path / "own.csv"
    file.write_text("input,output\n00,7\n01,7\n12,8\n34,9\n", encoding="utf-8")
    found = document(run_hrm, file)
    claim = next(one for one in found["symmetries"] if one["claim"] == "symbols")
    assert claim["status"] == "refuted"
    assert "symbol that its input does not have" in claim["where"]


def test_symbols_that_only_held_out_pairs_have_are_named(run_hrm: RunHrm, tmp_path: Path) -> None:
    for name, line in (("train", "01,10\n10,01\n11,11\n"), ("test", "0Z,Z0\n")):
        (tmp_path / f"{name}.csv").write_text(f"input,output\n{line}", encoding="utf-8")
    found = document(run_hrm, tmp_path)
    assert found["held_out_only_symbols"] == ["Z"]
    assert "only in held-out examples" in texts(found, "problem")


def test_the_function_returns_the_document_of_the_command(run_hrm: RunHrm, sudoku: Path) -> None:
    from_python = hrm.inspect_dataset(sudoku, seed=3)
    assert json.loads(json.dumps(from_python)) == document(run_hrm, sudoku, "--seed", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv: does not exist; expected a dataset folder"),
        (["{sudoku}", "--split", "validation"], "the dataset has no validation split"),
        (["{sudoku}", "--split", "tests"], "--split tests: unknown; accepted: train, validation, test"),
        (["{sudoku}", "--symmetries", "rotations"], "--symmetries: is for own puzzles"),
        (["{pairs}", "--symmetries", "turns"], "--symmetries turns: unknown; accepted: rotations"),
        (["{sudoku}", "--domain", "maze"], "--domain: has no effect"),
        (["{pairs}", "--domain", "chess"], "--domain chess: unknown; accepted: sudoku"),
        (["{pairs}", "--test-subset", "a"], "--test-subset: is for arc"),
        (["{pairs}", "--input-column", "before"], "before"),
        (["{empty}"], "neither a dataset"),
    ],
)
def test_wrong_input_is_one_clear_error(
    run_hrm: RunHrm, sudoku: Path, pairs: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    words = [word.format(sudoku=sudoku, pairs=pairs, empty=tmp_path) for word in arguments]
    done = run_hrm("inspect", *words)
    assert done.status == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_rotated_and_recolored_training_task_of_arc_is_a_leak(run_hrm: RunHrm, tmp_path: Path) -> None:
    pairs = [([[1, 2], [0, 3]], [[2, 1]]), ([[4, 0], [5, 5]], [[0, 4]]), ([[7, 7], [8, 0]], [[7, 7]])]
    colors = np.array([0, 3, 1, 2, 9, 8, 7, 6, 5, 4])
    for folder, change in (("training", lambda grid: colors[np.rot90(grid)]), ("evaluation", np.array)):
        records = [
            {"input": change(np.array(one)).tolist(), "output": change(np.array(two)).tolist()}
            for one, two in pairs
        ]
        (tmp_path / folder).mkdir()
        task = {"train": records[:2], "test": records[2:]}
        (tmp_path / folder / f"{folder}1.json").write_text(json.dumps(task), encoding="utf-8")
    found = document(run_hrm, tmp_path)
    assert found["domain"]["name"] == "arc"
    leak = found["leaks"][0]
    assert (leak["identical"], leak["up_to_symmetry"]) == (0, 1)
    assert leak["where"][0] == ["training1", "evaluation1"]
    assert "1 of 1 test task share pairs with train" in texts(found, "problem")


def test_a_file_of_mazes_and_one_of_sudoku_are_recognized(
    run_hrm: RunHrm, sudoku: Path, tmp_path: Path
) -> None:
    maze = tmp_path / "maze.txt"
    maze.write_text("#####\n#S G#\n#####\n", encoding="utf-8")
    found = document(run_hrm, maze)
    assert found["domain"]["name"] == "maze"
    assert found["splits"]["train"]["path_lengths"]["counts"] == [[2, 1]]
    puzzles = tmp_path / "puzzles.csv"
    puzzles.write_text("question\n1.3..4.12.4.4..2\n1.3..4.12.4.4..2\n", encoding="utf-8")
    found = document(run_hrm, puzzles)
    assert found["domain"] == {"name": "sudoku", "size": 4}
    assert "1 repeated" in "".join(found["notes"])


def test_a_histogram_is_one_word_so_that_no_line_breaks_it() -> None:
    spark = _spark([[3, 2], [200, 1], [402, 4]])
    assert len(spark) == 32
    assert set(spark) == {"▁", "▅", "▃", "█"}


def test_a_generated_dataset_is_said_to_be_built_by_the_generator() -> None:
    assert how_built({"built_from": "builtin", "built_with_seed": 3}) == "built by the generator, seed 3; "
    assert how_built({"built_from": "a.csv", "built_with_seed": 0}) == "built from a.csv, seed 0; "
    assert how_built({"built_from": "", "built_with_seed": None}) == ""


def test_an_output_stays_next_to_its_input_if_both_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rendering, "_PLAIN_WIDTH", 50)  # enough for three of the four
    blocks = [(title, [Text("0 " * 6 + "0")]) for title in ("input", "output", "copy", "its output")]
    _print_blocks(blocks)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    titles = [[word.strip() for word in line if word.strip()] for line in lines[::2]]
    assert titles == [["input", "output"], ["copy", "its output"]]
