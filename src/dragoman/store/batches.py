"""Batches in the database: each request is one row, which takes its result once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence

import msgspec

from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.store.database import Database
from dragoman.store.interface import OpenBatch, PendingRequest, ResultKind, StoredBatch

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS batches (
        id TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        total INTEGER NOT NULL,
        betas TEXT NOT NULL,
        api_version TEXT NOT NULL,
        cancel_initiated INTEGER,
        ended INTEGER,
        succeeded INTEGER NOT NULL DEFAULT 0,
        errored INTEGER NOT NULL DEFAULT 0,
        canceled INTEGER NOT NULL DEFAULT 0,
        expired INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX IF NOT EXISTS batches_of_scope ON batches (scope, created, id)",
    "CREATE INDEX IF NOT EXISTS batches_unended ON batches (created) WHERE ended IS NULL",
    # a row without a kind has no result yet; with one it has no params any more
    """
    CREATE TABLE IF NOT EXISTS batch_requests (
        batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        custom_id TEXT NOT NULL,
        params BLOB,
        kind TEXT,
        result BLOB,
        PRIMARY KEY (batch_id, number)
    )
    """,
    "CREATE INDEX IF NOT EXISTS batch_requests_open ON batch_requests (batch_id, number) WHERE kind IS NULL",
)
# How long a batch and its results are kept.
KEPT = 29 * 86_400 * 1_000_000
_COLUMNS = "id, created, expires, total, cancel_initiated, ended, succeeded, errored, canceled, expired"
_COUNTED = ("succeeded", "errored", "canceled", "expired")


class SQLiteBatches:
    """The batches of the embedded store; `clock` gives microseconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    # ---- for clients -------------------------------------------------------------------------------------

    async def create(
        self,
        batch_id: str,
        scope: str,
        requests: Sequence[tuple[str, bytes | msgspec.Raw]],
        *,
        lifetime: float,
        betas: Sequence[str] = (),
        api_version: str = "",
    ) -> StoredBatch:
        """Keeps a new batch, all of it or nothing."""
        created = self._clock()
        batch = StoredBatch(
            id=batch_id,
            created=created,
            expires=created + int(lifetime * 1_000_000),
            total=len(requests),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO batches (id, scope, created, expires, total, betas, api_version) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (batch_id, scope, created, batch.expires, batch.total, ",".join(betas), api_version),
            )
            connection.executemany(
                "INSERT INTO batch_requests (batch_id, number, custom_id, params) VALUES (?, ?, ?, ?)",
                ((batch_id, number, name, params) for number, (name, params) in enumerate(requests)),
            )

        await self._database.run(work)
        return batch

    async def get(self, batch_id: str, scope: str) -> StoredBatch:
        """A batch as it stands."""
        return await self._database.run(lambda connection: _get(connection, batch_id, scope))

    async def page(
        self, scope: str, limit: int, *, after: str | None = None, before: str | None = None
    ) -> Sequence[StoredBatch]:
        """Batches, the newest first."""

        def work(connection: sqlite3.Connection) -> list[StoredBatch]:
            where, order = "scope = ?", "DESC"
            values: list[str | int] = [scope]
            for name, cursor, sign in (("after_id", after, "<"), ("before_id", before, ">")):
                if cursor:
                    place = _place(connection, cursor, scope, name)
                    where, values = f"scope = ? AND (created, id) {sign} (?, ?)", [scope, *place]
                    order = "DESC" if sign == "<" else "ASC"
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM batches WHERE {where} "  # noqa: S608 - made of constants only
                f"ORDER BY created {order}, id {order} LIMIT ?",
                (*values, limit),
            )
            found = [_batch(row) for row in rows]
            return found[::-1] if order == "ASC" else found

        return await self._database.run(work)

    async def cancel(self, batch_id: str, scope: str) -> StoredBatch:
        """Begins the end of a batch; one that has ended stays as it is."""
        now = self._clock()

        def work(connection: sqlite3.Connection) -> StoredBatch:
            connection.execute(
                "UPDATE batches SET cancel_initiated = ? "
                "WHERE id = ? AND scope = ? AND cancel_initiated IS NULL AND ended IS NULL",
                (now, batch_id, scope),
            )
            return _get(connection, batch_id, scope)

        return await self._database.run(work)

    async def delete(self, batch_id: str, scope: str) -> None:
        """Removes a batch that has ended."""

        def work(connection: sqlite3.Connection) -> None:
            if _get(connection, batch_id, scope).ended is None:
                raise InvalidRequestError(
                    f"message_batch_id: {batch_id} has not ended, and only a batch that has can be deleted; "
                    "cancel it first"
                )
            connection.execute("DELETE FROM batches WHERE id = ?", (batch_id,))

        await self._database.run(work)

    async def results(
        self, batch_id: str, scope: str, after: int, limit: int
    ) -> Sequence[tuple[int, str, bytes]]:
        """Results in the order of the requests."""

        def work(connection: sqlite3.Connection) -> list[tuple[int, str, bytes]]:
            rows = connection.execute(
                "SELECT number, custom_id, result FROM batch_requests JOIN batches ON id = batch_id "
                "WHERE batch_id = ? AND scope = ? AND number > ? AND kind IS NOT NULL "
                "ORDER BY number LIMIT ?",
                (batch_id, scope, after, limit),
            )
            return rows.fetchall()

        return await self._database.run(work)

    # ---- for the runner ----------------------------------------------------------------------------------

    async def unended(self) -> Sequence[OpenBatch]:
        """The batches that have not ended, the oldest first."""

        def work(connection: sqlite3.Connection) -> list[OpenBatch]:
            rows = connection.execute(
                "SELECT id, scope, expires, cancel_initiated, betas, api_version FROM batches "
                "WHERE ended IS NULL ORDER BY created, id"
            )
            return [
                OpenBatch(
                    id=row[0],
                    scope=row[1],
                    expires=row[2],
                    cancel_initiated=row[3],
                    betas=tuple(filter(None, row[4].split(","))),
                    api_version=row[5],
                )
                for row in rows
            ]

        return await self._database.run(work)

    async def pending(self, batch_id: str, after: int, limit: int) -> Sequence[PendingRequest]:
        """Requests without a result, in their order."""

        def work(connection: sqlite3.Connection) -> list[PendingRequest]:
            rows = connection.execute(
                "SELECT number, params FROM batch_requests "
                "WHERE batch_id = ? AND kind IS NULL AND number > ? ORDER BY number LIMIT ?",
                (batch_id, after, limit),
            )
            return [PendingRequest(number=row[0], params=row[1]) for row in rows]

        return await self._database.run(work)

    async def finish(self, batch_id: str, number: int, kind: ResultKind, result: bytes) -> bool:
        """Commits the result of a request, unless it has one."""
        return await self._settle(batch_id, kind, result, "number = ?", [number])

    async def give_up(self, batch_id: str, kind: ResultKind, result: bytes, running: Collection[int]) -> bool:
        """One result for all that have none and do not run."""
        marks = ", ".join("?" * len(running))
        return await self._settle(batch_id, kind, result, f"number NOT IN ({marks})", list(running))

    async def _settle(
        self, batch_id: str, kind: ResultKind, result: bytes, which: str, values: list[int]
    ) -> bool:
        now = self._clock()

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute(
                f"UPDATE batch_requests SET kind = ?, result = ?, params = NULL "  # noqa: S608 - made of constants only
                f"WHERE batch_id = ? AND kind IS NULL AND {which}",
                (kind, result, batch_id, *values),
            )
            return _end(connection, batch_id, now)

        return await self._database.run(work)

    async def sweep(self) -> None:
        """Removes batches that are too old."""
        oldest = self._clock() - KEPT
        await self._database.run(
            lambda connection: connection.execute(
                "DELETE FROM batches WHERE created < ? AND ended IS NOT NULL", (oldest,)
            )
        )


