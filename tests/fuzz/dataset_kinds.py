"""Datasets: `dataset.json`, NumPy files and names of identifiers."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
from kinds import Read, kind
from numpy.typing import NDArray
from values import CANARY, Evil, dumps, encoded, mutate_bytes, mutate_document, zip_of

FACTS = {
    "pad_id": 0,
    "ignore_label_id": 0,
    "blank_identifier_id": 0,
    "vocab_size": 6,
    "seq_len": 16,
    "num_puzzle_identifiers": 1,
    "total_groups": 4,
    "mean_puzzle_examples": 1.0,
    "total_puzzles": 4,
    "sets": ["all"],
    "domain": {"name": "sudoku", "size": 4},
    "augment": "online",
    "hints": 0.0,
    "split": "train",
    "source": "builtin",
    "seed": 0,
}
SHAPES: tuple[Any, ...] = (
    (10**18, 10**18),
    (2**63, 1),
    (2**62,),
    (10**9, 16),
    (-1,),
    (-1, 16),
    (0, 16),
    (0,),
    (2**64,),
    (1, -16),
    (16,),
    (),
    (1,) * 40,
    (2**32, 2**32),
    (2**31, 2**33),
    (1e5,),
    (True,),
    (10**30,),
    (4, 10**9),
)
TYPES = (
    "|O",
    "O",
    "<m8",
    "<M8[ns]",
    "<f16",
    "|V0",
    "<i3",
    ">i4",
    "=i8",
    "<U1000000",
    "<U0",
    "x",
    "",
    "<i4,<i4",
    "(2,2)<i4",
    "<i4" * 1000,
    "\x00",
    "S" + "9" * 30,
    "|V" + "9" * 18,
)
TYPE_TEXTS = (
    "[('a','<i4')]",
    "('<i4',(3,))",
    "('<i4',(1000000,1000000))",
    "[('a','<i4',(2,))]",
    "['a']",
    "None",
    "1",
    "()",
    "[]",
    "{}",
    f"__import__('os').system('touch {CANARY}')",
    "('<i4',-1)",
    "[('','<i4')]",
    "[('a',[('b','<i4')])]",
    "('<i8',())",
)
HEADERS = (
    "{",
    "",
    "(" * 300,
    "[" * 5000,
    "-" * 5000 + "1",
    "{'descr': '<i4'",
    "'''",
    "\\",
    "  x\n y",
    "{1:2}",
    "lambda: 0",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (1L, 2L), }",
    "{'a':" * 90 + "1" + "}" * 90,
    "1" * 5000,
    "{'descr': '<i4', 'fortran_order': 0, 'shape': (4,)}",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (4L",
)
CASTS: tuple[Any, ...] = (
    np.float32,
    np.float64,
    np.complex64,
    bool,
    "S3",
    "U3",
    "m8[s]",
    "M8[s]",
    "O",
    np.uint64,
    np.int8,
    "V4",
)


def arrays() -> dict[str, NDArray[Any]]:
    """A sound dataset of four puzzles."""
    grid = np.array([[int(c) + 1 for c in "1234341223414123"]] * 4, dtype=np.uint8)
    index = np.arange(5, dtype=np.int32)
    return {
        "inputs": grid.copy(),
        "labels": grid,
        "puzzle_identifiers": np.zeros(4, np.int32),
        "puzzle_indices": index,
        "group_indices": index.copy(),
    }


def npy(array: NDArray[Any]) -> bytes:
    """A sound file of an array."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, (1, 0), allow_pickle=True)
    return stream.getvalue()


