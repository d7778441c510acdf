"""Own puzzles: files and folders of pairs, arrays, tasks of reasoning-gym, and inputs to answer."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import sys
from dataclasses import make_dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from kinds import SHOWN, Read, kind
from values import bad_value, dumps, encoded, mutate_bytes, mutate_document

PAIRS = [
    {"input": "01/23", "output": "02/13", "split": "train"},
    {"input": [[3, 2], [1, 0]], "output": [[3, 1], [2, 0]], "split": "test"},
    {"input": [["a", "bb"], ["🟥", "0"]], "output": [["a", "🟥"], ["bb", "0"]], "split": "train"},
    {"question": [1, 2, 3], "answer": 3},
]
SOUND = [[f"{n:04b}", f"{n:04b}"[::-1]] for n in range(16)]
TABLE = "input,output,split\n" + "".join(f"{a[:2]}/{a[2:]},{b},train\n" for a, b in SOUND)
QUOTED = 'question;"answer"\n"0 1\n1 0","01/10"\n'
WORDS = "input\toutput\nred blue/blue red\tblue red/red blue\n1 10\t10 1\n"
ODD = (
    b"",
    b"\n\n\n",
    b"input,output\n",
    b"input,output\n01,10\n",  # one pair
    b"input,output\n" + b"01,10\n" * 50,  # all pairs equal
    b"input,output\n01,10\n01,11\n",  # the same input with two outputs
    b"input,output\n01/2,10\n",  # ragged
    b"input,output\n" + b"0" * 65 + b",1\n",  # too wide
    b"input,output\n" + b"/".join([b"0"] * 65) + b",1\n",  # too high
    b"input,output\n" + b"".join(b"w%d w,w\n" % n for n in range(1_200)),  # too many symbols
    b"input,output\n" + b"1" * 3_000_000,
    b'input,output\n"' + b"1\n" * 100_000,
    b"input,output,split\n0,1,train\n1,0,train\n2,2,test\n",  # symbols only in test
    b"input,output,split\n0,1,nowhere\n",
    b"input,output\n/,/\n",
    b"input,input\n1,2\n",
    b"\xef\xbb\xbfinput,output\n0,1\n1,0\n",
    "input,output\n0,1\n1,0\n".encode("utf-16"),
    b"\x00" * 1000,
    b"input,output\n" + b"\x1b[31m,\x1b]0;title\x07\n",
    b"[" * 200_000,
    b'{"train": [[1, 2]], "train": []}',
    b'[["0", "1"], ["1", "0"], [[[0]], [[]]], [null, 1], [[0, [1]], 1], [[0.5], 1], [true, 1]]',
    b'{"input": ["###", "#.#"], "output": 1}\n' * 3,
)


def _text(r: random.Random, ending: str) -> bytes:
    """The content of a file of pairs, damaged."""
    if r.random() < 0.25:
        return r.choice(ODD)
    if ending == ".json":
        document = r.choice((SOUND, PAIRS, {"train": SOUND[:12], "test": SOUND[12:]}))
        return encoded(dumps(mutate_document(r, document)))
    if ending == ".jsonl":
        lines = [json.dumps(pair) for pair in r.choice((SOUND, PAIRS))]
        lines[r.randrange(len(lines))] = dumps(mutate_document(r, r.choice(PAIRS)))
        return encoded("\n".join(lines))
    return mutate_bytes(r, r.choice((TABLE, QUOTED, WORDS)).encode())


def _arrays(r: random.Random, folder: Path) -> Path:
    """An archive or a folder of arrays, damaged."""
    shape = r.choice(((16, 2, 2), (16, 4), (16,), (0, 2, 2), (1, 2, 2), (16, 70, 1), (4, 2, 2, 2)))
    kinds = (np.uint8, np.int64, np.float32, np.bool_, "U3", object, np.complex64, "M8[s]")
    arrays = {}
    for name in r.choice((("inputs", "outputs"), ("input", "labels"), ("question", "answer"), ("a", "b"))):
        numbers = np.random.default_rng(r.randrange(1 << 30)).integers(0, 9, shape)
        try:
            arrays[name] = numbers.astype(r.choice(kinds))
        except (TypeError, ValueError):
            arrays[name] = numbers
    if r.random() < 0.5:
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        (folder / "p.npz").write_bytes(
            mutate_bytes(r, stream.getvalue()) if r.random() < 0.7 else stream.getvalue()
        )
        return folder / "p.npz"
    (folder / "arrays").mkdir()
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        content = stream.getvalue()
        (folder / "arrays" / f"{name}.npy").write_bytes(
            mutate_bytes(r, content) if r.random() < 0.5 else content
        )
    return folder / "arrays"


def _table(r: random.Random, folder: Path) -> Path:
    """A Parquet file, damaged; only where pyarrow is installed."""
    import pyarrow
    import pyarrow.parquet

    columns = {"input": [a for a, _ in SOUND], "output": [b for _, b in SOUND]}
    if r.random() < 0.5:
        columns[r.choice(("input", "output", "split"))] = r.choice(
            ([1.5] * 16, [None] * 16, [b"\xff"] * 16, [[[1, 2], [3]]] * 16, [{"a": 1}] * 16, list(range(16)))
        )
    file = folder / "p.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    if r.random() < 0.6:
        file.write_bytes(mutate_bytes(r, file.read_bytes()))
    return file


@kind(1.2)
def own_pairs(r: random.Random, folder: Path) -> Read:
    """`hrm build-dataset grids --source` with files and folders; an error must leave nothing behind."""
    from hrm_cli.data.request import BuildRequest, build_request
    from hrm_cli.errors import HRMError

    chance = r.random()
    if chance < 0.25:
        source = _arrays(r, folder)
    elif chance < 0.35 and importlib.util.find_spec("pyarrow") is not None:
        source = _table(r, folder)
    elif chance < 0.5:
        source = folder / "pairs"
        source.mkdir()
        for split in r.sample(("train", "test", "validation", "other"), r.randint(1, 3)):
            ending = r.choice((".csv", ".tsv", ".json", ".jsonl"))
            (source / f"{split}{ending}").write_bytes(_text(r, ending))
    else:
        ending = r.choice((".csv", ".csv", ".tsv", ".json", ".jsonl"))
        source = folder / f"p{ending}"
        source.write_bytes(_text(r, ending))
    settings = {"source": str(source)}
    if r.random() < 0.2:
        settings["symmetries"] = r.choice(("rotations", "symbols,translations", "rotations,reflections"))
    if r.random() < 0.2:
        settings[r.choice(("input_column", "output_column"))] = r.choice(
            ("answer", "\x1b[31m", "", "a" * 5000)
        )
    target = folder / "out" / "built"
    target.parent.mkdir()

    def read() -> None:
        try:
            summary = build_request(BuildRequest("grids", target, settings, as_options=True))
            SHOWN.extend(summary.notes)
        except HRMError:
            assert not list(target.parent.iterdir()), "an error left files behind"
            raise

    return read


@kind(0.3)
def gym_sources(r: random.Random, folder: Path) -> Read:
    """`gym:NAME?KEY=VALUE`, with a stand-in for the package."""
    from hrm_cli.data.grids.gym import TASKS, GymSource
    from hrm_cli.data.grids.sources import is_source

    package, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")
    config = make_dataclass("Config", [(name, object, 1) for name in ("seed", "size", "min_n", "max_n")])
    factory.DATASETS = dict.fromkeys(TASKS, (None, config))  # type: ignore[attr-defined]
    package.factory = factory  # type: ignore[attr-defined]
    sys.modules.update({"reasoning_gym": package, "reasoning_gym.factory": factory})
    name = r.choice((*TASKS, "rotate_matrx", "", "../x", "\x1b[31m", "a" * 10_000))
    value = bad_value(r)
    key, more = r.choice(("min_n", "max_n", "size", "nowhere", "")), r.choice(("", "max_n=3", "%00=%ff"))
    text = f"gym:{name}?{key}={value}&{more}"
    if r.random() < 0.4:
        text = mutate_bytes(r, text.encode("utf-8", "replace")[:300]).decode("utf-8", "replace")
        text = text if text.startswith("gym:") else f"gym:{text}"

    def read() -> None:
        is_source(text)
        GymSource.parse(text)

    return read


@kind(0.6)
def own_inputs(r: random.Random, folder: Path) -> Read:
    """Files, standard input and texts that `hrm solve` reads for a model of own puzzles."""
    from hrm_cli.puzzles.domain import Puzzle
    from hrm_cli.puzzles.grids.domain import GridsDomain
    from hrm_cli.solving.own_puzzles import own_puzzles

    fixed = {"input_rows": 2, "input_columns": 2, "output_rows": 2, "output_columns": 2}
    domain = GridsDomain(4, 4, tuple("0123abc"), **(fixed if r.random() < 0.5 else {}))
    ending = r.choice((".csv", ".tsv", ".json", ".jsonl", ".txt"))
    content = _text(r, ".jsonl" if ending == ".txt" else ending)
    file = folder / f"p{ending}"
    file.write_bytes(content)
    source = r.choice((str(file), str(file), "-", content.decode("utf-8", "replace")[:300]))

    def read() -> None:
        for item in own_puzzles([source], domain, io.BytesIO(content)):
            if isinstance(item, Puzzle):
                domain.text(item.grid)
                domain.encode(item.grid)
            else:
                SHOWN[1:] = [item.reason]

    return read
