"""The Messages API's values: requests, blocks, answers, events and errors, and the codecs of its bodies."""

from dragoman.wire.anthropic.codec import decode_count, decode_messages, unknown_fields
from dragoman.wire.anthropic.errors import (
    ErrorBody,
    ErrorEnvelope,
    ErrorType,
    encode_error,
    encode_error_event,
)
from dragoman.wire.anthropic.events import StreamEvent, decode_event
from dragoman.wire.anthropic.models import ModelInfo, ModelPage, TokenCount
from dragoman.wire.anthropic.request import CountTokensRequest, Message, MessagesRequest
from dragoman.wire.anthropic.response import MessageOut, StopReason, Usage

__all__ = [
    "CountTokensRequest",
    "ErrorBody",
    "ErrorEnvelope",
    "ErrorType",
    "Message",
    "MessageOut",
    "MessagesRequest",
    "ModelInfo",
    "ModelPage",
    "StopReason",
    "StreamEvent",
    "TokenCount",
    "Usage",
    "decode_count",
    "decode_event",
    "decode_messages",
    "encode_error",
    "encode_error_event",
    "unknown_fields",
]
