"""Compares the engine of the page (`hrm export --format html`) with torch, step by step, and torch with itself.

    python benchmarks/page_agreement.py --puzzles 100 --save benchmarks/results/page_agreement.txt

Every puzzle gets a pass until the model halts. If answers differ at some step, the script prints the first such step:
how many cells differ, how far the logits of the two tokens are apart there, and how the logits of both sides drifted
apart before. The same comparison is made between torch in float32 and float64, and between batches of one puzzle and of
all puzzles. It needs node.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from reporting import keep, machine_line

from hrm_cli.exporting import wasm
from hrm_cli.exporting.check_puzzles import check_puzzles
from hrm_cli.exporting.onnx_model import portable_model
from hrm_cli.exporting.page import WEB, page_model

ENGINE = Path(__file__).parents[1] / "tests" / "exporting" / "engine_check.js"


@dataclass
class Pass:
    """The logits of a puzzle's steps `[steps, S, V]`."""

    logits: list[NDArray[np.float64]]

    def answers(self) -> NDArray[np.int64]:
        """`[steps, S]`"""
        return np.stack([step.argmax(-1) for step in self.logits])


def in_the_page(checkpoint: str, inputs: NDArray[np.int32], max_steps: int) -> list[Pass]:
    """The passes of the engine, in WebAssembly."""
    model = page_model(checkpoint)
    case = {
        "facts": model.document(), "file": model.weights(), "inputs": inputs.tolist(), "max_steps": max_steps,
        "wasm": base64.b64encode(wasm.module()).decode(), "with_logits": True, "adaptive": True,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.json"
        path.write_text(json.dumps(case), encoding="utf-8")
        sources = [str(WEB / f"{name}.js") for name in ("kernels", "engine", "puzzles")]
        done = subprocess.run(
            ["node", str(ENGINE), *sources, str(path)], capture_output=True, text=True, check=True
        )
    shape = inputs.shape[1], -1
    return [
        Pass([np.array(step["logits"]).reshape(shape) for step in steps])
        for steps in json.loads(done.stdout)["found"]
    ]


def in_torch(
    checkpoint: str,
    inputs: NDArray[np.int32],
    max_steps: int,
    *,
    dtype: torch.dtype = torch.float32,
    batch: int = 1,
) -> list[Pass]:
    """The passes of torch with its public operators."""
    model, _ = portable_model(Path(checkpoint))
    if dtype is torch.float64:
        model.double().core.dtype = torch.float64
    found: list[Pass] = [Pass([]) for _ in inputs]
    for start in range(0, len(inputs), batch):
        rows = torch.from_numpy(inputs[start : start + batch])
        for step in model.infer(rows, torch.zeros(len(rows), dtype=torch.int32), max_steps, adaptive=True):
            assert step.logits is not None
            for row, logits in zip(step.rows.tolist(), step.logits.double().numpy(), strict=True):
                found[start + row].logits.append(logits)
    return found


def compared(name: str, one: list[Pass], other: list[Pass], labels: NDArray[np.int32]) -> list[str]:
    """How often the answers of `one` differ from those of `other`, and the first step of each puzzle where they do."""
    lines: list[str] = []
    drift = 0.0
    for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        a, b = mine.answers(), theirs.answers()
        distance = [float(np.abs(x - y).max()) for x, y in zip(mine.logits, theirs.logits, strict=False)]
        first = next((step for step in range(len(distance)) if (a[step] != b[step]).any()), None)
        if first is None:
            drift = max(drift, *distance)
            if len(a) != len(b):
                lines.append(f"  puzzle {number}: the same answers, but {len(a)} and {len(b)} steps")
            continue
        cells, logits = np.flatnonzero(a[first] != b[first]), theirs.logits[first]
        apart = max(float(logits[cell, b[first][cell]] - logits[cell, a[first][cell]]) for cell in cells)
        right = int((b[first] == labels[number]).sum())
        ends = ["right" if (end[-1] == labels[number]).all() else "wrong" for end in (a, b)]
        shown = range(0, first + 1, max(1, first // 6))
        lines += [
            f"  puzzle {number}: first at step {first + 1}, in {len(cells)} cells whose two tokens have logits "
            f"{apart:.1e} apart; {right} of {len(labels[number])} cells are right there",
            f"    {len(a)} and {len(b)} steps, last answers {ends[0]} and {ends[1]}; largest difference of logits by "
            f"step: {', '.join(f'{step + 1}: {distance[step]:.0e}' for step in shown)}",
        ]
    count = sum("puzzle " in line for line in lines)
    start = f"{name}: other answers than torch one by one for {count} of {len(one)} puzzles"
    return [f"{start}; logits of the others differ by at most {drift:.0e}", *lines]


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="bundled:sudoku-any-size")
    parser.add_argument("--puzzles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path)
    asked = parser.parse_args()
    model = page_model(asked.checkpoint)
    puzzles = check_puzzles(model.card, model.domain, None, asked.puzzles, asked.seed)
    assert puzzles is not None
    inputs, labels, most = puzzles.inputs, puzzles.labels, int(model.document()["max_steps"])
    lines = [
        machine_line(),
        f"{asked.checkpoint}, {puzzles.words}, seed {asked.seed}, passes of at most {most} steps",
    ]
    torch_alone = in_torch(asked.checkpoint, inputs, most)
    others: dict[str, Callable[[], list[Pass]]] = {
        "page": lambda: in_the_page(asked.checkpoint, inputs, most),
        "torch, all puzzles in one batch": lambda: in_torch(
            asked.checkpoint, inputs, most, batch=len(inputs)
        ),
        "torch in float64": lambda: in_torch(asked.checkpoint, inputs, most, dtype=torch.float64),
    }
    print("\n".join(lines))
    for name, run in others.items():
        found = compared(name, run(), torch_alone, labels)
        print("\n".join(found), flush=True)
        lines += found
    keep("\n".join(lines), asked.save)


if __name__ == "__main__":
    main()
