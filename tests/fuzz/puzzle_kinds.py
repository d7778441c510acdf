"""Puzzle files, sources of datasets, ARC tasks, packed names."""

from __future__ import annotations

import base64
import json
import random
import zlib
from pathlib import Path

import numpy as np
from kinds import SHOWN, Read, command, kind
from values import dumps, encoded, mutate_bytes, mutate_document

SMALL = ["...43...2....1..", "1234341223414123", "1...............", "11.............."]
NINE = [
    "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
    "0" * 81,
    "." * 81,
]
ROWS = [NINE[0][i : i + 9] for i in range(0, 81, 9)]


def _drawn(rows: list[str]) -> str:
    lines = [" | ".join(" ".join(row[i : i + 3]) for i in (0, 3, 6)) for row in rows]
    return "\n------+-------+------\n".join("\n".join(lines[i : i + 3]) for i in (0, 3, 6)) + "\n"


DRAWN = _drawn(ROWS)
SDK = "[Puzzle]\n" + "\n".join(ROWS) + "\n[State]\n1\n"
BOXES = "*-----------*\n" + "\n".join("|" + "|".join(row[i : i + 3] for i in (0, 3, 6)) + "|" for row in ROWS)
MAZES = "#########\n#S  #   #\n# # # # #\n# #   #G#\n#########\n\n#####\n#S.G#\n#####\n"
ANSWERS = ["1234341223414123", SMALL[1], ""]
CSV = "puzzle,solution,rating,source\n" + "".join(
    f'{puzzle},{answer},{number},book "{number}"\n'
    for number, (puzzle, answer) in enumerate(zip(SMALL, ANSWERS, strict=False))
)
SEMICOLONS = 'question;answer;difficulty\n"...43...2....1..";"1234341223414123";"easy, very"\n"a\n b";1;2\n'
TITLED = "Sudoku number 12 (hard)\n\n" + DRAWN + "\n\n# comment\n" + "\n".join(SMALL)
GAPS = "".join(" ".join(row) + "\n" for row in ROWS).replace(".", " ")
LINES = "\n".join(SMALL) + "\n"
FILES = [
    text.encode()
    for text in (
        LINES,
        "\n".join(NINE) + "\n",
        DRAWN,
        SDK,
        BOXES,
        MAZES,
        CSV,
        SEMICOLONS,
        TITLED,
        GAPS,
        "\n".join(SMALL + NINE) + "\n" + MAZES,
    )
]
S4 = SMALL[0].encode()
LARGE = (
    b"5" * 131_073,
    b"5" * (1 << 20),
    b"5" * ((1 << 20) + 5),
    b"5" * (3 << 20),
    b"a," * 70_000 + b"\n" + b"1" * 81,
    b'"' * 140_000,
    b'puzzle\n"' + b"1\n" * 100_000,
    b"puzzle,solution\n" + b"1" * 200_000 + b",22222",
    b"\n" * 300_000,
    b"#\n" * 200_000 + b"1" * 16,
    b"#" * 1_000_000,
    b"." * 1_000_000,
    b" " * 1_000_000 + b"\n" + S4,
    (b"#" * 999 + b"\n") * 999,
    b"title word 1\n" * 50_000,
    b"[x]\n" * 50_000,
    b"|" * 500_000,
    b"-" * 500_000,
    b"-." * 250_000,
    b"1 | 2 " * 100_000,
    "━".encode() * 300_000,
    b"a" * 900_000,
    b"sudoku " * 100_000,
    b"\xff" * 100_000,
    "𝟗".encode() * 81,
    "٣".encode() * 81,
    "²".encode() * 16,
    "½".encode() * 16,
    b"1\xc2\xa02\xc2\xa03\xc2\xa04\n" * 4,
    b"puzzle\n" + b"S" * 100 + b"\n",
    b"puzzle,puzzle,puzzle\n1,2,3\n",
    b"\xef\xbb\xbfpuzzle\n" + S4,
    b"S" + b" " * 998 + b"G\n",
    b"S G\n" * 100_000,
    b"\r" * 500_000,
    b"\r1234341223414123" * 40_000,
    b"1" * 81 + b"\x1b]0;title\x07",
    b"puzzle,rating\n" + S4 + b"," + b"9" * 5000 + b"\n",
    b"puzzle,rating\n" + S4 + b",1e999\n",
    b"puzzle\t" * 20_000 + b"\n" + b"1\t" * 20_000,
    b"-----\n" * 100_000,
    b"1 - 3 - 5 - - - -\n" * 9,
    b"." * 16 + b"\n" * 5 + b"." * 36,
)
ENCODINGS = ("utf-16", "utf-32", "utf-8-sig", "utf-16-le", "cp1252")

PAIR = {"input": [[0, 1], [2, 3]], "output": [[3, 2], [1, 0]]}
TASK = {
    "train": [PAIR, {"input": [[5]], "output": [[5, 5]]}],
    "test": [{"input": [[1, 2, 3]], "output": [[1]]}],
    "name": "t1",
}
TASKS = {"aa": {"train": TASK["train"], "test": [{"input": [[1]]}]}, "bb": TASK}
ODD_TASKS = (
    b"[" * 200_000,
    b'{"train":' * 100_000,
    b'{"train":[],"train":[]}',
    b"{}",
    b"",
    b"null",
    b'{"a":' + b"9" * 100_000 + b"}",
    b'{"\\ud800":{"train":[],"test":[]}}',
)


