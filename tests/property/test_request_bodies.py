"""Any body becomes a request or a refusal, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic import (
    CountTokensRequest,
    MessagesRequest,
    decode_count,
    decode_messages,
    unknown_fields,
)
from dragoman.wire.anthropic.blocks import ContentBlock

KEYS = sorted(MessagesRequest.__struct_fields__)
TAGS = [kind.__struct_config__.tag for kind in ContentBlock.__args__]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(["user", "assistant", "system", "enabled", "adaptive", "tool", "auto", "ephemeral"]),
    st.sampled_from(TAGS),
)
NAMES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        [*KEYS, "type", "role", "content", "text", "source", "id", "name", "input", "tool_use_id"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=20,
)
BLOCKS = st.one_of(
    VALUES,
    st.dictionaries(NAMES, VALUES, max_size=6).flatmap(
        lambda block: st.sampled_from(TAGS).map(lambda tag: block | {"type": tag})
    ),
)
MESSAGES = st.lists(
    st.one_of(
        VALUES,
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["user", "assistant", "system"]),
                "content": st.one_of(st.text(), st.lists(BLOCKS)),
            }
        ),
    ),
    max_size=4,
)
REQUESTS = st.tuples(
    st.fixed_dictionaries({"model": st.just("m"), "max_tokens": st.integers(0), "messages": MESSAGES}),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
).map(lambda parts: {**parts[0], **parts[1]})


def check(body: bytes) -> None:
    """The body is decoded, or refused in words that show no decoder's spelling of a path."""
    refusals: list[str] = []
    for decode, kind in ((decode_messages, MessagesRequest), (decode_count, CountTokensRequest)):
        try:
            request = decode(body)
        except InvalidRequestError as error:
            refusals.append(error.message)
            continue
        assert type(request) is kind
        strict(body, kind)
    assert [message for message in refusals if not message or "$" in message.partition(":")[0]] == []


def strict(body: bytes, kind: type[CountTokensRequest]) -> list[str]:
    """The second pass over a body that was accepted: it may refuse a number that the first one skipped."""
    try:
        return unknown_fields(body, kind)
    except InvalidRequestError:
        return []


@given(VALUES)
def test_any_json_value(value: Any) -> None:
    check(msgspec.json.encode(value))


@given(REQUESTS)
def test_any_value_in_the_place_of_a_field(value: Any) -> None:
    check(msgspec.json.encode(value))


@given(st.binary())
def test_any_bytes(body: bytes) -> None:
    check(body)


@given(REQUESTS, st.data())
def test_a_damaged_body(value: Any, data: st.DataObject) -> None:
    body = msgspec.json.encode(value)
    cut = data.draw(st.integers(0, len(body)))
    check(body[:cut] + data.draw(st.binary(max_size=4)) + body[cut:])
    check(body[:cut])
