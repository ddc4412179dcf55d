"""The Message Batches API: /v1/messages/batches."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from dragoman.errors import ApiError, NotFoundError
from dragoman.server.exchange import Exchange, betas_of, require_json, require_version
from dragoman.server.guard import Guard
from dragoman.server.moments import rfc3339
from dragoman.server.paging import cursors_of, limit_of, query_of
from dragoman.server.traffic import Traffic
from dragoman.service.batches import BatchRunner
from dragoman.settings import Settings
from dragoman.store.interface import BatchStore, StoredBatch
from dragoman.wire.anthropic.batches import (
    BatchPage,
    BatchStatus,
    DeletedMessageBatch,
    MessageBatch,
    RequestCounts,
    decode_batch,
)

_PATH = "/v1/messages/batches"
# Results that are read at a time.
_PIECE = 32
# What a proxy may say of the address that the client used.
_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")
_SCHEMES = frozenset({"http", "https"})


class BatchesEndpoint:
    """Many requests at once, answered when there is time."""

    def __init__(
        self,
        runner: BatchRunner,
        *,
        store: BatchStore,
        settings: Settings,
        guard: Guard,
        traffic: Traffic,
        ids: Callable[[str], str],
    ) -> None:
        self._runner = runner
        self._store = store
        self._settings = settings
        self._guard = guard
        self._traffic = traffic
        self._ids = ids

    async def create(self, exchange: Exchange) -> None:
        """Takes a batch in; it is kept when this is answered."""
        settings = self._settings
        async with self._traffic.admit(exchange):
            if self._guard.is_open:
                require_json(exchange)
            limit = settings.batches.max_bytes
            seconds = settings.timeouts.body * max(1.0, limit / settings.limits.body_bytes)
            # grown in place, and the params stay parts of it: so a body is in memory once
            body = bytearray()
            async for piece in exchange.pieces(limit=limit, seconds=seconds):
                body += piece
            requests = decode_batch(body, most=settings.batches.max_requests, strict=settings.strict)
            batch = await self._store.create(
                self._ids("msgbatch"),
                exchange.scope_name,
                [(request.custom_id, request.params) for request in requests],
                lifetime=settings.batches.expiry,
                betas=betas_of(exchange),
                api_version=require_version(exchange),
            )
            self._wake()
            exchange.notes["batch"] = batch.id
            await self._respond(exchange, batch)

    async def list(self, exchange: Exchange) -> None:
        """One page of the batches."""
        query = query_of(exchange)
        limit = limit_of(query)
        after, before = cursors_of(query)
        found = await self._store.page(exchange.scope_name, limit + 1, after=after, before=before)
        shown = found[-limit:] if before else found[:limit]
        page = BatchPage(
            data=[_shown(batch, exchange) for batch in shown],
            has_more=len(found) > limit,
            first_id=shown[0].id if shown else None,
            last_id=shown[-1].id if shown else None,
        )
        await exchange.respond(200, msgspec.json.encode(page))

    async def get(self, exchange: Exchange) -> None:
        """A batch as it stands; who asks wants it to go on, also where nobody started that."""
        if not self._traffic.draining:
            self._runner.start()
        await self._respond(exchange, await self._store.get(_id(exchange), exchange.scope_name))

    async def cancel(self, exchange: Exchange) -> None:
        """Lets nothing more of a batch begin."""
        batch = await self._store.cancel(_id(exchange), exchange.scope_name)
        self._wake()
        await self._respond(exchange, batch)

    async def delete(self, exchange: Exchange) -> None:
        """Removes a batch that has ended, with its results."""
        await self._store.delete(_id(exchange), exchange.scope_name)
        await exchange.respond(200, msgspec.json.encode(DeletedMessageBatch(_id(exchange))))

    async def results(self, exchange: Exchange) -> None:
        """The results of a batch that has ended, a line of JSON each."""
        async with self._traffic.admit(exchange):
            batch = await self._store.get(_id(exchange), exchange.scope_name)
            if batch.ended is None:
                raise NotFoundError(
                    f"there are no results of {batch.id} yet: its processing_status is {_status(batch)}"
                )
            exchange.watch()
            kind = (b"content-type", b"application/x-jsonl")
            await exchange.begin_download([kind], stall=self._settings.timeouts.stall)
            last = -1
            while last + 1 < batch.total:
                rows = await self._store.results(batch.id, exchange.scope_name, last, _PIECE)
                if not rows:
                    raise ApiError("the batch was deleted while its results were read")
                last = rows[-1][0]
                await exchange.write(b"".join(_line(name, result) for _, name, result in rows))
            await exchange.end()

    def _wake(self) -> None:
        """Lets the runner look at once; one that was ended with the server does not begin again."""
        if not self._traffic.draining:
            self._runner.wake()

    async def _respond(self, exchange: Exchange, batch: StoredBatch) -> None:
        await exchange.respond(200, msgspec.json.encode(_shown(batch, exchange)))


def _line(custom_id: str, result: bytes) -> bytes:
    return b'{"custom_id":"%b","result":%b}\n' % (custom_id.encode(), result)


def _shown(batch: StoredBatch, exchange: Exchange) -> MessageBatch:
    has_ended = batch.ended is not None
    return MessageBatch(
        id=batch.id,
        processing_status=_status(batch),
        request_counts=RequestCounts(
            processing=0 if has_ended else batch.total,
            succeeded=batch.succeeded,
            errored=batch.errored,
            canceled=batch.canceled,
            expired=batch.expired,
        ),
        created_at=rfc3339(batch.created),
        expires_at=rfc3339(batch.expires),
        ended_at=_moment(batch.ended),
        cancel_initiated_at=_moment(batch.cancel_initiated),
        results_url=f"{_origin(exchange)}{_PATH}/{batch.id}/results" if has_ended else None,
    )


def _status(batch: StoredBatch) -> BatchStatus:
    if batch.ended is not None:
        return "ended"
    return "in_progress" if batch.cancel_initiated is None else "canceling"


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else rfc3339(microseconds)


def _origin(exchange: Exchange) -> str:
    """The address at which this client found us; a proxy before us says which one that was.

    It goes back to who sent these headers and to nobody else, so none of them has to be trusted.
    """
    scheme = _first(exchange, b"x-forwarded-proto").lower()
    host = _first(exchange, b"x-forwarded-host")
    if scheme not in _SCHEMES:
        scheme = exchange.scope["scheme"]
    if not _HOST.fullmatch(host):
        host = exchange.header(b"host")
    prefix: str = exchange.scope.get("root_path", "")
    return f"{scheme}://{host}{prefix}"


def _first(exchange: Exchange, header: bytes) -> str:
    """What the proxy that the client spoke to said: the first of a list."""
    return exchange.header(header).partition(",")[0].strip()


def _id(exchange: Exchange) -> str:
    found: str = exchange.scope["path_params"]["id"]
    return found
