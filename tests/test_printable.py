from __future__ import annotations

import pytest

from hrm_cli.printable import counted, cut, quoted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")]
)
def test_a_count_and_its_noun_agree_in_number(number: int, text: str) -> None:
    assert counted(number, "step") == text


def test_a_text_that_is_cut_says_so() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert quoted(["a" * 50], 10) == "['aaaaaaa…"
