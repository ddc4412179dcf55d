"""The error envelope and the values of a stream's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from dragoman.errors import DragomanError, InvalidRequestError, OverloadedError, ThreadUnsupportedError
from dragoman.wire.anthropic import ErrorType, decode_event, encode_error, encode_error_event
from dragoman.wire.anthropic.events import ContentBlockDelta, MessageDelta, MessageStart, TextDelta
from dragoman.wire.sse import SSEDecoder, SSEEvent


def all_errors(kind: type[DragomanError] = DragomanError) -> Iterator[type[DragomanError]]:
    """The whole tree of errors."""
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


def test_every_error_has_a_type_of_the_api() -> None:
    assert {kind.type for kind in all_errors()} <= set(get_args(ErrorType))


def test_an_error_without_details_has_no_details() -> None:
    error = InvalidRequestError("messages: Field required", log_detail="secret")
    assert msgspec.json.decode(encode_error(error, "req_1")) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "messages: Field required"},
        "request_id": "req_1",
    }


def test_details_carry_the_code_and_what_belongs_to_it() -> None:
    error = ThreadUnsupportedError("thread: not here", details={"unsupported": ["thread"]})
    assert msgspec.json.decode(encode_error(error, None)) == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "thread: not here",
            "details": {"unsupported": ["thread"], "error_code": "thread_unsupported_request"},
        },
        "request_id": None,
    }
    assert "error_code" not in error.details


def test_an_error_is_an_event_after_the_first_byte() -> None:
    [event] = SSEDecoder().feed(encode_error_event(OverloadedError("full"), "req_1"))
    assert event == SSEEvent("error", encode_error(OverloadedError("full"), "req_1"))
    assert decode_event(event).__struct_config__.tag == "error"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (
            (
                b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m",'
                b'"content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":0}}}'
            ),
            MessageStart,
        ),
        (
            (
                b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
                b'"usage":{"output_tokens":5},"context_management":{"applied_edits":[]}}'
            ),
            MessageDelta,
        ),
    ],
)
def test_an_event_is_decoded_by_its_type(data: bytes, kind: type) -> None:
    name = msgspec.json.decode(data)["type"]
    assert isinstance(decode_event(SSEEvent(name, data)), kind)


def test_a_delta_is_decoded_by_its_own_type() -> None:
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'
    assert decode_event(SSEEvent("content_block_delta", data)) == ContentBlockDelta(
        index=0, delta=TextDelta("a")
    )


@pytest.mark.parametrize("name", [None, "message_stop"])
def test_an_event_whose_name_is_not_its_type_is_refused(name: str | None) -> None:
    with pytest.raises(msgspec.ValidationError, match="not the type"):
        decode_event(SSEEvent(name, b'{"type":"ping"}'))


def test_no_character_of_an_error_event_can_end_a_line() -> None:
    raw = encode_error_event(InvalidRequestError("a\x85b\u2028c\u2029"), None)
    assert len(raw.decode().splitlines()) == 3
    assert msgspec.json.decode(SSEDecoder().feed(raw)[0].data)["error"]["message"] == "a\x85b\u2028c\u2029"