def puzzle_text(r: random.Random) -> bytes:
    """A puzzle file of any kind, damaged."""
    if r.random() < 0.12:
        content = r.choice(LARGE)
        return mutate_bytes(r, content[:300_000], 1) if r.random() < 0.5 else content
    content = r.choice(FILES)
    if r.random() < 0.3:
        content += r.choice(FILES)
    if r.random() < 0.12:
        content = content.decode().encode(r.choice(ENCODINGS), "replace")
    return mutate_bytes(r, content)


@kind(2.2)
def puzzles(r: random.Random, folder: Path) -> Read:
    """Files that `hrm solve` reads."""
    from hrm_cli.puzzles.domain import Puzzle, make_domain
    from hrm_cli.puzzles.reading import read_puzzles

    file = folder / r.choice(("p.txt", "p.csv", "p.sdk", "p"))
    file.write_bytes(puzzle_text(r))
    domain, size = r.choice(
        [(None, None)] * 6 + [("sudoku", None), ("maze", None), ("sudoku", 9), ("sudoku", 4), ("maze", 5)]
    )

    def read() -> None:
        seen = 0
        for item in read_puzzles(file, domain, size):
            if not isinstance(item, Puzzle):
                SHOWN[1:] = [item.reason]
                continue
            seen += 1
            if seen > 4:
                continue
            rows, columns = item.grid.shape
            options = {"size": rows} if item.domain == "sudoku" else {"rows": rows, "columns": columns}
            found = make_domain(item.domain, **options)
            found.encode(item.grid)
            found.text(item.grid)
            found.lines(item.grid)
            found.verify(item.grid, item.grid if item.solution is None else item.solution)
            if item.grid.size <= 100:
                found.diagnose(item.grid)

    return read


@kind(0.7)
def sources(r: random.Random, folder: Path) -> Read:
    """Files that `hrm build-dataset --source` reads."""
    from hrm_cli.config.data import DataConfig
    from hrm_cli.data.sources import load

    seeds = (
        CSV.encode(),
        LINES.encode(),
        MAZES.encode(),
        SEMICOLONS.encode(),
        b"question,answer,rating,source\n" + NINE[0].encode() + b",,3,x\n",
    )
    file = folder / r.choice(("s.csv", "s.txt"))
    file.write_bytes(r.choice(LARGE) if r.random() < 0.05 else mutate_bytes(r, r.choice(seeds)))
    (folder / "scratch").mkdir()
    config = DataConfig(
        domain=r.choice(("sudoku", "sudoku", "maze")),
        source=str(file),
        min_difficulty=r.choice((0, 0, 3)),
        num_train=1,
        num_test=1,
    )
    return lambda: load(config, folder / "scratch", np.random.default_rng(0), lambda *_: None)


@kind(0.8)
def arc(r: random.Random, folder: Path) -> Read:
    """ARC tasks, alone and in Kaggle's layout."""
    from hrm_cli.puzzles.arc.tasks import read_tasks

    chance = r.random()
    if chance < 0.7:
        content = encoded(dumps(mutate_document(r, r.choice((TASK, TASKS))), ascii_only=r.random() < 0.5))
    elif chance < 0.95:
        content = mutate_bytes(r, json.dumps(r.choice((TASK, TASKS))).encode())
    else:
        content = r.choice(ODD_TASKS)
    file = folder / r.choice(("t.json", "x_challenges.json"))
    file.write_bytes(content)
    if file.name.startswith("x_") and r.random() < 0.7:
        solutions = mutate_document(r, {"aa": [[[1]]], "bb": [[[1]]]})
        (folder / "x_solutions.json").write_bytes(encoded(dumps(solutions)))
    return lambda: [task.document() for task in read_tasks(file)]


@kind(0.2)
def names(r: random.Random, folder: Path) -> Read:
    """Names of identifiers, packed in a model's header."""
    from hrm_cli.puzzles.arc.names import pack_names, unpack_names

    def packed(content: bytes) -> str:
        return base64.b85encode(zlib.compress(content)).decode()

    sound = pack_names(["<blank>", "aa", "bb|||t0|||0123456789"])
    odd = (
        b"[" * 100_000,
        b"null",
        b'{"a":1}',
        b"[1]",
        b'["\xff"]',
        b"9" * 5000,
        b" " * 100,
        b'["' + b"a" * (1 << 20) + b'"]',
        b" " * (400 << 20) if r.random() < 0.1 else b"[]",
    )
    text = r.choice(
        (packed(r.choice(odd)), mutate_bytes(r, sound.encode()).decode("latin-1"), sound + "~", "٣")
    )

    def read() -> None:
        try:
            unpack_names(text)
        except ValueError as error:  # documented; its callers make a CheckpointError of it
            SHOWN.append(ascii(str(error)))

    return read


@kind(0.15)
def solving(r: random.Random, folder: Path) -> Read:
    """`hrm solve FILE` with the bundled model, as far as the first answers."""
    file = folder / r.choice(("p.txt", "p.csv", "\x1b[31mp[red].txt"))
    content = mutate_bytes(r, r.choice((LINES.encode(), CSV.encode(), TITLED.encode())))
    file.write_bytes(content[:3000])
    return lambda: command("solve", file, "--max-steps", 1, "--attempts", 1, *r.choice(([], ["--json"])))
