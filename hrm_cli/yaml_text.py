"""Parses YAML with limits on size, nesting, alias expansion and length of numbers. The only reader of YAML.

Only YAML's plain types are supported: no tag creates a Python object. Duplicate keys are refused; PyYAML would
silently keep the last.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hrm_cli.printable import quoted
from hrm_cli.regular_files import UnusableFile, read_text

LARGEST = 1 << 17
"""Maximum bytes of a file, or characters of a text."""
DEEPEST = 64
"""Maximum nesting of lists and mappings."""
MOST_VALUES = 50_000
"""Maximum number of values after expanding every alias."""
LARGEST_NUMBER = 10**300
"""Every integer below this fits in a float."""

_MERGE = "tag:yaml.org,2002:merge"
_INT = "tag:yaml.org,2002:int"


class BadYAML(UnusableFile):
    """Text that is not valid or not accepted YAML. `line` counts from 1; None if a line number would not help."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def parse_yaml(text: str) -> Any:
    """Parses one YAML document. Raises BadYAML."""
    if len(text) > LARGEST:
        raise BadYAML(f"is too large ({len(text):,} characters; at most {LARGEST:,} are read)")
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except BadYAML:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark and "\n" in text else None
        raise BadYAML(f"not valid YAML: {error.problem or error.context}", line) from None
    except RecursionError:
        raise BadYAML(f"not valid YAML: {_TOO_DEEP}") from None
    except Exception as error:
        # PyYAML does not catch errors of its constructors: ValueError for a date that does not exist, KeyError
        # for `!!bool maybe`, ….
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadYAML(f"not valid YAML: {reason}") from None


def load_yaml(path: Path) -> Any:
    """Reads a YAML file. Raises OSError or UnusableFile. The message does not contain the path."""
    return parse_yaml(read_text(path, LARGEST))


_TOO_DEEP = f"lists and mappings nested more than {DEEPEST} deep"


class _StrictLoader(yaml.SafeLoader):
    """Loads only YAML's plain types, of bounded size."""

    _depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _Measure().of(node)
        return node

    def compose_sequence_node(self, anchor: Any) -> yaml.SequenceNode:
        with self._one_level():
            return super().compose_sequence_node(anchor)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        with self._one_level():
            return super().compose_mapping_node(anchor)

    @contextmanager
    def _one_level(self) -> Iterator[None]:
        # Refuse deep nesting early: PyYAML's work per level grows with the depth.
        if self._depth == DEEPEST:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.peek_event().start_mark)
        self._depth += 1
        yield
        self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                found = "a list or a mapping" if isinstance(key, list | dict) else f"{quoted(key, 40)}"
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {found} is not text (YAML reads yes, no, on and off as booleans); quote it",
                    problem_mark=key_node.start_mark,
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key} is written twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        number: int = super().construct_yaml_int(node)
        if abs(number) >= LARGEST_NUMBER:
            raise yaml.constructor.ConstructorError(
                problem=f"a whole number of {len(node.value):,} characters; it is too large",
                problem_mark=node.start_mark,
            )
        return number


_StrictLoader.add_constructor(_INT, _StrictLoader.construct_yaml_int)


class _Measure:
    """Counts the values of a document as if every alias were expanded, without expanding them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def of(self, node: yaml.Node) -> tuple[int, int]:
        """The number of values and the depth. Raises ConstructorError at the first node that exceeds a limit."""
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            raise self._error("an alias that contains itself", node)
        if len(self._open) > DEEPEST:
            raise self._error(_TOO_DEEP, node)
        self._open.add(id(node))
        values, depth = 1, 1
        for inner in self._inner(node):
            more, deeper = self.of(inner)
            values, depth = values + more, max(depth, deeper + 1)
        self._open.discard(id(node))
        if values > MOST_VALUES:
            raise self._error(f"more than {MOST_VALUES:,} values after expanding aliases", node)
        if depth > DEEPEST + 1:
            raise self._error(_TOO_DEEP, node)
        self._known[id(node)] = values, depth
        return values, depth

    @staticmethod
    def _inner(node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            return [part for pair in node.value for part in pair]
        return list(node.value) if isinstance(node, yaml.SequenceNode) else []

    @staticmethod
    def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
        return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
