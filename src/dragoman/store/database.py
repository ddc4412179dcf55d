"""The database: one SQLite file in WAL mode, one owner thread per process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dragoman.errors import ApiError

Result = TypeVar("Result")

FILE_NAME = "store.sqlite3"
# How long a writer waits for another process, in milliseconds.
_PATIENCE = 10_000
# How much of the write-ahead log stays on the disk when its content is in the database, in bytes.
_KEPT_LOG = 8 * 1024 * 1024


class Database:
    """One database in a folder, opened when it is first used; `path` is its file.

    `schema` holds statements that may run on every start (CREATE ... IF NOT EXISTS). Several processes may
    share the file. What was committed survives a kill.
    """

    def __init__(self, folder: Path, schema: Sequence[str], name: str = FILE_NAME) -> None:
        self.folder = folder
        self.path = folder / name
        self._schema = tuple(schema)
        self._owner: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Runs `work` as one transaction in the owner's thread: all of it happens, or nothing.

        Raises what `work` raises; `ApiError` where the database itself fails. A caller that is cancelled
        meanwhile does not undo it.
        """
        if self._owner is None:
            self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dragoman-store")
        try:
            return await asyncio.wrap_future(self._owner.submit(self._transact, work))
        except (sqlite3.Error, OSError) as error:
            raise ApiError(
                "the store cannot be used; the server's log says why", log_detail=str(error)
            ) from error

    async def aclose(self) -> None:
        """Ends the owner's thread, after what it was given. Safe to call twice; a later `run` opens again."""
        owner, self._owner = self._owner, None
        if owner is not None:
            await asyncio.wrap_future(owner.submit(self._close))
            owner.shutdown()

    def _transact(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        connection = self._connection or self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:  # whatever the work raises: none of it may stay
            # a full disk may have ended it already: then what went wrong is not that there is nothing to undo
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE / 1000)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # a commit that was acknowledged is on the disk, also after a power cut
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # a large batch does not leave its size beside the database as well
            connection.execute(f"PRAGMA journal_size_limit = {_KEPT_LOG}")
            for statement in self._schema:
                connection.execute(statement)
        except BaseException:  # a connection that is not set up is nobody's
            connection.close()
            raise
        self._connection = connection
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
