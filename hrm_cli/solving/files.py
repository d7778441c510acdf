"""The input and output files of a solve: puzzles, answers and a picture.

All are checked before a model is loaded, so that errors appear immediately.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.files import refuse_unwritable, whole_file, written_whole
from hrm_cli.printable import cut
from hrm_cli.puzzles.domain import Domain, Puzzle, Unreadable
from hrm_cli.puzzles.reading import TextReader, read_puzzles
from hrm_cli.puzzles.text_lines import SkippedLines
from hrm_cli.solving.request import STDIN, standard_input
from hrm_cli.solving.solution import Solution

MOST_DRAWN = 12
"""Largest number of puzzles that are drawn as grids on a terminal; for longer files, each puzzle gets one line."""

WriteSolution = Callable[[Domain, Solution], None]
Shown = tuple[Domain, Solution]
Draw = Callable[[str, Sequence[Shown]], bytes]
"""Returns the contents of the file of an option, such as --gif, that shows these solutions."""
PICTURES = {"--picture": ".svg", "--gif": ".gif", "--png": ".png", "--html": ".html"}
"""The options that write a picture, and how the names of their files end."""
MOST_ON_PAGE = 20
"""Largest number of puzzles on a page (--html); the other pictures show one."""


class OpenedPuzzles:
    """A puzzle file whose first puzzles have been read."""

    def __init__(self, items: Iterator[Puzzle | Unreadable], skipped: SkippedLines) -> None:
        first = list(islice(items, MOST_DRAWN + 1))
        self.are_few = len(first) <= MOST_DRAWN
        self.first = first
        """The items read so far."""
        self.skipped = skipped
        """The lines that are not part of a puzzle; complete once the last puzzle has been read."""
        self._items = chain(first, items)

    def __iter__(self) -> Iterator[Puzzle | Unreadable]:
        return self._items


def open_puzzles(source: Path | IO[bytes], reader: TextReader | None = None) -> OpenedPuzzles:
    """The puzzles of a file or of standard input. `reader` reads the puzzles of a plugin's domain.

    Raises PuzzleError if it is not a puzzle file.
    """
    skipped = SkippedLines()
    return OpenedPuzzles(read_puzzles(source, reader, skipped=skipped), skipped)


def open_text(text: str, reader: TextReader | None = None) -> OpenedPuzzles:
    """The puzzles in the file named `text`. If there is no such file, `text` itself is parsed as puzzles.

    Raises PuzzleError if it is neither.
    """
    if not text.strip():  # Path("") is the current folder
        raise PuzzleError("the given text is empty; expected a puzzle or the name of a file")
    is_one_line = "\n" not in text
    path = Path(text)
    if _exists(text):
        return open_puzzles(path, reader)
    try:
        opened = open_typed(text, reader)
        first_puzzle(opened.first)
    except PuzzleError as error:
        if is_one_line and (path.suffix[1:].isalpha() or "/" in text):
            raise PuzzleError(f"{text}: no such file") from None
        if is_one_line:
            raise PuzzleError(f"{cut(text, 80)}: neither a file nor a puzzle ({error})") from None
        raise
    return opened


def open_typed(text: str, reader: TextReader | None = None, name: str = "the given text") -> OpenedPuzzles:
    """The puzzles of a text, which is never taken for the name of a file. Raises PuzzleError if it holds none."""
    return open_puzzles(_typed(text, reader, name), reader)


def _typed(text: str, reader: TextReader | None, name: str = "the given text") -> IO[bytes]:
    """A puzzle typed on the command line, as a file. `/` between rows of one length ends a row.

    The reader of a plugin gets the text as it is.
    """
    rows = text.split("/")
    # Four rows is the smallest grid. The path of a missing file does not have so many parts of one length.
    if reader is None and len(rows) >= 4 and len({len(row) for row in rows}) == 1 and rows[0]:
        text = "\n".join(rows)
    stream = io.BytesIO(text.encode())
    stream.name = name
    return stream


def _exists(text: str) -> bool:
    """Whether a file or folder with that name exists."""
    try:
        return text.strip() != "" and "\n" not in text and Path(text).exists()
    except (OSError, ValueError):  # the text is too long for a file name
        return False


def open_sources(
    sources: Sequence[str], stdin: IO[bytes] | None, reader: TextReader | None = None
) -> OpenedPuzzles:
    """The puzzles of all sources, one after the other: files, texts of puzzles, or `-` for standard input.

    `reader` reads the puzzles of a plugin's domain. A single source is handled by
    `open_text`. Several sources must all exist. A file without a puzzle then becomes an
    Unreadable, and the others are still solved. Raises PuzzleError.
    """
    if len(sources) == 1:
        source = sources[0]
        if source == STDIN:
            return open_puzzles(standard_input(stdin), reader)
        return open_text(source, reader)
    skipped = SkippedLines(names_files=True)
    # Files are opened one after the other, but missing files are reported before the first puzzle is solved.
    streams = [_stream(source, stdin, reader) for source in sources]
    items = chain.from_iterable(_items(stream, skipped, reader) for stream in streams)
    return OpenedPuzzles(items, skipped)


def _stream(source: str, stdin: IO[bytes] | None, reader: TextReader | None) -> Path | IO[bytes]:
    if source == STDIN:
        return standard_input(stdin)
    if _exists(source) and not Path(source).is_dir():
        return Path(source)
    open_text(source, reader)  # raises what is wrong with it
    return _typed(source, reader)


def _items(
    source: Path | IO[bytes], skipped: SkippedLines, reader: TextReader | None
) -> Iterator[Puzzle | Unreadable]:
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", ""))
    try:
        yield from read_puzzles(source, reader, skipped=skipped)
    except PuzzleError as error:
        yield Unreadable(name, str(error).removeprefix(f"{name}: "))


def first_puzzle(items: Iterable[Puzzle | Unreadable]) -> Puzzle:
    """The first item that is a puzzle. Raises PuzzleError with the reason if there is none."""
    unreadable: Unreadable | None = None
    for item in items:
        if isinstance(item, Puzzle):
            return item
        unreadable = unreadable or item
    assert unreadable is not None  # opening a file without any item raises an error
    raise PuzzleError(f"{unreadable.where}: {unreadable.reason}")


@contextmanager
def answer_files(
    sources: Sequence[Path],
    output: Path | None,
    pictures: Mapping[str, Path] | None = None,
    *,
    draw: Draw | None = None,
    with_trace: bool = False,
    note: Callable[[str], None] | None = None,
) -> Iterator[WriteSolution]:
    """Yields a function that writes every solution to `output` and to `pictures`, by option. Raises ConfigError.

    `output` gets one answer per line, or an empty line if no answer obeys the rules. If its name ends in .jsonl, it
    gets JSON records, with the trace if `with_trace`.
    Pictures, made by `draw`, show the first solved puzzle, or else the first answered one. A page shows the first
    puzzles, at most `MOST_ON_PAGE`. `note` receives the pictures that were not written, because there was no answer.
    """
    pictures = pictures or {}
    _refuse_collisions(sources, output, pictures)
    with ExitStack() as stack:
        writers: list[WriteSolution] = []
        if output is not None:
            stream = stack.enter_context(whole_file(output))
            takes_records = output.suffix == ".jsonl"
            writers.append(_record_writer(stream, with_trace) if takes_records else _answer_writer(stream))
        if pictures and draw is not None:
            writers.append(stack.enter_context(_painter(pictures, draw, note or _ignore)))

        def write(domain: Domain, solution: Solution) -> None:
            for writer in writers:
                writer(domain, solution)

        yield write


def _refuse_collisions(sources: Sequence[Path], output: Path | None, pictures: Mapping[str, Path]) -> None:
    for option, path in pictures.items():
        ending = PICTURES[option]
        if path.suffix.lower() != ending:
            raise ConfigError(f"{option} {path}: expected a name that ends in {ending}")
        refuse_unwritable(path)
    seen: dict[Path, str] = {source.resolve(): "PUZZLE_FILE" for source in sources}
    for name, given in {"--output": output, **pictures}.items():
        if given is None:
            continue
        if given.resolve() in seen:
            raise ConfigError(f"{name} {given}: is the same file as {seen[given.resolve()]}; name another")
        seen[given.resolve()] = name


def _record_writer(stream: IO[str], with_trace: bool) -> WriteSolution:
    def write(domain: Domain, solution: Solution) -> None:
        record = solution.document(domain, with_trace=with_trace)
        stream.write(f"{json.dumps(record, ensure_ascii=False)}\n")

    return write


def _answer_writer(stream: IO[str]) -> WriteSolution:
    def write(domain: Domain, solution: Solution) -> None:
        is_given = solution.verified or solution.status == "answered"
        answer = solution.answer if is_given else None
        stream.write("\n" if answer is None else f"{solution.written(domain, answer)}\n")

    return write


def _ignore(text: str) -> None:
    """Ignores a note."""


@contextmanager
def _painter(
    pictures: Mapping[str, Path], draw: Draw, note: Callable[[str], None]
) -> Iterator[WriteSolution]:
    best: Shown | None = None
    page: list[Shown] = []

    def consider(domain: Domain, solution: Solution) -> None:
        nonlocal best
        is_solved = best is not None and best[1].status == "solved"
        if not is_solved and solution.answer is not None and (best is None or solution.status == "solved"):
            best = domain, solution
        if "--html" in pictures and solution.puzzle is not None and len(page) < MOST_ON_PAGE:
            page.append((domain, solution))

    yield consider
    for option, path in pictures.items():
        shown = page if option == "--html" else [] if best is None else [best]
        if not shown:
            note(f"{option} {path}: not written, because no puzzle has an answer.")
            continue
        contents = draw(option, shown)
        try:
            with written_whole(path) as partial:
                partial.write_bytes(contents)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
