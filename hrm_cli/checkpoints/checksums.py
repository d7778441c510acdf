"""Checksums of what a run writes, so that a flipped bit is found before anything is trained on it or answered by it.

They are of content and not of files: any program may write the same tensors in another order. Files of earlier
versions have none, and are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

CHECKSUM = "checksum"
"""The entry of a header, or of a JSON object, that holds one."""
_METHOD = "blake2b-128"


def checksum_of(tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> str:
    """The checksum of tensors with their names, formats and shapes, and of some texts with theirs."""
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
    """Whether a checksum is the one that was written; true where none was, or one of a later version's method."""
    return not isinstance(expected, str) or not expected.startswith(f"{_METHOD}:") or found == expected


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the checksum of its other entries in it."""
    others = {name: value for name, value in document.items() if name != CHECKSUM}
    return {**others, CHECKSUM: checksum_of({}, {"": json.dumps(others, sort_keys=True)})}


def is_intact(document: Mapping[str, Any]) -> bool:
    """Whether a JSON object is as it was sealed; true where it never was."""
    return agrees(sealed(document)[CHECKSUM], document.get(CHECKSUM))
