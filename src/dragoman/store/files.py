"""Files: their metadata in the database, their bytes in a folder beside it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

import msgspec

from dragoman.errors import (
    ApiError,
    FileExpiredError,
    NotFoundError,
    RequestTooLargeError,
    StorageQuotaError,
)
from dragoman.settings import Files
from dragoman.store.database import Database
from dragoman.store.interface import FileContent, StoredFile

Done = TypeVar("Done")

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS files (
        id TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        filename TEXT NOT NULL,
        mime_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER
    )
    """,
    "CREATE INDEX IF NOT EXISTS files_of_scope ON files (scope, created, id)",
)
FOLDER = "files"
# How long the metadata of an expired file can still be read.
REMEMBERED = 30 * 86_400 * 1_000_000
# Uploads share this lock; who holds it alone knows that nothing is half written by anybody alive.
_LOCK = ".lock"
_DRAFT = ".draft-"
_COLUMNS = "id, filename, mime_type, size, created, expires"


class DiskUpload:
    """One file on its way in: written to a draft, flushed to the disk, renamed, then told to the database."""

    def __init__(self, files: DiskFiles, scope: str) -> None:
        self._files = files
        self._scope = scope
        self._size = 0
        self._room = 0
        self._draft = files.folder / f"{_DRAFT}{secrets.token_hex(12)}"
        self._out: BinaryIO | None = None
        self._lock: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        self._room = await self._files.room(self._scope)
        try:
            await self._disk(self._open)
        except BaseException:  # no `__aexit__` follows here, whatever failed
            await self._disk(self._close)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._disk(self._close)

    async def write(self, data: bytes) -> None:
        """The next bytes, if there is room for them."""
        self._size += len(data)
        limit = self._files.settings.max_bytes
        if self._size > limit:
            raise RequestTooLargeError(f"file: it is larger than {limit} bytes")
        if self._size > self._room:
            raise _quota(self._files.settings)
        assert self._out is not None
        await self._disk(self._out.write, data)

    async def keep(
        self, file_id: str, *, filename: str, mime_type: str, expires_in: int | None
    ) -> StoredFile:
        """Makes a file of what was written."""
        place = self._files.folder / file_id
        await self._disk(self._settle, place)
        now = self._files.clock()
        file = StoredFile(
            id=file_id,
            filename=filename,
            mime_type=mime_type,
            size=self._size,
            created=now,
            expires=None if expires_in is None else now + expires_in * 1_000_000,
        )
        try:
            await self._files.insert(file, self._scope)
        except (ApiError, StorageQuotaError):
            # a caller that is cancelled here leaves the bytes: the row may be committed, else they are swept
            await self._disk(place.unlink)
            raise
        return file

    async def _disk(self, work: Callable[..., object], *arguments: object) -> None:
        try:
            await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise ApiError(
                "the file cannot be stored; the server's log says why", log_detail=str(error)
            ) from error

    def _open(self) -> None:
        self._files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _open_private(self._files.folder / _LOCK, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._out = _open_private(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def _settle(self, place: Path) -> None:
        assert self._out is not None
        self._out.flush()
        os.fsync(self._out.fileno())
        self._draft.rename(place)
        _flush_folder(self._files.folder)

    def _close(self) -> None:
        if self._out is not None:
            self._out.close()
        self._draft.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()


class DiskFiles:
    """The files of the embedded store; `clock` gives microseconds since 1970."""

    def __init__(self, database: Database, settings: Files, clock: Callable[[], int]) -> None:
        self.folder = database.folder / FOLDER
        self.settings = settings
        self.clock = clock
        self._database = database

    def upload(self, scope: str) -> DiskUpload:
        """The way in for one file."""
        return DiskUpload(self, scope)

    async def room(self, scope: str) -> int:
        """How many bytes a scope may still store."""
        now = self.clock()
        used = await self._database.run(lambda connection: _used(connection, scope, now))
        return self.settings.quota_bytes - used

    async def insert(self, file: StoredFile, scope: str) -> None:
        """Makes a file visible; `StorageQuotaError` where uploads beside it took the room meanwhile."""

        def work(connection: sqlite3.Connection) -> None:
            if _used(connection, scope, file.created) + file.size > self.settings.quota_bytes:
                raise _quota(self.settings)
            connection.execute(
                f"INSERT INTO files (scope, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - made of constants only
                (scope, *msgspec.structs.astuple(file)),
            )

        await self._database.run(work)

    async def get(self, file_id: str, scope: str) -> StoredFile:
        """A file's metadata."""
        found = await self._select("scope = ? AND id = ?", scope, file_id)
        if not found:
            raise _unknown(file_id)
        return found[0]

    async def page(
        self,
        scope: str,
        limit: int,
        after: tuple[int, str] | None = None,
        *,
        before: tuple[int, str] | None = None,
    ) -> Sequence[StoredFile]:
        """Files, the newest first."""
        if before is not None:
            where = "scope = ? AND (created, id) > (?, ?) ORDER BY created, id LIMIT ?"
            return (await self._select(where, scope, *before, limit))[::-1]
        if after is None:
            return await self._select("scope = ? ORDER BY created DESC, id DESC LIMIT ?", scope, limit)
        where = "scope = ? AND (created, id) < (?, ?) ORDER BY created DESC, id DESC LIMIT ?"
        return await self._select(where, scope, *after, limit)

    async def some(self, scope: str, ids: Sequence[str]) -> Sequence[StoredFile]:
        """Those of the ids that are there."""
        marks = ", ".join("?" * len(ids))
        return await self._select(
            f"scope = ? AND id IN ({marks}) ORDER BY created DESC, id DESC", scope, *ids
        )

    async def open(self, file_id: str, scope: str) -> tuple[StoredFile, BinaryIO]:
        """A file to be read in pieces."""
        file = await self._readable(file_id, scope)
        return file, await self._off_loop(lambda: (self.folder / file_id).open("rb"), file_id)

    async def _readable(self, file_id: str, scope: str) -> StoredFile:
        file = await self.get(file_id, scope)
        if file.expires is not None and file.expires <= self.clock():
            raise FileExpiredError(f"the file {file_id} has expired")
        return file

    async def _off_loop(self, work: Callable[[], Done], file_id: str) -> Done:
        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError:
            # it was deleted in this moment
            raise _unknown(file_id) from None
        except OSError as error:
            raise ApiError(
                "the file cannot be read; the server's log says why", log_detail=str(error)
            ) from error

    async def read_file(self, file_id: str, scope: str) -> FileContent:
        """A whole file."""
        file = await self._readable(file_id, scope)
        # opened and read in one go: of many that wait for a thread, none is open meanwhile
        data = await self._off_loop((self.folder / file_id).read_bytes, file_id)
        return FileContent(data=data, mime_type=file.mime_type, filename=file.filename)

    async def delete(self, file_id: str, scope: str) -> None:
        """Removes a file."""
        if not await self._remove("scope = ? AND id = ?", scope, file_id):
            raise _unknown(file_id)
        await asyncio.to_thread(self._unlink, [file_id])

    async def sweep(self) -> None:
        """Removes what has expired, and what was left by uploads that did not end."""
        now = self.clock()
        await self._remove("expires <= ?", now - REMEMBERED)
        expired = await self._select("expires <= ?", now)
        await asyncio.to_thread(self._unlink, [file.id for file in expired])
        if self.folder.is_dir():
            await self._sweep_orphans()

    async def _sweep_orphans(self) -> None:
        with _open_private(self.folder / _LOCK, os.O_RDWR | os.O_CREAT) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # somebody writes; the next sweep finds what there is to find
                return
            names = {path.name for path in self.folder.iterdir()} - {_LOCK}
            known = await self._database.run(_ids)
            await asyncio.to_thread(self._unlink, names - known)

    def _unlink(self, names: Sequence[str] | set[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    async def _select(self, where: str, *values: object) -> list[StoredFile]:
        def work(connection: sqlite3.Connection) -> list[StoredFile]:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM files WHERE {where}", values)  # noqa: S608 - made of constants only
            return [
                StoredFile(
                    id=row[0], filename=row[1], mime_type=row[2], size=row[3], created=row[4], expires=row[5]
                )
                for row in rows
            ]

        return await self._database.run(work)

    async def _remove(self, where: str, *values: object) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(f"DELETE FROM files WHERE {where}", values).rowcount  # noqa: S608 - made of constants only

        return await self._database.run(work)


def _used(connection: sqlite3.Connection, scope: str, now: int) -> int:
    row = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM files WHERE scope = ? AND (expires IS NULL OR expires > ?)",
        (scope, now),
    ).fetchone()
    return int(row[0])


def _ids(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT id FROM files")}


def _open_private(path: Path, flags: int) -> BinaryIO:
    descriptor = os.open(path, flags, 0o600)
    return os.fdopen(descriptor, "wb" if flags & os.O_WRONLY else "r+b")


def _flush_folder(folder: Path) -> None:
    """Brings the folder's own entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unknown(file_id: str) -> NotFoundError:
    return NotFoundError(f"there is no file {file_id[:100]!r}")


def _quota(settings: Files) -> StorageQuotaError:
    return StorageQuotaError(
        f"file: the files of this key would take more than {settings.quota_bytes} bytes; "
        "delete some, then upload it again"
    )
