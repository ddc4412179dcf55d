"""Where JSON is nested too deep."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.wire.nesting import Steps, beyond, shown

LEAVES = st.none() | st.integers() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"\A\w*\Z"), inner)
)


def first_beyond(value: Any, most: int, steps: Steps = ()) -> Steps | None:
    """The same by going down."""
    if not isinstance(value, list | dict):
        return None
    if len(steps) == most:
        return steps
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return next(
        (found for key, part in parts if (found := first_beyond(part, most, (*steps, key))) is not None), None
    )


@given(VALUES, st.integers(0, 4))
def test_the_place_is_the_one_that_going_down_finds(value: Any, most: int) -> None:
    data = msgspec.json.encode(value)
    assert beyond(data, most) == first_beyond(value, most)
    spaced = msgspec.json.format(data, indent=1)
    assert beyond(spaced, most) == first_beyond(value, most)


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        (b'{"a": [1, {"b": {"c": []}}]}', ("a", 1, "b")),
        (b'{"[[[[": "]]]]", "x\\"[": [{}, {"y" : {"z": 1}}]}', ('x\\"[', 1, "y")),
        (b'["{", [[], [[[', (1, 1, 0)),
        (b'"a": 1, [[[[', (0, 0, 0)),
        (b"[[[", None),
        (b"", None),
        (b"]]},:[[[[", (0, 0, 0)),
    ],
)
def test_places(data: bytes, steps: Steps | None) -> None:
    assert beyond(data, 3) == steps


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    assert beyond(b" " * 2**20 + b"[[[[", 3) is None


def test_a_long_way_is_shortened() -> None:
    assert shown(("a", 0, "b")) == "a.0.b"
    assert shown(("x",) * 13) == "x.x.x.x.x.x.x.x.x.x.x.x..."


def test_a_long_name_on_the_way_is_cut() -> None:
    assert shown(("x" * 400_000, 0)) == "x" * 80 + "....0"
