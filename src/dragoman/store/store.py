"""The embedded store: everything that is kept for clients, in one state folder."""

from __future__ import annotations

import time
from collections.abc import Callable

from dragoman.settings import Settings
from dragoman.store import batches, files, threads
from dragoman.store.batches import SQLiteBatches
from dragoman.store.database import FILE_NAME, Database
from dragoman.store.files import DiskFiles
from dragoman.store.interface import BatchStore, FileStore
from dragoman.store.threads import ThreadStore


def now() -> int:
    """This moment in microseconds since 1970."""
    return time.time_ns() // 1000


class Store:
    """Files, batches and threads, opened when they are first used; `clock` gives microseconds since 1970.

    Processes may share a state folder.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int] = now) -> None:
        schema = files.SCHEMA + batches.SCHEMA + threads.SCHEMA
        self.database = Database(settings.state_path, schema)
        self.files: FileStore = DiskFiles(self.database, settings.files, clock)
        self.batches: BatchStore = SQLiteBatches(self.database, clock)
        limits = settings.threads
        self.threads = ThreadStore(self.database, seconds=limits.seconds, max_bytes=limits.max_bytes)
        self.clock = clock

    @property
    def is_there(self) -> bool:
        """Whether anything was ever stored; looking does not make a database."""
        return (self.database.folder / FILE_NAME).exists()

    async def sweep(self) -> None:
        """Removes what is too old, and what a process that was killed left behind."""
        await self.files.sweep()
        await self.batches.sweep()
        await self.threads.sweep(self.clock() / 1_000_000)

    async def aclose(self) -> None:
        """Ends the store's thread; a later use opens it again."""
        await self.database.aclose()
