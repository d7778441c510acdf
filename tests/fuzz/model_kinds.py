"""Model files: our own, bundled ones, saved carries, and those on their way back to the reference's format."""

from __future__ import annotations

import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from config_kinds import ODD
from kinds import SHOWN, STATE, Read, command, kind, reference_run
from torch_kinds import reference_config
from values import LITERALS, bad_value, dumps, encoded, mutate_bytes, mutate_document

import hrm_cli

BUNDLED = (Path(hrm_cli.__file__).parent / "bundled" / "sudoku-4x4.safetensors").read_bytes()
SHAPES = ([0], [], [10**18, 10**18], [2**63], [-1], [1] * 300, [2**32, 2**32], [10**9])
TYPES = ("F32", "F64", "F16", "I8", "U8", "BOOL", "I64", "F8_E4M3", "F8_E5M2", "C64", "U16", "F4", "X", "")
LENGTHS = (0, 1, 2**63, 2**64 - 1, 10**12, 10**8, 100_000_001, 7)
ENTRIES = ("[" * 100_000, "", "null", "[]", "{", "9" * 5000, '{"a":' * 5000 + "1" + "}" * 5000)
NUMBERS = ("9" * 5000, "٣", "-1", "1_0", " 1", "1e3", "0", "2", "99999999999999999999")


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: Any, body: bytes, length: int | None = None) -> bytes:
    """A file of them."""
    text = header if isinstance(header, bytes) else encoded(dumps(header))
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def odd_tensor(r: random.Random, header: dict[str, Any], size: int) -> None:
    """Damages what a header says of one tensor."""
    names = [name for name in header if name != "__metadata__"]
    name, chance = r.choice(names), r.random()
    if chance < 0.3:
        header[name] = mutate_document(r, header[name])
    elif chance < 0.4:
        header[name]["dtype"] = r.choice(TYPES)
    elif chance < 0.5:
        header[name]["shape"] = r.choice(SHAPES)
    elif chance < 0.6:
        header[name]["data_offsets"] = r.choice(
            ([0, 0], [0, 10**18], [2**64 - 1, 0], [-1, 5], [5, 0], [0, size], [0])
        )
    elif chance < 0.7:
        header[r.choice(("\x1b[31m" + name, name + "\x00[red]"))] = header.pop(name)
    elif chance < 0.8:
        del header[name]
    elif chance < 0.9:
        header[name]["data_offsets"] = header[r.choice(names)]["data_offsets"]
    else:
        header["x" * r.choice((1, 10_000))] = {"dtype": "U8", "shape": [0], "data_offsets": [size, size]}


def odd_numbers(r: random.Random, body: bytes) -> bytes:
    """NaN, infinity and other bit patterns in some or all tensors."""
    data = bytearray(body)
    pattern = r.choice(
        (b"\xc0\x7f", b"\x80\x7f", b"\x80\xff", b"\xff\xff", b"\x7f\x7f", b"\x00\x00", b"\x01\x00")
    )
    first = r.randrange(0, len(data) - 2, 2)
    end = r.choice((first + 2, len(data), min(len(data), first + 1000)))
    data[first:end] = (pattern * len(data))[: end - first]
    return bytes(data)


def odd_file(r: random.Random, content: bytes, inner: tuple[str, ...] = ("config", "dataset")) -> bytes:
    """A damaged safetensors file; `inner` are the entries of its header that hold JSON."""
    header, body = split(content)
    entries = header.get("__metadata__", {})
    present = [name for name in inner if name in entries]
    chance = r.random()
    if chance < 0.5 and present:
        name = r.choice(present)
        if r.random() < 0.85:
            entries[name] = dumps(mutate_document(r, json.loads(entries[name])))
        else:
            damaged = mutate_bytes(r, entries[name].encode()).decode("utf-8", "replace")
            entries[name] = r.choice((*ENTRIES, damaged))
    elif chance < 0.6 and entries:
        name = r.choice((*entries, "hrm_format_version", "step", "reference", "bundled", "identifiers"))
        value = bad_value(r)
        entries[name] = LITERALS.get(value, value) if isinstance(value, str) else json.dumps(value)
        if r.random() < 0.3:
            entries[name] = r.choice(NUMBERS)
    elif chance < 0.75:
        odd_tensor(r, header, len(body))
    elif chance < 0.8:
        name = next(name for name in header if name != "__metadata__")
        twice = dumps(header)[:-1] + "," + json.dumps({name: header[name]})[1:]
        return join(encoded(twice), body)
    elif chance < 0.88:
        return join(header, body, r.choice((*LENGTHS, len(body))))
    elif chance < 0.93:
        body = odd_numbers(r, body)
    else:
        return mutate_bytes(r, content)
    if entries and r.random() < 0.03:
        entries["junk"] = "x" * 5_000_000
    return join(header, body)


@kind(1.5)
def models(r: random.Random, folder: Path) -> Read:
    """A model is loaded and solves a puzzle."""
    from hrm_cli.evaluation.effort import EffortRequest
    from hrm_cli.solving.choosing import LoadedModel, SolveOptions

    file = folder / "m.safetensors"
    file.write_bytes(odd_file(r, BUNDLED))

    def read() -> None:
        loaded = LoadedModel.load(file, torch.device("cpu"))
        domain = loaded.domain
        if domain.name != "sudoku" or domain.seq_len != 16:
            return
        puzzle = domain.parse(domain.text(np.zeros((4, 4), np.uint8)), "x:1")
        for solution in loaded.solve([puzzle], SolveOptions(max_steps=1, effort=EffortRequest(copies=2))):
            json.dumps(solution.document(domain, with_trace=True))

    return read


