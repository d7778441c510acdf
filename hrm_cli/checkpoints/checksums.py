"""Writes safetensors files, and checksums, so that corruption is found before a model is trained or used.

A checksum covers the content and not the file's bytes, because other programs may write the same tensors in another
order. Files written by earlier versions have no checksum and are accepted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

CHECKSUM = "checksum"
"""Name of the header or JSON entry that contains the checksum."""
_METHOD = "blake2b-128"


def checksum_of(tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> str:
    """The checksum of named tensors, with their dtypes and shapes, and of named texts."""
    digest = hashlib.blake2b(digest_size=16)
    for name, text in sorted((texts or {}).items()):
        digest.update(json.dumps([name, text]).encode() + b"\n")
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
        if tensor.numel():
            plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(plain.numpy().data)
    return f"{_METHOD}:{digest.hexdigest()}"


def agrees(found: object, expected: object) -> bool:
    """Whether a checksum matches the expected one. Also True if no checksum was written or its method is unknown."""
    return not isinstance(expected, str) or not expected.startswith(f"{_METHOD}:") or found == expected


def with_checksum(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a JSON object with a checksum of its entries added."""
    others = {name: value for name, value in document.items() if name != CHECKSUM}
    return {**others, CHECKSUM: checksum_of({}, {"": json.dumps(others, sort_keys=True)})}


def is_intact(document: Mapping[str, Any]) -> bool:
    """Whether a JSON object matches its checksum; True if it has none."""
    return agrees(with_checksum(document)[CHECKSUM], document.get(CHECKSUM))


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file. The caller handles atomicity and syncing."""
    # safetensors ignores the umask and writes files that only the owner can read. Others could not use a shared run.
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    path.chmod(mode)
