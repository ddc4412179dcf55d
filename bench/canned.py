"""The canned answers: made once, sent again and again, one token per chunk."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

WORDS = ["The", " sky", " is", " blue", ",", " and", " 21", " °C", " in", " Köln", ".", " 🎉", '"', "\n"]
PROMPT_TOKENS = 812
TOOL_NAME = "write_file"


class Answer(msgspec.Struct, frozen=True):
    """How many tokens of each kind an answer has: thinking, then text, then tool calls."""

    name: str
    text: int
    thinking: int = 0
    calls: int = 0
    call: int = 0

    @property
    def tokens(self) -> int:
        """All tokens of the answer."""
        return self.thinking + self.text + self.calls * self.call


ANSWERS = {
    answer.name: answer
    for answer in (
        Answer("short", text=32),
        Answer("brief", text=64, thinking=32, calls=2, call=16),
        Answer("mixed", text=256, thinking=128, calls=2, call=64),
    )
}


def words(count: int) -> list[str]:
    """Words of several scripts, one per token."""
    return [WORDS[number % len(WORDS)] for number in range(count)]


def call_pieces(number: int, tokens: int) -> list[str]:
    """The arguments of one call in as many pieces as it has tokens."""
    body = [msgspec.json.encode(word).decode()[1:-1] for word in words(tokens - 2)]
    return [f'{{"path": "{number}.txt", "text": "', *body, '"}']


def deltas(answer: Answer) -> Iterator[dict[str, object]]:
    """The deltas of an answer, one per token."""
    for word in words(answer.thinking):
        yield {"reasoning_content": word}
    for word in words(answer.text):
        yield {"content": word}
    for number in range(answer.calls):
        for place, piece in enumerate(call_pieces(number, answer.call)):
            head = {"id": f"call_{number}", "type": "function"} if place == 0 else {}
            name = {"name": TOOL_NAME} if place == 0 else {}
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


def packets(answer: Answer) -> list[list[bytes]]:
    """An answer's events as they leave when it is paced: one token a packet, the role before the first."""
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": answer.tokens,
        "total_tokens": PROMPT_TOKENS + answer.tokens,
    }
    tokens = [[choice(delta)] for delta in deltas(answer)]
    end = [
        choice({}, "tool_calls" if answer.calls else "stop"),
        chunk(choices=[], usage=usage),
        b"data: [DONE]\n\n",
    ]
    role = choice({"role": "assistant", "content": ""})
    return [[role, *tokens[0]], *tokens[1:], end]


def events(answer: Answer) -> list[bytes]:
    """All events of an answer: a role, one per token, the finish, the usage, the end mark."""
    return [event for packet in packets(answer) for event in packet]


def chunked(event: bytes) -> bytes:
    """One event as one HTTP chunk, as an engine that flushes every token sends it."""
    return b"%x\r\n%s\r\n" % (len(event), event)
