"""Models of the hub by `hf:OWNER/NAME`, and `hrm push`: the real client against a server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import find_model_file, read_header, read_model_card, write_model_file
from hrm_cli.config.presets import load_preset
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.data.hub import HubAddress, push_folder
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.evaluation.publishing import CardOptions, write_publication
from hrm_cli.models.registry import build_model

from .conftest import same_bits
from .fake_hub import TOKEN, FakeHub, running_hub

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
FACTS = DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4})


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with running_hub() as server:
        yield server


@pytest.fixture
def environment(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    """Of a user whose client knows this hub alone and whose cache is empty."""
    hub.asked.clear()
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder as training leaves it, its weights untrained."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    answers = np.array([[int(digit) + 1 for digit in "1234341221434321"]] * 24, dtype=np.uint8)
    inputs = np.where(np.random.default_rng(0).random((24, 16)) < 0.5, 1, answers).astype(np.uint8)
    with DatasetWriter(folder / "dataset") as writer:
        writer.split("train", seq_len=16).append(inputs, answers, group_sizes=np.full(12, 2))
        writer.split("test", seq_len=16).append(inputs[:6], answers[:6], group_sizes=np.ones(6, int))
        facts = {
            "pad_id": 0,
            "ignore_label_id": 0,
            "blank_identifier_id": 0,
            "vocab_size": 6,
            "domain": FACTS.domain,
        }
        writer.commit({**facts, "source": "builtin"})
    preset = load_preset("tiny", ["hidden_size=16", "num_heads=2", "data.size=4", "forward_dtype=float32"])
    preset = preset.model_copy(
        update={
            "data": preset.data.model_copy(update={"path": str(folder / "dataset")}),
            "train": preset.train.model_copy(
                update={"init_from": "/home/someone/runs/first", "max_steps": 1}
            ),
        }
    )
    checkpoint = folder / "checkpoints" / "step-000000040"
    checkpoint.mkdir(parents=True)
    model = build_model(preset.arch, 6, 16, 1, generator=torch.Generator().manual_seed(0))
    write_model_file(checkpoint / "model.safetensors", model.state_dict(), preset, 40, FACTS)
    (folder / "best").write_text("checkpoints/step-000000040\n")
    (folder / "config.yaml").write_text(resolved_yaml(preset))
    records = [
        {"kind": "train", "step": 40, "seconds": 90.0, "loss": 1.0},
        {
            "kind": "eval",
            "step": 40,
            "exact_accuracy": 0.625,
            "cell_accuracy": 0.875,
            "mean_steps": 2.5,
            "puzzles": 6,
        },
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return folder


@needs_fork
def test_a_run_is_pushed_and_used_by_its_address(
    hub: FakeHub, environment: dict[str, str], run: Path, tmp_path: Path
) -> None:
    (tmp_path / "puzzles.txt").write_text("1.3..4.12.4.4..2\n")
    data = str(run / "dataset")
    commands = [
        ["push", str(run), "hf:me/small-sudoku", "--private", "--license", "mit", "--json"],
        ["eval", "hf:me/small-sudoku", "--data", data, "--json"],
        ["solve", "puzzles.txt", "--checkpoint", "hf:me/small-sudoku@main", "--json"],
        ["report", "hf:me/small-sudoku@main", "--data", data, "--json"],
        ["analyze", "hf:me/small-sudoku", "--data", data, "--json"],
        ["export", "hf:me/small-sudoku@main", "page.html", "--json"],
        ["train", "--checkpoint", "hf:me/small-sudoku", "--data", data, "--output-dir", "again", "--no-report",
         "lr=1e-30", "puzzle_emb_lr=1e-30", "lr_warmup_steps=0", "global_batch_size=4"],
    ]  # fmt: skip
    ((pushed, evaluated, solved, reported, analyzed, exported, trained),) = answers_of(
        ({**os.environ, **environment}, commands), folder=tmp_path
    )
    assert pushed[0] == 0, pushed[2]
    repository = hub.repositories["me/small-sudoku"]
    files = repository.branches["main"]
    assert repository.private
    assert (
        set(files) == {"README.md", "config.yaml", "model.safetensors"} == set(json.loads(pushed[1])["files"])
    )

    page = files["README.md"].decode()
    for said in (
        "license: mit", "# small-sudoku", "4×4 Sudoku", "| exact accuracy | 62.50% |", "90 seconds",
        "cell accuracy of a trivial baseline", "another checkpoint, which is not published",
        "- train: 12 original puzzles, 24 with augmented copies", "- test: 6 original puzzles", "Preset `tiny`",
        "hrm solve puzzles.txt --checkpoint hf:me/small-sudoku",
    ):  # fmt: skip
        assert said in page, said
    for content in files.values():  # nobody needs to know how this machine's folders are called
        assert str(run.parent).encode() not in content
        assert b"/home/someone" not in content
    assert yaml.safe_load(files["config.yaml"])["arch"]["hidden_size"] == 16

    assert evaluated[0] == 0, evaluated[2]
    assert (json.loads(evaluated[1])["puzzles"], json.loads(evaluated[1])["step"]) == (6, 40)
    assert solved[0] in (0, 1), solved[2]
    assert json.loads(solved[1])["domain"] == "sudoku"
    assert reported[0] == 0, reported[2]
    assert json.loads(reported[1])["scores"]["puzzles"] == 6
    assert (tmp_path / "small-sudoku-main-report.html").is_file()
    assert analyzed[0] == 0, analyzed[2]
    assert json.loads(analyzed[1])["puzzles"] == 6
    assert json.loads(exported[1])["models"] == ["small-sudoku"], exported[2]
    assert trained[0] == 0, trained[2]
    assert "Starts from the weights of hf:me/small-sudoku" in trained[2]
    config = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    assert (config["train"]["init_from"], config["arch"]["hidden_size"]) == ("hf:me/small-sudoku", 16)
    first, second = load_file(find_model_file(run)), load_file(find_model_file(tmp_path / "again"))
    assert all(torch.allclose(second[name], tensor, atol=1e-6) for name, tensor in first.items())

    asked = [line for line in hub.asked if "/resolve/" in line]
    assert {line.rpartition("/")[2] for line in asked} == {"model.safetensors"}
    assert sum(line.startswith("GET") for line in asked) == 1  # then the cache holds it


SCRIPT = """
import contextlib, io, json, os, sys
import torch
from hrm_cli.cli.app import main
assert "huggingface_hub" not in sys.modules
for environment, commands in json.loads(sys.argv[1]):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0, commands
        continue
    os.environ.clear()
    os.environ.update(environment)
    answers = []
    for words in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(words)
            except SystemExit as ended:
                answers.append([ended.code, out.getvalue(), err.getvalue()])
    print(json.dumps(answers), flush=True)
    os._exit(0)
