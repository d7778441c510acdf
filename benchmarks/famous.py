"""Solves ten of the hardest Sudoku from newspapers and forums, one at a time: the stage that solves each, and the time.

    python benchmarks/famous.py [--model bundled:sudoku-any-size] [--effort medium] [--training FILE.csv]
        [--only NAME …] [--save benchmarks/results/famous.txt]

Solved means verified by the rules. With `--training`, puzzles that are also in that file, up to symmetry, are marked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from os import getloadavg
from pathlib import Path

import numpy as np
from reporting import keep, machine_line

import hrm_cli as hrm
from hrm_cli.puzzles.domain import BulkDomain, Puzzle, make_domain
from hrm_cli.puzzles.reading import read_puzzles

FAMOUS = {
    "AI Escargot": "1....7.9..3..2...8..96..5....53..9...1..8...26....4...3......1..4......7..7...3..",
    "Inkala 2010": "..53.....8......2..7..1.5..4....53...1..7...6..32...8..6.5....9..4....3......97..",
    "Inkala 2012": "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..",
    "Golden Nugget": ".......39.....1..5..3.5.8....8.9...6.7...2...1..4.......9.8..5..2....6..4..7.....",
    "Easter Monster": "1.......2.9.4...5...6...7...5.9.3.......7.......85..4.7.....6...3...9.8...2.....1",
    "Platinum Blonde": ".......12........3..23..4....18....5.6..7.8.......9.....85.....9...4.5..47...6...",
    "Fata Morgana": "........3..1..56...9..4..7......9.5.7.......8.5.4.2....8..2..9...35..1..6........",
    "Red Dwarf": "12.3....435....1....4........54..2..6...7.........8.9...31..5.......9.7.....6...8",
    "Cheese": ".2..5.7..4..1....68....3...2....8..3.4..2.5.....6...1...2.9.....9......57.4...9..",
    "Against brute force": "..............3.85..1.2.......5.7.....4...1...9.......5......73..2.1........4...9",
}
"""The hardest puzzles of their time by name; the last one has its clues where a search from the top row is slowest."""


def solved(
    model: hrm.Model, names: list[str], effort: str | None, known: set[bytes]
) -> Iterator[tuple[str, bool, float]]:
    """A line for each of the puzzles, whether it was solved, and its seconds."""
    domain: BulkDomain = make_domain("sudoku", size=9)  # type: ignore[assignment]
    next(iter(model.solve("1" + "." * 80, attempts=1)))  # the first call loads the model
    for name in names:
        text = FAMOUS[name]
        started, processor = time.perf_counter(), time.process_time()
        (one,) = model.solve(text, effort=effort)  # type: ignore[arg-type]
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        is_known = domain.canonical(domain.encode(domain.parse(text).grid)[None])[0] in known
        mark = "   also in the training file" if is_known else ""
        line = (
            f"{name:<20} {sum(cell != '.' for cell in text):>5}  {one.status:<9} {one.how:<9} {one.nodes:>5} "
            f"{one.total_steps:>6} {seconds:>8.2f} {processor:>9.2f}{mark}"
        )
        yield line, one.status == "solved" and one.verified, seconds


def keys(file: Path) -> set[bytes]:
    """The canonical forms of the 9×9 puzzles of a file."""
    domain: BulkDomain = make_domain("sudoku", size=9)  # type: ignore[assignment]
    puzzles = [item for item in read_puzzles(file) if isinstance(item, Puzzle) and item.grid.size == 81]
    return set(domain.canonical(np.stack([domain.encode(puzzle.grid) for puzzle in puzzles])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="bundled:sudoku-any-size")
    parser.add_argument("--effort", choices=("low", "medium", "high"))
    parser.add_argument("--training", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*FAMOUS], default=[*FAMOUS])
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    lines = [
        f"{options.model}, effort {options.effort or 'medium'}, one puzzle at a time; load {getloadavg()[0]:.0f}",
        machine_line(),
        f"{'puzzle':<20} {'clues':>5}  {'status':<9} {'by':<9} {'nodes':>5} {'steps':>6} {'seconds':>8} {'CPU':>9}",
    ]
    print("\n".join(lines), flush=True)
    model, known = hrm.load(options.model), keys(options.training) if options.training else set()
    right, times = 0, []
    for line, is_right, seconds in solved(model, options.only, options.effort, known):
        lines.append(line)
        print(line, flush=True)
        right += is_right
        times.append(seconds)
    lines.append(
        f"solved and verified: {right} of {len(times)}; "
        f"seconds: median {np.median(times):.2f}, at most {max(times):.2f}"
    )
    print(lines[-1])
    keep("\n".join(lines), options.save)


if __name__ == "__main__":
    main()
