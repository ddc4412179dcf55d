"""Bodies of requests in, values out: the one place where a client's bytes become types."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.changes import unknown_in_changes
from dragoman.wire.anthropic.context import EDIT_TYPES, ThreadContinue, UnknownEdit
from dragoman.wire.anthropic.explain import explain
from dragoman.wire.anthropic.request import CountTokensRequest, Message, MessagesRequest, NoContent
from dragoman.wire.anthropic.shape import spell, unknown_paths

Request = TypeVar("Request", bound=CountTokensRequest)

# Calls deeper than here that may decode a raw part of the body again without passing the interpreter's limit.
_MARGIN = 100
# A small body with so few opening brackets is nowhere near the limit: it needs no margin.
_SMALL = 65_536
_DEEP = 500

_EDITS = ("context_management", "edits")
_UNKNOWN_EDIT = re.compile(r"^Invalid value .* - at `\$\.context_management\.edits\[\d+\]\.type`$", re.DOTALL)

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
    value = _plain(body, kind)
    found = unknown_paths(kind, value) + [f"{spell(_EDITS)}.{number}" for number in _unknown_edits(value)]
    return found + (unknown_in_changes(value.get("messages")) if isinstance(value, dict) else [])


def _decode(decoder: msgspec.json.Decoder[Request], body: bytes, kind: type[Request]) -> Request:
    try:
        is_flat = len(body) < _SMALL and body.count(b"[") + body.count(b"{") < _DEEP
        request = decoder.decode(body) if is_flat else _decode_deeper(decoder, body, _MARGIN)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _UNKNOWN_EDIT.match(str(error)):
            return _decode(decoder, _with_known_edits(body, kind), kind)
        raise InvalidRequestError(explain(_no_text(body) or error, kind, body)) from error
    if not request.messages and not isinstance(request.thread, ThreadContinue):
        raise InvalidRequestError("messages: Input should have at least 1 item")
    for number, message in enumerate(request.messages):
        if type(message.content) is NoContent and not _sets_effort(message):
            raise InvalidRequestError(f"messages.{number}.content: Field required")
    return request


def _plain(body: bytes, kind: type[CountTokensRequest]) -> Any:
    """The body's value without types."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(explain(error, kind, body)) from error


def _with_known_edits(body: bytes, kind: type[CountTokensRequest]) -> bytes:
    """The same body, with an `UnknownEdit` in the place of each edit of a type that is not known."""
    value = _plain(body, kind)
    edits = value["context_management"]["edits"]
    for number in _unknown_edits(value):
        edits[number] = UnknownEdit(name=str(edits[number]["type"]))
    return msgspec.json.encode(value)


def _unknown_edits(value: Any) -> list[int]:
    """The numbers of the edits in a body whose type is not known."""
    found = value
    for key in _EDITS:
        found = found.get(key) if isinstance(found, dict) else None
    types = [edit.get("type") if isinstance(edit, dict) else None for edit in found or ()]
    return [number for number, name in enumerate(types) if isinstance(name, str) and name not in EDIT_TYPES]


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
