"""Draws a board as a GIF of its reasoning steps, or as a PNG with the puzzle, some steps and the answer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.printable import counted
from hrm_cli.views.raster import (
    BAR,
    CHANGED,
    CHANGED_LINE,
    DIM,
    END,
    FRAME,
    GIVEN_CELL,
    INK,
    MODEL,
    RIGHT,
    TRACK,
    WALL,
    WHITE,
    WRONG,
    Look,
    Sheet,
    cell_size,
    rgb,
    text_width,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Board = Mapping[str, Any]

MOST_FRAMES = 120
"""Largest number of frames of a GIF. Of a longer trace, evenly spaced steps are shown, with the first and the last."""
GIF_SIDE = 480
"""Largest side of a grid in a GIF, in pixels, unless cells would be smaller than `SMALLEST_CELL`."""
SMALLEST_CELL = 3
COLORS = 48
EXACT = (WHITE, WALL, CHANGED, GIVEN_CELL, CHANGED_LINE, FRAME, MODEL, RIGHT, WRONG, BAR, END)
STEP_MS, FIRST_MS, LAST_MS = 600, 1200, 3000
TRACE_MS = 24_000
"""Longest duration of all steps together; the steps of a longer trace are shown for a shorter time."""
SHORTEST_MS = 60

PNG_STEPS = 4
"""Number of reasoning steps in a PNG; the last one is the answer."""
MOST_PER_LINE = 5
SCALE = 2
"""PNG pixels per unit, for screens with a high density."""
MARGIN, GAP = 24, 28


def chosen_steps(count: int, most: int) -> list[int]:
    """At most `most` evenly spaced numbers from 0 to count − 1, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({place * (count - 1) // (most - 1) for place in range(most)})


def gif(board: Board, *, heat: bool = False) -> bytes:
    """The GIF: the puzzle, then every step, then the answer for longer. It repeats forever."""
    frames, durations = [], []
    for frame, milliseconds in _frames(board, heat=heat):
        frames.append(frame)
        durations.append(milliseconds)
    stream = io.BytesIO()
    # Each frame stores only the rectangle that differs from the frame before.
    frames[0].save(
        stream,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        optimize=True,
        disposal=1,
    )
    return stream.getvalue()


def _frames(board: Board, *, heat: bool) -> Iterator[tuple[Image, int]]:
    steps = board["steps"]
    shown = chosen_steps(len(steps), MOST_FRAMES - 1)
    pause = max(SHORTEST_MS, min(STEP_MS, TRACE_MS // max(len(shown), 1)))
    palette: NDArray[np.int64] | None = None
    drawn = [(0, FIRST_MS), *((place + 1, pause) for place in shown)]
    drawn[-1] = (drawn[-1][0], LAST_MS)
    for number, milliseconds in drawn:
        sheet = _frame(board, number, heat=heat)
        if palette is None:
            # One palette for all frames, made from those with the most colors: the puzzle, a middle one and the last.
            palette = _palette(
                [sheet, _frame(board, (len(steps) + 1) // 2, heat=heat), _frame(board, len(steps), heat=heat)]
            )
        yield _indexed(sheet.image, palette), milliseconds


def _palette(sheets: list[Sheet]) -> NDArray[np.int64]:
    """The colors `[C, 3]` of several sheets of one size."""
    from PIL import Image

    width, height = sheets[0].image.size
    together = Image.new("RGB", (width, height * len(sheets)))
    for number, sheet in enumerate(sheets):
        together.paste(sheet.image, (0, number * height))
    entries = together.quantize(
        COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    ).getpalette()
    # The colors of large areas are exact, so that white stays white.
    return np.array([*map(rgb, EXACT), *np.array(entries).reshape(-1, 3).tolist()], np.int64)


def _indexed(image: Image, palette: NDArray[np.int64]) -> Image:
    """The image with the nearest colors of a palette `[C, 3]`. Pillow's own mapping is only approximate."""
    from PIL import Image

    pixels = np.asarray(image).astype(np.int64)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    values, places = np.unique(packed, return_inverse=True)
    colors = np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=1)
    nearest = ((colors[:, None] - palette[None]) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    made = Image.fromarray(nearest[places].reshape(packed.shape))
    made.putpalette(palette.reshape(-1).tolist())
    return made


def _largest(board: Board) -> dict[str, int]:
    """Rows and columns that hold the answer of every step."""
    grids = [board["puzzle"], *board["steps"]] if board["fills_in"] else board["steps"] or [board["puzzle"]]
    return {side: max(grid[side] for grid in grids) for side in ("rows", "columns")}


def _frame(board: Board, number: int, *, heat: bool) -> Sheet:
    """The puzzle (number 0) or a step, with its halt probability and the position in the trace."""
    steps, puzzle, size = board["steps"], board["puzzle"], _largest(board)
    step = steps[number - 1] if number else None
    side = GIF_SIDE if board["fills_in"] else GIF_SIDE * 3 // 5
    cell = max(SMALLEST_CELL, cell_size(size, side, 56))
    input_cell = cell if board["fills_in"] else max(SMALLEST_CELL, cell_size(puzzle, side, 56))
    grid_width, grid_height = size["columns"] * cell, size["rows"] * cell
    beside = 0 if board["fills_in"] else puzzle["columns"] * input_cell + GAP + 16
    if beside:
        grid_height = max(grid_height, puzzle["rows"] * input_cell)
    width = max(beside + grid_width, 300) + 2 * MARGIN
    top = 52
    sheet = Sheet(width, top + grid_height + 74)
    is_last = number == len(steps)
    _headline(sheet, board, MARGIN, width - MARGIN, 34, 17, with_verdict=is_last and number > 0)
    left = MARGIN + (width - 2 * MARGIN - beside - grid_width) // 2
    if beside:
        sheet.grid(board, puzzle, left, top, input_cell, Look())
        middle, x = top + grid_height / 2, left + beside - GAP / 2 - 12
        sheet.draw.line((x - 6, middle - 8, x + 2, middle, x - 6, middle + 8), fill=DIM, width=3)
    if step is not None or board["fills_in"]:
        look = Look(is_last and board["verified"], heat, given=board["given"], marks=step or {})
        sheet.grid(board, step or puzzle, left + beside, top, cell, look)
    _below(sheet, board, number, top + grid_height + 14, width)
    return sheet


def _below(sheet: Sheet, board: Board, number: int, y: int, width: int) -> None:
    """The caption, the halt probability as a bar, and a point for every step."""
    steps, left, across = board["steps"], MARGIN, width - 2 * MARGIN
    halt = steps[number - 1]["halt"] if number else None
    sheet.draw.rounded_rectangle((left, y, left + across, y + 8), 4, fill=TRACK)
    if halt is not None and halt > 0.01:
        sheet.draw.rounded_rectangle((left, y, left + max(8, across * halt), y + 8), 4, fill=BAR)
    sheet.fitted(left, y + 28, caption(board, number), 14, INK, across)
    shown = f"step {number} of {len(steps)}" if number else ""
    sheet.text(left + across - text_width(shown, 12), y + 48, shown, 12, DIM)
    if halt is not None:
        sheet.text(left, y + 48, f"{board['halt_name']} {halt:.0%}", 12, DIM)


def caption(board: Board, number: int) -> str:
    """The line below a step: `20 cells changed, 16 wrong`."""
    if not number:
        return "the puzzle"
    step = board["steps"][number - 1]
    parts = ["first answer" if number == 1 else f"{counted(len(step['changed']), 'cell')} changed"]
    if step["wrong"]:
        parts.append(f"{len(step['wrong']):,} wrong")
    elif step["conflicts"]:
        parts.append(f"{counted(len(step['conflicts']), 'cell')} in conflict")
    return ", ".join(parts)


def _verdict(board: Board) -> tuple[str, str]:
    """The status as text, with its color."""
    return {
        "solved": ("solved", RIGHT), "answered": ("answered", MODEL), "unsolved": ("not solved", WRONG),
        "multiple": ("more than one solution", DIM), "invalid": ("invalid", WRONG),
    }.get(board["status"], ("", DIM))  # fmt: skip


def _headline(
    sheet: Sheet, board: Board, left: int, right: int, y: int, size: int, *, with_verdict: bool
) -> None:
    """The title at the left and the verdict at the right."""
    verdict, color = _verdict(board) if with_verdict else ("", DIM)
    width = text_width(verdict, size)
    sheet.fitted(left, y, board["title"], size, INK, right - left - width - 16, bold=True)
    sheet.text(right - width, y, verdict, size, color, bold=True)


def png(board: Board, *, heat: bool = False) -> bytes:
    """The PNG: demonstrations if there are any, the puzzle, some steps and the answer, in several lines if needed."""
    panels = _panels(board)
    side = 240 * SCALE
    per_line = len(panels) if len(panels) <= MOST_PER_LINE else 4
    lines = [panels[start : start + per_line] for start in range(0, len(panels), per_line)]
    label, foot, margin, gap = 30 * SCALE, 34 * SCALE, MARGIN * SCALE, GAP * SCALE
    width = 2 * margin + per_line * side + (per_line - 1) * gap
    heights = [max(_height(grid, side) for _, grid, _ in line) + label + foot for line in lines]
    top = 84 * SCALE
    sheet = Sheet(width, top + sum(heights) + margin // 2)
    _headline(sheet, board, margin, width - margin, 40 * SCALE, 19 * SCALE, with_verdict=True)
    facts = ", ".join(text for text in (board["where"], board["how"], board["reason"]) if text)
    sheet.fitted(margin, 64 * SCALE, facts, 13 * SCALE, DIM, width - 2 * margin)
    y = top
    for line, height in zip(lines, heights, strict=True):
        for number, (name, grid, look) in enumerate(line):
            x = margin + number * (side + gap)
            sheet.fitted(x, y + 16 * SCALE, name, 13 * SCALE, INK, side, bold=True)
            cell = max(1, cell_size(grid, side, 28 * SCALE))
            sheet.grid(
                board, grid, x, y + label, cell, Look(look.is_right, heat, True, look.given, look.marks)
            )
            halt = look.marks.get("halt")
            if halt is not None:
                below = y + label + _height(grid, side) + 10 * SCALE
                sheet.draw.rounded_rectangle((x, below, x + side, below + 5 * SCALE), 2 * SCALE, fill=TRACK)
                if halt > 0.01:
                    end = x + max(5 * SCALE, side * halt)
                    sheet.draw.rounded_rectangle((x, below, end, below + 5 * SCALE), 2 * SCALE, fill=BAR)
                sheet.text(x, below + 20 * SCALE, f"{board['halt_name']} {halt:.0%}", 11 * SCALE, DIM)
        y += height
    stream = io.BytesIO()
    # With one byte a pixel the file has half the size.
    _indexed(sheet.image, _palette([sheet])).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _height(grid: Mapping[str, Any], side: int) -> int:
    return max(16, grid["rows"] * max(1, cell_size(grid, side, 28 * SCALE)))


def _panels(board: Board) -> list[tuple[str, Mapping[str, Any], Look]]:
    """Name, grid and look of every grid of the PNG."""
    panels: list[tuple[str, Mapping[str, Any], Look]] = []
    for number, pair in enumerate(board["demonstrations"], 1):
        panels += [(f"demonstration {number}", pair["input"], Look()), ("its output", pair["output"], Look())]
    name = "puzzle" if board["fills_in"] else "input"
    panels.append((name, board["puzzle"], Look(given=board["given"])))
    steps = board["steps"]
    for place in chosen_steps(len(steps), PNG_STEPS):
        step = steps[place]
        is_last = place == len(steps) - 1
        wrong = f", {len(step['wrong']):,} wrong" if step["wrong"] else ""
        look = Look(is_last and board["verified"], given=board["given"], marks=step)
        panels.append((f"step {step['step']}{wrong}", step, look))
    if board["truth"] is not None and not board["fills_in"]:
        panels.append(("expected", board["truth"], Look()))
    return panels
