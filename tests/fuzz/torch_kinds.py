"""Torch files, and the files next to them that `hrm convert` reads."""

from __future__ import annotations

import base64
import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from config_kinds import ODD, with_literals
from kinds import STATE, Read, kind, reference_run
from values import Evil, dumps, encoded, mutate_bytes, mutate_document, zip_of

LONG = "9" * 5000
NUMBERS_OF_LAYERS = ("9", "999", "99999", "9" * 20, LONG)
PREFIXES = ("", "\x1b[31m", "[red]", "_orig_mod.", "model.", "\n", "a" * 10**5)


def saved(content: Any, **options: Any) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def sound() -> tuple[dict[str, Any], list[bytes]]:
    """The tensors of a checkpoint under the reference's names, and three files of them."""
    if "torch" not in STATE:
        from safetensors.torch import load

        file = reference_run() / "checkpoints" / "step-000000004" / "model.safetensors"
        tensors: dict[str, Any] = {f"_orig_mod.model.{k}": v for k, v in load(file.read_bytes()).items()}
        training = {"model": tensors, "step": 7, "ema_helper": tensors, "optimizers": [1]}
        old = saved(tensors, _use_new_zipfile_serialization=False)
        STATE["torch"] = (tensors, [saved(tensors), old, saved(training)])
    found: tuple[dict[str, Any], list[bytes]] = STATE["torch"]
    return found


def _pickled(*codes: bytes) -> bytes:
    return b"\x80\x02" + b"".join(codes) + b"."


PICKLES = (
    _pickled(b"cos\nsystem\n", b"X\x05\0\0\0touch", b"\x85R"),
    _pickled(b"c__builtin__\neval\n", b"X\x01\0\0\x001", b"\x85R"),
    _pickled(b"]" * 100_000),
    _pickled(b"(" * 100_000),
    _pickled(b"N0" * 1000),
    _pickled(b"\x8b\xff\xff\xff\x7f"),
    _pickled(b"X\xff\xff\xff\x7f"),
    _pickled(b"\x8e" + b"\xff" * 7 + b"\x7f"),
    _pickled(b"T\xff\xff\xff\x7f"),
    _pickled(b"j\xff\xff\xff\xff"),
    _pickled(b"}q\x00h\x00h\x00s"),
    _pickled(b"]q\x00h\x00a"),
    _pickled(b"I" + LONG.encode() + b"\n"),
    _pickled(b"L" + LONG.encode() + b"L\n"),
    _pickled(b"cnumpy\nfromfile\n", b"X\x01\0\0\0x", b"\x85R"),
    _pickled(b"ctorch\nempty\n", b"\x8a\x05\0\0\0\0\x7f", b"\x85R"),
    _pickled(b"cbuiltins\nbytearray\n", b"\x8a\x05\0\0\0\0\x02", b"\x85R"),
    _pickled(b"c__builtin__\nbytearray\n", b"\x8a\x05\0\0\0\0\x01", b"\x85R"),
    _pickled(b"ctorch\nSize\n", b"\x85R"),
    _pickled(b"ctorch._utils\n_rebuild_tensor_v2\n", b"N\x85R"),
    _pickled(b"ccollections\nOrderedDict\n", b")R"),
    b"\x80",
    b"\x80\x02",
    b"\x80\x05.",
    b"\x80\x02K\x01.",
    pickle.dumps({"a": 1}),
    pickle.dumps({"a": [1]}),
    pickle.dumps("x" * 100_000, 2),
    pickle.dumps({("a",): 1}, 2),
    pickle.dumps({"model": {"a": 1}}, 2),
    pickle.dumps({"model": {}}, 2),
    pickle.dumps([1] * 100_000, 2),
    pickle.dumps({"x" * 100_000: 1}, 2),
    pickle.dumps({"\x1b[31mred": 1}, 2),
    pickle.dumps(10**5000, 2),
    pickle.dumps({"a": 10**5000}, 2),
    pickle.dumps({10**5000: 1}, 2),
    pickle.dumps(Evil(), 2),
    pickle.dumps({"model": Evil()}, 4),
)
OTHERS: tuple[Callable[[], Any], ...] = (
    lambda: torch.zeros(3, 5),
    lambda: torch.empty(6, 32, device="meta"),
    lambda: torch.zeros(6, 32).to_sparse(),
    lambda: torch.nn.Parameter(torch.zeros(6, 32)),
    lambda: torch.full((6, 32), float("nan")),
    lambda: torch.zeros(()),
    lambda: torch.zeros(0),
    lambda: torch.zeros(32, 6).t(),
    lambda: torch.zeros(6, 32).to_sparse_csr(),
    lambda: torch.quantize_per_tensor(torch.zeros(6, 32), 1.0, 0, torch.qint8),
    lambda: torch.zeros(1, 1).expand(10**7, 32),
    lambda: torch.zeros(1).as_strided((10**5, 10**5), (0, 0)),
    lambda: 1,
    lambda: "a",
    lambda: None,
    lambda: [1],
    lambda: {"x": 1},
    lambda: torch.zeros(6, 32, dtype=torch.int64),
    lambda: torch.zeros(6, 32, dtype=torch.bool),
    lambda: torch.zeros(6, 32, dtype=torch.complex64),
    lambda: torch.zeros(6, 32, dtype=torch.float64),
    lambda: torch.zeros(6, 32, dtype=torch.float16),
    lambda: torch.zeros(6, 32, dtype=torch.float8_e4m3fn),
)


