"""Speed of training, evaluation and solving, line by line, of one or several checkouts in one run.

    git worktree add ../before COMMIT
    python benchmarks/cpu_speed.py --checkouts ../before . --save benchmarks/results/cpu_speed.txt

Every line runs `hrm bench` of each checkout in turn, several times, so that other load on the machine affects all of
them equally. Medians are printed. The share is the fraction of the throughput of a large matmul in the same process.
Ratios are relative to the first checkout.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from reporting import keep, machine_line
from timed_training import aligned

SMALL = "arch.pos_encodings=rope arch.halt_max_steps=16 arch.H_cycles=2 arch.L_cycles=2"
LINES = {
    "training base (H 512, 4+4), batch 16": "train --preset base --batch 16",
    "the same, arch.q_continue=false": "train --preset base --batch 16 arch.q_continue=false",
    "training base, batch 64": "train --preset base --batch 64",
    "training H 256, 2+2, batch 32": f"train --preset small --batch 32 {SMALL}",
    "training H 128, 1+1, batch 64": f"train --preset tiny --batch 64 {SMALL}",
    "training TRM attention (6.8M), batch 16, cycles 3/6": (
        "train --preset trm-maze --batch 16 arch.L_cycles=6 domain=sudoku source=builtin data.size=9"
    ),
    "training TRM mlp (5.0M), batch 16, cycles 3/6": "train --preset trm-sudoku --batch 16",
    "training units (sudoku-units), batch 64": "train --preset sudoku-units --batch 64",
    "training neighbors (neighbors-maze), batch 64": "train --preset neighbors-maze --batch 64",
    "training edges (neighbors-maze, H 16), batch 64": (
        "train --preset neighbors-maze --batch 64 arch.mixer=edges arch.hidden_size=16"
    ),
    "evaluating base, 16 steps, batch 16": "eval --preset base --batch 16",
    "evaluating units (sudoku-units), batch 64": "eval --preset sudoku-units --batch 64",
    "evaluating edges (neighbors-maze, H 16), batch 64": (
        "eval --preset neighbors-maze --batch 64 arch.mixer=edges arch.hidden_size=16"
    ),
    "one puzzle through base, 16 steps": "solve --preset base",
    "one puzzle through H 128, 16 steps": f"solve --preset tiny {SMALL}",
}


def bench(checkout: Path, line: str, seconds: float) -> dict[str, Any]:
    """Runs `hrm bench` of a checkout and returns its JSON output."""
    command = [
        sys.executable,
        "-m",
        "hrm_cli",
        "bench",
        *shlex.split(line),
        "--seconds",
        f"{seconds:g}",
        "--json",
    ]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: hrm bench {line}: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def table(checkouts: list[Path], names: list[str], seconds: float, passes: int) -> str:
    """Examples per second and share of each checkout, and the ratio of the last to the first."""
    several = len(checkouts) > 1
    rows = [["", *(f"{name}: per s" for name in names), *(f"{name}: share" for name in names)]]
    rows[0] += ["ratio"] if several else []
    for title, line in LINES.items():
        found = [[bench(checkout, line, seconds) for checkout in checkouts] for _ in range(passes)]
        of_each = list(zip(*found, strict=True))
        rates = [median(one["examples_per_second"] for one in own) for own in of_each]
        shares = [median(one["share"] for one in own) for own in of_each]
        row = [title, *(f"{rate:.4g}" for rate in rates), *(f"{share:.0%}" for share in shares)]
        row += [f"{rates[-1] / rates[0]:.2f}"] if several else []
        print("  ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
    return aligned(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkouts", type=Path, nargs="+", default=[Path()])
    parser.add_argument("--names", nargs="+", help="what the checkouts are called in the table")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    names = given.names or ["before", "now"][-len(given.checkouts) :]
    text = "\n".join(
        [
            f"Machine: {machine_line()}",
            "Examples per second, and the model's products ÷ a 2048³ product in the same process",
            "",
            table(given.checkouts, names, given.seconds, given.passes),
        ]
    )
    print(text)
    keep(text, given.save)


if __name__ == "__main__":
    main()
