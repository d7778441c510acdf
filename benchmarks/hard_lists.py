"""Measures the effort levels of hrm solve on a file of hard Sudoku, by collection: benchmarks/results/hard_lists.txt.

    python benchmarks/hard_lists.py [PUZZLES.csv] [--model bundled:sudoku-any-size] [--minimal 1000]
        [--records RECORDS.jsonl] [--save benchmarks/results/hard_lists.txt]

Without PUZZLES, ../shared/data/sudoku/test.csv is measured; if it does not exist, the script reports that and ends.
`--minimal` adds that many new minimal puzzles. With `--records`, an interrupted measurement continues. Records of
benchmarks/effort.py with the kinds pass, search-64 and search-512 are accepted too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from effort import Trial, read
from effort_records import Record, Records, header_of
from numpy.typing import NDArray
from reporting import keep, machine_line

from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.evaluation.effort import forward_flops
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.puzzles.domain import Tokens, can_pin
from hrm_cli.solving.choosing import LoadedModel

PUZZLES = Path(__file__).resolve().parents[2] / "shared" / "data" / "sudoku" / "test.csv"
LEVELS = {"pass": "pass", "medium": "search-64", "high": "search-512"}
"""Kinds of benchmarks/effort.py by effort level, for equivariant models, whose copies give the same answers."""
MINIMAL = "new minimal puzzles"
FURTHER_STEPS = (32, 64, 128, 256, 512, 1024)


def table(by_level: dict[str, list[Record]], sources: NDArray[np.str_]) -> list[str]:
    """Solved puzzles by collection and effort level."""
    lines = [f"{'collection':<32} {'puzzles':>7}" + "".join(f" {level:>16}" for level in by_level)]
    listed = sources != MINIMAL
    groups = [(name, sources == name) for name in np.unique(sources[listed])]
    groups += [("together", listed)] if listed.any() else []
    groups += [(MINIMAL, ~listed)] if not listed.all() else []
    for name, own in groups:
        count = int(own.sum())
        reached = [
            sum(one.solved for one, is_own in zip(found, own, strict=True) if is_own)
            for found in by_level.values()
        ]
        shares = "".join(f" {f'{right:,} = {right / count:.2%}':>16}" for right in reached)
        lines.append(f"{name:<32} {count:>7,}{shares}")
    return lines


def curve(by_level: dict[str, list[Record]], own: NDArray[np.bool_], flops: int) -> list[str]:
    """Solved puzzles and mean steps by the number of further steps that each failed puzzle may take."""
    count = int(own.sum())
    lines = [f"{f'of the {count:,}':<18} {'solved (95 %)':<24} {'steps':>7} {'FLOPs':>9}   per puzzle"]
    pairs = [pair for pair, is_own in zip(zip(*by_level.values(), strict=True), own, strict=True) if is_own]

    def line(name: str, right: int, steps: float) -> str:
        low, high = wilson_interval(right / count, count)
        reached = f"{right / count:.2%} ({low:.1%} to {high:.1%})"
        return f"{name:<18} {reached:<24} {steps:7.1f} {flops * steps:9.2g}"

    lines.append(line("pass", sum(one.solved for one, *_ in pairs), np.mean([p[0].steps for p in pairs])))
    for most in FURTHER_STEPS:
        spent = [min(medium.steps - first.steps, most) for first, medium, _ in pairs]
        right = sum(medium.solved and medium.steps - first.steps <= most for first, medium, _ in pairs)
        lines.append(
            line(f"steps-{most}", right, np.mean([p[0].steps + s for p, s in zip(pairs, spent, strict=True)]))
        )
    for place, level in ((1, "medium"), (2, "high")):
        lines.append(
            line(level, sum(p[place].solved for p in pairs), np.mean([p[place].steps for p in pairs]))
        )
    return lines


def puzzles_of(
    path: Path, loaded: LoadedModel, count: int | None, minimal: int
) -> tuple[Tokens, NDArray[np.str_]]:
    """The tokens and sources of a file, followed by new minimal puzzles."""
    tokens, sources = read(path, loaded, count)
    if not minimal:
        return tokens, sources
    with tempfile.TemporaryDirectory() as folder:
        settings = {"num_train": 1, "num_test": minimal, "seed": 97_001}
        build_request(BuildRequest("sudoku", Path(folder) / "minimal", settings))
        new, _ = read(Path(folder) / "minimal", loaded, None)
        new = new.copy()
    return np.concatenate([tokens, new]), np.concatenate([sources, np.full(len(new), MINIMAL)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("puzzles", type=Path, nargs="?")
    parser.add_argument("--model", default="bundled:sudoku-any-size")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--minimal", type=int, default=0, metavar="N")
    parser.add_argument("--records", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    if options.puzzles is None and not PUZZLES.is_file():
        print("skipped: ../shared/data/sudoku/test.csv is absent; name a file of puzzles")
        return
    loaded = LoadedModel.load(Path(options.model), torch.device("cpu"))
    if not can_pin(loaded.domain):
        parser.error(f"--model {options.model}: {loaded.domain.describe()} cannot be searched")
    tokens, sources = puzzles_of(options.puzzles or PUZZLES, loaded, options.sample, options.minimal)
    if not len(tokens):
        parser.error(f"{options.puzzles}: no puzzle in it is one of {loaded.domain.describe()}")
    try:
        records = Records.open(options.records, header_of(loaded, tokens))
    except ValueError as error:
        parser.error(f"--records {error}; name another file")
    trial = Trial.of(loaded, tokens, sources, records)
    for kind in LEVELS.values():
        trial.run(kind)
    by_level = {level: trial.results(kind) for level, kind in LEVELS.items()}
    flops = forward_flops(loaded.model.arch, loaded.domain.vocab_size, loaded.domain.seq_len)
    lines = [
        f"{options.model} with the effort levels of hrm solve: pass of at most {trial.max_steps} steps;",
        "medium: search of 64 nodes of 24 steps; high: of 512, run on the puzzles that medium left.",
        "A puzzle counts when the rules verify the answer.",
        machine_line(),
        "",
        *table(by_level, sources),
        "",
        *curve(by_level, sources != MINIMAL, flops),
        "",
        "steps-N: what medium had solved after N further steps for each puzzle that the pass left.",
    ]
    print("\n".join(lines))
    keep("\n".join(lines), options.save)


if __name__ == "__main__":
    main()
