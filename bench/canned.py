"""The canned stream: made once, sent again and again, one token per chunk."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

WORDS = ["The", " sky", " is", " blue", ",", " and", " 21", " °C", " in", " Köln", ".", " 🎉", '"', "\n"]
THINKING_TOKENS = 128
TEXT_TOKENS = 256
CALL_TOKENS = 64
CALLS = 2
TOKENS = THINKING_TOKENS + TEXT_TOKENS + CALLS * CALL_TOKENS
PROMPT_TOKENS = 812

TOOL = {
    "name": "write_file",
    "description": "Writes a file.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
        "required": ["path", "text"],
    },
}

# What every stream of the load asks: the answer does not depend on it.
REQUEST = msgspec.json.encode(
    {
        "model": "canned",
        "max_tokens": 4096,
        "stream": True,
        "thinking": {"type": "adaptive"},
        "system": [{"type": "text", "text": "You are a careful engineer. " * 20}],
        "tools": [TOOL],
        "messages": [{"role": "user", "content": "Write two files about the weather."}],
    }
)


def words(count: int) -> list[str]:
    """Words of several scripts, one per token."""
    return [WORDS[number % len(WORDS)] for number in range(count)]


def call_pieces(number: int) -> list[str]:
    """The arguments of one call in as many pieces as it has tokens."""
    body = [msgspec.json.encode(word).decode()[1:-1] for word in words(CALL_TOKENS - 2)]
    return [f'{{"path": "{number}.txt", "text": "', *body, '"}']


def deltas() -> Iterator[dict[str, object]]:
    """The deltas of the answer: thinking, text, then two calls."""
    for word in words(THINKING_TOKENS):
        yield {"reasoning_content": word}
    for word in words(TEXT_TOKENS):
        yield {"content": word}
    for number in range(CALLS):
        for place, piece in enumerate(call_pieces(number)):
            head = {"id": f"call_{number}", "type": "function"} if place == 0 else {}
            name = {"name": TOOL["name"]} if place == 0 else {}
            yield {"tool_calls": [{"index": number, **head, "function": {**name, "arguments": piece}}]}


def chunk(**fields: object) -> bytes:
    """One event of a Chat Completions stream, with the fields that engines commonly send."""
    head = {
        "id": "chatcmpl-canned",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "canned",
    }
    return b"data: " + msgspec.json.encode({**head, **fields}) + b"\n\n"


def choice(delta: dict[str, object], finish_reason: str | None = None) -> bytes:
    """The event of one delta."""
    return chunk(choices=[{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])


def events() -> list[bytes]:
    """All events of the stream: a role, one per token, the finish, the usage, the end mark."""
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": TOKENS,
        "total_tokens": PROMPT_TOKENS + TOKENS,
    }
    return [
        choice({"role": "assistant", "content": ""}),
        *(choice(delta) for delta in deltas()),
        choice({}, "tool_calls"),
        chunk(choices=[], usage=usage),
        b"data: [DONE]\n\n",
    ]


def chunked(event: bytes) -> bytes:
    """One event as one HTTP chunk, as an engine that flushes every token sends it."""
    return b"%x\r\n%s\r\n" % (len(event), event)
