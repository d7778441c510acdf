"""Runs all GPU tests and measurements with one command, in stages with a time limit each.

    python benchmarks/gpu.py check speed --output OUT
    python benchmarks/gpu.py train --output OUT --train-seconds 500 --recipe units
    python benchmarks/gpu.py train --output OUT --train-seconds 300 --recipe "nine sudoku-9x9 - train.lr=3e-3"

check   the tests marked `cuda`: a GPU computes the same as a CPU
speed   steps/s, achieved TFLOP/s and memory of training and evaluation; a profile of the first row and the slowest
train   recipes, one after the other; weights and figures are copied to OUT while they train. Their datasets are
        built before, while `check` runs

OUT gets results.txt (to read), results.jsonl (a line for each row, as soon as it is known), pytest.txt, profile.txt
and the outputs of `train`. A second call continues where the first one ended: successful rows are not run again.
`--earlier FILE` names the first call's results.jsonl if it is in another folder.

`--device cpu --small` runs everything without a GPU, on tiny models, and a hundredth of the recipes: a test of the
script itself.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from gpu_stages import check, speed, train
from gpu_stages.datasets import Builder
from gpu_stages.machine import header, unmet
from gpu_stages.processes import REPOSITORY
from gpu_stages.recipes import RECIPES, recipes
from gpu_stages.results import Results, error_lines

STAGES = ("check", "speed", "train")
LIMITS = {
    "check_seconds": (120.0, 900.0), "speed_seconds": (180.0, 600.0), "row_seconds": (75.0, 300.0),
    "train_seconds": (300.0, 600.0), "check_processes": (4, 1),
}  # fmt: skip
"""Limits on a GPU, and on a CPU: there, kernels are compiled first, and other programs may take the cores."""


def main() -> None:
    """Runs the stages requested."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("stages", nargs="+", choices=STAGES)
    options.add_argument("--output", type=Path, required=True, metavar="OUT")
    options.add_argument("--earlier", type=Path, metavar="FILE", help="results.jsonl of an earlier call")
    options.add_argument("--device", default="cuda")
    options.add_argument("--small", action="store_true", help="models of no size, a hundredth of recipes")
    options.add_argument("--check-seconds", type=float, help="default: 120; on a CPU 900")
    options.add_argument(
        "--check-processes", type=int, metavar="N", help="that run tests; default: 4, on a CPU 1"
    )
    options.add_argument("--check-select", metavar="EXPRESSION", help="pytest's -k")
    options.add_argument("--speed-seconds", type=float, help="default: 180; on a CPU 600")
    options.add_argument(
        "--row-seconds", type=float, help="after which a row counts as hanging; default: 75, on a CPU 300"
    )
    options.add_argument(
        "--modes", nargs="+", help="train.compile values to compare; default: those of the configuration"
    )
    options.add_argument("--rows", nargs="+", default=[""], help="rows of the speed table that contain this")
    options.add_argument(
        "--row", action="append", default=[], metavar="NAME=PRESET …", dest="more",
        help="one more training row, the first of all: a preset and overrides",
    )  # fmt: skip
    options.add_argument(
        "--warm", type=int, default=3, metavar="N",
        help="processes that compile the rows of speed while check runs; 0 for none",
    )  # fmt: skip
    options.add_argument("--warm-seconds", type=float, default=20, help="that speed waits for them at most")
    options.add_argument("--train-seconds", type=float, help="default: 300; on a CPU 600")
    options.add_argument(
        "--recipe", action="append", default=[], metavar="NAME | NAME PRESET SECONDS …",
        help=f"what to train: {', '.join(RECIPES)}; or a name, a preset, seconds (- shares what is left), overrides. "
             "Give the option once for each",
    )  # fmt: skip
    options.add_argument("--work", type=Path, help="where runs and datasets go; default: runs/gpu")
    given = options.parse_args()
    for name, (on_a_gpu, on_a_cpu) in LIMITS.items():
        if getattr(given, name) is None:
            setattr(given, name, on_a_cpu if given.device.startswith("cpu") else on_a_gpu)
    work = given.work or REPOSITORY / "runs" / "gpu"
    results = Results(given.output, given.earlier, logs=work)
    results.say(header())
    if missing := unmet():
        raise SystemExit(
            f"gpu.py: not installed: {'; '.join(missing)}; benchmarks/gpu_wheels.sh brings wheels"
        )
    chosen = recipes(given.recipe)
    wanted = speed.Wanted.of(given, chosen) if "speed" in given.stages else None
    names = list(dict.fromkeys(name for recipe in chosen for name in recipe.datasets))
    builder = None
    if names:
        builder = Builder(results, work / "data", names, 0.01 if given.small else 1.0)
    warmers = None
    if wanted is not None and given.stages[0] == "check" and given.warm:
        warmers = speed.Warmers(results, wanted, given.warm)
    try:
        for stage in given.stages:
            try:
                if stage == "check":
                    check.run(
                        results, given.device, given.check_seconds, given.check_select, given.check_processes
                    )
                elif stage == "speed":
                    assert wanted is not None
                    # Neither compilers nor generators may run while speed is measured.
                    if warmers is not None:
                        warmers.finish(given.warm_seconds)
                    if builder is not None and not builder.wait(given.warm_seconds):
                        results.say(
                            "the datasets are not complete yet: they are built while speed is measured"
                        )
                    speed.run(results, wanted, given.speed_seconds, given.row_seconds)
                else:
                    began = time.monotonic()
                    if builder is not None and not builder.wait(given.train_seconds):
                        results.say("the datasets are not complete: their recipes fail")
                        builder.end()
                    left = given.train_seconds - (time.monotonic() - began)
                    train.run(results, chosen, given.device, left, work, trial=given.small)
            except Exception as error:
                lines = error_lines(error)
                results.add(stage, "the stage itself", "failed", error=lines)
                results.say(f"stage {stage} failed: {lines}")
    finally:
        if builder is not None:
            builder.end()


if __name__ == "__main__":
    main()
