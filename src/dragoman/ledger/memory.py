"""A ledger's store in memory: for tests, and for programs that read what they recorded and end."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.ledger.values import Message, Turn


class MemoryStore:
    """Keeps turns and messages as long as it lives. `incomplete` says why of each session that has a hole."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.incomplete: dict[tuple[str, str], str] = {}
        self._turns: dict[tuple[str, str], dict[str, Turn]] = {}

    async def put(self, turn: Turn, messages: Sequence[Message]) -> None:
        """Keeps a turn, in the place of what was known of it before."""
        self.messages.update((message.digest, message) for message in messages)
        self._turns.setdefault((turn.scope, turn.session), {})[turn.id] = turn

    async def turns(self, scope: str, session: str) -> list[Turn]:
        """All turns of a session, in order of their begin."""
        return sorted(self._turns.get((scope, session), {}).values(), key=lambda turn: turn.began)

    async def sessions(self) -> list[tuple[str, str]]:
        """The scope and name of each session."""
        return list(self._turns)

    async def mark_incomplete(self, scope: str, session: str, why: str) -> None:
        """Something of the session is missing."""
        self.incomplete[scope, session] = why