def _end(connection: sqlite3.Connection, batch_id: str, now: int) -> bool:
    """Ends a batch whose requests all have a result; True where that was done now."""
    left = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM batch_requests WHERE batch_id = ? AND kind IS NULL)", (batch_id,)
    ).fetchone()
    if left[0]:
        return False
    kinds = "SELECT count(*) FROM batch_requests WHERE batch_id = ?1 AND kind"
    counts = ", ".join(f"{kind} = ({kinds} = '{kind}')" for kind in _COUNTED)
    ended = connection.execute(
        f"UPDATE batches SET ended = ?2, {counts} WHERE id = ?1 AND ended IS NULL",  # noqa: S608 - made of constants only
        (batch_id, now),
    )
    return ended.rowcount > 0


def _get(connection: sqlite3.Connection, batch_id: str, scope: str) -> StoredBatch:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM batches WHERE id = ? AND scope = ?",  # noqa: S608 - made of constants only
        (batch_id, scope),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"there is no message batch {batch_id[:100]!r}")
    return _batch(row)


def _batch(row: tuple[object, ...]) -> StoredBatch:
    return StoredBatch(**dict(zip(_COLUMNS.split(", "), row, strict=True)))  # type: ignore[arg-type]  # as the schema says


def _place(connection: sqlite3.Connection, batch_id: str, scope: str, name: str) -> tuple[int, str]:
    try:
        batch = _get(connection, batch_id, scope)
    except NotFoundError as error:
        raise InvalidRequestError(f"{name}: {error.message}") from None
    return batch.created, batch.id
