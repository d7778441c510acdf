"""The stage `speed`: defines the rows, and runs a process that measures them. A hung or dead process is replaced."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from gpu_stages.processes import COMPILING_TOGETHER, Deadline, Process
from gpu_stages.recipes import Recipe
from gpu_stages.results import Results, last_lines

STAGE = "speed"

REFERENCE_STEPS_PER_SECOND = 7.2
"""The reported speed of the reference on one H200: 26,041 steps of 768 puzzles in an hour."""

BROKEN = 3
"""Exit status of a process that gives up because a row has broken the device's context."""

_START_SECONDS = 90.0
"""Seconds for a process to import torch and initialize a GPU. There is no limit on a CPU, which cannot hang there."""

_STARTS = 2
"""How often a process may fail to start before the stage gives up."""

_HRM = "HRM 27M, Sudoku, batch 768"
_TRM = "TRM (MLP) 5M, Sudoku, batch 768"
_UNITS = "HRM with units 0.46M, Sudoku, batch 384"
_EDGES = "HRM with edges 0.02M, 30×30 mazes, batch 128"
_NEIGHBORS = "HRM with neighbors 0.02M, 30×30 mazes, batch 128"
_SMALL = (
    "arch.hidden_size=32", "arch.num_heads=2", "arch.H_layers=1", "arch.L_layers=1", "arch.halt_max_steps=2",
    "global_batch_size=4",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One measurement."""

    kind: str
    """`training`, `evaluation` or `profile` (of a training row)."""
    what: str
    preset: str
    mode: str
    """`train.compile`."""
    overrides: tuple[str, ...] = ()
    """Settings of the preset."""
    batch: int | None = None
    """Batch size of an evaluation."""

    @property
    def name(self) -> str:
        """Names the row in the results."""
        return f"{'profile: ' if self.kind == 'profile' else ''}{self.what} [{self.mode}]"


FIRST = Row("profile", "the first training row", "", "as measured")
"""Placeholder for the most important training row that has been measured."""
SLOWEST = Row("profile", "the slowest training row", "", "as measured")
"""Placeholder for the training row with the lowest fraction of the matmul rate."""


@dataclass(frozen=True)
class Wanted:
    """Selects the measurements and the device."""

    device: str
    small: bool = False
    modes: tuple[str, ...] = ()
    only: tuple[str, ...] = ("",)
    more: tuple[tuple[str, str, tuple[str, ...], str | None], ...] = field(default=())
    """Further training rows: name, preset, overrides, `train.compile` (None: compiled and not)."""

    @classmethod
    def of(cls, given: argparse.Namespace, chosen: Sequence[Recipe] = ()) -> Wanted:
        """From the command line, with a row for every recipe. Exits if a row is not of the form NAME=PRESET …"""
        more = [(recipe.name, recipe.preset, recipe.settings, recipe.mode or "on") for recipe in chosen]
        for text in given.more:
            name, _, rest = text.partition("=")
            words = rest.split()
            if not words:
                raise SystemExit(f"--row {text!r}: expected NAME=PRESET key=value …")
            more.append((name.strip(), words[0], tuple(words[1:]), None))
        return cls(
            given.device, given.small, tuple(given.modes or compile_modes()), tuple(given.rows), tuple(more)
        )

    def rows(self) -> list[Row]:
        """All rows, the most important first, in case the stage is interrupted."""
        fast = "on" if "on" in self.modes else self.modes[0]
        smallest = _SMALL if self.small else ()

        def training(what: str, preset: str, which: str, *overrides: str) -> list[Row]:
            return [Row("training", what, preset, mode, (*overrides, *smallest)) for mode in which.split()]

        def asked_for(name: str, preset: str, overrides: Sequence[str], mode: str | None) -> list[Row]:
            modes = (fast, "off") if mode is None else (mode if mode in self.modes else fast,)
            return [Row("training", name, preset, mode, (*smallest, *overrides)) for mode in modes]

        def evaluation(batch: int, mode: str) -> Row:
            return Row(
                "evaluation", f"HRM 27M, Sudoku, 16 steps, evaluating {batch}", "sudoku-extreme", mode, smallest,
                min(batch, 4) if self.small else batch,
            )  # fmt: skip

        small_graphs = "cudagraphs on off"
        rows = [
            *(row for more in self.more for row in asked_for(*more)),
            evaluation(1024, fast),
            *training(_TRM, "trm-sudoku", fast),
            *training(_HRM, "sudoku-extreme", "cudagraphs"),
            *training(_HRM, "sudoku-extreme", fast),
            *training(_UNITS, "sudoku-units", small_graphs),
            *training(_EDGES, "neighbors-maze", small_graphs, "arch.mixer=edges", "data.size=30",
                      "global_batch_size=128"),
            evaluation(256, fast),
            evaluation(1, fast),
            evaluation(1024, "off"),
            *training(_TRM, "trm-sudoku", "cudagraphs off"),
            *training("HRM 27M, ARC, batch 96", "arc-1", f"{fast} off", "global_batch_size=96"),
            *training(_NEIGHBORS, "neighbors-maze", small_graphs, "data.size=30", "global_batch_size=128"),
            *training(_HRM, "sudoku-extreme", "off"),
            *training("tiny, Sudoku, batch 128", "tiny", small_graphs),
            *training("TRM (attention), Sudoku, batch 768", "trm-sudoku", f"{fast} off", "arch.mlp_t=false",
                      "arch.pos_encodings=rope"),
            *training("HRM 27M, 30×30 mazes, batch 96", "maze-hard", f"{fast} off", "global_batch_size=96"),
            *training("TRM (attention), 30×30 mazes, batch 96", "trm-maze", f"{fast} off",
                      "global_batch_size=96"),
            *training("bundled 9×9 (RSM), batch 64", "sudoku-9x9", small_graphs, "train.depth_schedule=3x4@0"),
            *training("RSM, Sudoku, depth 8×6, batch 512", "rsm-sudoku", f"{fast} off",
                      "train.depth_schedule=8x6@0"),
            *training(_HRM, "sudoku-extreme", " ".join(self.modes)),
            *training(_TRM, "trm-sudoku", " ".join(self.modes)),
        ]  # fmt: skip
        wanted = [
            row for row in rows if any(part in row.name for part in self.only) and row.mode in self.modes
        ]
        chosen = list({row.name: row for row in wanted}.values())
        trained = [row for row in chosen if row.kind == "training"]
        if trained:
            chosen.insert(3, FIRST)
            chosen.append(SLOWEST)
        return chosen


def compile_modes() -> list[str]:
    """The values of `train.compile`, without `auto`, which is one of the others."""
    from hrm_cli.config.train import TrainConfig

    return [mode for mode in get_args(TrainConfig.model_fields["compile"].annotation) if mode != "auto"]


def run(results: Results, wanted: Wanted, seconds: float, row_seconds: float) -> None:
    """Measures the rows that have not been measured yet."""
    deadline = Deadline(seconds)
    results.say(f"\nspeed, on {wanted.device}: the reference is reported at {REFERENCE_STEPS_PER_SECOND} steps/s "
                "(HRM 27M, Sudoku, batch 768, one H200)")  # fmt: skip
    results.say(
        f"{'':<50} {'compile':<16} {'ready in':>9} {'steps/s':>8} {'puzzles/s':>10} {'TFLOP/s':>8} "
        f"{'of matmul':>9} {'memory':>9}"
    )
    finished = results.finished(STAGE)
    rows = wanted.rows()
    if all(row.name in finished for row in rows):
        parts = " or ".join(repr(part) for part in wanted.only)
        results.say(
            f"nothing to measure: all {len(rows)} rows are measured" if rows else
            f"nothing to measure: no row with {parts} in its name in the modes {', '.join(wanted.modes)}"
        )  # fmt: skip
    measure(results, wanted, [row for row in rows if row.name not in finished], deadline, row_seconds)


class Warmers:
    """Processes that compile the rows beforehand, so that measuring finds their kernels on disk.

    They run during `check`, on idle cores, and their duration is reported.
    """

    def __init__(self, results: Results, wanted: Wanted, count: int) -> None:
        finished = results.finished(STAGE)
        compiled = [
            row
            for row in wanted.rows()
            if row.kind != "profile" and row.mode != "off" and row.name not in finished
        ]
        self._results = results
        self._processes = [
            Process(
                ["-m", "gpu_stages.speed_worker", _document(results, wanted, compiled[i::count], warm=True)],
                results.logs / f"warm-{i}.log",
                COMPILING_TOGETHER,
            )
            for i in range(min(count, len(compiled)))
        ]

    def finish(self, seconds: float) -> None:
        """Waits for the processes, and kills those that exceed the limit."""
        deadline, ready = Deadline(seconds), {}
        for process in self._processes:
            try:
                for line in process.lines(deadline):
                    told = _parsed(line)
                    if told is not None and told["status"] != "begun":
                        ready[told["row"]] = told.get("ready_seconds", told["status"])
            except TimeoutError:
                pass
            process.end()
        if self._processes:
            self._results.add(STAGE, "compiled beforehand", "told", rows=ready)
            listed = "; ".join(
                f"{row} {took if isinstance(took, str) else f'{took:.0f} s'}" for row, took in ready.items()
            )
            self._results.say(f"compiled beforehand, several at a time: {listed or 'none'}")


def _document(results: Results, wanted: Wanted, rows: Sequence[Row], *, warm: bool = False) -> str:
    return json.dumps(
        {
            "device": wanted.device,
            "small": wanted.small,
            "warm": warm,
            "output": str(results.folder.resolve()),
            "rows": [asdict(row) for row in rows],
            "measured": _of_matmul(results),
            "known": [asdict(row) for row in wanted.rows() if row.kind == "training"],
        }
    )


def measure(
    results: Results,
    wanted: Wanted,
    rows: Sequence[Row],
    deadline: Deadline,
    row_seconds: float,
    worker: Sequence[str] = ("-m", "gpu_stages.speed_worker"),
) -> None:
    """Measures rows in worker processes until all are done or the time is over. A hanging row costs one process."""
    left, starts = list(rows), 0
    why = f"the stage's {deadline.seconds:.0f} s were over"
    while left and deadline.left > 5:
        log = results.logs / "speed.log"
        process = Process([*worker, _document(results, wanted, left)], log)
        current: str | None = None
        started = over = False
        try:
            allowed = deadline.left if wanted.device.startswith("cpu") else _START_SECONDS
            while True:
                line = process.line(min(allowed, deadline.left))
                if line is None:
                    break
                told = _parsed(line)
                if told is None:
                    continue
                if told["status"] == "begun":
                    current, allowed = told["row"], row_seconds
                    started |= current != "device"
                    continue
                _keep(results, told)
                left = [row for row in left if row.name != told["row"]]
                current = None
            problem = "its process ended"
        except TimeoutError:
            over = deadline.left < 0.1
            problem = "the stage's time was over" if over else f"hung for {allowed:.0f} s"
        status = process.end()
        if not left:
            break
        if status == BROKEN and current is None:
            continue
        tail = last_lines(process.logged(), 4)
        failed = {"status": "stopped" if over else "failed", "error": [f"{problem}, status {status}", *tail]}
        if current in (None, "device"):
            # No row is at fault. A process that hung while it started may succeed the next time.
            _keep(results, {**failed, "row": "the process" if started else "start of the process"})
            starts += 1
            if not over and (starts == _STARTS or (not started and problem == "its process ended")):
                why = f"the process that measures failed: {problem}, status {status}"
                break
        else:
            _keep(results, {**failed, "row": current})
            left = [row for row in left if row.name != current]
    results.not_reached(STAGE, [row.name for row in left], why)


def _of_matmul(results: Results) -> dict[str, float]:
    """The fraction of the matmul rate of every training row that has been measured."""
    return {
        row["row"]: row["of_matmul"]
        for row in results.rows()
        if row["stage"] == STAGE and row["status"] == "ok" and row.get("kind") == "training"
    }


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"row", "status"} <= found.keys() else None


def _keep(results: Results, told: dict[str, Any]) -> None:
    told = dict(told)
    name, status = told.pop("row"), told.pop("status")
    results.add(STAGE, name, status, **told)
    if status != "ok":
        lines = told["error"][:1] if status == "stopped" else told["error"][-2:]
        results.say(f"{name:<67} {status.upper()}: {' | '.join(lines)}")
    elif told["kind"] == "device":
        results.say(f"  {told['card']}: {told['matmul_tflops']:.1f} TFLOP/s ({told['product']} in {told['dtype']}), "
                    f"{told['copy_tb_per_s']:.2f} TB/s copied (read + written)")  # fmt: skip
    elif told["kind"] == "profile":
        results.say(f"{name:<67} in profile.txt")
    else:
        results.say(
            f"{told['what']:<50} {told['mode']:<16} {told['ready_seconds']:7.1f} s {told['steps_per_s']:8.2f} "
            f"{told['puzzles_per_s']:10.0f} {told['tflops']:8.1f} {told['of_matmul']:9.1%} "
            f"{told['memory_gib']:5.1f} GiB"
        )
