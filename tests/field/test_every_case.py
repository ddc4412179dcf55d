"""Every field case has a test that carries its number, or a line here that says why it cannot occur."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The numbers of each part's cases.
PARTS = {
    "a": range(1, 21),
    "b": range(22, 44),
    "c": range(44, 57),
    "d": range(57, 75),
    "e": range(75, 88),
    "f": range(88, 105),
    "g": range(105, 113),
    "h": range(113, 120),
    "i": range(120, 151),
}
CANNOT_OCCUR = {
    21: "no case has this number",
}
_TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
_NUMBER = re.compile(r"(?<=_)([a-i])(\d+)(?=_)")


def numbers_in(name: str) -> list[int]:
    """The numbers of the cases that a test's name carries."""
    return [int(number) for part, number in _NUMBER.findall(name) if int(number) in PARTS[part]]


def with_tests() -> Counter[int]:
    """How many tests carry each number; the findings of the reviews have numbers of their own."""
    names = [
        name
        for path in HERE.glob("test_part_*.py")
        for name in _TEST.findall(path.read_text(encoding="utf-8"))
    ]
    return Counter(number for name in names for number in numbers_in(name))


TESTED = with_tests()


@pytest.mark.parametrize("number", range(1, 151))
def test_a_case_has_a_test_or_a_reason(number: int) -> None:
    assert (number in TESTED) != (number in CANNOT_OCCUR)


def test_a_name_carries_numbers_of_its_part_only() -> None:
    assert numbers_in("test_case_f90_f102_an_image") == [90, 102]
    assert numbers_in("test_i129_what") == [129]
    assert numbers_in("test_a129_what") == []
    assert numbers_in("test_case_e_without") == []
