"""The symmetries of ARC grids and their names: the eight of the square, and the permutations of colors 1 to 9.

A grid is recolored first, then transformed. A task's copy is called `TASK|||tN|||PERMUTATION`. Digit i of PERMUTATION
is the new color of color i; color 0, the background, does not change. tN is t0 for the identity, t1 to t3 for
rotations by 90°, 180° and 270° counter-clockwise, t4 for the left-right flip, t5 for the up-down flip, t6 for the
transpose, and t7 for the reflection in the other diagonal.

Letters in shapes: n symmetries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.dihedral import transform
from hrm_cli.puzzles.domain import Grid

COLORS = 10
SEPARATOR = "|||"
INVERSES = (0, 3, 2, 1, 4, 5, 6, 7)
"""The inverse of each transform."""
SWAPS_SIDES = np.array([False, True, False, True, False, False, True, True])
"""Whether a transform swaps rows and columns."""

_IDENTITY = tuple(range(COLORS))


@dataclass(frozen=True)
class ArcSymmetry:
    """One symmetry. Recoloring and transforming commute, so the inverse consists of the two separate inverses."""

    transform: int = 0
    permutation: tuple[int, ...] = _IDENTITY
    """New color of each color; color 0 stays."""

    def apply(self, grid: Grid) -> Grid:
        """The copy of a grid."""
        recolored = np.array(self.permutation, np.uint8)[grid]
        return transform(recolored, self.transform).astype(np.uint8)

    def inverse(self) -> ArcSymmetry:
        """The symmetry that undoes this one."""
        return ArcSymmetry(INVERSES[self.transform], tuple(int(i) for i in np.argsort(self.permutation)))

    def name(self, task: str) -> str:
        """The name of this copy of `task`. The identity keeps the task's own name."""
        if self.transform == 0 and self.permutation == _IDENTITY:
            return task
        return f"{task}{SEPARATOR}t{self.transform}{SEPARATOR}{''.join(map(str, self.permutation))}"


def parse_name(name: str) -> tuple[str, ArcSymmetry]:
    """Splits the name of a copy into task and symmetry. Raises ValueError if it does not follow the pattern."""
    task, *parts = name.split(SEPARATOR)
    if not parts:
        return task, ArcSymmetry()
    if len(parts) == 2:
        number, digits = parts
        if (
            len(number) == 2
            and number[0] == "t"
            and number[1] in "01234567"
            and digits[:1] == "0"
            and sorted(digits) == list("0123456789")
        ):
            return task, ArcSymmetry(int(number[1]), tuple(map(int, digits)))
    raise ValueError(f"{name!r}: expected TASK or TASK|||tN|||PERMUTATION, as in 0520fde7|||t3|||0248617359")


@dataclass(frozen=True)
class ArcSymmetries:
    """n symmetries as arrays."""

    transforms: NDArray[np.uint8]
    """`[n]`, 0 to 7."""
    permutations: NDArray[np.uint8]
    """New color of each color, `[n, 10]`."""

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> ArcSymmetries:
        return ArcSymmetries(self.transforms[rows], self.permutations[rows])

    @classmethod
    def identity(cls) -> ArcSymmetries:
        """A batch with only the identity."""
        return cls.of([ArcSymmetry()])

    @classmethod
    def of(cls, symmetries: Sequence[ArcSymmetry]) -> ArcSymmetries:
        """Stacks single symmetries."""
        return cls(
            np.array([one.transform for one in symmetries], np.uint8),
            np.array([one.permutation for one in symmetries], np.uint8).reshape(-1, COLORS),
        )

    def followed_by(self, others: ArcSymmetries) -> ArcSymmetries:
        """Concatenates two batches; this does not compose them."""
        return ArcSymmetries(
            np.concatenate([self.transforms, others.transforms]),
            np.concatenate([self.permutations, others.permutations]),
        )

    def names(self, task: str) -> list[str]:
        """The names of the copies of `task`."""
        digits = (self.permutations + ord("0")).tobytes().decode("ascii")
        plain = "".join(map(str, _IDENTITY))
        names = []
        for row, number in enumerate(self.transforms.tolist()):
            permutation = digits[row * COLORS : (row + 1) * COLORS]
            is_identity = number == 0 and permutation == plain
            names.append(task if is_identity else f"{task}{SEPARATOR}t{number}{SEPARATOR}{permutation}")
        return names

    @classmethod
    def parse(cls, names: Sequence[str]) -> ArcSymmetries:
        """The symmetries in a list of names; the task names are ignored. Raises ValueError for a malformed name."""
        return cls.of([parse_name(name)[1] for name in names])
