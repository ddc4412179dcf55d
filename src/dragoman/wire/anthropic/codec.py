"""Bodies of requests in, values out: the one place where a client's bytes become types."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.explain import explain
from dragoman.wire.anthropic.request import CountTokensRequest, Message, MessagesRequest, NoContent
from dragoman.wire.anthropic.shape import unknown_paths

Request = TypeVar("Request", bound=CountTokensRequest)

# Calls deeper than here that may decode a raw part of the body again without passing the interpreter's limit.
_MARGIN = 100
# A small body with so few opening brackets is nowhere near the limit: it needs no margin.
_SMALL = 65_536
_DEEP = 500

_messages = msgspec.json.Decoder(MessagesRequest)
_count = msgspec.json.Decoder(CountTokensRequest)

# A body whose escaped surrogates come in pairs; a backslash at its very end is the decoder's business.
_PAIRED = re.compile(
    rb"(?:[^\\]++"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\(?!u[dD][89a-fA-F]).)*+\\?+",
    re.DOTALL,
)


def decode_messages(body: bytes) -> MessagesRequest:
    """The body of POST /v1/messages; InvalidRequestError names the path of what is wrong."""
    return _decode(_messages, body, MessagesRequest)


def decode_count(body: bytes) -> CountTokensRequest:
    """The body of POST /v1/messages/count_tokens; InvalidRequestError names the path of what is wrong."""
    return _decode(_count, body, CountTokensRequest)


def unknown_fields(body: bytes, kind: type[CountTokensRequest] = MessagesRequest) -> list[str]:
    """Paths of the keys that no struct of `kind` lists (strict mode), in the order of the body."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(explain(error, kind, body)) from error
    return unknown_paths(kind, value)


def _decode(decoder: msgspec.json.Decoder[Request], body: bytes, kind: type[Request]) -> Request:
    try:
        is_flat = len(body) < _SMALL and body.count(b"[") + body.count(b"{") < _DEEP
        request = decoder.decode(body) if is_flat else _decode_deeper(decoder, body, _MARGIN)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(explain(_no_text(body) or error, kind, body)) from error
    for number, message in enumerate(request.messages):
        if type(message.content) is NoContent and not _sets_effort(message):
            raise InvalidRequestError(f"messages.{number}.content: Field required")
    return request


def _sets_effort(message: Message) -> bool:
    config = message.output_config
    return message.role == "system" and config is not None and config.effort is not None


def _decode_deeper(decoder: msgspec.json.Decoder[Request], body: bytes, calls: int) -> Request:
    return _decode_deeper(decoder, body, calls - 1) if calls else decoder.decode(body)


def _no_text(body: bytes) -> Exception | None:
    """Why a body that was refused is no text, if it is none: that says more than where a parser stopped."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error
    return None if _PAIRED.fullmatch(body) else msgspec.DecodeError("it holds half of a surrogate pair")
