"""Writes datasets incrementally in bounded memory, and atomically.

All files are written to a hidden folder next to the target. At the end this folder is renamed to the target. A killed
build leaves only the folder and its lock file. The next build detects by the lock that the build is dead and removes
both.
"""

from __future__ import annotations

import json
import os
import shutil
from array import array
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hrm_cli.data.metadata import (
    BUILDING,
    GRIDS,
    IDENTIFIERS_FILE,
    INDICES,
    METADATA_FILE,
    SPLITS,
    TEST_PUZZLES_FILE,
    SplitMetadata,
    array_file,
    is_dataset,
    same_file,
)
from hrm_cli.errors import DatasetError
from hrm_cli.files import AlreadyLocked, FileLock, replace

_OWN_FILES = {*SPLITS, IDENTIFIERS_FILE, TEST_PUZZLES_FILE}
_REPLACED = ".replaced-"
_LOCK = ".lock"
_BYTES = np.dtype(np.uint8)


class DatasetWriter:
    """A dataset under construction: `with DatasetWriter(folder) as writer: … writer.commit()`.

    Leaving the block without `commit` removes what was written. Raises DatasetError if the folder contains
    anything other than a dataset, or a dataset and `force` is False.
    """

    def __init__(self, directory: Path, *, force: bool = False) -> None:
        self.directory = Path(directory).resolve()
        self._force = force
        self._identifiers = ["<blank>"]
        self._splits: list[SplitWriter] = []

    def __enter__(self) -> DatasetWriter:
        parent = self.directory.parent
        self._new_parents = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_dead_builds(self.directory)
            check_target(self.directory, force=self._force)
            self._folder = self.directory.with_name(f".{self.directory.name}{BUILDING}{token_hex(4)}")
            # Acquire the lock before creating the folder, so that no other build considers it dead.
            self._lock = FileLock(_lock_of(self._folder))
            try:
                self._folder.mkdir()
            except OSError:
                self._lock.release()
                raise
        except OSError as error:
            raise DatasetError(f"{self.directory}: cannot be created ({error.strerror})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for split in self._splits:
            split.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()
        for folder in self._new_parents:
            # rmdir removes only empty folders, so it does nothing after a commit.
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise DatasetError(f"{self.directory}: cannot be written ({error.strerror or error})") from error

    @property
    def scratch(self) -> Path:
        """A folder for intermediate files, on the same disk as the target. It is deleted when the build ends."""
        folder = self._folder / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    def split(
        self, name: str, set_name: str = "all", *, seq_len: int, dtype: DTypeLike = np.uint8
    ) -> SplitWriter:
        """Creates a new set of a split with tokens of type `dtype`.

        Raises DatasetError if the set already exists, or if a name differs from it only in case.
        """
        for other in self._splits:
            if other.name == name and same_file(other.set_name) == same_file(set_name):
                raise DatasetError(
                    f"{self.directory}: split {name} already has a set {other.set_name}, which a set {set_name} would "
                    "overwrite"
                )
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        writer = SplitWriter(folder, name, set_name, seq_len, np.dtype(dtype))
        self._splits.append(writer)
        return writer

    def set_identifiers(self, names: list[str]) -> None:
        """Sets the names of the puzzle identifiers in order; the default is `["<blank>"]`."""
        self._identifiers = names

    def add_file(self, name: str, text: str) -> None:
        """Adds a file next to the splits, such as the test tasks of ARC."""
        (self._folder / name).write_text(text, encoding="utf-8")

    def commit(self, facts: dict[str, Any]) -> int:
        """Moves the dataset to its final folder and returns its size in bytes.

        `facts`: the fields of `SplitMetadata` that the writer cannot know (vocabulary, domain, …).
        """
        for name in dict.fromkeys(split.name for split in self._splits):
            self._write_metadata([split for split in self._splits if split.name == name], facts)
        (self._folder / IDENTIFIERS_FILE).write_text(json.dumps(self._identifiers), encoding="utf-8")
        shutil.rmtree(self._folder / "scratch", ignore_errors=True)
        size = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        # Check again, because the target may have changed during a long build.
        check_target(self.directory, force=self._force)
        replaced = self.directory.with_name(f".{self.directory.name}{_REPLACED}{os.getpid()}")
        if self.directory.exists():
            replace(self.directory, replaced)
        try:
            replace(self._folder, self.directory)
        except OSError:
            if replaced.exists():
                replace(replaced, self.directory)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
        return size

    def _write_metadata(self, parts: list[SplitWriter], facts: dict[str, Any]) -> None:
        for part in parts:
            part.finish()
        puzzles = sum(part.puzzles for part in parts)
        metadata = SplitMetadata(
            seq_len=parts[0].seq_len,
            num_puzzle_identifiers=len(self._identifiers),
            total_groups=sum(part.groups for part in parts),
            mean_puzzle_examples=sum(part.examples for part in parts) / puzzles,
            total_puzzles=puzzles,
            sets=tuple(part.set_name for part in parts),
            split=parts[0].name,
            **facts,
        )
        file = self._folder / parts[0].name / METADATA_FILE
        file.write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")


class SplitWriter:
    """Writes one set of one split. Grids are written to disk immediately."""

    def __init__(
        self, folder: Path, name: str, set_name: str, seq_len: int, dtype: np.dtype[Any] = _BYTES
    ) -> None:
        self.name = name
        self.set_name = set_name
        self.seq_len = seq_len
        self.examples = 0
        self._folder = folder
        self._grids = [_GridFile(array_file(folder, set_name, grid), seq_len, dtype) for grid in GRIDS]
        self._identifiers = array("i")
        self._puzzle_indices = array("i", [0])
        self._group_indices = array("i", [0])

    @property
    def puzzles(self) -> int:
        """Puzzles written so far."""
        return len(self._identifiers)

    @property
    def groups(self) -> int:
        """Groups written so far."""
        return len(self._group_indices) - 1

    def append(
        self,
        inputs: NDArray[np.integer],
        labels: NDArray[np.integer],
        *,
        group_sizes: NDArray[np.integer],
        puzzle_sizes: NDArray[np.integer] | None = None,
        identifiers: NDArray[np.integer] | None = None,
    ) -> None:
        """Appends complete groups of examples with tokens `[n, S]`.

        `group_sizes`: number of puzzles in each group. `puzzle_sizes`: number of examples in each puzzle, 1 by default.
        `identifiers`: identifier of each puzzle, 0 by default.
        """
        if puzzle_sizes is None:
            puzzle_sizes = np.ones(len(inputs), dtype=np.int32)
        if identifiers is None:
            identifiers = np.zeros(len(puzzle_sizes), dtype=np.int32)
        for file, grid in zip(self._grids, (inputs, labels), strict=True):
            file.append(grid)
        self._puzzle_indices.frombytes((self.examples + np.cumsum(puzzle_sizes)).astype(np.int32).tobytes())
        self._group_indices.frombytes((self.puzzles + np.cumsum(group_sizes)).astype(np.int32).tobytes())
        self._identifiers.frombytes(identifiers.astype(np.int32).tobytes())
        self.examples += len(inputs)

    def finish(self) -> None:
        """Completes the files of the set."""
        for grid in self._grids:
            grid.finish()
        indices = (self._identifiers, self._puzzle_indices, self._group_indices)
        for name, values in zip(INDICES, indices, strict=True):
            np.save(array_file(self._folder, self.set_name, name), np.frombuffer(values, dtype=np.int32))

    def close(self) -> None:
        """Closes the files without completing them."""
        for grid in self._grids:
            grid.close()


class _GridFile:
    """A growing `.npy` file `[rows, seq_len]`. Its header has 0 rows until `finish`."""

    def __init__(self, file: Path, seq_len: int, dtype: np.dtype[Any]) -> None:
        self._seq_len = seq_len
        self._dtype = dtype.newbyteorder("<")
        self._rows = 0
        self._stream: BinaryIO = file.open("wb")
        self._header_size = self._write_header()

    def _write_header(self) -> int:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, self._seq_len)}
        self._stream.seek(0)
        np.lib.format.write_array_header_1_0(self._stream, header)
        return self._stream.tell()

    def append(self, grid: NDArray[np.integer]) -> None:
        self._stream.write(np.ascontiguousarray(grid, dtype=self._dtype).data)
        self._rows += len(grid)

    def finish(self) -> None:
        # numpy reserves space in the header for a larger first axis, so the new header has the same size.
        if self._write_header() != self._header_size:
            raise AssertionError("the header of a .npy file changed its size")
        self.close()

    def close(self) -> None:
        self._stream.close()


