"""Whose call it is: every place that may name a session, in order, and the fingerprint."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.routing.session import fingerprint, session_in_user_id, session_key
from dragoman.wire.anthropic import MessagesRequest, decode_messages
from dragoman.wire.identity import SessionKey

CLAUDE = '{"device_id": "d", "account_uuid": "", "session_id": "in-json"}'
OLDER = "user_0a1b_account_7c-8d_session_9e-0f"


def request(**members: Any) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], **members}
    return decode_messages(msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("members", "headers", "key"),
    [
        ({"session_id": "a"}, {}, SessionKey("a", "session_id")),
        ({"session_id": 7}, {}, SessionKey("7", "session_id")),
        ({}, {"x-session-id": " a "}, SessionKey("a", "x-session-id")),
        ({"session_id": 7}, {"x-session-id": "7"}, SessionKey("7", "session_id")),
        ({"session_id": "a"}, {"x-claude-code-session-id": "c"}, SessionKey("a", "session_id")),
        (
            {},
            {"x-session-id": "a", "x-claude-code-session-id": "c"},
            SessionKey("a", "x-session-id"),
        ),
        (
            {"metadata": {"user_id": OLDER}},
            {"x-claude-code-session-id": "c"},
            SessionKey("c", "x-claude-code-session-id"),
        ),
        ({"metadata": {"user_id": OLDER}}, {}, SessionKey("9e-0f", "metadata.user_id")),
        ({"metadata": {"user_id": CLAUDE}, "session_id": ""}, {}, SessionKey("in-json", "metadata.user_id")),
    ],
)
def test_the_first_place_that_names_a_session_counts(
    members: dict[str, Any], headers: dict[str, str], key: SessionKey
) -> None:
    assert session_key(request(**members), headers) == key


@pytest.mark.parametrize(("body", "header"), [("a", "b"), (7, "07")])
def test_two_places_that_differ_are_refused(body: str | int, header: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^session_id: "):
        session_key(request(session_id=body), {"x-session-id": header})


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        (CLAUDE, "in-json"),
        ('{"session_id": 5}', "5"),
        ('{"session_id": ""}', None),
        ('{"session_id": null}', None),
        ('{"session_id": ["x"]}', None),
        ("{not json", None),
        (OLDER, "9e-0f"),
        ("_session_", None),
        ("user-1", None),
        ("", None),
    ],
)
def test_the_session_inside_a_user_id(user_id: str, session: str | None) -> None:
    assert session_in_user_id(user_id) == session


@pytest.mark.parametrize("members", [{}, {"metadata": {}}, {"metadata": {"user_id": "someone"}}])
def test_without_a_session_a_fingerprint_serves_placement_only(members: dict[str, Any]) -> None:
    key = session_key(request(**members), {})
    assert key == SessionKey(fingerprint(request()), "fingerprint", durable=False)


def test_the_fingerprint_stays_through_a_conversation() -> None:
    first = [{"role": "user", "content": "Hi"}]
    later = [*first, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on"}]
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    started = request(messages=first, system="S", tools=tools, max_tokens=5)
    assert fingerprint(started) == fingerprint(request(messages=later, system="S", tools=tools))
    assert fingerprint(started) == fingerprint(
        request(messages=later, system=[{"type": "text", "text": "S"}], tools=tools)
    )
    loaded = [{"name": "e", "input_schema": {"type": "object"}, "defer_loading": True}, *tools]
    assert fingerprint(started) == fingerprint(request(messages=later, system="S", tools=loaded))
    others: list[dict[str, Any]] = [
        {"messages": first},
        {"system": "T", "messages": first, "tools": tools},
        {"messages": later[2:]},
    ]
    assert len({fingerprint(started), *(fingerprint(request(**other)) for other in others)}) == 4


def test_the_billing_header_is_no_part_of_the_fingerprint() -> None:
    systems = [f"x-anthropic-billing-header: cc_version=2.1.{n}; cch={n};\nYou are." for n in range(2)]
    assert len({fingerprint(request(system=system)) for system in systems}) == 1


def test_cache_marks_are_no_part_of_the_fingerprint() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "http://h/x.png"}}
    tool = {"name": "f", "input_schema": {"type": "object"}}

    def marked(mark: dict[str, Any]) -> str:
        blocks = [{**image, **mark}, {"type": "text", "text": "Hi", **mark}]
        return fingerprint(request(messages=[{"role": "user", "content": blocks}], tools=[{**tool, **mark}]))

    assert marked({}) == marked({"cache_control": {"type": "ephemeral"}})
    one_block = request(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    assert fingerprint(one_block) == fingerprint(request())


def test_a_conversation_without_a_user_turn_has_a_fingerprint() -> None:
    assert fingerprint(request(messages=[{"role": "assistant", "content": "Hi"}]))
