"""`hrm solve` as people and scripts run it: statuses, records, files, and every kind of bad input."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset

from .copying import (
    BLANKS,
    COMPLETE,
    CONTRADICTORY,
    EMPTY_GRID,
    ONE_THREAD,
    WITHOUT_SOLUTION,
    copying_model,
    records,
)


def test_solved_file_exits_0_with_a_plain_line_a_puzzle_and_the_summary_on_stderr(hrm_solve: Any) -> None:
    done = hrm_solve(f"{COMPLETE}\n{COMPLETE}\n")
    assert done.status == 0
    assert done.stdout.splitlines() == [
        f"  1  solved    {COMPLETE}  1 step",
        f"  2  solved    {COMPLETE}  1 step",
    ]
    assert done.stderr.startswith("Solved 2 of 2 puzzles in ")
    assert "\x1b" not in done.stdout + done.stderr


def test_unsolved_puzzles_exit_1_and_each_has_a_reason(hrm_solve: Any) -> None:
    lines = [COMPLETE, BLANKS, CONTRADICTORY, WITHOUT_SOLUTION, EMPTY_GRID]
    done = hrm_solve("\n".join(lines), "--json", "--quiet")
    assert done.status == 1
    assert done.stderr == ""
    found = records(done.stdout)
    statuses = ["solved", "unsolved", "invalid", "invalid", "multiple"]
    assert [record["status"] for record in found] == statuses
    assert [record["index"] for record in found] == [1, 2, 3, 4, 5]
    assert [record["where"] for record in found] == [f"puzzles.txt:{line}" for line in range(1, 6)]
    assert [record["verified"] for record in found] == [True] + 4 * [False]
    reasons = [record["reason"] for record in found]
    assert reasons[0] == ""
    assert "row 1, column 1 is empty" in reasons[1]
    assert "row 1 contains 1 more than once" in reasons[2]
    assert "no solution" in reasons[3]
    assert "more than one solution" in reasons[4]
    assert [record["answer"] is None for record in found] == [False, False, True, True, False]


def test_a_puzzle_that_does_not_fit_the_checkpoint_exits_2_and_the_others_are_solved(hrm_solve: Any) -> None:
    done = hrm_solve(f"{COMPLETE}\n1..4..1..2..4..2\n", "--json", "--quiet")
    assert done.status == 2
    found = records(done.stdout)
    assert [record["status"] for record in found] == ["solved", "invalid"]
    assert found[1]["reason"].startswith(
        "puzzles.txt:2: the checkpoint was trained on 9×9 Sudoku puzzles, and this is"
    )
    assert done.stderr == f"Error: {found[1]['reason']}\n"


def test_unreadable_lines_exit_2_with_one_message_and_the_other_records_are_written(
    hrm_solve: Any, tmp_path: Path
) -> None:
    bad = [BLANKS[:80], BLANKS + ".", BLANKS[:40] + "x" + BLANKS[41:]]
    done = hrm_solve("\n".join([COMPLETE, *bad, COMPLETE]), "--json", "-q", "-o", "out.jsonl")
    assert done.status == 2
    found = records(done.stdout)
    assert [record["status"] for record in found] == ["solved", *3 * ["invalid"], "solved"]
    assert [record["reason"].split(": ")[0] for record in found[1:4]] == [
        f"puzzles.txt:{n}" for n in (2, 3, 4)
    ]
    assert "80 characters" in found[1]["reason"]
    assert "82 characters" in found[2]["reason"]
    assert "'x'" in found[3]["reason"]
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: puzzles.txt:2: 80 characters")
    assert records((tmp_path / "out.jsonl").read_text()) == found


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01\x02\xff" * 50, None])
def test_an_invalid_file_exits_2_and_is_named(hrm_solve: Any, content: bytes | None, tmp_path: Path) -> None:
    done = hrm_solve(content, "--output", "out.txt")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: puzzles.txt: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.txt").exists()


def test_folder_exits_2(run_hrm: Any, checkpoint: Path, tmp_path: Path) -> None:
    done = run_hrm("solve", tmp_path, "--checkpoint", checkpoint)
    assert (done.status, done.stdout) == (2, "")
    assert f"{tmp_path}: is a folder" in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_exits_2(in_process: Any, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "puzzles.txt").write_text(COMPLETE)
    (tmp_path / "puzzles.txt").chmod(0)
    status, stdout, stderr = in_process("--checkpoint", checkpoint)
    assert (status, stdout) == (2, "")
    assert "permission" in stderr


def test_file_problems_are_reported_before_torch_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from hrm_cli.cli.app import main\n"
        "try:\n"
        "    main(['solve', 'nowhere.txt', '--checkpoint', 'nowhere'])\n"
        "finally:\n"
        "    print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "False\n")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(hrm_solve: Any) -> None:
    done = hrm_solve(b"\xef\xbb\xbf" + f"{COMPLETE}\r\n{COMPLETE}\r\n".encode(), "--json")
    assert done.status == 0
    assert [record["answer"] for record in records(done.stdout)] == [COMPLETE, COMPLETE]


def test_every_known_puzzle_with_more_than_one_solution_is_reported_as_such(
    run_hrm: Any, checkpoint: Path, shared: Path
) -> None:
    file = shared / "data" / "sudoku" / "multi_solution.txt"
    done = run_hrm("solve", file, "--checkpoint", checkpoint, "--json", env=ONE_THREAD)
    assert done.status == 1
    found = records(done.stdout)
    assert len(found) == len(file.read_text().split())
    assert {record["status"] for record in found} == {"multiple"}
    assert all("more than one solution" in record["reason"] for record in found)


def test_standard_input_and_text_output(run_hrm: Any, checkpoint: Path, tmp_path: Path) -> None:
    done = run_hrm(
        "solve", "-", "--checkpoint", checkpoint, "--output", "out.txt", "--max-steps", 40, "--halt", "full",
        cwd=tmp_path, env=ONE_THREAD, input=f"{COMPLETE}\n{BLANKS}\n",
    )  # fmt: skip
    assert done.status == 1
    assert "40 steps" in done.stdout, "more steps than trained are allowed"
    assert (tmp_path / "out.txt").read_text() == f"{COMPLETE}\n\n"


def test_attempts_are_counted_and_the_same_seed_gives_the_same_records(
    in_process: Any, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "puzzles.txt").write_text(f"{COMPLETE}\n{BLANKS}")

    def run(batch_size: int) -> list[dict[str, Any]]:
        _, stdout, _ = in_process(
            "--checkpoint", checkpoint, "--attempts", 3, "--seed", 5, "--batch-size", batch_size, "--json"
        )
        return [{k: v for k, v in record.items() if k != "seconds"} for record in records(stdout)]

    first = run(1)
    assert [record["attempts"] for record in first] == [1, 3]
    assert first == run(2)


def test_trace_in_pipes_is_plain_and_in_json_part_of_the_record(
    hrm_solve: Any, in_process: Any, checkpoint: Path
) -> None:
    done = hrm_solve(COMPLETE, "--trace", "--halt", "full", "--max-steps", 2)
    assert done.status == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "puzzle 1 (puzzles.txt:1)",
        "step 1: halt 100%, first answer",
        "  8 6 2 | 9 3 4 | 7 5 1",
    ]
    assert "step 2: halt 100%, 0 cells changed" in lines
    assert lines[-1].startswith("  1  solved ")
    _, stdout, _ = in_process("--checkpoint", checkpoint, "--trace", "--json")
    (record,) = records(stdout)
    assert record["trace"] == [{"step": 1, "grid": COMPLETE, "q_halt": pytest.approx(6.0)}]


def test_picture_is_svg(hrm_solve: Any, tmp_path: Path) -> None:
    assert hrm_solve(f"{BLANKS}\n{COMPLETE}", "--picture", "solve.svg").status == 1
    text = (tmp_path / "solve.svg").read_text(encoding="utf-8")
    assert "9×9 Sudoku: solved in 1 reasoning step" in text
    ElementTree.fromstring(text)


@pytest.mark.parametrize(
    "options",
    [
        ("--output", "."),
        ("--output", "nowhere/out.txt"),
        ("--output", "puzzles.txt"),
        ("--picture", "solve.png"),
        ("--max-steps", 0),
        ("--attempts", 0),
        ("--batch-size", 0),
        ("--halt", "sometimes"),
        ("--device", "toaster"),
    ],
)
def test_wrong_option_exits_2_without_touching_the_puzzles(
    in_process: Any, checkpoint: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    (tmp_path / "puzzles.txt").write_text(COMPLETE)
    status, stdout, stderr = in_process("--checkpoint", checkpoint, *options)
    assert (status, stdout) == (2, "")
    assert str(options[0]) in stderr or str(options[1]) in stderr
    assert (tmp_path / "puzzles.txt").read_text() == COMPLETE


def change_header(path: Path, **metadata: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, framework="pt") as file:
        header = {**(file.metadata() or {}), **metadata}
    save_file(load_file(path), path, metadata=header)


def widen(path: Path) -> None:
    change_header(path, config=Preset(arch=ArchConfig(hidden_size=64, num_heads=4)).model_dump_json())


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no tensors"), "safetensors"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "safetensors"),
    "newer version": (lambda path: change_header(path, hrm_format_version="99"), "newer hrm"),
    "wrong architecture": (widen, "do not match its architecture"),
    "missing": (lambda path: path.unlink(), "no such checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_exits_2_naming_it_and_writes_nothing(
    in_process: Any, tmp_path: Path, damage: str
) -> None:
    harm, expected = DAMAGE[damage]
    harm(copying_model(tmp_path / "model.safetensors"))
    (tmp_path / "puzzles.txt").write_text(COMPLETE)
    status, stdout, stderr = in_process("--checkpoint", "model.safetensors", "--output", "out.txt")
    assert (status, stdout) == (2, "")
    assert stderr.startswith("Error: model.safetensors: ")
    assert expected in stderr
    assert stderr.count("\n") == 1
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_solve_keeps_what_is_done(
    checkpoint: Path, tmp_path: Path, number: int, status: int
) -> None:
    command = [
        sys.executable, "-m", "hrm_cli", "solve", "-", "--checkpoint", str(checkpoint), "--batch-size", "8",
        "--json", "--output", "out.jsonl",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, **ONE_THREAD}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        # More than the reader looks ahead; the input stays open, as of somebody who types.
        process.stdin.write(f"{COMPLETE}\n" * 100)
        process.stdin.flush()
        printed = [process.stdout.readline() for _ in range(8)]
        process.send_signal(number)
        rest, message = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in message
    said = records("".join(printed) + rest)
    kept = records((tmp_path / "out.jsonl.partial").read_text())
    assert not (tmp_path / "out.jsonl").exists()
    # The signal may come between keeping an answer and showing it.
    assert kept[: len(said)] == said
    assert len(kept) - len(said) in (0, 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from /proc")
def test_long_file_streams_in_constant_memory(tmp_path: Path) -> None:
    model = copying_model(tmp_path / "model.safetensors", size=4)
    program = (
        "import sys\n"
        "from hrm_cli.cli.app import main\n"
        "from hrm_cli.files import peak_memory_mb\n"
        "for file in sys.argv[2:]:\n"
        "    try:\n"
        "        main(['solve', file, '--checkpoint', sys.argv[1]])\n"
        "    except SystemExit as end:\n"
        "        assert not end.code\n"
        "    print(peak_memory_mb(), file=sys.stderr)\n"
    )
    files = [tmp_path / "short.txt", tmp_path / "long.txt"]
    for file, count in zip(files, (1_000, 20_000), strict=True):
        file.write_text("1234341221434321\n" * count)
    done = subprocess.run(
        [sys.executable, "-c", program, model, *files],
        env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("solved") == 21_000
    peaks = [float(line) for line in done.stderr.splitlines() if re.fullmatch(r"[\d.]+", line)]
    assert len(peaks) == 2
    assert peaks[1] - peaks[0] < 20


def test_lines_that_are_skipped_are_named_in_text_and_json(hrm_solve: Any) -> None:
    text = f"The daily\n{COMPLETE}\n\nby me\n"
    done = hrm_solve(text)
    assert (done.status, done.stdout.count("\n")) == (0, 1)
    assert "2 lines are not puzzles: 1, 4." in done.stderr.splitlines()
    done = hrm_solve(text, "--json", "-q")
    assert (done.status, done.stderr) == (0, "")
    solved, skipped = records(done.stdout)
    assert solved["status"] == "solved"
    assert (skipped["status"], skipped["count"], skipped["lines"]) == ("skipped", 2, [1, 4])


@pytest.mark.parametrize("text", ["question,answer\n", "The daily\n", "---------\n"])
def test_a_file_without_a_puzzle_exits_2(hrm_solve: Any, text: str) -> None:
    done = hrm_solve(text)
    assert (done.status, done.stdout) == (2, "")
    assert "contains no puzzle" in done.stderr
