"""What a request leaves behind: nothing, and without the garbage collector's help."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dragoman.server.exchange import Exchange
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, ask, eventually


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The time of a test without garbage collection."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def exchanges() -> int:
    """The exchanges that are still in memory."""
    return sum(isinstance(thing, Exchange) for thing in gc.get_objects())


@pytest.mark.parametrize("request_body", [REQUEST, STREAMED, {}], ids=["whole", "streamed", "refused"])
def test_a_request_leaves_no_cycle(serve: Serve, no_collector: None, request_body: dict[str, object]) -> None:
    url = serve().url
    before = exchanges()
    for _ in range(3):
        ask(url, request_body)
    assert eventually(lambda: exchanges() <= before)
