"""Replays recordings of the reference implementation and prints the largest deviation per quantity.

    python tests/golden/replay.py [--device DEVICE] FILE|FOLDER…

A folder is a recording of ARC's voting. Models run on the portable path (HRM_CPU_KERNELS=off): it rounds as the
reference does, while the fused kernels' rounding grows from step to step where a recurrence is chaotic. The fused
kernels are compared with the portable blocks by tests of their own (tests/models/test_cpu_blocks.py).

Exit status 0 when every recording is reproduced within the tolerances of the recordings' README, 1 when one is not,
2 when a file cannot be replayed. The tests import `replay`.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.arc.online import read_identifiers
from hrm_cli.data.format import Dataset
from hrm_cli.environment import CPU_KERNELS
from hrm_cli.errors import HRMError
from hrm_cli.evaluation.arc_voting import Votes, pass_at, read_test_tasks, submission
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.losses import act_loss
from hrm_cli.models.registry import build_model
from hrm_cli.training.optimizers import AdamATan2, SignDescent, learning_rate

# Fields of the reference's configuration that are ours under the same name.
SAME_FIELDS = (
    "hidden_size", "num_heads", "H_layers", "L_layers", "H_cycles", "L_cycles", "expansion", "puzzle_emb_ndim",
    "pos_encodings", "halt_max_steps", "halt_exploration_prob", "forward_dtype", "puzzle_emb_len", "mlp_t",
)  # fmt: skip


@dataclass
class Report:
    """Largest deviation per quantity, and what was out of tolerance."""

    largest: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def note(self, quantity: str, deviation: float) -> None:
        self.largest[quantity] = max(self.largest.get(quantity, 0.0), deviation)

    def close(
        self, quantity: str, where: str, ours: Tensor, theirs: Tensor, rtol: float, atol: float
    ) -> None:
        """|a − b| ≤ atol + rtol·|b| for every element; a NaN anywhere fails."""
        ours, theirs = ours.detach().cpu().double(), theirs.double()
        deviation = (ours - theirs).abs()
        self.note(quantity, deviation.max().item())
        if ours.shape != theirs.shape or not bool((deviation <= atol + rtol * theirs.abs()).all()):
            self.failures.append(f"{where}: deviates by {deviation.max().item():.3g}")

    def equal(self, quantity: str, where: str, ours: Tensor, theirs: Tensor) -> None:
        """Every element equal."""
        different = int((ours.cpu() != theirs).sum())
        self.note(quantity, float(different))
        if different:
            self.failures.append(f"{where}: {different} elements differ")

    def mostly_close(self, quantity: str, where: str, ours: Tensor, theirs: Tensor) -> None:
        """At least 99.5 % of the elements within 1e-5: sign-like updates amplify rounding of tiny gradients."""
        deviation = (ours.detach().cpu() - theirs).abs()
        off = (~(deviation <= 1e-5)).float().mean().item()
        self.note(f"{quantity}: share beyond 1e-5", off)
        if off > 0.005:
            self.failures.append(f"{where}: {100 * off:.2f} % of the elements deviate by more than 1e-5")


class Recording:
    """One safetensors file: its metadata and its tensors by prefix; models and batches are made on `device`."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.device = device
        with safe_open(path, framework="pt") as file:
            self.meta = file.metadata()
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.config = json.loads(self.meta["config"])
        self.steps = int(self.meta["steps"])

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: t for name, t in self.tensors.items() if name.startswith(prefix)}

    def batch(self, prefix: str) -> PuzzleBatch:
        return PuzzleBatch(**{name: t.to(self.device) for name, t in self.under(f"{prefix}batch/").items()})

    def model(self, state_prefix: str) -> ACTModel:
        arch = ArchConfig(
            core=self.meta["kind"].split("_")[0],
            **{name: self.config[name] for name in SAME_FIELDS if name in self.config},
        )
        model = build_model(
            arch, self.config["vocab_size"], self.config["seq_len"], self.config["num_puzzle_identifiers"],
            device=self.device,
        )  # fmt: skip
        model.load_state_dict(self.under(state_prefix), strict=True)
        return model


def replay_forward(recording: Recording, model: ACTModel, report: Report) -> None:
    """Evaluation mode: every row runs on; its states and outputs after each ACT step."""
    batch = recording.batch("")
    carry = model.core.initial_carry(batch.inputs)
    rows = model.puzzle_rows(batch.puzzle_identifiers)
    with torch.no_grad():
        for step in range(1, recording.steps + 1):
            # A row that reached halt_max_steps takes its puzzle anew: the recordings run past that step.
            if step > 1 and (step - 1) % recording.config["halt_max_steps"] == 0:
                carry = model.core.initial_carry(batch.inputs)
            carry, out = model.core(carry, batch.inputs, rows)
            found = {"logits": out.logits, "q_halt_logits": out.q_halt, "q_continue_logits": out.q_continue}
            for name, ours in {**found, "z_H": carry.z_H, "z_L": carry.z_L}.items():
                theirs = recording.tensors.get(f"step{step}/{name}")
                if theirs is not None:
                    report.close(name, f"step{step}/{name}", ours, theirs, 1e-4, 1e-4)


def _batches(recording: Recording) -> Iterator[tuple[str, PuzzleBatch]]:
    for step in range(1, recording.steps + 1):
        yield f"step{step}/", recording.batch(f"step{step}/")


