"""What a ledger's store offers: who keeps it elsewhere writes a module with these methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import msgspec

from dragoman.errors import ConflictError
from dragoman.ledger.values import Message, Session, Turn


class SessionFrozenError(ConflictError):
    """409: a frozen session takes no turn and no change."""


class Summary(msgspec.Struct, frozen=True):
    """A session with what it holds: turns, sampled tokens, the moment of its last change."""

    session: Session
    turns: int
    tokens: int
    changed: float


Messages = Callable[[Collection[str]], Iterable[Message]]
"""Gives the messages with these digests."""


def at_hand(messages: Iterable[Message]) -> Messages:
    """Messages that are at hand."""
    known = {message.digest: message for message in messages}
    return lambda digests: [known[digest] for digest in digests if digest in known]


class LedgerStore(Protocol):
    """Sessions belong to a scope, the name of the API key. All methods may be called at any time."""

    async def open(self) -> list[str]:
        """Looks whether what is there can be read: what is wrong, with its sessions marked incomplete."""
        ...

    async def put(self, turn: Turn, messages: Messages) -> None:
        """Keeps a turn, with those of its messages that are not there yet; then they are on the disk.

        `messages` may be called in another thread. An equal turn changes nothing; of two that differ the
        greater `rank` holds. The session is made where there is none. Raises `SessionFrozenError`.
        """
        ...

    async def turns(self, scope: str, session: str) -> list[Turn]:
        """All turns of a session, in order of their begin. A record that is broken comes as a hole."""
        ...

    async def messages(self, digests: Collection[str]) -> dict[str, Message]:
        """The messages that are there, by digest."""
        ...

    async def put_session(self, session: Session) -> None:
        """Keeps a session in the place of what was known of it; raises `SessionFrozenError`."""
        ...

    async def session(self, scope: str, session: str) -> Session | None:
        """A session; None where there is none."""
        ...

    async def sessions(self, *, before: float | None = None, limit: int = 100) -> list[Summary]:
        """Sessions of all scopes, the last changed first; `before`: changed before that moment."""
        ...

    async def mark_incomplete(self, scope: str, session: str, why: str) -> None:
        """Something of the session is missing."""
        ...

    async def drop(self, scope: str, session: str) -> bool:
        """Forgets a session; whether there was one."""
        ...

    async def sweep(self, *, older_than: float, most_bytes: int) -> int:
        """Forgets sessions that were changed before a moment, and the oldest as long as all take more bytes.

        0 bytes are no bound. How many were forgotten.
        """
        ...

    async def verify(self) -> list[str]:
        """What is wrong with what is kept, a sentence for each finding."""
        ...

    async def aclose(self) -> None:
        """Ends the work that was begun. Safe to call twice."""
        ...
