"""What a store offers: whoever keeps files and batches elsewhere writes a module with these methods.

Everything belongs to a `scope`, the name of the API key: what another scope owns is not found. Moments are
microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import BinaryIO, Literal, Protocol, Self

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
        self,
        scope: str,
        limit: int,
        after: tuple[int, str] | None = None,
        *,
        before: tuple[int, str] | None = None,
    ) -> Sequence[StoredFile]:
        """Files, the newest first: those that follow `after`, or the last ones that precede `before`.

        Both are the moment and the id of a file.
        """

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


ResultKind = Literal["succeeded", "errored", "canceled", "expired"]


class StoredBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, without its requests; the counts are 0 until it has ended."""

    id: str
    created: int
    expires: int
    total: int
    cancel_initiated: int | None = None
    ended: int | None = None
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class OpenBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has not ended, as its runner sees it."""

    id: str
    scope: str
    expires: int
    cancel_initiated: int | None
    betas: tuple[str, ...]
    api_version: str


class PendingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has no result yet; `number` is its place in the batch."""

    number: int
    params: bytes


class BatchStore(Protocol):
    """The batches; one that is not there is a `NotFoundError`."""

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
        """Keeps a new batch: pairs of custom id and params. What has not begun after `lifetime` s expires."""

    async def get(self, batch_id: str, scope: str) -> StoredBatch:
        """A batch as it stands."""

    async def page(
        self, scope: str, limit: int, *, after: str | None = None, before: str | None = None
    ) -> Sequence[StoredBatch]:
        """Batches, the newest first: those that follow `after`, or the last ones that precede `before`."""

    async def cancel(self, batch_id: str, scope: str) -> StoredBatch:
        """Begins the end of a batch; one that has ended stays as it is."""

    async def delete(self, batch_id: str, scope: str) -> None:
        """Removes a batch that has ended; `InvalidRequestError` for any other."""

    async def results(
        self, batch_id: str, scope: str, after: int, limit: int
    ) -> Sequence[tuple[int, str, bytes]]:
        """Number, custom id and result of requests, those behind number `after`, in their order."""

    async def unended(self) -> Sequence[OpenBatch]:
        """For the runner: the batches of all scopes that have not ended, the oldest first."""

    async def pending(self, batch_id: str, after: int, limit: int) -> Sequence[PendingRequest]:
        """For the runner: requests without a result, those behind number `after`, in their order."""

    async def finish(self, batch_id: str, number: int, kind: ResultKind, result: bytes) -> bool:
        """For the runner: commits the result of a request, unless it has one; the last one ends the batch.

        True where the batch has ended with it.
        """

    async def give_up(self, batch_id: str, kind: ResultKind, result: bytes, running: Collection[int]) -> bool:
        """For the runner: one result for all that have none and are not `running`; True as for `finish`."""

    async def sweep(self) -> None:
        """Removes batches that are too old."""
