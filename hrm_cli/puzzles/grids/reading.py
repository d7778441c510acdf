"""Reads files of own puzzles pair by pair: CSV, TSV, JSON lines, JSON and NumPy arrays.

A value is text, or a value from JSON or an array. `symbols` converts it to cells. Of CSV, TSV and JSON lines files,
only one line at a time is in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hrm_cli.errors import PuzzleError, closest
from hrm_cli.json_text import load_json, parse_json
from hrm_cli.npy_files import map_integers, unpack_arrays
from hrm_cli.printable import cut, quoted
from hrm_cli.puzzles.text_lines import LONGEST_LINE, TooLong
from hrm_cli.puzzles.text_lines import lines as lines_of
from hrm_cli.regular_files import open_regular

SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
               "val": "validation", "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip
"""Accepted names of the splits in files and records."""
INPUTS = ("input", "question", "puzzle", "inputs", "x")
OUTPUTS = ("output", "answer", "solution", "outputs", "labels", "target", "y")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".npz", ".parquet")
ACCEPTED = (
    "a .csv or .tsv file with columns input and output, .jsonl, .json, .npz, .parquet, or a folder with train, "
    "validation and test files of these, or with inputs.npy and outputs.npy; hf:OWNER/NAME, gym:NAME, FILE.py:FUNCTION"
)


_PARQUET_ROWS = 1024
"""Rows of a Parquet file in memory at a time."""


@dataclass(frozen=True)
class Columns:
    """Column names of input and output; None uses the default names."""

    input: str | None = None
    output: str | None = None


@dataclass(frozen=True)
class Pair:
    """An input and its output as read from a file."""

    where: str
    given: Any
    wanted: Any = None
    """None if the file has no output."""
    split: str = ""
    """The split named in the file; empty if none."""


def read_pairs(path: Path, columns: Columns, scratch: Path | None = None) -> Iterator[Pair]:
    """Reads the pairs of a file, in order. Raises PuzzleError, with the file and the line.

    `scratch` is the folder for unpacking `.npz` archives; None refuses them.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None and not path.is_dir():
        known = ", ".join(ENDINGS)
        raise PuzzleError(f"{path}: not a file of own puzzles; expected a name that ends in {known}")
    try:
        yield from (
            _arrays_of_folder(path, columns, scratch) if reader is None else reader(path, columns, scratch)
        )
    except FileNotFoundError:
        raise PuzzleError(f"{path}: no such file; accepted: {ACCEPTED}") from None
    except OSError as error:
        raise PuzzleError(f"{path}: cannot be read ({error.strerror or error})") from None


def pair_of_line(line: str, where: str, columns: Columns = Columns()) -> Pair:
    """Parses one line of a JSON lines file. Raises PuzzleError, with `where`."""
    try:
        record = parse_json(line)
    except ValueError as error:
        raise PuzzleError(f"{where}: {error}") from None
    return _pair(record, where, columns)


