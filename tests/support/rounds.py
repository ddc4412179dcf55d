"""Messages in rounds as a client puts them together, and what of them is the same each time."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.wire.sse import SSEDecoder

Message = dict[str, Any]


def events(data: bytes) -> list[dict[str, Any]]:
    """The data of a stream's events."""
    decoder = SSEDecoder()
    return [msgspec.json.decode(event.data) for event in decoder.feed(data)]


def unsealed(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blocks without what is different each time: seals, and the time."""
    return [_plain(block) for block in content]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if key not in {"encrypted_content", "signature", "retrieved_at"}
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


def accumulated(data: bytes) -> Message:
    """The message that a stream's events make."""
    message: Message = {}
    arguments = ""
    for event in events(data):
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append(event["content_block"])
            arguments = ""
        elif kind == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            arguments += delta.get("partial_json", "")
            for key in {"text", "thinking", "signature"} & delta.keys():
                block[key] += delta[key]
        elif kind == "content_block_stop" and arguments:
            message["content"][-1]["input"] = msgspec.json.decode(arguments)
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    return message