@kind(0.5)
def bundled(r: random.Random, folder: Path) -> Read:
    """A folder of bundled models is listed."""
    (folder / "m.safetensors").write_bytes(odd_file(r, BUNDLED, ("config", "dataset", "bundled", "bundled")))

    def read() -> None:
        os.environ["HRM_BUNDLED"] = str(folder)
        try:
            command("models")
            command("models", "--json")
            command("models", "show", "m")
        finally:
            del os.environ["HRM_BUNDLED"]

    return read


@kind(0.5)
def backwards(r: random.Random, folder: Path) -> Read:
    """`hrm convert` of one of our files into the reference's, with a damaged origin or header."""
    from hrm_cli.checkpoints.convert.conversion import to_reference

    file = folder / "m.safetensors"
    checkpoint = reference_run() / "checkpoints" / "step-000000004" / "model.safetensors"
    header, body = split(checkpoint.read_bytes())
    entries = header["__metadata__"]
    inner: tuple[str, ...] = ("config", "dataset")
    if r.random() < 0.7:
        arch = {"name": "x@HierarchicalReasoningModel_ACTV1", "hidden_size": 32, "num_heads": 2}
        text = yaml.safe_dump({"arch": arch, "lr": "1e-4"})
        if r.random() < 0.5:
            text = reference_config(r).decode("utf-8", "replace")
        origin = {"prefix": "_orig_mod.model.", "config": text}
        entries["reference"] = dumps(mutate_document(r, origin)) if r.random() < 0.7 else json.dumps(origin)
        try:
            json.loads(entries["reference"])
            inner = (*inner, "reference")
        except (ValueError, RecursionError):
            pass
    content = join(header, body)
    file.write_bytes(odd_file(r, content, inner) if r.random() < 0.6 else content)
    return lambda: to_reference(file, folder / "step_1")


def _sound_carry() -> bytes:
    from safetensors.torch import save

    from hrm_cli.solving import pausing
    from hrm_cli.solving.choosing import LoadedModel

    if "carry" not in STATE:
        loaded = LoadedModel.load(Path("bundled:sudoku-4x4"), torch.device("cpu"))
        arch = loaded.card.preset.arch
        state = torch.zeros(2, arch.puzzle_positions + 16, arch.hidden_size, dtype=loaded.model.core.dtype)
        tensors = {"0/tokens": torch.ones(2, 16, dtype=torch.int32), "0/z_H": state, "0/z_L": state.clone()}
        listed = [{"index": number, "where": "x:1", "text": "." * 16} for number in (1, 2)]
        entries = {
            "hrm_carry_version": "1",
            "model": pausing._fingerprint(loaded.card.path),
            "taken": "1",
            "batches": "1",
            "puzzles": json.dumps(listed),
        }
        STATE["carry"] = save(tensors, entries)
        STATE["carry_model"] = loaded
    content: bytes = STATE["carry"]
    return content


@kind(0.5)
def carries(r: random.Random, folder: Path) -> Read:
    """`hrm solve --resume-carry`."""
    from hrm_cli.solving import pausing

    content = _sound_carry()
    loaded = STATE["carry_model"]
    header, body = split(content)
    entries, chance = header["__metadata__"], r.random()
    if chance < 0.4:
        odd = (
            "-1",
            "0",
            "2",
            "9" * 5000,
            "1000000000",
            "x",
            "٣",
            "[]",
            "[1]",
            "[" * 100_000,
            '{"a":1}',
            "null",
            "7",
        )
        entries[r.choice(("taken", "batches", "puzzles"))] = r.choice(odd)
    elif chance < 0.7:
        entries["puzzles"] = dumps(mutate_document(r, json.loads(entries["puzzles"])))
    file = folder / "c.safetensors"
    file.write_bytes(join(header, body) if chance < 0.7 else odd_file(r, content, ("puzzles",)))

    def read() -> None:
        paused = pausing.load_carry(file, loaded.card, loaded.domain)
        for solution in pausing.resume_puzzles(
            loaded.model, loaded.domain, paused, max_steps=3, adaptive=True
        ):
            json.dumps(solution.document(loaded.domain))
            SHOWN.append(ascii(solution.where))

    return read


@kind(0.4)
def headers(r: random.Random, folder: Path) -> Read:
    """`hrm params --checkpoint` and `hrm push --dry-run`, which read headers and print what they say."""
    file = folder / "m.safetensors"
    content = odd_file(r, BUNDLED, ("config", "dataset", "config", "dataset", "bundled"))
    if r.random() < 0.3:
        header, body = split(BUNDLED)
        origin = {
            "prefix": "",
            "config": r.choice((r.choice(ODD), reference_config(r).decode("utf-8", "replace"))),
        }
        header["__metadata__"]["reference"] = json.dumps(origin)
        content = join(header, body)
    file.write_bytes(content)

    def read() -> None:
        command("params", "--checkpoint", file)
        command("push", file, "hf:a/b", "--dry-run")

    return read
