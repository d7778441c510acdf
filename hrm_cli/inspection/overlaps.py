"""Duplicates within a split and leaks between splits: identical examples, and examples that are symmetric.

Originals are compared up to symmetry; the stored augmented copies of a puzzle are symmetric to it by construction.

Letters in shapes: n puzzles, S tokens of a puzzle, N size of a Sudoku.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.fingerprints import Fingerprints, fingerprints, occurs_in
from hrm_cli.data.selection import class_fingerprints
from hrm_cli.data.sources import Report
from hrm_cli.inspection.claims import class_prints
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.inspection.tallies import SplitTally, bytes_of
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.dihedral import cell_permutations
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain

_SHOWN = 5
_CHUNK = 4096
MOST_CANONICAL = 4_000
"""Sudoku puzzles of a split whose canonical forms are computed at most; each takes about a millisecond."""

Numbers = NDArray[np.int64]


def duplicates(tally: SplitTally) -> dict[str, Any]:
    """Repetitions among the original examples of a split."""
    originals = tally.originals
    inputs, pairs = tally.input_prints[originals], tally.pair_prints[originals]
    order = np.argsort(inputs, kind="stable")
    starts = np.ones(len(order), bool)
    starts[1:] = inputs[order][1:] != inputs[order][:-1]
    first = np.empty(len(order), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    repeats = np.flatnonzero(first != np.arange(len(order)))
    same = pairs[repeats] == pairs[first[repeats]]
    return {
        "examples": len(originals),
        "inputs": len(repeats),
        "pairs": int(same.sum()),
        "conflicts": int((~same).sum()),
        "where": [[int(originals[row]), int(originals[first[row]])] for row in repeats[:_SHOWN]],
    }


def leaks(
    tallies: Sequence[SplitTally], reader: TokenReader, symmetries: Sequence[str], report: Report
) -> list[dict[str, Any]]:
    """For every two splits: how many examples of the held-out one the other has, and how many up to symmetry."""
    found = []
    for number, held_out in enumerate(tallies):
        for other in tallies[:number]:
            found.append(_leak(other, held_out, reader, symmetries, report))
    return found


def _leak(
    other: SplitTally, held_out: SplitTally, reader: TokenReader, symmetries: Sequence[str], report: Report
) -> dict[str, Any]:
    originals = held_out.originals
    # In ARC, tasks may share an input; a leak shows the answer too.
    is_arc = isinstance(reader.domain, ArcDomain)
    theirs, own = (tally.pair_prints if is_arc else tally.input_prints for tally in (other, held_out))
    known = np.sort(theirs)
    identical = originals[occurs_in(own[originals], known)]
    partners = _partners(own[identical[:_SHOWN]], theirs)
    record: dict[str, Any] = {
        "from": other.dataset.split,
        "into": held_out.dataset.split,
        "examples": len(originals),
        "identical": len(identical),
        "up_to_symmetry": None,
        "symmetries": None,
        "compared": None,
        "notes": [],
        "where": [[int(one), partner] for one, partner in zip(identical.tolist(), partners, strict=False)],
    }
    if is_arc:
        return _arc_leak(record, other, held_out, reader, report)
    classes = _classes(reader, symmetries)
    if classes is None:
        return record
    name, keys, coarse, most = classes
    one, two = (_sampled(tally.originals, None) for tally in (other, held_out))
    record["symmetries"] = name
    if coarse is not None:
        # Only puzzles that agree in what no symmetry changes can be symmetric.
        marks = [_of_rows(tally, rows, coarse, report) for tally, rows in ((other, one), (held_out, two))]
        one, two = (
            rows[occurs_in(mark, np.sort(against))]
            for rows, mark, against in ((one, marks[0], marks[1]), (two, marks[1], marks[0]))
        )
    record["compared"] = {other.dataset.split: len(other.originals), held_out.dataset.split: len(originals)}
    if max(len(one), len(two)) > most:
        one, two = _sampled(one, most), _sampled(two, most)
        record["notes"].append(
            f"too many similar puzzles to compare all up to symmetry: {len(one):,} of {other.dataset.split} with "
            f"{len(two):,} of {held_out.dataset.split}"
        )
        record["compared"] = {other.dataset.split: len(one), held_out.dataset.split: len(two)}
    prints = [_of_rows(tally, rows, keys, report) for tally, rows in ((other, one), (held_out, two))]
    symmetric = two[occurs_in(prints[1], np.sort(prints[0]))]
    record["up_to_symmetry"] = len(symmetric)
    if not len(identical):
        at = np.flatnonzero(np.isin(two, symmetric[:_SHOWN]))
        partners = [int(one[place]) for place in _partners(prints[1][at], prints[0])]
        record["where"] = [[int(two[row]), partner] for row, partner in zip(at, partners, strict=True)]
    return record


def _partners(prints: Fingerprints, among: Fingerprints) -> list[int]:
    return [int(np.argmax(among == value)) for value in prints]


def _sampled(rows: Numbers, most: int | None) -> Numbers:
    if most is None or len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _of_rows(
    tally: SplitTally, rows: Numbers, keys: Callable[[NDArray[Any]], Fingerprints], report: Report
) -> Fingerprints:
    found = [np.empty(0, np.uint64)]
    for start in range(0, len(rows), _CHUNK):
        found.append(keys(tally.dataset.gather(rows[start : start + _CHUNK])[0]))
        report(f"comparing {tally.dataset.split} up to symmetry", min(start + _CHUNK, len(rows)), len(rows))
    return np.concatenate(found)


Classes = tuple[
    str, Callable[[NDArray[Any]], Fingerprints], Callable[[NDArray[Any]], Fingerprints] | None, int
]


def _classes(reader: TokenReader, symmetries: Sequence[str]) -> Classes | None:
    """Name of the symmetries, keys that are equal for symmetric puzzles, coarser keys, and the most puzzles to key."""
    domain, no_limit = reader.domain, 1 << 62
    if isinstance(domain, SudokuDomain):
        return (
            "all symmetries of Sudoku",
            lambda rows: class_fingerprints(domain, rows.astype(np.uint8)),
            lambda rows: sudoku_invariants(rows, domain),
            MOST_CANONICAL,
        )
    if isinstance(domain, MazeDomain):
        cells = cell_permutations(domain.rows, domain.columns)
        return (
            "rotations and reflections",
            lambda rows: np.min([fingerprints(rows.astype(np.uint8)[:, one]) for one in cells], axis=0),
            None,
            no_limit,
        )
    if isinstance(domain, GridsDomain) and symmetries:
        return ", ".join(symmetries), lambda rows: class_prints(rows, domain, symmetries), None, no_limit
    return None


def sudoku_invariants(tokens: NDArray[Any], domain: SudokuDomain) -> Fingerprints:
    """Keys of puzzles `[n, S]` that are equal for symmetric puzzles (and for some others): counts of clues."""
    size, layout = domain.size, domain.layout
    filled = (tokens > BLANK).reshape(-1, size, size)
    lines = []
    for axis, thick in ((2, layout.box_rows), (1, layout.box_columns)):
        counts = np.sort(filled.sum(axis=axis).reshape(len(tokens), -1, thick), axis=2)
        # A band is a number, so that bands can be sorted.
        lines.append(np.sort(counts @ (32 ** np.arange(thick)), axis=1))
    if layout.box_rows == layout.box_columns:
        swapped = np.stack(lines, axis=1)
        codes = np.stack([fingerprints(bytes_of(swapped[:, at])) for at in (0, 1)], axis=1)
        columns = [np.sort(codes, axis=1)]
    else:
        columns = [line.astype(np.uint64) for line in lines]
    digits = np.stack([(tokens == BLANK + 1 + digit).sum(axis=1) for digit in range(size)], axis=1)
    boxes = np.sort(filled.reshape(len(tokens), -1)[:, layout.units[2 * size :]].sum(axis=2), axis=1)
    every = [*columns, np.sort(digits, axis=1).astype(np.uint64), boxes.astype(np.uint64)]
    return fingerprints(bytes_of(np.concatenate(every, axis=1)))


def _arc_leak(
    record: dict[str, Any], other: SplitTally, held_out: SplitTally, reader: TokenReader, report: Report
) -> dict[str, Any]:
    from hrm_cli.data.arc.leaks import find_leaks
    from hrm_cli.inspection.arc_tasks import tasks_of

    train, test = tasks_of(other.dataset, held_out.dataset, reader)
    found = find_leaks(train, test, report)
    record["symmetries"] = "rotations, reflections and recoloring"
    record["compared"] = {other.dataset.split: len(train) + len(test), held_out.dataset.split: len(test)}
    record["up_to_symmetry"] = len({tested for _, tested in (*found.same_tasks, *found.answers)})
    record["notes"] = found.notes()
    record["where"] = [list(names) for names in (*found.same_tasks, *found.answers)[:_SHOWN]]
    return record
