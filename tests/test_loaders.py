"""The readers of JSON, YAML, NumPy and safetensors files: what they take, and the limits that they keep to."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.errors import ConfigError
from hrm_cli.json_text import DEEPEST, load_json, parse_json
from hrm_cli.npy_files import map_integers
from hrm_cli.printable import printable, shortened
from hrm_cli.regular_files import UnusableFile, open_regular, read_bytes
from hrm_cli.safetensors_files import read_safetensors_header
from hrm_cli.yaml_text import MOST_VALUES, BadYAML, parse_yaml

NINE = ",".join(["{}"] * 9)
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{NINE.replace('{}', f'*a{i - 1}')}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {k0: 1, k1: 2}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{NINE.replace('{}', f'*a{i - 1}')}]}}\n" for i in range(1, 10)
)


# Regular files


def test_a_device_file_and_a_pipe_are_refused_without_being_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UnusableFile, match="pipe"):
        open_regular(pipe)
    with pytest.raises(UnusableFile, match="is a device"):
        open_regular(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_a_file_above_its_limit_is_refused_with_both_sizes(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * 101)
    assert len(read_bytes(file, 101)) == 101
    with pytest.raises(UnusableFile, match=r"101 bytes; at most 100"):
        read_bytes(file, 100)


# JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "deep"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deep"),
        ("9" * 5000, "5,000 digits"),
        ("-" + "9" * 400, "digits"),
        ('{"step": 1e999}', "too large"),
        ("1" + "0" * 400 + ".0", "too large"),
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "not JSON"),
        ("{", "not valid JSON"),
        (b"\xff\xfe{", "not UTF-8"),
        ("", "not valid JSON"),
    ],
)
def test_json_that_would_fail_later_is_refused_at_once(text: str | bytes, message: str) -> None:
    with pytest.raises(UnusableFile, match=message):
        parse_json(text)


def test_sound_json_is_read_as_python_reads_it() -> None:
    document = {"a": [1, 2.5, None, True, "é\\u001b", "9" * 400], "b": {"c": 10**299, "d": 1e308}}
    assert parse_json(json.dumps(document)) == document
    assert parse_json(("\ufeff" + json.dumps(document)).encode()) == document
    assert parse_json("[" * DEEPEST + "]" * DEEPEST) is not None
    assert parse_json("[NaN, 1]", nan_as_null=True) == [None, 1]


def test_a_json_file_is_read_within_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text("[1, 2]")
    assert load_json(file) == [1, 2]
    with pytest.raises(UnusableFile, match="too large"):
        load_json(file, 3)


# YAML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, f"more than {MOST_VALUES:,} values"),
        (MERGES, f"more than {MOST_VALUES:,} values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {x: *a}", "contains itself"),
        ("[" * 20_000, "deep"),
        ("- " * 50_000, "deep"),
        ("0x" + "f" * 5000, "too large"),
        ("1:" * 3000 + "1", "too large"),
        ("1:" * 3000 + "1.0", "not valid YAML"),
        ("x" * 2_000_000, "too large"),
        ("!!bool maybe", "not valid YAML"),
        ("2020-13-45", "not valid YAML"),
        ("!!python/object/apply:os.system [ls]", "not valid YAML"),
        ("a: 1\na: 2", "written twice"),
        ("? [a]\n: 1", "not text"),
        ("a: \x1b[31m", "not valid YAML"),
    ],
)
def test_yaml_beyond_its_limits_is_refused_quickly(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(BadYAML, match=message):
        parse_yaml(text)
    assert time.process_time() - started < 15


def test_aliases_within_reason_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


def test_the_line_of_a_yaml_error_is_reported() -> None:
    with pytest.raises(BadYAML) as caught:
        parse_yaml("a: 1\nb: [\n")
    assert caught.value.line == 3


# NumPy


def _npy(file: Path, header: str, body: bytes = b"") -> Path:
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body)
    return file


@pytest.mark.parametrize(
    ("descr", "shape", "message"),
    [
        ("'|u1'", f"({10**18}, {10**18})", "bytes of numbers"),
        ("'|u1'", "(-1, 16)", "shape"),
        ("'|u1'", "(-1, -16)", "shape"),
        ("'|u1'", "(1e5,)", "cannot be read"),
        ("'|u1'", "(True,)", "shape"),
        ("'<i4'", "(5,)", "20 bytes of numbers, but the file has 16"),
        ("'|O'", "(2,)", "integer"),
        ("'<m8'", "(2,)", "integer"),
        ("'<f4'", "(4,)", "integer"),
        ("[('a','<i4')]", "(4,)", "integer"),
        ("('<i4',(1000000,1000000))", "(1,)", "integer|shape|header"),
        ("__import__('os').system('x')", "(1,)", "cannot be read"),
        ("-" * 5000 + "1", "(1,)", "cannot be read"),
    ],
)
def test_an_absurd_npy_header_is_refused_before_memory_is_asked_for(
    tmp_path: Path, descr: str, shape: str, message: str
) -> None:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    with pytest.raises(UnusableFile, match=message):
        map_integers(_npy(tmp_path / "a.npy", text, b"\0" * 16))


def test_an_archive_and_other_bytes_are_no_npy_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.arange(3))
    for content in ((tmp_path / "a.npz").read_bytes(), b"PK\x03\x04xxxx", b"", b"\x93NUMPY\x09\x00"):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(UnusableFile):
            map_integers(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i2", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(3, 5), (7,), (0, 4)])
def test_sound_arrays_are_mapped_as_they_are(
    tmp_path: Path, dtype: str, order: str, shape: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    found = map_integers(tmp_path / "a.npy")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


# safetensors


def _tensors(file: Path, header: object, body: bytes = b"\0" * 16, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return file


def test_a_sound_header_is_read_without_torch(tmp_path: Path) -> None:
    stated = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = read_safetensors_header(
        _tensors(tmp_path / "m", {"__metadata__": {"step": "3"}, "inner.w": stated})
    )
    assert header.metadata == {"step": "3"}
    assert header.tensors["inner.w"].shape == (2, 2)


@pytest.mark.parametrize(
    "stated",
    [
        [],
        {"dtype": "X", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [10**18, 10**18], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [1] * 300, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0]},
    ],
)
def test_a_tensor_that_cannot_be_in_the_file_is_named(tmp_path: Path, stated: object) -> None:
    with pytest.raises(UnusableFile, match=r"inner\.w"):
        read_safetensors_header(_tensors(tmp_path / "m", {"inner.w": stated}))


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"[" * 5000, None),
        (b"{}", 10**12),
        (b"{}", 2**64 - 1),
        (b"[]", None),
        ({"__metadata__": {"a": 1}}, None),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, header: object, length: int | None) -> None:
    with pytest.raises(UnusableFile):
        read_safetensors_header(_tensors(tmp_path / "m", header, b"", length))


# What is shown


def test_control_characters_are_escaped_and_text_is_kept() -> None:
    assert printable("\x1b]0;title\x07 \x9b31m \u202eevil\r") == (
        "\\u001b]0;title\\u0007 \\u009b31m \\u202eevil\\u000d"
    )
    assert printable("é ½ 9×9 — 😀\n\tSudoku") == "é ½ 9×9 — 😀\n\tSudoku"


def test_errors_are_printable_and_of_bounded_length() -> None:
    message = str(ConfigError("\x1b[31m" + "a" * 100_000 + " end"))
    assert len(message) <= 4000
    assert message.startswith("\\u001b[31maaa")
    assert message.endswith(" end")
    assert "100,014 characters" in message
    assert shortened("short") == "short"
