"""Events of a stream, as a client reads them.

The stream itself is written from prebuilt byte prefixes; these structs say what those bytes mean.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from dragoman.wire.anthropic.errors import ErrorEnvelope
from dragoman.wire.anthropic.response import (
    AppliedEdits,
    BlockOut,
    MessageOut,
    OutputTokensDetails,
    ServerToolUsage,
    StopReason,
)
from dragoman.wire.sse import SSEEvent


class Event(msgspec.Struct, tag_field="type", kw_only=True):
    """What every event has in common: the event's name equals its `type`."""


class MessageStart(Event, tag="message_start"):
    """The message before its first block: no content, no stop reason, the input's count."""

    message: MessageOut


class Ping(Event, tag="ping"):
    """Nothing but a sign of life."""


class ContentBlockStart(Event, tag="content_block_start"):
    """Block number `index` opens; `content_block` is empty but for its names."""

    index: int
    content_block: BlockOut


class TextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(msgspec.Struct, tag_field="type", tag="thinking_delta"):
    """More thinking."""

    thinking: str


class InputJSONDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    """More of the text of a call's arguments."""

    partial_json: str


class SignatureDelta(msgspec.Struct, tag_field="type", tag="signature_delta"):
    """The whole signature of a thinking block, once, just before its end."""

    signature: str


Delta = TextDelta | ThinkingDelta | InputJSONDelta | SignatureDelta


class ContentBlockDelta(Event, tag="content_block_delta"):
    """More of block number `index`."""

    index: int
    delta: Delta


class ContentBlockStop(Event, tag="content_block_stop"):
    """Block number `index` is complete."""

    index: int


class StopDelta(msgspec.Struct, kw_only=True):
    """Why the answer ended."""

    stop_reason: StopReason | None
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None


class DeltaUsage(msgspec.Struct, kw_only=True):
    """Cumulative counts: they replace those of the start."""

    output_tokens: int
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: ServerToolUsage | None = None


class MessageDelta(Event, tag="message_delta"):
    """The end of the content: why, and what it cost."""

    delta: StopDelta
    usage: DeltaUsage
    context_management: AppliedEdits | UnsetType = UNSET


class MessageStop(Event, tag="message_stop"):
    """Nothing comes after this."""


StreamEvent = (
    MessageStart
    | Ping
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | ErrorEnvelope
)

_decoder: msgspec.json.Decoder[StreamEvent] = msgspec.json.Decoder(StreamEvent)


def decode_event(event: SSEEvent) -> StreamEvent:
    """One event of our own stream as a value; raises msgspec.ValidationError for anything else.

    The name must be there and equal the data's type: clients look at nothing but the name.
    """
    value = _decoder.decode(event.data)
    if event.event != value.__struct_config__.tag:
        raise msgspec.ValidationError(f"The event's name {event.event!r} is not the type of its data")
    return value
