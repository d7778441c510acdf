"""Reads and writes torch checkpoint files, which are pickles. They are loaded weights-only, so no code in them runs.

`hrm convert` uses this module for reference checkpoints. No other module of this project reads or writes a pickle.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrm_cli.errors import CheckpointError, first_line, reason_of
from hrm_cli.files import written_whole
from hrm_cli.printable import quoted
from hrm_cli.regular_files import open_regular

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True)
class TorchFile:
    """The content of a checkpoint file of the reference."""

    path: Path
    tensors: dict[str, Tensor]
    """The tensors by their names in the file."""
    step: int
    averaged: bool
    """Whether the file also contained averaged (EMA) weights. They then replace the others in `tensors`."""


def is_torch_file(path: Path) -> bool:
    """Whether the first bytes of a file are those of a `torch.save` archive or of a pickle."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        # A damaged archive. `read_torch_file` reports the damage.
        return True
    except OSError:
        return False
    # A safetensors file begins with the length of its header. Its low byte may equal the first byte of a pickle.
    return start.startswith(_PICKLE) and not (start[4:8] == bytes(4) and start.endswith(b"{"))


def read_torch_file(path: Path) -> TorchFile:
    """Reads a checkpoint file: a plain state dict, or a mapping with a state dict under the key `model`.

    Raises CheckpointError if the file would run code, is damaged, or contains something else.
    """
    content = _load(path)
    step = step_of(path) or 0
    averaged = False
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        tensors = dict(content["model"])
        average = content.get("ema_helper")
        if isinstance(average, Mapping) and average:
            _check_tensors(path, average, "its averaged weights contain")
            unknown = [name for name in average if name not in tensors]
            if unknown:
                raise CheckpointError(
                    f"{path}: its averaged weights contain {unknown[0]}, but its model does not"
                )
            tensors |= dict(average)
            averaged = True
        if type(stated := content.get("step")) is int and 0 <= stated <= _LAST_STEP:
            step = stated
    elif isinstance(content, Mapping):
        tensors = dict(content)
    else:
        raise CheckpointError(
            f"{path}: contains {type(content).__name__}; expected a state dict (names and their tensors)"
        )
    if not tensors:
        raise CheckpointError(f"{path}: contains no tensors; expected a state dict")
    _check_tensors(path, tensors, "contains")
    return TorchFile(path, tensors, step, averaged)


def step_of(path: Path) -> int | None:
    """The step in a file's name, as in `step_52080`; None if the name contains no step."""
    match = re.fullmatch(r"step_([0-9]{1,18})", path.name)
    return int(match[1]) if match else None


