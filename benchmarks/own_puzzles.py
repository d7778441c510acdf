"""Which tasks `hrm train FILE` learns with its own settings: held-out exact accuracy on fourteen generated tasks.

    python benchmarks/own_puzzles.py --folder runs/own-puzzles --save benchmarks/results/own_puzzles.txt

Each task is written to a file of pairs with different inputs. `hrm train FILE` is then run as a user would, with no
settings but the time limit and a target: training ends when two evaluations in a row find 99.5 % of the validation
pairs right. `hrm eval` measures the result on the test pairs, which training has not seen. Results are kept in
FOLDER/results.jsonl as they come; a second call continues with the tasks that are missing. `--set` changes settings.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from own_puzzle_tasks import CHECKS, TASKS
from reporting import keep, machine_line

from hrm_cli.evaluation.intervals import wilson_interval

PAIRS = 10_000
TRIES = 30
"""Samples for each wanted pair, before a task counts as having no more different inputs."""
TARGET = 0.995
HERE = Path(__file__).resolve().parent


def write_pairs(task: str, file: Path, count: int, seed: int = 7) -> None:
    """Writes up to `count` pairs with different inputs as JSON lines."""
    rng, seen = Random(seed), set()
    unfinished = file.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as stream:
        for _ in range(TRIES * count):
            pair = TASKS[task](rng)
            if pair is None:
                continue
            given, wanted = ("/".join(map("".join, grid)) for grid in pair)
            if given not in seen:
                seen.add(given)
                stream.write(json.dumps({"input": given, "output": wanted}) + "\n")
            if len(seen) == count:
                break
    unfinished.replace(file)


def hrm(*arguments: str) -> tuple[dict[str, Any], float]:
    """Runs a command. Returns its JSON document and the seconds of processor time it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "hrm_cli", *arguments, "--json"], check=True, stdout=subprocess.PIPE
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    document: dict[str, Any] = json.loads(done.stdout)
    return document, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train(file: Path, run: Path, minutes: float, settings: list[str]) -> dict[str, Any]:
    """Trains on a file, unless an earlier call has. Returns what `hrm train` prints, and the processor time."""
    known = run.parent / f"{run.name}-trained.json"
    if known.is_file():
        document: dict[str, Any] = json.loads(known.read_text())
        return document
    if run.is_dir():  # the benchmark was stopped in the middle of this task
        run.rename(run.parent / f"{run.name}-stopped-{time.time():.0f}")
    document, seconds = hrm(
        "train", "--quiet", str(file), "--output-dir", str(run), f"train.max_minutes={minutes}",
        f"train.target_accuracy={TARGET}", *settings,
    )  # fmt: skip
    document["processor_seconds"] = seconds
    known.write_text(json.dumps(document))
    return document


def measure(task: str, folder: Path, minutes: float, settings: list[str]) -> dict[str, Any]:
    """Trains and evaluates a task; the row of the table."""
    file, run = folder / f"{task}.jsonl", folder / task
    if not file.is_file():
        write_pairs(task, file, PAIRS)
    trained = train(file, run, minutes, settings)
    check = [f"--check={HERE / 'own_puzzle_tasks.py'}:{CHECKS[task]}"] if task in CHECKS else []
    found, _ = hrm("eval", "--quiet", str(run), *check)
    sizes = json.loads((run / "dataset" / "train" / "dataset.json").read_text())
    params, _ = hrm("params", "--checkpoint", str(run))
    return {
        "task": task,
        "what": (TASKS[task].__doc__ or "").strip(),
        "training_pairs": sizes["total_groups"],
        "test_pairs": found["puzzles"],
        "exact_accuracy": found["exact_accuracy"],
        "interval": wilson_interval(found["exact_accuracy"], found["puzzles"]),
        "accepted": found.get("accepted"),
        "cell_accuracy": found["cell_accuracy"],
        "baselines_exact": found["baselines_exact"],
        "baselines": found["baselines"],
        "mixer": params["arch"]["mixer"],
        "core": params["arch"]["core"],
        "parameters": params["exact"]["trainable"],
        "steps": trained["steps"],
        "reason": trained["reason"],
        "minutes": trained["seconds"] / 60,
        "processor_minutes": trained["processor_seconds"] / 60,
        "settings": settings,
    }


def table(rows: list[dict[str, Any]], minutes: float) -> str:
    """The table as text."""
    heads = [
        "task",
        "train",
        "test",
        "exact",
        "95 % interval",
        "trivial",
        "cells",
        "trivial",
        "steps",
        "CPU min",
    ]
    lines = [heads]
    for row in rows:
        low, high = row["interval"]
        lines.append(
            [
                row["task"].replace("_", " ") + (" *" if row["settings"] else ""),
                f"{row['training_pairs']:,}",
                f"{row['test_pairs']:,}",
                f"{row['exact_accuracy']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{max(row['baselines_exact'].values()):.1%}",
                f"{row['cell_accuracy']:.1%}",
                f"{max(row['baselines'].values()):.1%}",
                f"{row['steps']:,}",
                f"{row['processor_minutes']:.1f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        f"Machine: {machine_line()}; one thread, shared with other programs",
        f"hrm train FILE with its own settings, at most {minutes:g} minutes each; ends at {TARGET:.1%} on validation",
        "",
        *(
            f"{line[0]:<{widths[0]}}  "
            + "  ".join(f"{x:>{w}}" for x, w in zip(line[1:], widths[1:], strict=True))
            for line in lines
        ),
        "",
        "trivial: the better of copying the input and of the most frequent symbol everywhere.",
        "CPU min: processor time of the whole command, with reading the file and evaluations.",
    ]
    kinds = sorted({(row["core"], row["mixer"]) for row in rows})
    sizes = [row["parameters"] for row in rows]
    text.append(
        f"Models: {', '.join(f'arch.core={core} arch.mixer={mixer}' for core, mixer in kinds)}; "
        f"{min(sizes):,} to {max(sizes):,} parameters."
    )
    text += [
        f"{row['task']}: any right answer counts: {row['accepted']:.1%} are accepted by its check."
        for row in rows
        if row["accepted"] is not None
    ]
    text += [f"* {row['task']}: {' '.join(row['settings'])}" for row in rows if row["settings"]]
    passed = sum(max(row["exact_accuracy"], row["accepted"] or 0) >= 0.95 for row in rows)
    text += [f"At least 95 %: {passed} of {len(rows)}.", ""]
    text += [f"{row['task']}: {row['what']}" for row in rows]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/own-puzzles"))
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings for these tasks")
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given.folder.mkdir(parents=True, exist_ok=True)
    results = given.folder / "results.jsonl"
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    rows = {row["task"]: row for row in known}  # the latest of each task
    for task in given.tasks:
        if task in rows and not given.set:
            continue
        rows[task] = measure(task, given.folder, given.minutes, given.set)
        with results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(rows[task]) + "\n")
        text = table([rows[name] for name in TASKS if name in rows], given.minutes)
        print(text, flush=True)
        keep(text, given.save)


if __name__ == "__main__":
    main()