def rezipped(r: random.Random, content: bytes) -> bytes:
    """An archive of torch with entries changed, missing, compressed, or elsewhere."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name, chance = r.choice(list(files)), r.random()
    if chance < 0.3:
        files[name] = mutate_bytes(r, files[name])
    elif chance < 0.4:
        del files[name]
    elif chance < 0.5:
        files[name] = b"\0" * (20 << 20)
    elif chance < 0.6:
        files["archive/../../../evil"] = b"x"
    elif chance < 0.7:
        files = {entry.replace("archive/", r.choice(("x/", ""))): content for entry, content in files.items()}
    elif chance < 0.8:
        pickled = next(entry for entry in files if entry.endswith("data.pkl"))
        files[pickled] = pickle.dumps(r.choice((Evil(), {"a": Evil()}, [1] * 1000)), 2)
    return zip_of(files, r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def odd_torch(r: random.Random) -> bytes:
    """A damaged torch file."""
    tensors, files = sound()
    name = r.choice(list(tensors))

    def archived(content: bytes) -> bytes:
        parts = {"data.pkl": content, "version": b"3\n", "byteorder": b"little", "data/0": b"\0" * 64}
        return zip_of({f"archive/{part}": data for part, data in parts.items()})

    def renamed(change: Callable[[str], str]) -> bytes:
        return saved({change(one): tensor for one, tensor in tensors.items()})

    def training() -> bytes:
        steps = (10**5000, -1, True, 10**30, 1.5, "x")
        averages = (None, {}, {"x": torch.zeros(1)}, {name: torch.zeros(1)}, 5)
        return saved({"model": tensors, "step": r.choice(steps), "ema_helper": r.choice(averages)})

    deep = f"x.inner.L_level.layers.{r.choice(NUMBERS_OF_LAYERS)}.mlp.down_proj.weight"
    makers = (
        *[lambda: mutate_bytes(r, r.choice(files))] * 4,
        *[lambda: rezipped(r, files[0])] * 3,
        *[lambda: archived(r.choice(PICKLES))] * 2,
        *[lambda: saved({**tensors, name: r.choice(OTHERS)()})] * 8,
        lambda: r.choice(PICKLES),
        lambda: archived(mutate_bytes(r, r.choice(PICKLES))),
        training,
        lambda: saved([tensors]),
        lambda: saved({**tensors, deep: torch.zeros(1)}),
        lambda: renamed(lambda one: one.replace("layers.0", f"layers.{r.choice(NUMBERS_OF_LAYERS)}")),
        lambda: renamed(lambda one: r.choice(PREFIXES) + one),
        lambda: saved({}),
        lambda: saved(torch.zeros(3)),
        lambda: saved({one: tensor.double() * float("inf") for one, tensor in tensors.items()}),
        lambda: saved(tensors, pickle_protocol=r.choice((2, 3, 4, 5))),
        lambda: saved(tensors, _use_new_zipfile_serialization=False, pickle_protocol=r.choice((2, 4))),
        lambda: saved({**tensors, "z": Evil()}),
        lambda: zip_of({"archive/data.pkl": b"\0" * (100 << 20)}, zipfile.ZIP_DEFLATED),
        lambda: r.choice((zip_of({"a/data.pkl": b"x"}), b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 100)),
    )
    return r.choice(makers)()


def reference_config(r: random.Random) -> bytes:
    """A damaged `all_config.yaml`."""
    if r.random() < 0.2:
        return encoded(r.choice(ODD))
    arch = {
        "name": "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1",
        "hidden_size": 32,
        "num_heads": 2,
        "H_layers": 1,
        "L_layers": 1,
        "H_cycles": 1,
        "L_cycles": 2,
        "expansion": 4,
        "puzzle_emb_ndim": 32,
        "pos_encodings": "rope",
        "halt_max_steps": 2,
        "loss": {"name": "x", "loss_type": "softmax_cross_entropy"},
    }
    train = {"epochs": 4, "lr": 1e-4, "data_path": "data", "global_batch_size": 8, "ema": True}
    content = encoded(with_literals(yaml.safe_dump(mutate_document(r, {"arch": arch, **train}))))
    return mutate_bytes(r, content, 1) if r.random() < 0.2 else content


def companion(r: random.Random) -> bytes:
    """A damaged file of ours next to a torch file."""
    from safetensors import safe_open

    with safe_open(
        reference_run() / "checkpoints" / "step-000000004" / "model.safetensors", framework="pt"
    ) as file:
        entries = file.metadata()
    document = {
        "version": 1,
        "config": json.loads(entries["config"]),
        "dataset": json.loads(entries["dataset"]),
        "step": 5,
        "initial_states": {"inner.H_init": base64.b64encode(b"\0" * 128).decode(), "inner.L_init": "AAAA"},
    }
    return encoded(dumps(mutate_document(r, document)))


def _convert(file: Path, folder: Path, wishes: tuple[int | None, int | None], *, back: bool) -> None:
    from hrm_cli.checkpoints.convert.conversion import to_model_file, to_reference
    from hrm_cli.checkpoints.convert.infer_dataset import ConversionOptions
    from hrm_cli.checkpoints.convert.reference_files import find_reference_file, read_reference
    from hrm_cli.checkpoints.model_files import load_model

    if find_reference_file(file) is None:
        return
    ours = folder / "out.safetensors"
    to_model_file(read_reference(file), ours, ConversionOptions(num_heads=wishes[0], seq_len=wishes[1]))
    load_model(ours)
    if back:
        (folder / "back").mkdir()
        to_reference(ours, folder / "back" / "step_1")


@kind(1.2)
def torch_files(r: random.Random, folder: Path) -> Read:
    """`hrm convert FILE OUT`."""
    file = folder / r.choice(("step_100", "model.pt", "step_7"))
    file.write_bytes(odd_torch(r))
    if r.random() < 0.25:
        (folder / "all_config.yaml").write_bytes(reference_config(r))
    if r.random() < 0.25:
        file.with_name(f"{file.name}.hrm.json").write_bytes(companion(r))
    wishes = r.choice((None, 1, 2)), r.choice((None, 16, 16, 16))
    return lambda: _convert(file, folder, wishes, back=False)


@kind(0.6)
def beside_torch(r: random.Random, folder: Path) -> Read:
    """A sound torch file with a damaged configuration or companion."""
    file = folder / "step_100"
    file.write_bytes(sound()[1][0])
    if r.random() < 0.6:
        (folder / "all_config.yaml").write_bytes(reference_config(r))
    else:
        file.with_name(f"{file.name}.hrm.json").write_bytes(companion(r))
    wishes = r.choice((None, 2)), r.choice((None, 16, 16, 16))
    return lambda: _convert(file, folder, wishes, back=True)