def _numbered(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(lines_of(stream, name), start=1):
            if isinstance(line, TooLong):
                raise PuzzleError(
                    f"{name}:{number}: a line of {line.length:,} characters; at most {LONGEST_LINE:,} are read"
                )
            yield number, line
    except PuzzleError as error:
        text = str(error)
        # Errors of the line reader (binary data, an endless line) concern the line after the last one.
        raise PuzzleError(text.replace(f"{name}: ", f"{name}:{number + 1}: ", 1)) from None


def _json_lines(path: Path, columns: Columns, scratch: Path | None) -> Iterator[Pair]:
    with _opened(path) as stream:
        for number, line in _numbered(stream, str(path)):
            if line.strip():
                yield pair_of_line(line, f"{path}:{number}", columns)


def _table(path: Path, columns: Columns, scratch: Path | None) -> Iterator[Pair]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with _opened(path) as stream:
        lines = (f"{line}\n" for _, line in _numbered(stream, str(path)))
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        header: list[str] = []
        places = (0, 0)
        while True:
            start = rows.line_num + 1
            where = f"{path}:{start}"
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise PuzzleError(f"{where}: not a row of CSV ({error})") from None
            if row is None:
                break
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [cell.strip() for cell in row]
                places = _places(header, columns, where)
                split = [at for at, name in enumerate(header) if name.lower() == "split"]
                continue
            if len(row) != len(header):
                raise PuzzleError(
                    f"{where}: {len(row)} columns; the header has {len(header)} ({', '.join(header)})"
                )
            named = row[split[0]] if split else ""
            wanted = row[places[1]] if places[1] >= 0 else None
            yield Pair(where, row[places[0]], wanted, _split(named, where) if named.strip() else "")


def _places(header: Sequence[str], columns: Columns, where: str) -> tuple[int, int]:
    names = [name.lower() for name in header]
    found = []
    for kind, asked, usual in (("input", columns.input, INPUTS), ("output", columns.output, OUTPUTS)):
        accepted = usual if asked is None else (asked.lower(),)
        at = next((names.index(name) for name in accepted if name in names), -1)
        if at < 0 and (kind == "input" or asked is not None):
            near = closest((asked or "input").lower(), names)
            raise PuzzleError(
                f"{where}: the columns are {cut(', '.join(header), 200)}; "
                f"none is called {' or '.join(accepted[:3])}{near or '.'} To use another column: --{kind}-column NAME, "
                f"or data.{kind}_column=NAME for `hrm train`"
            )
        found.append(at)
    return found[0], found[1]


def _json(path: Path, columns: Columns, scratch: Path | None) -> Iterator[Pair]:
    try:
        document = load_json(path)
    except ValueError as error:
        raise PuzzleError(f"{path}: {error}") from None
    if isinstance(document, list):
        for number, record in enumerate(document, start=1):
            yield _pair(record, f"{path}: pair {number}", columns)
        return
    if not isinstance(document, dict) or not document:
        raise PuzzleError(
            f"{path}: expected a list of pairs, or an object with lists of pairs called train and test"
        )
    for name, records in document.items():
        if isinstance(records, dict) and {"train", "test"} & set(records):
            raise PuzzleError(
                f"{path}: contains ARC tasks; use hrm build-dataset arc. Own puzzles: expected an object with lists "
                "of pairs called train and test"
            )
        if name.lower() not in SPLIT_NAMES or not isinstance(records, list):
            raise PuzzleError(
                f"{path}: found key {quoted(name, 40)}; expected train, validation and test, with lists of pairs"
            )
        for number, record in enumerate(records, start=1):
            pair = _pair(record, f"{path}: {name} {number}", columns)
            yield Pair(pair.where, pair.given, pair.wanted, SPLIT_NAMES[name.lower()])


def _pair(record: Any, where: str, columns: Columns) -> Pair:
    if isinstance(record, list):
        if len(record) == 2:
            return Pair(where, record[0], record[1])
        raise PuzzleError(f"{where}: found a list of {len(record)}; expected a pair [input, output]")
    if not isinstance(record, dict):
        raise PuzzleError(f"{where}: expected an object with input and output")
    at = _places(list(record), columns, where)
    values = list(record.values())
    split = record.get("split")
    return Pair(
        where,
        values[at[0]],
        values[at[1]] if at[1] >= 0 else None,
        "" if split is None else _split(split, where),
    )


def _split(name: Any, where: str) -> str:
    known = SPLIT_NAMES.get(str(name).strip().lower())
    if known is None:
        raise PuzzleError(f"{where}: found split {quoted(name, 40)}; expected train, validation or test")
    return known


def _archive(path: Path, columns: Columns, scratch: Path | None) -> Iterator[Pair]:
    if scratch is None:
        raise PuzzleError(
            f"{path}: arrays are read only to build a dataset; write puzzles to solve as .jsonl or .csv"
        )
    try:
        arrays = unpack_arrays(path, scratch)
    except ValueError as error:
        raise PuzzleError(f"{path}: {error}") from None
    at = _places(list(arrays), columns, str(path))
    files = list(arrays.values())
    yield from _array_pairs(path, files[at[0]], files[at[1]] if at[1] >= 0 else None)


def _parquet(path: Path, columns: Columns, scratch: Path | None) -> Iterator[Pair]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise PuzzleError(
            f"{path}: reading Parquet needs the package pyarrow; `pip install 'hrm-cli[parquet]'` installs it"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield _pair(record, f"{path}: row {number}", columns)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise PuzzleError(
            f"{path}: not a readable Parquet file ({cut(str(error).splitlines()[0], 200)})"
        ) from None


def _arrays_of_folder(path: Path, columns: Columns, scratch: Path | None) -> Iterator[Pair]:
    files = {file.stem: file for file in sorted(path.glob("*.npy"))}
    at = _places(list(files), columns, str(path))
    chosen = list(files.values())
    yield from _array_pairs(path, chosen[at[0]], chosen[at[1]] if at[1] >= 0 else None)


def _array_pairs(path: Path, given: Path, wanted: Path | None) -> Iterator[Pair]:
    arrays = []
    for file in (given, wanted):
        if file is None:
            continue
        try:
            array = map_integers(file)
        except ValueError as error:
            raise PuzzleError(f"{path}: {file.name}: {error}") from None
        if array.ndim not in (2, 3):
            raise PuzzleError(
                f"{path}: {file.name} has shape {array.shape}; expected pairs × columns, or pairs × rows × columns"
            )
        arrays.append(array)
    if len(arrays) == 2 and len(arrays[0]) != len(arrays[1]):
        raise PuzzleError(f"{path}: {len(arrays[0]):,} inputs, but {len(arrays[1]):,} outputs")
    for number in range(len(arrays[0])):
        values = [array[number].tolist() for array in arrays]
        yield Pair(f"{path}: pair {number + 1}", values[0], values[1] if len(values) == 2 else None)


def _opened(path: Path) -> IO[bytes]:
    try:
        return open_regular(path)
    except ValueError as error:
        raise PuzzleError(f"{path}: {error}") from None


_READERS: dict[str, Callable[[Path, Columns, Path | None], Iterator[Pair]]] = {
    ".csv": _table,
    ".tsv": _table,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".npz": _archive,
    ".parquet": _parquet,
}
