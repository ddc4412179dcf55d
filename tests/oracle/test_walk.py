"""Every block, field, tool, event, reason and error of the SDK's types has a golden file or a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.wire.sse import SSEDecoder
from tests.oracle.sdk import sdk_shapes
from tests.oracle.walk import covers, places, told, used

GOLDEN = Path(__file__).parent.parent / "golden"
SDK = sdk_shapes()
TOLD = list(told())
# The roots that have a test of their own.
TOLD_ABOVE = {"request", "message", "event", "error"}
ENDPOINTS = sorted(SDK.keys() - TOLD_ABOVE - {"count"})


def untold(wanted: set[str], shown: set[str]) -> list[str]:
    """The places that no golden file uses and no row tells of."""
    return sorted(place for place in wanted - shown if not any(covers(row, place) for row in TOLD))


def decoded(pattern: str) -> Iterator[Any]:
    """The values of the golden files of JSON with such a name."""
    for path in sorted(GOLDEN.glob(pattern)):
        yield msgspec.json.decode(path.read_bytes())


def events() -> Iterator[Any]:
    """The data of the events of all golden streams."""
    for path in sorted(GOLDEN.glob("*/*.sse")):
        decoder = SSEDecoder()
        for event in [*decoder.feed(path.read_bytes()), *decoder.close()]:
            yield msgspec.json.decode(event.data)


def whole_answers() -> Iterator[Any]:
    """The golden messages; a file that holds the words of an error is none."""
    for path in sorted(GOLDEN.glob("*/*.message")):
        content = path.read_bytes()
        if content.startswith(b"{"):
            yield msgspec.json.decode(content)


def test_every_place_of_a_request_has_a_golden_pair_or_a_row() -> None:
    shape = SDK["request"]
    shown = [used("request", shape, value) for value in decoded("request/*.request.json")]
    assert untold(places("request", shape), set().union(*shown)) == []


def test_every_place_of_an_answer_has_a_golden_file_or_a_row() -> None:
    shape = SDK["message"]
    shown = [used("message", shape, value) for value in whole_answers()]
    assert untold(places("message", shape), set().union(*shown)) == []


@pytest.mark.parametrize("root", ["event", "error"])
def test_every_place_of_an_event_and_an_error_has_a_golden_stream_or_a_row(root: str) -> None:
    shape = SDK[root]
    shown = [used(root, shape, value) for value in events()]
    # The message of a stream's start is an answer: the test above tells of it.
    wanted = {place for place in places(root, shape) if not place.startswith("message")}
    assert untold(wanted, set().union(*shown)) == []


@pytest.mark.parametrize("root", ENDPOINTS)
def test_every_place_of_another_endpoint_has_a_golden_file_or_a_row(root: str) -> None:
    own = [used(root, SDK[root], value) for value in decoded(f"endpoints/{root}.*.json")]
    assert own != []
    # What stands in a page, or in a line of results, has files of its own.
    shown = set().union(
        *(
            used(other, SDK[other], value)
            for other in ENDPOINTS
            for value in decoded(f"endpoints/{other}.*.json")
        )
    )
    told_above = set().union(*(places(name, SDK[name]) for name in TOLD_ABOVE))
    assert untold(places(root, SDK[root]) - told_above, shown) == []


def test_a_count_takes_what_a_request_takes() -> None:
    taken = {
        f"request{place.removeprefix('count')}" if place.startswith("count") else place
        for place in places("count", SDK["count"])
    }
    assert sorted(taken - places("request", SDK["request"])) == []


def test_every_golden_file_of_an_endpoint_belongs_to_a_root() -> None:
    assert {path.name.split(".")[0] for path in GOLDEN.glob("endpoints/*")} == set(ENDPOINTS)


# --- the walk itself ---


def test_a_field_that_is_new_is_noticed() -> None:
    shape = SDK["request"]
    value = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "citations": None}]}]}
    shown = used("request", shape, value)
    assert {"block:text", "block:text.text", "turn.role", "turn.content"} <= shown
    assert "block:text.citations" not in shown
    assert untold({"block:text.colour", "block:text.text", "request.colour"}, shown) == [
        "block:text.colour",
        "request.colour",
    ]


def test_a_tool_without_a_type_is_a_custom_one() -> None:
    assert "tool:custom.name" in used("request", SDK["request"], {"tools": [{"name": "f"}]})


@pytest.mark.parametrize(
    ("pattern", "place", "is_told"),
    [
        ("request.thread", "request.thread", True),
        ("request.thread", "request.thread:create", True),
        ("request.thread", "request.threads", False),
        ("tool:bash_*", "tool:bash_20250124.name", True),
        ("block:*.cache_control", "block:text.cache_control:ephemeral.ttl", True),
        ("*.stop_reason=pause_turn", "message.stop_reason=pause_turn", True),
        ("*.stop_reason=pause_turn", "message.stop_reason=end_turn", False),
    ],
)
def test_a_row_tells_of_its_place_and_what_is_in_it(pattern: str, place: str, is_told: bool) -> None:
    assert covers(pattern, place) is is_told
