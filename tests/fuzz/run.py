#!/usr/bin/env python
"""Feeds mutated files to every reader and command: an error of our own or a clean end is right, all else a finding.

    python tests/fuzz/run.py --inputs 10000 --seed 1
    python tests/fuzz/run.py --kinds torch --only 34 --seed 1 --keep DIR      # one input again

A finding is another exception, more than 20 s of CPU time or 1 GiB, control characters in what is shown, a
message of more than 4,000 characters, or code of the input that was run. Linux only. Ends with status 1 where there is
a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import command_kinds  # noqa: F401
import config_kinds  # noqa: F401
import dataset_kinds  # noqa: F401
import grids_kinds  # noqa: F401
import model_kinds  # noqa: F401
import numpy as np
import puzzle_kinds  # noqa: F401
import run_kinds  # noqa: F401
import torch
import torch_kinds  # noqa: F401
from kinds import KINDS, STATE
from watching import Limits, make_input, watch

from hrm_cli.errors import HRMError

SMALL_RUN = (
    "--preset",
    "tiny",
    "data.size=4",
    "data.clues=6-12",
    "data.num_train=24",
    "data.num_test=8",
    "hidden_size=32",
    "num_heads=2",
    "global_batch_size=8",
    "train.max_steps=4",
    "train.checkpoint_interval=2",
    "train.compile=off",
    "arch.halt_max_steps=2",
    "train.log_interval=1",
    "eval_interval=1",
    "train.ema_decay=0.9",
)


def make_run(folder: Path) -> Path:
    """A finished run of this version with its dataset, which many kinds of input are made from."""
    run = folder / "reference-run"
    if not (run / "latest").is_file():
        _hrm("train", *SMALL_RUN, "--output-dir", run)
    # Compiles the kernels that solving needs: an input's process that had to would be ended over its time.
    (folder / "puzzle.txt").write_text("...43...2....1..\n")
    _hrm("solve", folder / "puzzle.txt", "--max-steps", 1, "--attempts", 2)
    return run


def _hrm(*words: object) -> None:
    """Runs a command in a child of this process, which has torch already, and leaves this one as it is."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status: Any = 1
        try:
            from hrm_cli.cli.app import main as hrm

            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
                hrm([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        finally:
            sys.stderr.flush()
            os._exit(status or 0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) not in (0, 1):
        sys.exit(f"hrm {words[0]} failed")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--kinds", help="some kinds only, as in puzzles,torch")
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="one input, in this process, with its traceback"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="with --only: where the input is left")
    parser.add_argument("--limit", type=float, default=20, help="seconds of CPU time that an input may take")
    parser.add_argument("--work", type=Path, help="a folder that keeps the reference run for the next time")
    asked = parser.parse_args()
    names = asked.kinds.split(",") if asked.kinds else list(KINDS)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="hrm-fuzz-") as temporary:
        scratch = Path(temporary)
        work = asked.work or scratch
        work.mkdir(parents=True, exist_ok=True)
        STATE["run"] = make_run(work.resolve())
        if asked.only is not None:
            read = make_input(names[0], asked.seed, asked.only, asked.keep or scratch / "input")
            try:
                print(read() or "clean")
            except HRMError as error:
                print(f"refused: {error}")
            return
        sys.exit(run(names, asked.inputs, asked.seed, scratch, Limits(asked.limit)))


def run(names: list[str], inputs: int, seed: int, scratch: Path, limits: Limits) -> int:
    """Reads the inputs, prints the table, and returns the exit status."""
    total = sum(KINDS[name].weight for name in names)
    started, read, found = time.monotonic(), 0, {}
    for name in names:
        count = max(1, round(inputs * KINDS[name].weight / total))
        result = watch(name, count, seed, scratch, limits)
        read += count
        found |= {f"{name}: {what}": cases for what, cases in result.found.items()}
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(result.outcomes.items()))
        print(
            f"{name:<11} {count:>6} inputs {result.count:>4} findings {result.seconds:7.1f} s   {outcomes}",
            flush=True,
        )
    findings = sum(map(len, found.values()))
    print(
        f"\n{read} inputs, {findings} findings, {len(found)} distinct, seed {seed}, {time.monotonic() - started:.0f} s"
    )
    for what, cases in sorted(found.items()):
        numbers = ", ".join(str(number) for number, _ in cases[:5])
        print(f"  {len(cases):>4} × {what}  (inputs {numbers})  {cases[0][1]}")
    return 1 if found else 0


if __name__ == "__main__":
    main()
