"""Measures how many Sudoku puzzles the built-in generator makes and the solver checks per second, on one core.

A plain Python generator and solver with the same rules run for comparison. The speedup depends little on the machine.

`python benchmarks/sudoku_generator.py [--seconds 3] [--runs 5]` prints the results; redirect the output to keep them.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
from reporting import Work, machine_line, print_rates

from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.generator import generate
from hrm_cli.puzzles.sudoku.layout import layout
from hrm_cli.puzzles.sudoku.solver import search
from hrm_cli.puzzles.sudoku.variations import vary

PEERS = [row.tolist() for row in layout(9).peers]


def plain_search(cells: list[int], limit: int, shuffled: random.Random | None = None) -> list[list[int]]:
    """Solutions by the cell with the fewest candidates, in plain Python."""
    best: list[int] | None = None
    where = -1
    for cell in range(81):
        if not cells[cell]:
            candidates = list(set(range(1, 10)) - {cells[peer] for peer in PEERS[cell]})
            if best is None or len(candidates) < len(best):
                best, where = candidates, cell
                if len(best) < 2:
                    break
    if best is None:
        return [cells]
    if shuffled:
        shuffled.shuffle(best)
    found: list[list[int]] = []
    for digit in best:
        found += plain_search([*cells[:where], digit, *cells[where + 1 :]], limit - len(found), shuffled)
        if len(found) >= limit:
            break
    return found


def plain_minimal(rng: random.Random) -> list[int]:
    """One minimal puzzle, in plain Python."""
    puzzle = list(plain_search([0] * 81, 1, rng)[0])
    for cell in rng.sample(range(81), 81):
        digit, puzzle[cell] = puzzle[cell], 0
        if len(plain_search(puzzle, 2)) > 1:
            puzzle[cell] = digit
    return puzzle


def generating(size: int, clues: int | tuple[int, int] | None, min_difficulty: int, batch: int) -> Work:
    """Generates `batch` puzzles per call, different ones each time."""
    rng = np.random.default_rng(0)
    return lambda: sum(len(p) for p, _ in generate(size, batch, rng, clues, min_difficulty))


def varying(min_difficulty: int) -> Work:
    """Makes variations, of puzzles at least twice as hard, with at least that difficulty."""
    rng = np.random.default_rng(0)
    parents = list(generate(9, 40, rng, None, 2 * min_difficulty))
    puzzles, solutions = (np.concatenate(half) for half in zip(*parents, strict=True))
    return lambda: sum(
        len(p) for p, _ in vary(9, puzzles, solutions, 200, rng, min_difficulty=min_difficulty)
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=2, help="length of one run")
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    print(f"Sudoku generator and solver, one core of: {machine_line()}")
    print(f"Median (least - greatest) of {given.runs} runs of {given.seconds:g} s of CPU time, warm.\n")

    rng = random.Random(0)
    minimal, _ = next(generate(9, 1000, np.random.default_rng(1)))
    lists = [row.tolist() for row in minimal[:50]]
    domain, draws, tokens = SudokuDomain(9), np.random.default_rng(2), minimal + np.uint8(1)

    def augment() -> int:
        symmetries = domain.sample_symmetries(draws, len(tokens))
        symmetries.apply_both(tokens, tokens)
        return len(tokens)

    rows: list[tuple[str, Work]] = [
        ("minimal 9×9 puzzles made", generating(9, None, 0, 2000)),
        ("  plain Python", lambda: len([plain_minimal(rng)])),
        ("9×9 puzzles of 24-34 clues made", generating(9, (24, 34), 0, 2000)),
        ("9×9 puzzles of difficulty ≥ 10 made", generating(9, None, 10, 50)),
        ("9×9 puzzles of difficulty ≥ 25 made", generating(9, None, 25, 20)),
        ("9×9 puzzles of difficulty ≥ 50 made", generating(9, None, 50, 10)),
        ("variations made, of difficulty ≥ 25 (of 40 of ≥ 50)", varying(25)),
        ("minimal 6×6 puzzles made", generating(6, None, 0, 2000)),
        ("4×4 puzzles of 4-10 clues made", generating(4, (4, 10), 0, 20000)),
        ("minimal 9×9 puzzles checked for one solution", lambda: len(search(minimal, 9).counts)),
        ("  plain Python", lambda: sum(bool(plain_search(cells, 2)) for cells in lists)),
        ("9×9 examples augmented (symmetries drawn; input and label)", augment),
        ("9×9 canonical forms", lambda: len(domain.canonical(tokens))),
    ]
    print_rates(rows, given.runs, given.seconds)


if __name__ == "__main__":
    main()
