"""The translation alone: pure functions, no engine, no server, no event loop.

A Messages request becomes a Chat Completions request for vLLM; the chunks of its answer become the events of
a Messages stream. Put your own client between the two.
"""

from __future__ import annotations

import sys

import msgspec

from dragoman.engines.dialects import DIALECTS
from dragoman.engines.dialects.base import WireChunk
from dragoman.translate.options import RequestOptions
from dragoman.translate.request import to_chat
from dragoman.translate.signature import OpenedThinking
from dragoman.translate.stream import MessageStream, StreamOptions
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.capabilities import EngineCapabilities

REQUEST = b"""{
  "model": "qwen3", "max_tokens": 100, "stream": true, "system": "Be brief.",
  "tools": [{
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}
  }],
  "messages": [{"role": "user", "content": "Will it rain in Oslo?"}]
}"""
CALL = b'{"choices": [{"index": 0, "delta": {"tool_calls": [%b]}}]}'
CHUNKS = [
    b'{"choices": [{"index": 0, "delta": {"reasoning": "I look it up."}}]}',
    CALL % b'{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{\\"city\\": "}}',
    CALL % b'{"index": 0, "function": {"arguments": "\\"Oslo\\"}"}}',
    b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}',
    b'{"choices": [], "usage": {"prompt_tokens": 80, "completion_tokens": 20}}',
]


def main() -> None:
    """There and back."""
    can = EngineCapabilities(reasoning=True, context_length=32_768)
    options = RequestOptions(
        model="qwen3",
        capabilities=can,
        open_thinking=lambda _signature, thinking: OpenedThinking("foreign", thinking),
        spelling=lambda _call_id: None,
    )
    dialect = DIALECTS["vllm"]()
    chat = to_chat(decode_messages(REQUEST), options).chat
    print(msgspec.json.format(dialect.write(chat, can, stream=True)).decode())

    stream = MessageStream(
        StreamOptions(message_id="msg_1", model="qwen3", max_tokens=100),
        seal=lambda _text, _visible: "not signed",
    )
    events = [stream.start(input_tokens=80)]
    for data in CHUNKS:
        chunk = msgspec.json.decode(data, type=WireChunk)
        dialect.read_chunk(chunk)
        events.append(stream.feed([chunk]))
    events.append(stream.end())
    sys.stdout.write(b"".join(events).decode())


if __name__ == "__main__":
    main()
