"""Moments as the API writes them."""

from __future__ import annotations

import pytest

from dragoman.server.moments import rfc3339


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_795_656_267_000_001, "2026-11-26T01:24:27.000001Z"),
    ],
)
def test_a_moment(microseconds: int, text: str) -> None:
    assert rfc3339(microseconds) == text
