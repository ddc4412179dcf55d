"""Servers that speak the Messages API in their own way: unknown events, errors in any shape, redirects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fake_openai import Answer, reply
from tests.unit.cli.chat.conftest import START, Talk, end, stream, text

Start = Callable[..., Talk]


def test_what_an_event_may_be_besides_does_not_end_an_answer(odd: Start) -> None:
    extra = {"type": "x_custom", "message": "hi", "error": "no", "delta": "foo"}
    talking = odd(stream(START, extra, b"data:\n\n", b"data: \n\n", *text("Yes."), *end()))
    talking.types("hello")
    assert "Yes." in talking.lines
    assert talking.turns[1]["content"] == [{"type": "text", "text": "Yes."}]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "error", "error": "plain\nwords"}, "error: plain words"),
        ({"error": {"type": "api_error", "message": "broken"}}, "api_error: broken"),
        ({"error": {"message": "broken", "code": 500}}, "error: broken"),
        ({"error": {"code": 500}}, 'error: {"code":500}'),
        ({"type": "error", "error": {"type": "x", "message": ["a"]}}, 'x: ["a"]'),
        ({"type": "error", "message": "beside"}, "error: beside"),
        ({"type": "error"}, "error: the server does not say which"),
    ],
    ids=str,
)
def test_an_error_in_a_stream_shows_its_cause(odd: Start, event: Any, words: str) -> None:
    talking = odd(stream(START, event))
    talking.types("hello")
    assert words in talking.lines
    assert talking.turns == []


def test_a_refusal_in_another_form_shows_its_cause(odd: Start) -> None:
    talking = odd(reply({"error": "no such model"}, 404), reply({"error": {"message": "busy"}}, 503))
    talking.types("hello", "again")
    assert "error: no such model" in talking.lines
    assert "error: busy" in talking.lines


@pytest.mark.parametrize("data", [b"\xff", b"[" * 100_000], ids=["no text", "too deep"])
def test_bytes_that_cannot_be_read_do_not_end_the_conversation(odd: Start, data: bytes) -> None:
    broken = b'data: {"type":"message_start","message":{"error":"%b"}}\n\n' % data
    bare = broken.replace(b':"%b"' % data, b":%b" % data)
    good = stream(START, *text("Yes."), *end())
    talking = odd(stream(START, broken if data == b"\xff" else bare), reply("", 500), good)
    talking.types("hello", "again", "once more")
    assert "the server sent an event that cannot be read" in talking.shown
    assert "Yes." in talking.lines


def test_the_key_does_not_follow_a_redirect(odd: Start) -> None:
    elsewhere = "http://127.0.0.1:9/v1/messages"
    sent_on = Answer(status=307, headers={"location": elsewhere}, pieces=[b"{}"])
    talking = odd(sent_on)
    assert talking.fake is not None
    talking.fake.routes["/v1/models?limit=1000"] = sent_on
    talking.types("hello", "/model")
    said = f"HTTP 307: the server sends us on to {elsewhere}; --url can name that address"
    assert talking.lines.count(said) == 2
