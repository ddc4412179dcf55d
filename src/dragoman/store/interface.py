"""What a store offers: whoever keeps files and batches elsewhere writes a module with these methods.

Everything belongs to a `scope`, the name of the API key: what another scope owns is not found. Moments are
microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol, Self

import msgspec


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file, without its bytes."""

    id: str
    filename: str
    mime_type: str
    size: int
    created: int
    expires: int | None = None


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file."""

    data: bytes
    mime_type: str
    filename: str


class Upload(Protocol):
    """Bytes on their way into the store, inside `async with`: all of them are kept, or none."""

    async def __aenter__(self) -> Self:
        """Makes room."""

    async def __aexit__(self, *_: object) -> None:
        """Forgets what was not kept."""

    async def write(self, data: bytes) -> None:
        """The next bytes; `RequestTooLargeError` or `StorageQuotaError` where there is no room for them."""

    async def keep(
        self, file_id: str, *, filename: str, mime_type: str, expires_in: int | None
    ) -> StoredFile:
        """Makes a file of the bytes that were written; when this returns, they are on the disk."""


class FileStore(Protocol):
    """The files; one that is not there is a `NotFoundError`, one whose time is over a `FileExpiredError`."""

    def upload(self, scope: str) -> Upload:
        """The way in for one file."""

    async def get(self, file_id: str, scope: str) -> StoredFile:
        """A file's metadata, also for some time after its bytes have expired."""

    async def page(
        self, scope: str, limit: int, after: tuple[int, str] | None = None
    ) -> Sequence[StoredFile]:
        """Files, the newest first; `after` is the moment and the id of the last one before them."""

    async def some(self, scope: str, ids: Sequence[str]) -> Sequence[StoredFile]:
        """Those of the ids that are there, the newest first."""

    async def open(self, file_id: str, scope: str) -> tuple[StoredFile, BinaryIO]:
        """A file to be read in pieces."""

    async def read_file(self, file_id: str, scope: str) -> FileContent:
        """A whole file."""

    async def delete(self, file_id: str, scope: str) -> None:
        """Removes a file."""

    async def sweep(self) -> None:
        """Removes what has expired, and what was left by uploads that did not end."""
