"""Tests claimed symmetries of own puzzles against their pairs.

A claim says that a transformation of both input and output keeps a pair correct. If the transformed input of a pair is
also an input of the data, its output must be the transformed output. A pair whose input does not change under the
transformation is compared with itself.

Letters in shapes: n pairs, S cells of a square canvas on which every grid fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.fingerprints import Fingerprints, fingerprints
from hrm_cli.data.format import Dataset
from hrm_cli.data.sources import Report
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.puzzles.domain import PAD
from hrm_cli.puzzles.grids.domain import END, GridsDomain, corner_sizes
from hrm_cli.puzzles.grids.symmetry import offsets_to_compare, shifts_to_compare, transforms_of, turn_fields

NAMES = {
    1: "reflected in the main diagonal", 2: "turned upside down", 3: "rotated by 90° counterclockwise",
    4: "mirrored left to right", 5: "rotated by 90° clockwise", 6: "rotated by 180°",
    7: "reflected in the other diagonal",
}  # fmt: skip
"""What each transform of `grids/symmetry.py` does."""

_CHUNK_CELLS = 1 << 21
_LONGEST = 60
"""Largest number of characters of an input in a message."""
CLAIMS = ("rotations", "reflections", "translations", "symbols")
_MOST_SHIFTED = 20_000
"""Number of pairs on which translations are tested."""

Fields = NDArray[np.integer]


@dataclass(frozen=True)
class _Pairs:
    """Gives access to the pairs of some splits, numbered consecutively."""

    datasets: Sequence[Dataset]

    def __len__(self) -> int:
        return sum(dataset.num_examples for dataset in self.datasets)

    def place(self, number: int) -> str:
        """`train 12 (01/23)`: split and example of a pair, and its input if it is short."""
        for dataset in self.datasets:
            if number < dataset.num_examples:
                reader = TokenReader.of(dataset.metadata)
                grid = reader.grid(dataset.gather(np.array([number]))[0][0])
                text = "" if grid is None or reader.domain is None else reader.domain.text(grid)
                return f"{dataset.split} {number}" + (f" ({text})" if 0 < len(text) <= _LONGEST else "")
            number -= dataset.num_examples
        raise IndexError(number)

    def pieces(self, canvas: GridsDomain, original: GridsDomain) -> Any:
        """Inputs and outputs in pieces `[n, S]` on the square canvas."""
        for dataset in self.datasets:
            rows = max(1, _CHUNK_CELLS // canvas.seq_len)
            for start in range(0, dataset.num_examples, rows):
                examples = np.arange(start, min(start + rows, dataset.num_examples))
                inputs, labels = dataset.gather(examples)
                yield on_canvas(inputs, original, canvas), on_canvas(labels, original, canvas)


def check_claims(
    datasets: Sequence[Dataset], domain: GridsDomain, claimed: Sequence[str], report: Report
) -> list[dict[str, Any]]:
    """For each possible claim: refuted, consistent (with how many comparisons), or not testable with this data."""
    pairs, canvas = _Pairs(datasets), square_canvas(domain)
    given, whole = _prints(pairs, canvas, domain, lambda fields: fields)
    order = np.argsort(given, kind="stable")
    ordered = given[order]
    records = []
    for claim in CLAIMS:
        report("testing symmetries", CLAIMS.index(claim) + 1, len(CLAIMS))
        if claim == "symbols":
            found = _test_symbols(pairs, canvas, domain)
        elif claim == "translations":
            found = _test_shifts(pairs, canvas, domain)
        else:
            found = _test_turns(pairs, canvas, domain, transforms_of((claim,))[1:], (order, ordered, whole))
        compared, refuting, first = found
        status = "refuted" if refuting else "consistent" if compared else "untestable"
        records.append(
            {
                "claim": claim,
                "claimed": claim in claimed,
                "status": status,
                "compared": compared,
                "refuting": refuting,
                "where": first,
                "text": _text(claim, compared, refuting, first),
            }
        )
    return records


def _text(claim: str, compared: int, refuting: int, first: str) -> str:
    if refuting:
        return f"{claim}: refuted by {refuting:,} of {compared:,} comparisons, for example {first}"
    if compared:
        return f"{claim}: consistent with the data in {compared:,} comparisons"
    return f"{claim}: no two inputs are symmetric to each other, so the data cannot test this claim"


Found = tuple[int, int, str]
"""Comparisons, those that refute the claim, and the first of these as text."""


def _test_turns(
    pairs: _Pairs,
    canvas: GridsDomain,
    domain: GridsDomain,
    transforms: Sequence[int],
    table: tuple[NDArray[np.int64], Fingerprints, Fingerprints],
) -> Found:
    order, ordered, outputs = table
    compared = refuting = 0
    first = ""
    for transform in transforms:
        if not len(pairs):
            break

        def turn(fields: Fields, transform: int = transform) -> Fields:
            return turn_fields(fields, canvas, np.full(len(fields), transform))

        turned, wanted = _prints(pairs, canvas, domain, turn)
        place = np.minimum(np.searchsorted(ordered, turned), len(ordered) - 1)
        met = np.flatnonzero(ordered[place] == turned)
        partner = order[place[met]]
        wrong = outputs[partner] != wanted[met]
        compared += len(met)
        refuting += int(wrong.sum())
        if not first and wrong.any():
            at = int(np.argmax(wrong))
            first = _met(pairs, int(met[at]), int(partner[at]), NAMES[transform])
    return compared, refuting, first


def _met(pairs: _Pairs, one: int, other: int, how: str) -> str:
    if one == other:
        return f"the input of {pairs.place(one)} does not change when {how}, but its output does"
    return f"the input of {pairs.place(one)} {how} is the input of {pairs.place(other)}, but the outputs do not match"


def _test_symbols(pairs: _Pairs, canvas: GridsDomain, domain: GridsDomain) -> Found:
    """Tests exchanges of symbols.

    A symbol that occurs in the output only refutes the claim: exchanging it for another unused symbol changes the
    output, but not the input.
    """
    inputs, whole, alone = [], [], []
    for given, wanted in pairs.pieces(canvas, domain):
        inputs.append(fingerprints(_bytes(first_positions([given]))))
        whole.append(fingerprints(_bytes(first_positions([given, wanted]))))
        alone.append(_could_be_another(given, wanted, canvas))
    given_keys, pair_keys, other = (np.concatenate(part) for part in (inputs, whole, alone))
    order = np.argsort(given_keys, kind="stable")
    starts = np.ones(len(order), bool)
    starts[1:] = given_keys[order][1:] != given_keys[order][:-1]
    leader = np.empty(len(order), np.int64)
    leader[order] = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    met = np.flatnonzero(leader != np.arange(len(order)))
    wrong = pair_keys[met] != pair_keys[leader[met]]
    refuting = int(wrong.sum()) + int(other.sum())
    first = ""
    if other.any():
        first = (
            f"the output of {pairs.place(int(np.argmax(other)))} has a symbol that its input does not have, and "
            "another unused symbol could be in its place"
        )
    elif wrong.any():
        at = int(np.argmax(wrong))
        first = _met(pairs, int(met[at]), int(leader[met[at]]), "with symbols exchanged")
    return len(met) + int(other.sum()), refuting, first


def _test_shifts(pairs: _Pairs, canvas: GridsDomain, domain: GridsDomain) -> Found:
    """Cyclic shifts. Two inputs are compared if one is a shift of the other, on the first `_MOST_SHIFTED` pairs."""
    leaders: dict[bytes, tuple[int, bytes]] = {}
    compared = refuting = number = 0
    first = ""
    for given, wanted in pairs.pieces(canvas, domain):
        for row in range(min(len(given), _MOST_SHIFTED - number)):
            before, after = (_grid_of(fields[row], canvas) for fields in (given, wanted))
            if before.shape != after.shape:
                refuting, compared = refuting + 1, compared + 1
                first = (
                    first
                    or f"{pairs.place(number)}: input and output differ in size, so one shift cannot apply to both"
                )
            else:
                both = [_together(*shifted) for shifted in zip(*shifts_of_pair(before, after), strict=True)]
                key, pair_key = min(part[0] for part in both), min(part[0] + part[1] for part in both)
                leader, known = leaders.setdefault(key, (number, pair_key))
                compared += leader != number
                if known != pair_key:
                    refuting += 1
                    first = first or _met(pairs, leader, number, "shifted")
            number += 1
    return compared, refuting, first


def shifts_of_pair(given: Fields, wanted: Fields) -> tuple[list[Fields], list[Fields]]:
    """Shifts of two grids of one size by the same offsets: those that `shifts_to_compare` makes of the first."""
    cells = np.arange(given.size).reshape(given.shape)
    offsets = offsets_to_compare(given)
    shifted = [np.roll(cells, (-row, -column), (0, 1)) for row, column in offsets]
    return [given.ravel()[order] for order in shifted], [wanted.ravel()[order] for order in shifted]


def _together(given: Fields, wanted: Fields) -> tuple[bytes, bytes]:
    return str(given.shape).encode() + given.tobytes(), wanted.tobytes()


def _grid_of(field: Fields, canvas: GridsDomain) -> Fields:
    plain = field.reshape(canvas.rows, canvas.columns)
    rows, columns = (int(size[0]) for size in corner_sizes((plain >= canvas.first)[None]))
    return plain[:rows, :columns]


def _could_be_another(given: Fields, wanted: Fields, canvas: GridsDomain) -> NDArray[np.bool_]:
    """Pairs whose output has a symbol that is not in the input, while at least two symbols are not in the input."""
    count, size = len(given), canvas.vocab_size
    used, answered = np.zeros((count, size), bool), np.zeros((count, size), bool)
    rows = np.arange(count)[:, None]
    used[rows, given] = True
    answered[rows, wanted] = True
    first = canvas.first
    missing = (~used[:, first:]).sum(axis=1)
    return (missing >= 2) & (answered[:, first:] & ~used[:, first:]).any(axis=1)


def _prints(
    pairs: _Pairs, canvas: GridsDomain, domain: GridsDomain, change: Callable[[Fields], Fields]
) -> tuple[Fingerprints, Fingerprints]:
    """Fingerprints of changed inputs and of changed outputs, `[n]` each."""
    inputs, outputs = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for given, wanted in pairs.pieces(canvas, domain):
        inputs.append(fingerprints(_bytes(change(given))))
        outputs.append(fingerprints(_bytes(change(wanted))))
    return np.concatenate(inputs), np.concatenate(outputs)


def square_canvas(domain: GridsDomain) -> GridsDomain:
    """A square canvas with end marks, on which every grid can be rotated."""
    side = max(domain.rows, domain.columns)
    return GridsDomain(side, side, list(domain.symbols), domain.words)


def on_canvas(tokens: Fields, domain: GridsDomain, canvas: GridsDomain) -> Fields:
    """Moves grids `[n, rows · columns]` of `domain` to the square canvas, with end marks, `[n, S]`."""
    symbols = np.where(tokens >= domain.first, tokens - domain.first + canvas.first, PAD)
    plain = symbols.reshape(-1, domain.rows, domain.columns)
    if domain.marked:
        # Only the rectangle at the corner is the grid.
        height, width = (size[:, None, None] for size in corner_sizes(plain >= canvas.first))
        row, column = np.arange(domain.rows)[None, :, None], np.arange(domain.columns)[None, None, :]
        plain = np.where((row < height) & (column < width), plain, PAD)
    field = np.full((len(tokens), canvas.rows, canvas.columns), PAD, canvas.token_type)
    field[:, : domain.rows, : domain.columns] = plain
    flat = field.reshape(len(tokens), -1)
    # The identity adds the end marks.
    return turn_fields(flat, canvas, np.zeros(len(flat), np.int64))


def first_positions(fields: Sequence[Fields]) -> NDArray[np.uint16]:
    """Replaces each symbol of rows by the position of its first occurrence: equal for exchanged symbols only.

    Several fields `[n, S]` of a row are one sequence. Padding and end marks keep a value of their own.
    """
    rows = np.concatenate(fields, axis=1)
    count, length = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    starts = np.ones((count, length), bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.maximum.accumulate(np.where(starts, np.arange(length), 0), axis=1)
    found = np.empty((count, length), np.uint16)
    np.put_along_axis(found, order, np.take_along_axis(order, group, axis=1).astype(np.uint16), axis=1)
    return np.where(rows <= END, length + rows, found).astype(np.uint16)


def class_prints(tokens: Fields, domain: GridsDomain, symmetries: Sequence[str]) -> Fingerprints:
    """Keys of inputs `[n, S]` that are equal for inputs that the claimed symmetries map to each other."""
    canvas = square_canvas(domain)
    fields = on_canvas(tokens, domain, canvas)
    keys = []
    for transform in transforms_of(symmetries):
        turned = turn_fields(fields, canvas, np.full(len(fields), transform))
        if "translations" in symmetries:
            keys.append(_shift_prints(turned, canvas, exchanged="symbols" in symmetries))
        else:
            keys.append(
                fingerprints(_bytes(first_positions([turned]) if "symbols" in symmetries else turned))
            )
    smallest: Fingerprints = np.min(keys, axis=0)
    return smallest


def _shift_prints(fields: Fields, canvas: GridsDomain, *, exchanged: bool) -> Fingerprints:
    """The smallest fingerprint of the shifts of each grid, `[n]`."""
    smallest = np.empty(len(fields), np.uint64)
    for row, field in enumerate(fields):
        grid = _grid_of(field, canvas)
        shifts = np.repeat(field[None], len(offsets_to_compare(grid)), axis=0)
        plain = shifts.reshape(-1, canvas.rows, canvas.columns)
        for shifted, place in zip(shifts_to_compare(grid), plain, strict=True):
            place[: grid.shape[0], : grid.shape[1]] = shifted
        smallest[row] = fingerprints(_bytes(first_positions([shifts]) if exchanged else shifts)).min()
    return smallest


def _bytes(rows: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