def check_target(directory: Path, *, force: bool) -> None:
    """Raises DatasetError with the reason if a dataset must not be written to `directory`."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DatasetError(f"{directory}: is a file; expected a folder for the dataset")
    entries = {entry.name for entry in directory.iterdir()}
    if not entries:
        return
    foreign = sorted(entries - _OWN_FILES)
    if foreign or not is_dataset(directory):
        what = f"contains {', '.join(foreign[:3])}" if foreign else "is not empty"
        raise DatasetError(
            f"{directory}: {what}, which does not belong to a dataset; choose a new or empty folder"
        )
    if not force:
        raise DatasetError(f"{directory}: already contains a dataset; --force replaces it")


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_LOCK}")


def _remove_dead_builds(directory: Path) -> None:
    building, replaced = f".{directory.name}{BUILDING}", f".{directory.name}{_REPLACED}"
    left = [entry for entry in directory.parent.iterdir() if entry.name.startswith((building, replaced))]
    for entry in left:
        if entry.name.startswith(replaced) and not directory.exists():
            # The build died between the two renames, and this folder is the user's only copy: restore it.
            replace(entry, directory)
        else:
            # A build is dead if its lock can be acquired, because the system releases the locks of a process that ends.
            folder = entry.with_name(entry.name.removesuffix(_LOCK))
            with suppress(AlreadyLocked, OSError), FileLock(_lock_of(folder)):
                shutil.rmtree(folder, ignore_errors=True)
