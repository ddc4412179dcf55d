"""A ledger's store in memory: for tests, and for programs that read what they recorded and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import msgspec

from dragoman.ledger.interface import Messages, SessionFrozenError, Summary
from dragoman.ledger.values import Message, Session, Turn

_Key = tuple[str, str]


class MemoryStore:
    """A `LedgerStore` that lives as long as its process. `kept` has all messages by their digests."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.kept: dict[str, Message] = {}
        self._now = now
        self._sessions: dict[_Key, Session] = {}
        self._changed: dict[_Key, float] = {}
        self._turns: dict[_Key, dict[str, Turn]] = {}

    async def open(self) -> list[str]:
        """There is nothing yet."""
        return []

    async def put(self, turn: Turn, messages: Messages) -> None:
        """Keeps a turn, with those of its messages that are not there yet."""
        key = (turn.scope, turn.session)
        session = self._of(key)
        if session.state == "frozen":
            raise SessionFrozenError(f"the session {session.id} is frozen: it takes no turn")
        turns = self._turns.setdefault(key, {})
        known = turns.get(turn.id)
        if known is None or turn.rank > known.rank:
            turns[turn.id] = turn
            self._changed[key] = self._now()
        wanted = {digest for digest in (*turn.path, turn.answer) if digest} - self.kept.keys()
        self.kept.update((message.digest, message) for message in messages(wanted))

    async def turns(self, scope: str, session: str) -> list[Turn]:
        """All turns of a session, in order of their begin."""
        turns = self._turns.get((scope, session), {}).values()
        return sorted(turns, key=lambda turn: (turn.began, turn.id))

    async def messages(self, digests: Collection[str]) -> dict[str, Message]:
        """The messages that are there, by digest."""
        return {digest: self.kept[digest] for digest in digests if digest in self.kept}

    async def put_session(self, session: Session) -> None:
        """Keeps a session in the place of what was known of it."""
        key = (session.scope, session.id)
        known = self._sessions.get(key)
        if known is not None and known.state == "frozen" and known != session:
            raise SessionFrozenError(f"the session {session.id} is frozen: it cannot be changed")
        self._sessions[key] = session
        self._changed[key] = self._now()

    async def session(self, scope: str, session: str) -> Session | None:
        """A session; None where there is none."""
        return self._sessions.get((scope, session))

    async def sessions(self, *, before: float | None = None, limit: int = 100) -> list[Summary]:
        """Sessions of all scopes, the last changed first."""
        found = [
            self._summary(key)
            for key in sorted(self._sessions, key=lambda key: self._changed[key], reverse=True)
            if before is None or self._changed[key] < before
        ]
        return found[:limit]

    async def mark_incomplete(self, scope: str, session: str, why: str) -> None:
        """Something of the session is missing; the first reason stays."""
        known = self._of((scope, session))
        if not known.incomplete:
            self._sessions[scope, session] = msgspec.structs.replace(known, incomplete=why)

    async def drop(self, scope: str, session: str) -> bool:
        """Forgets a session; whether there was one."""
        self._turns.pop((scope, session), None)
        return self._sessions.pop((scope, session), None) is not None

    async def sweep(self, *, older_than: float, most_bytes: int) -> int:
        """Forgets sessions that were changed before a moment; bytes are not counted here."""
        old = [key for key in self._sessions if self._changed[key] < older_than]
        for scope, session in old:
            await self.drop(scope, session)
        return len(old)

    async def verify(self) -> list[str]:
        """Nothing can be wrong."""
        return []

    async def aclose(self) -> None:
        """There is nothing to end."""

    def _of(self, key: _Key) -> Session:
        if key not in self._sessions:
            now = self._now()
            self._sessions[key] = Session(id=key[1], scope=key[0], created=now)
            self._changed[key] = now
        return self._sessions[key]

    def _summary(self, key: _Key) -> Summary:
        turns = self._turns.get(key, {}).values()
        tokens = sum(len(sample.sampled_ids) for turn in turns for sample in turn.samples)
        return Summary(self._sessions[key], len(turns), tokens, self._changed[key])
