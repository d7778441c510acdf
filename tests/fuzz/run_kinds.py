"""Runs: their figures, state, configuration, pointers, and what a resumed run reads."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from config_kinds import ODD
from kinds import SHOWN, STATE, Read, command, kind, reference_run
from model_kinds import odd_file
from values import dumps, encoded, mutate_bytes, mutate_document

POINTERS = (
    b"",
    b"\xff\xfe",
    b"a\x00b",
    b"a" * 5000,
    b"../" * 2000,
    b"/",
    b"/dev/zero",
    b"/etc",
    b"\x1b[31m",
    b".",
    b"checkpoints",
    b"\n" * 1000,
    b"x\ny",
)
METRICS = (
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b"\0" * 100_000,
    b'{"step": 1, "kind": "train", "loss": 1e308}\n{"step": 2, "kind": "train", "loss": -1e308}\n',
)


@kind(0.9)
def runs(r: random.Random, folder: Path) -> Read:
    """`hrm runs` and `hrm runs show` with one damaged file in a run."""
    run, reference = folder / "run", reference_run()
    run.mkdir()
    (run / "checkpoints").mkdir()
    damaged = r.choice(("metrics", "metrics", "status", "config", "latest", "best"))
    records = [json.loads(line) for line in (reference / "metrics.jsonl").read_text().splitlines()[:14]]
    if damaged == "metrics":
        for _ in range(r.choice((1, 2, 5))):
            number = r.randrange(len(records))
            records[number] = mutate_document(r, records[number])
    lines = encoded("\n".join(dumps(record) for record in records)) + b"\n"
    if damaged == "metrics" and r.random() < 0.3:
        lines = mutate_bytes(r, lines)
    (run / "metrics.jsonl").write_bytes(r.choice(METRICS) if r.random() < 0.02 else lines)
    status = {"state": "finished", "reason": "finished", "total_steps": 40}
    (run / "status.json").write_bytes(
        encoded(dumps(mutate_document(r, status) if damaged == "status" else status))
    )
    config = (reference / "config.yaml").read_bytes()
    if damaged == "config":
        config = encoded(r.choice(ODD)) if r.random() < 0.5 else mutate_bytes(r, config)
    (run / "config.yaml").write_bytes(config)
    for name in ("latest", "best"):
        sound = b"checkpoints/step-000000004\n"
        (run / name).write_bytes(r.choice(POINTERS) if damaged == name else sound)

    def read() -> None:
        from hrm_cli.checkpoints.model_files import find_model_file
        from hrm_cli.checkpoints.pointers import has_checkpoint, read_pointer

        for words in (["runs", folder], ["runs", folder, "--json"], ["runs", "show", run]):
            command(*words)
        command("runs", "show", run, "--json")
        command("eval", run)
        has_checkpoint(run)
        read_pointer(run / "latest")
        find_model_file(run)

    return read


@kind(0.3)
def resuming(r: random.Random, folder: Path) -> Read:
    """`hrm train --resume` with a damaged training state."""
    import torch

    from hrm_cli.config.presets import load_preset
    from hrm_cli.data.batches import TrainingBatches
    from hrm_cli.data.format import Dataset
    from hrm_cli.runs.preparing import dataset_facts
    from hrm_cli.training.resuming import load_training_state
    from hrm_cli.training.state import initial_state

    reference = reference_run()
    if "resume" not in STATE:
        STATE["resume"] = load_preset(str(reference / "config.yaml")), Dataset.open(reference / "dataset")
    preset, dataset = STATE["resume"]
    run = folder / "run"
    own = run / "checkpoints" / "step-000000004"
    shutil.copytree(reference / "checkpoints" / "step-000000004", own)
    (run / "latest").write_text("checkpoints/step-000000004\n")
    state, tensors = own / "training.json", own / "training.safetensors"
    # Without its checksum, as files of earlier versions: with it every change would be found at once.
    facts = {name: value for name, value in json.loads(state.read_text()).items() if name != "checksum"}
    if r.random() < 0.6:
        state.write_bytes(encoded(dumps(mutate_document(r, facts))))
    else:
        tensors.write_bytes(odd_file(r, tensors.read_bytes()))
    if r.random() < 0.05:
        state.write_bytes(mutate_bytes(r, state.read_bytes()))

    def read() -> None:
        fresh = initial_state(preset, dataset_facts(dataset), torch.device("cpu"))
        batches = TrainingBatches(dataset, 8, seed=0)
        batches.load_state_dict(load_training_state(run, fresh))
        next(batches)
        SHOWN.append(ascii(fresh.step))

    return read
