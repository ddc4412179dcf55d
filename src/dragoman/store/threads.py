"""Message threads in the store: each conversation in turns, found by the id of any of its answers."""

from __future__ import annotations

import sqlite3
import zlib
from typing import NamedTuple

from dragoman.errors import (
    ThreadAlreadyContinuedError,
    ThreadContinueInFlightError,
    ThreadNotFoundError,
)
from dragoman.store.database import Database

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS threads (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        expires REAL NOT NULL,
        size INTEGER NOT NULL,
        newest TEXT NOT NULL,
        holder TEXT,
        held_until REAL
    )""",
    """CREATE TABLE IF NOT EXISTS thread_turns (
        scope TEXT NOT NULL,
        message TEXT NOT NULL,
        thread INTEGER NOT NULL REFERENCES threads ON DELETE CASCADE,
        body BLOB NOT NULL,
        PRIMARY KEY (scope, message)
    )""",
    "CREATE INDEX IF NOT EXISTS threads_expires ON threads (expires)",
    "CREATE INDEX IF NOT EXISTS thread_turns_thread ON thread_turns (thread)",
)

# How long one answer may keep others from the thread: so long holds the mark of a process that was killed.
LONGEST_ANSWER = 3_600.0
_FAST = 1


class Held(NamedTuple):
    """A thread that one answer continues: its number, the mark, and its turns, the oldest first."""

    thread: int
    holder: str
    turns: list[bytes]


class ThreadStore:
    """Threads, each kept for `seconds` after its last answer; one of more than `max_bytes` is not kept.

    A turn is bytes, told apart by the id of its answer within a scope. Times are seconds of one clock that
    all processes share.
    """

    def __init__(self, database: Database, *, seconds: float, max_bytes: int) -> None:
        self._database = database
        self._seconds = seconds
        self._max_bytes = max_bytes

    async def create(self, scope: str, message: str, turn: bytes, now: float) -> None:
        """Keeps the first turn of a thread."""

        def work(connection: sqlite3.Connection) -> None:
            _sweep(connection, now)
            if len(turn) > self._max_bytes:
                return
            made = connection.execute(
                "INSERT INTO threads (expires, size, newest) VALUES (?, ?, ?)",
                (now + self._seconds, len(turn), message),
            )
            assert made.lastrowid is not None
            _add(connection, scope, message, made.lastrowid, turn)

        await self._database.run(work)

    async def hold(self, scope: str, message: str, holder: str, now: float) -> Held:
        """The thread whose newest answer this is, for one `holder` until it extends or releases it.

        Raises the error that says why it cannot be continued.
        """

        def work(connection: sqlite3.Connection) -> Held:
            found = connection.execute(
                "SELECT id, newest, held_until FROM threads JOIN thread_turns ON thread = id "
                "WHERE scope = ? AND message = ? AND (expires > ? OR held_until > ?)",
                (scope, message, now, now),
            ).fetchone()
            if found is None:
                raise ThreadNotFoundError(message)
            thread, newest, held_until = found
            if newest != message:
                raise ThreadAlreadyContinuedError(message)
            if held_until is not None and held_until > now:
                raise ThreadContinueInFlightError(message)
            connection.execute(
                "UPDATE threads SET holder = ?, held_until = ? WHERE id = ?",
                (holder, now + LONGEST_ANSWER, thread),
            )
            turns = connection.execute(
                "SELECT body FROM thread_turns WHERE thread = ? ORDER BY rowid", (thread,)
            ).fetchall()
            return Held(thread, holder, [zlib.decompress(body) for (body,) in turns])

        return await self._database.run(work)

    async def extend(self, held: Held, scope: str, message: str, turn: bytes, now: float) -> bool:
        """Adds the next turn to a thread and lets go of it; False where it was no longer held."""

        def work(connection: sqlite3.Connection) -> bool:
            is_held = connection.execute(
                "UPDATE threads SET newest = ?, holder = NULL, held_until = NULL, expires = ?, "
                "size = size + ? WHERE id = ? AND holder = ?",
                (message, now + self._seconds, len(turn), held.thread, held.holder),
            ).rowcount
            _sweep(connection, now)
            if is_held:
                _add(connection, scope, message, held.thread, turn)
                connection.execute(
                    "DELETE FROM threads WHERE id = ? AND size > ?", (held.thread, self._max_bytes)
                )
            return bool(is_held)

        return await self._database.run(work)

    async def release(self, holder: str, now: float) -> None:
        """Lets go of what a holder may hold; from then on the thread has its time again."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE threads SET holder = NULL, held_until = NULL, expires = ? WHERE holder = ?",
                (now + self._seconds, holder),
            )

        await self._database.run(work)

    async def sweep(self, now: float) -> int:
        """Removes what expired; how many threads are left."""

        def work(connection: sqlite3.Connection) -> int:
            _sweep(connection, now)
            (left,) = connection.execute("SELECT count(*) FROM threads").fetchone()
            return int(left)

        return await self._database.run(work)


def _add(connection: sqlite3.Connection, scope: str, message: str, thread: int, turn: bytes) -> None:
    connection.execute(
        "INSERT INTO thread_turns (scope, message, thread, body) VALUES (?, ?, ?, ?)",
        (scope, message, thread, zlib.compress(turn, _FAST)),
    )


def _sweep(connection: sqlite3.Connection, now: float) -> None:
    connection.execute(
        "DELETE FROM threads WHERE expires <= ? AND (held_until IS NULL OR held_until <= ?)", (now, now)
    )