def replay_train(recording: Recording, model: ACTModel, report: Report) -> None:
    """Training mode: losses, metrics, gradients, and parameters after the optimizers' steps."""
    optim = json.loads(recording.meta["optim"])
    config = TrainConfig(
        lr=optim["lr"], weight_decay=optim["weight_decay"], beta1=optim["betas"][0], beta2=optim["betas"][1]
    )
    network = AdamATan2(
        model.parameters(), config.lr, (config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    table = getattr(model.inner, "puzzle_emb", None)
    sparse = table and SignDescent(table, optim["puzzle_emb_lr"], optim["puzzle_emb_weight_decay"])
    carry = None
    for step, (prefix, batch) in enumerate(_batches(recording), start=1):
        carry = carry or model.initial_carry(batch)
        carry, out = model.train_step(carry, batch)
        loss, metrics = act_loss(
            out.logits, carry.current.labels, out.q_halt, out.q_continue, out.target_q_continue,
            carry.halted, carry.steps, recording.meta["loss"],
        )  # fmt: skip
        (loss / len(batch.inputs)).backward()

        report.equal("halted", f"{prefix}halted", carry.halted, recording.tensors[f"{prefix}halted"])
        report.equal("steps", f"{prefix}steps", carry.steps, recording.tensors[f"{prefix}steps"])
        report.close("loss", f"{prefix}loss", loss, recording.tensors[f"{prefix}loss"], 1e-3, 1e-6)
        for name, theirs in recording.under(f"{prefix}metric/").items():
            report.close(f"metric/{name}", f"{prefix}metric/{name}", metrics[name], theirs, 1e-3, 1e-6)
        gradients = {name: p.grad for name, p in model.named_parameters()}
        if out.puzzle_rows is not None:
            gradients["puzzle_emb_local"] = out.puzzle_rows.grad
        for name, theirs in recording.under(f"{prefix}grad/").items():
            report.close("gradient", f"{prefix}grad/{name}", gradients[name], theirs, 0.0, 1e-4)

        def rate(base: float, step: int = step) -> float:
            return learning_rate(
                step, optim["total_steps"], base,
                warmup_steps=optim["lr_warmup_steps"], min_ratio=optim["lr_min_ratio"],
            )  # fmt: skip

        for group in network.param_groups:
            group["lr"] = rate(optim["lr"])
        network.step()
        network.zero_grad()
        if sparse:
            sparse.lr = rate(optim["puzzle_emb_lr"])
            sparse.step(carry.current.puzzle_identifiers, out.puzzle_rows.grad)
        ours = model.state_dict()
        for name, theirs in recording.under(f"{prefix}params/").items():
            report.mostly_close("parameters", f"{prefix}params/{name}", ours[name], theirs)


def replay_voting(folder: Path) -> Report:
    """ARC's voting: pass@K and the submission, exactly."""
    dataset = Dataset.open(folder / "dataset", "test")
    votes, tasks, report = Votes.of(read_identifiers(dataset)), read_test_tasks(dataset), Report()
    with np.load(folder / "predictions.npz") as stored:
        votes.add(*(stored[name] for name in ("puzzle_identifiers", "inputs", "preds", "q_halt_logits")))
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    scores = {f"ARC/pass@{k}": score for k, score in pass_at(votes, tasks).items()}
    for name, theirs in expected.items():
        report.note(name, abs(scores[name] - theirs))
        if scores[name] != theirs:
            report.failures.append(f"{name}: {scores[name]} instead of {theirs}")
    ours, theirs = (
        submission(votes, tasks),
        json.loads((folder / "submission.json").read_text(encoding="utf-8")),
    )
    different = [task for task in {**theirs, **ours} if ours.get(task) != theirs.get(task)]
    report.note("submission: tasks that differ", float(len(different)))
    report.failures += [f"submission: task {task} differs" for task in different]
    return report


def replay(path: Path, device: str = "cpu") -> Report:
    """Replays one recording on a device.

    Raises OSError, SafetensorError or HRMError for a file or folder that is none.
    """
    if path.is_dir():
        return replay_voting(path)
    recording = Recording(path, device)
    report = Report()
    with mock.patch.dict(os.environ, {CPU_KERNELS: "off"}):
        if recording.meta["kind"].endswith("_forward"):
            replay_forward(recording, recording.model("state/"), report)
        else:
            replay_train(recording, recording.model("init/"), report)
    return report


def main(paths: list[str]) -> int:
    """Prints a report per file; the exit status of the program."""
    device = "cpu"
    if paths[:1] == ["--device"] and len(paths) > 1:
        device, paths = paths[1], paths[2:]
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    print(f"Portable path: {CPU_KERNELS}=off")
    reproduced = True
    for path in paths:
        try:
            report = replay(Path(path), device)
        except (OSError, SafetensorError, HRMError, ValueError, KeyError, zipfile.BadZipFile) as error:
            print(f"{path}: cannot be replayed: {error!r}", file=sys.stderr)
            return 2
        print(f"{Path(path).name}: {'reproduced' if not report.failures else 'NOT reproduced'}")
        for quantity, deviation in report.largest.items():
            print(f"  {quantity:28} {deviation:.3g}")
        for failure in report.failures[:10]:
            print(f"  out of tolerance: {failure}")
        reproduced = reproduced and not report.failures
    return 0 if reproduced else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