def write_torch_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a state dict atomically. Raises CheckpointError if it cannot be written."""
    try:
        # Given a path, torch would store the temporary file name in the archive. It does not for a stream.
        with written_whole(path) as partial, partial.open("wb") as file:
            torch.save(OrderedDict((name, tensor.detach().clone()) for name, tensor in tensors.items()), file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be written ({reason_of(error)})") from None


def _load(path: Path) -> Any:
    try:
        is_archive = _is_sound_archive(path)
        with warnings.catch_warnings():
            # torch warns about pickle protocols that it may not support. Failures are reported below.
            warnings.simplefilter("ignore")
            # Memory-mapped if the format allows it: the puzzle tables of ARC take gigabytes.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        calls = _unsafe_calls(path)
        if not calls:
            raise CheckpointError(
                f"{path}: {_NOT_A_STATE_DICT} ({first_line(error) or type(error).__name__})"
            ) from None
        raise CheckpointError(
            f"{path}: refused: loading it would call {calls[0]}, and hrm never runs code from a file. "
            f"Nothing was run. hrm reads tensors only. If you trust the file, save its state dict alone "
            f"with torch.save(model.state_dict(), FILE), and convert that file"
        ) from None
    except Exception as error:
        # torch raises many types of errors for damaged files: KeyError, EOFError, RuntimeError, ….
        raise CheckpointError(
            f"{path}: {_NOT_A_STATE_DICT} ({first_line(error) or type(error).__name__})"
        ) from None


def _is_sound_archive(path: Path) -> bool:
    """Whether a file is a torch zip archive, and not the older format. Raises CheckpointError for a zip bomb.

    torch stores its entries uncompressed so that they can be memory-mapped. An archive with compressed entries, or
    entries larger than the file, is therefore refused. A file in the older format consists of pickles; it is checked
    for large buffers before it is loaded.
    """
    with open_regular(path) as file:
        size = file.seek(0, 2)
        if not zipfile.is_zipfile(file):
            file.seek(0)
            _refuse_large_buffers(path, file.read(_LARGEST_PICKLE), size)
            return False
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            pickled = [
                archive.read(e) for e in entries if e.filename.endswith("data.pkl") and _is_stored(e, size)
            ]
    if not all(_is_stored(entry, size) for entry in entries) or sum(e.file_size for e in entries) > size:
        raise CheckpointError(f"{path}: {_NOT_A_STATE_DICT} (an archive whose entries are compressed)")
    for content in pickled:
        _refuse_large_buffers(path, content, size)
    return True


def _is_stored(entry: zipfile.ZipInfo, size: int) -> bool:
    return entry.compress_type == zipfile.ZIP_STORED and entry.file_size <= size


def _refuse_large_buffers(path: Path, content: bytes, size: int) -> None:
    """Raises CheckpointError if a pickle creates a bytearray, for which torch would allocate any stated size."""
    if b"bytearray" in content:
        raise CheckpointError(f"{path}: {_NOT_A_STATE_DICT} (it creates a bytearray)")


def _unsafe_calls(path: Path) -> list[str]:
    """The callables that a file's pickle would call, found without running it. Those that build tensors are omitted."""
    found: list[str] = []
    strings: list[str] = []
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                with archive.open(name) as entry:
                    content = entry.read(_LARGEST_PICKLE)
        else:
            with path.open("rb") as file:
                content = file.read(_LARGEST_PICKLE)
        stream = io.BytesIO(content)
        # A file in the older format is a sequence of pickles followed by raw numbers. The loop ends at the numbers.
        while stream.tell() < len(content):
            for code, argument, _ in pickletools.genops(stream):
                if code.name == "GLOBAL":
                    found.append(str(argument).replace(" ", "."))
                elif code.name == "STACK_GLOBAL":
                    found.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    except (ValueError, OSError, StopIteration, IndexError, UnicodeDecodeError, OverflowError):
        pass
    return [name for name in found if not _TENSOR_CALLS.fullmatch(name)]


_TENSOR_CALLS = re.compile(r"collections\.OrderedDict|torch\.\w+Storage|torch\._utils\._rebuild_\w+")
_LARGEST_PICKLE = 64 << 20
"""Maximum number of bytes of a pickle that are inspected."""
_LONGEST_NAME = 500
_LAST_STEP = 10**18
_NOT_A_STATE_DICT = "not a complete torch file with a state dict"


def _check_tensors(path: Path, named: Mapping[Any, Any], verb: str) -> None:
    for name, value in named.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {verb} {name!r}, which is {type(value).__name__}, not a tensor; expected a state dict "
                "(names and their tensors)"
            )
        if len(name) > _LONGEST_NAME or re.search("[0-9]{7}", name):
            raise CheckpointError(f"{path}: {verb} {quoted(name, 100)}, which is not a valid tensor name")
        if not value.dtype.is_floating_point or value.layout != torch.strided:
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(f"{path}: {name} has dtype {kind}; expected floating-point weights")
        if value.is_meta or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            # With a stride of 0, a few bytes would become gigabytes when the tensor is written.
            raise CheckpointError(
                f"{path}: {name} has shape {list(value.shape)}, but the file contains fewer numbers"
            )