"""


def answers_of(
    *users: tuple[dict[str, str], list[list[str]]], folder: Path | None = None
) -> list[list[tuple[int, str, str]]]:
    """Environments and commands, one after the other: what each command answers.

    Each environment has a process of its own, because the hub's client reads it when it is imported. These are forked
    from one that has imported torch.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(users)],
        cwd=folder, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return [[tuple(answer) for answer in json.loads(line)] for line in done.stdout.splitlines()]


@needs_fork
def test_errors_of_the_hub_are_distinguished(
    hub: FakeHub, environment: dict[str, str], run: Path, tmp_path: Path
) -> None:
    model = find_model_file(run).read_bytes()
    hub.add("me/there", model__safetensors=model)
    hub.add("me/there", revision="v2", model__safetensors=model)
    hub.add("me/pickled", checkpoint=b"\x80\x02.", pytorch_model__bin=b"\x80\x02.")
    hub.add("me/foreign", model__safetensors=b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    hub.add("me/mine", model__safetensors=model).private = True
    user = {**os.environ, **environment}
    count = ["params", "--checkpoint"]
    push = ["push", str(run)]
    cases = {
        "hf:me/there@v2": (0, ""),
        "hf:me/mine": (0, ""),
        "hf:me/nothing": (2, "no repository me/nothing, or a private one"),
        "hf:me/there@v9": (2, "me/there has no revision v9"),
        "hf:me/pickled": (
            2,
            "contains no model.safetensors. hrm reads no other file from the hub, and never a pickle",
        ),
        "hf:me/foreign": (0, ""),  # tensors without hrm's header are counted, and not used
        "hf:noslash": (2, "expected hf:OWNER/NAME"),
    }
    offline = {**user, "HF_HUB_OFFLINE": "1"}
    stranger = {**user, "HF_TOKEN": "hf_of_nobody", "HF_HOME": str(tmp_path / "another cache")}
    (*found, forbidden, branch, page), (cached, absent), (private, refused) = answers_of(
        (
            user,
            [
                *([*count, name] for name in cases),
                [*push, "hf:forbidden/model"],
                [*push, "hf:me/there", "--revision", "v3"],
                [*push, "hf:me/elsewhere", "--dry-run"],
            ],
        ),
        (offline, [[*count, "hf:me/there@v2"], [*count, "hf:me/nothing"]]),
        (stranger, [[*count, "hf:me/mine@main"], [*push, "hf:me/there"]]),
    )
    for (name, (status, message)), answer in zip(cases.items(), found, strict=True):
        assert answer[0] == status, (name, answer)
        assert message in answer[2]
        assert "Traceback" not in answer[2]
    assert not any("pytorch_model" in line or line.endswith("/checkpoint") for line in hub.asked)

    assert cached[0] == 0
    assert absent[0] == 2
    assert "not in the local cache" in absent[2]

    assert "no repository me/mine" in private[2]
    assert "your token has no permission" in refused[2]
    assert "making the repository failed: your token has no permission" in forbidden[2]
    assert branch[0] == 0, branch[2]
    assert "README.md" in hub.repositories["me/there"].branches["v3"]
    assert "README.md" not in hub.repositories["me/there"].branches["main"]
    assert page[0] == 0
    assert "hrm solve puzzles.txt --checkpoint hf:me/elsewhere" in page[1]
    assert "me/elsewhere" not in hub.repositories


def test_what_is_pushed_has_the_same_tensors_bit_for_bit(run: Path, tmp_path: Path) -> None:
    write_publication(read_header(run), tmp_path, CardOptions("hf:me/x", "x"))
    published, own = load_file(tmp_path / "model.safetensors"), load_file(find_model_file(run))
    assert all(same_bits(published[name], tensor) for name, tensor in own.items())
    card = read_model_card(tmp_path)
    assert (card.step, card.facts, card.preset.data.path, card.preset.train.init_from) == (
        40,
        FACTS,
        None,
        None,
    )


def test_without_a_token_nothing_is_sent_and_the_message_says_how_to_log_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    def sends(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", sends)
    address = HubAddress("me/x")
    with pytest.raises(
        CheckpointError, match=r"push: no Hugging Face token .*`hf auth login`, or set HF_TOKEN"
    ):
        push_folder(address, tmp_path, "push", CheckpointError, private=False, message="")


def test_without_the_client_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"checkpoint hf:me/x: .*pip install 'hrm-cli\[hub\]'"):
        find_model_file(Path("hf:me/x"))


@pytest.mark.parametrize("text", ["hf:", "hf:me", "hf:me/x@", "hf:me/x/y", "hf:../x", "hf:me/x y", "me/x"])
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected hf:OWNER/NAME, or hf:OWNER/NAME@REVISION"):
        HubAddress.parse(text, "checkpoint")


def test_an_address_may_name_a_revision() -> None:
    address = HubAddress.parse("hf:me/x.y-z@refs/pr/1", "checkpoint")
    assert (address.repository, address.revision, str(address)) == (
        "me/x.y-z",
        "refs/pr/1",
        "hf:me/x.y-z@refs/pr/1",
    )
    assert HubAddress.parse("hf:me/x", "checkpoint").revision is None
