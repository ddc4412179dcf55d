"""The error envelope: one shape for every path, method and parser that fails, and for `error` events."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dragoman.errors import DragomanError
from dragoman.wire.sse import encode_event, one_line

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "not_supported",
    "overloaded_error",
]


class ErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong; `details` holds `error_code` and what belongs to it, and is left out when empty."""

    type: ErrorType
    message: str
    details: dict[str, Any] | UnsetType = UNSET


class ErrorEnvelope(msgspec.Struct, tag_field="type", tag="error", kw_only=True):
    """The body of every answer that is an error, and the data of an `error` event."""

    error: ErrorBody
    request_id: str | None = None


_encoder = msgspec.json.Encoder()


def envelope_of(error: DragomanError, request_id: str | None) -> ErrorEnvelope:
    """The envelope of an error; nothing but `message`, `error_code` and `details` leaves."""
    details = dict(error.details)
    if error.error_code is not None:
        details["error_code"] = error.error_code
    body = ErrorBody(
        type=error.type,  # type: ignore[arg-type]  # every class's type is one of ErrorType; a test sees to it
        message=error.message,
        details=details or UNSET,
    )
    return ErrorEnvelope(error=body, request_id=request_id)


def encode_error(error: DragomanError, request_id: str | None) -> bytes:
    """The envelope of an error as JSON."""
    return _encoder.encode(envelope_of(error, request_id))


def encode_error_event(error: DragomanError, request_id: str | None) -> bytes:
    """The envelope of an error as a stream's last event."""
    return encode_event("error", one_line(encode_error(error, request_id)))