def npy_of(header: str, body: bytes = b"", version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """A file with any header."""
    text = header.encode("latin-1", "replace")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    stated = len(text) if length is None else length
    size = struct.pack("<H", stated & 0xFFFF) if version[0] == 1 else struct.pack("<I", stated & 0xFFFFFFFF)
    return b"\x93NUMPY" + version + size + text + body


def odd_npy(r: random.Random, array: NDArray[Any]) -> bytes:
    """A damaged file of an array."""
    body, own = array.tobytes(), repr(array.dtype.str)

    def header(descr: str = own, order: object = False, shape: object = array.shape, more: str = "") -> str:
        return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"

    def cast() -> bytes:
        with np.errstate(all="ignore"):
            return npy(array.astype(r.choice(CASTS)))

    makers = (
        *[lambda: npy_of(header(shape=r.choice(SHAPES)), body)] * 3,
        *[lambda: mutate_bytes(r, npy(array))] * 4,
        lambda: npy_of(header(order=True), body),
        lambda: npy(np.asfortranarray(array)),
        lambda: npy(array.astype(array.dtype.newbyteorder(">"))),
        cast,
        lambda: npy(np.array([1], dtype=object)),
        lambda: npy_of(header(repr(r.choice(TYPES))), body),
        lambda: npy_of(header(r.choice(TYPE_TEXTS)), body),
        lambda: npy_of(r.choice(HEADERS), body),
        lambda: npy_of(header(shape=f"({'9' * 5000},)"), body),
        lambda: npy_of(header(), body, length=r.choice((0, 1, 60_000, 65_535))),
        lambda: npy_of(
            header(), body, r.choice((b"\x02\x00", b"\x03\x00", b"\x00\x00", b"\x09\x09", b"\x02\x01"))
        ),
        lambda: npy_of(header(), body, b"\x02\x00", r.choice((2**31, 2**32 - 1))),
        lambda: npy_of(header(more="'x': 1,"), body),
        lambda: zip_of({"arr_0.npy": npy(array)}),
        lambda: zip_of({}),
        lambda: pickle.dumps(r.choice((array, Evil()))),
        lambda: r.choice(
            (b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + body, b"PK\x05\x06" + b"\0" * 18)
        ),
        lambda: npy(array) + b"\0" * 5000,
        lambda: npy(array)[:-1],
        lambda: npy(array.astype(np.int64) - 1),
        lambda: npy(array[::-1].copy()),
        lambda: npy(np.full_like(array, np.iinfo(array.dtype).max)),
        lambda: npy(array.astype(np.uint64) + np.uint64(2**63)),
        lambda: npy(array[..., None]),
        lambda: npy(array.ravel()),
    )
    return r.choice(makers)()


@kind(2.0)
def datasets(r: random.Random, folder: Path) -> Read:
    """What training, evaluation and the baselines read of a dataset."""
    split = r.choice(("train", "train", "test"))
    sound = arrays()
    damaged = r.choice((*sound, None, "facts", "facts", "facts"))
    facts: Any = mutate_document(r, FACTS) if damaged == "facts" or r.random() < 0.1 else FACTS
    text = encoded(dumps(facts))
    if r.random() < 0.08:
        text = mutate_bytes(r, text)
    if r.random() < 0.02:
        utf16 = b"\xff\xfe" + json.dumps(FACTS).encode("utf-16-le")
        text = r.choice(
            (b"[" * 200_000, b"", b"null", b"[]", b"{}", utf16, b'{"vocab_size":' + b"9" * 5000 + b"}")
        )
    place = folder / split
    place.mkdir()
    (place / "dataset.json").write_bytes(text)
    identifiers: Any = mutate_document(r, ["<blank>"]) if r.random() < 0.5 else ["<blank>"]
    (folder / "identifiers.json").write_bytes(encoded(dumps(identifiers)))
    for name, array in sound.items():
        (place / f"all__{name}.npy").write_bytes(odd_npy(r, array) if name == damaged else npy(array))
    if r.random() < 0.05:
        file = place / "all__inputs.npy"
        file.unlink()
        target = r.choice((None, "all__inputs.npy", "/dev/zero"))
        file.mkdir() if target is None else file.symlink_to(target)
    return lambda: _read(folder, split)


def _read(folder: Path, split: str) -> None:
    from hrm_cli.config.train import TrainConfig
    from hrm_cli.data.batches import TrainingBatches, evaluation_batches
    from hrm_cli.data.format import Dataset
    from hrm_cli.evaluation.baselines import measure_baselines
    from hrm_cli.runs.preparing import dataset_facts
    from hrm_cli.training.state import make_plan

    dataset = Dataset.open(folder, split)
    dataset_facts(dataset)
    make_plan(TrainConfig(), dataset)
    batches = TrainingBatches(dataset, 3)
    next(batches)
    next(batches)
    for _ in evaluation_batches(dataset, 3):
        pass
    measure_baselines(dataset)
