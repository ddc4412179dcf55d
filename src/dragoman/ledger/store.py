"""The ledger on the disk: one SQLite database, written by its owner in batches, off the path of tokens."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from dragoman.errors import DragomanError
from dragoman.ledger import rows
from dragoman.ledger.interface import Messages, SessionFrozenError, Summary
from dragoman.ledger.packing import Ids
from dragoman.ledger.schema import FILE_NAME, MESSAGES_IN_USE, PATHS_IN_USE, SCHEMA
from dragoman.ledger.values import Message, Session, Turn
from dragoman.store.database import Database

# Rows that are checked when it opens, the newest.
_CHECKED_AT_START = 64
_KILLED = "the process ended before it"
# Ids of recent turns that are remembered, as the next ones begin with them.
_MOST_IDS = 4_000_000


class _Waiting(msgspec.Struct):
    """A turn that is to be written, and who waits for it."""

    turn: Turn
    messages: Messages
    done: asyncio.Future[None]


class SQLiteLedger:
    """A `LedgerStore` in a folder. Turns that come while a transaction runs share the next one.

    now: seconds since 1970, for the moments of changes.
    """

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self.database = Database(folder, SCHEMA, FILE_NAME)
        self._now = now
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._recent = _Recent()

    async def open(self) -> list[str]:
        """Looks whether what is there can be read; what is wrong, with the sessions marked incomplete.

        Turns that a process which was killed had begun are ended as holes. One process writes a ledger.
        """
        return await self.database.run(_checked)

    async def put(self, turn: Turn, messages: Messages) -> None:
        """Keeps a turn, with those of its messages that are not there yet; then they are on the disk."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(turn, messages, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await asyncio.shield(done)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                refused = await self.database.run(lambda db, batch=batch: self._put_all(db, batch))  # type: ignore[misc]  # the lambda's default binds this batch
            except DragomanError as error:
                # nothing of a batch that failed is there
                self._recent.clear()
                refused = dict.fromkeys(range(len(batch)), error)
            for number, each in enumerate(batch):
                if each.done.cancelled():
                    continue
                if number in refused:
                    each.done.set_exception(refused[number])
                else:
                    each.done.set_result(None)

    def _put_all(self, db: sqlite3.Connection, batch: Sequence[_Waiting]) -> dict[int, DragomanError]:
        """Writes a batch; the errors of those that were refused, by their place."""
        refused: dict[int, DragomanError] = {}
        for number, each in enumerate(batch):
            try:
                self._put(db, each.turn, each.messages)
            except SessionFrozenError as error:
                refused[number] = error
        return refused

    def _put(self, db: sqlite3.Connection, turn: Turn, messages: Messages) -> None:
        number, session = rows.session_of(db, turn, self._now())
        if session.state == "frozen":
            raise SessionFrozenError(f"the session {session.id} is frozen: it takes no turn")
        known = rows.known(db, number, turn.id)
        if known is not None and known[0].rank >= turn.rank:
            return
        if known is not None and known[0].state == turn.state:
            rows.amend_turn(db, number, turn)
            rows.count(db, number, self._now(), 0, 0)
            return
        rows.put_messages(db, messages(rows.missing(db, turn)))
        rows.put_turn(db, number, turn, self._earlier(db, number, turn))
        more = rows.sampled(turn) - (0 if known is None else known[1])
        rows.count(db, number, self._now(), known is None, more)
        if turn.samples:
            last = turn.samples[-1]
            self._recent.keep(number, turn.id, [*last.prompt_ids, *last.sampled_ids])

    def _earlier(self, db: sqlite3.Connection, number: int, turn: Turn) -> tuple[str, Ids]:
        """The turn whose ids this one's prompt most likely begins with: its base, else the newest."""
        base = (turn.samples[0].base if turn.samples else "") or self._recent.newest(number)
        if not base or base == turn.id:
            return "", ()
        ids = self._recent.get(number, base)
        return base, rows.recorded(db, number, base) if ids is None else ids

    async def turns(self, scope: str, session: str) -> list[Turn]:
        """All turns of a session, in order of their begin; one that cannot be read is a hole."""
        return await self.database.run(lambda db: rows.turns(db, scope, session))

    async def messages(self, digests: Collection[str]) -> dict[str, Message]:
        """The messages that are there, by digest."""
        return await self.database.run(lambda db: rows.messages(db, digests))

    async def put_session(self, session: Session) -> None:
        """Keeps a session in the place of what was known of it."""
        await self.database.run(lambda db: rows.put_session(db, session, self._now()))

    async def session(self, scope: str, session: str) -> Session | None:
        """A session; None where there is none."""
        found = await self.database.run(lambda db: rows.session(db, scope, session))
        return None if found is None else found[1]

    async def sessions(self, *, before: float | None = None, limit: int = 100) -> list[Summary]:
        """Sessions of all scopes, the last changed first."""
        return await self.database.run(lambda db: rows.sessions(db, before, limit))

    async def mark_incomplete(self, scope: str, session: str, why: str) -> None:
        """Something of the session is missing; a frozen one is marked, too."""
        await self.database.run(lambda db: rows.mark_incomplete(db, scope, session, why, self._now()))

    async def drop(self, scope: str, session: str) -> bool:
        """Forgets a session, and the messages that only it has."""
        self._recent.clear()
        return await self.database.run(lambda db: _dropped(db, scope, session))

    async def sweep(self, *, older_than: float, most_bytes: int) -> int:
        """Forgets sessions that are too old, and the oldest as long as all take more bytes than they may."""
        self._recent.clear()
        return await self.database.run(lambda db: _swept(db, older_than, most_bytes))

    async def verify(self) -> list[str]:
        """What is wrong with what is kept; sessions with a broken record are marked incomplete."""
        return await self.database.run(rows.findings)

    async def aclose(self) -> None:
        """Writes what waits, and closes the database."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait({self._writer})
        await self.database.aclose()


class _Recent:
    """The ids of recent turns, by session and turn, up to a bound in all."""

    def __init__(self) -> None:
        self._turns: OrderedDict[tuple[int, str], array[int]] = OrderedDict()
        self._newest: dict[int, str] = {}
        self._ids = 0

    def keep(self, number: int, turn: str, ids: Sequence[int]) -> None:
        packed = array("I", ids)
        self._ids += len(packed) - len(self._turns.pop((number, turn), ()))
        self._turns[number, turn] = packed
        self._newest[number] = turn
        while self._ids > _MOST_IDS and len(self._turns) > 1:
            (oldest, name), gone = self._turns.popitem(last=False)
            self._ids -= len(gone)
            if self._newest.get(oldest) == name:
                del self._newest[oldest]

    def get(self, number: int, turn: str) -> Ids | None:
        return self._turns.get((number, turn))

    def newest(self, number: int) -> str:
        return self._newest.get(number, "")

    def clear(self) -> None:
        self._turns.clear()
        self._newest.clear()
        self._ids = 0


def _checked(db: sqlite3.Connection) -> list[str]:
    found = rows.findings(db, newest=_CHECKED_AT_START)
    rows.end_open(db, _KILLED)
    return found


def _dropped(db: sqlite3.Connection, scope: str, session: str) -> bool:
    count = db.execute("DELETE FROM sessions WHERE scope = ? AND id = ?", (scope, session)).rowcount
    _forget_unused(db)
    return count > 0


def _swept(db: sqlite3.Connection, older_than: float, most_bytes: int) -> int:
    count = db.execute("DELETE FROM sessions WHERE changed < ?", (older_than,)).rowcount
    while most_bytes and rows.bytes_used(db) > most_bytes:
        oldest = "DELETE FROM sessions WHERE number = (SELECT number FROM sessions ORDER BY changed LIMIT 1)"
        if not db.execute(oldest).rowcount:
            break
        _forget_unused(db)
        count += 1
    if count:
        _forget_unused(db)
    return count


def _forget_unused(db: sqlite3.Connection) -> None:
    db.execute(PATHS_IN_USE)
    db.execute(MESSAGES_IN_USE)
