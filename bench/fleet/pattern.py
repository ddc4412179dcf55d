"""What a session asks for, in tokens: sizes that `bench.fleet.record` took from Claude Code."""

from __future__ import annotations

from pathlib import Path

import msgspec

FILE = Path(__file__).parent / "pattern.json"
MAIN = "main"


class Call(msgspec.Struct, frozen=True):
    """One call of the Messages API: the tokens of its whole prompt and of its answer."""

    prompt: int
    answer: int


class Conversation(msgspec.Struct, frozen=True):
    """Calls of which each prompt extends the last one.

    kind: "main" or "agent"; conversations of a kind begin with the same `shared` tokens in every session.
    after: the call of the main conversation whose answer starts it, counted from 0; None for the main one.
    """

    kind: str
    shared: int
    calls: tuple[Call, ...]
    after: int | None = None


class Pattern(msgspec.Struct, frozen=True):
    """A session: its conversations, the main one first. client: whose run it was."""

    client: str
    tokenizer: str
    conversations: tuple[Conversation, ...]


def load(file: Path = FILE) -> Pattern:
    """The recorded pattern; `msgspec.ValidationError` where the file is none."""
    return msgspec.json.decode(file.read_bytes(), type=Pattern)
