"""A remote engine's answer while it streams."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from dragoman.engines.base import ChatStream
from dragoman.engines.chunks import ChunkReader, Read
from dragoman.engines.dialects.base import NO_ERROR, Dialect, WireChunk
from dragoman.engines.dialects.errors import error_in_body, error_in_stream
from dragoman.engines.stops import StopFilter
from dragoman.engines.transport import Response, Watch
from dragoman.errors import DragomanError, EngineLostError
from dragoman.wire.openai import ChatChunk

# What follows `[DONE]` is an empty last piece, on its way already; the connection is of no use without it.
_LAST_PIECE_SECONDS = 0.05


class RemoteStream(ChatStream):
    """Reads on demand only, so that a slow reader slows the engine down; closing it hangs up."""

    def __init__(
        self,
        engine: str,
        response: Response,
        dialect: Dialect,
        *,
        first_byte: float,
        between_bytes: float,
        stops: StopFilter | None = None,
    ) -> None:
        self.engine = engine
        self._response = response
        self._dialect = dialect
        self._reader = ChunkReader(dialect.chunk)
        self._watch = Watch(response, first_byte)
        self._between = between_bytes
        self._stops = stops
        self._first: list[ChatChunk] | None = None
        self._fault: DragomanError | None = None
        self._has_finish = False
        self._is_done = False
        self._is_closed = False

    async def prime(self) -> None:
        """Reads the first batch, so that an error in it is raised here."""
        self._first = await self._next_batch()
        self._watch.relax(self._between)

    async def __anext__(self) -> list[ChatChunk]:
        """The chunks of the next read that holds any."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._is_closed:
            raise StopAsyncIteration
        if self._fault is not None:
            await self.aclose()
            raise self._fault
        batch = await self._next_batch()
        if batch:
            return batch
        await self._finish()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Hangs up, unless the answer is complete and its connection can serve another."""
        if not self._is_closed:
            self._is_closed = True
            self._watch.stop()
            self._response.close()

    async def _next_batch(self) -> list[ChatChunk]:
        """The next chunks; an empty batch means that the answer is done, or was closed."""
        try:
            while not self._is_done:
                data = await self._watch.read()
                batch = self._chunks(self._reader.feed(data)) if data else self._read_end()
                if batch:
                    return batch
                if self._fault is not None:
                    raise self._fault
        except DragomanError:
            if self._is_closed:
                return []
            await self.aclose()
            raise
        except asyncio.CancelledError:
            await self.aclose()
            raise
        return []

    def _chunks(self, read: Read) -> list[ChatChunk]:
        batch: list[ChatChunk] = []
        dialect = self._dialect
        self._fault = self._reader.fault
        for payload, chunk in read:
            if chunk.choices:
                self._has_finish = self._has_finish or bool(chunk.choices[0].finish_reason)
            if chunk.error is not NO_ERROR or not chunk.choices:
                fault = self._error_in(chunk, payload)
                if fault is not None:
                    self._fault = fault
                    break
            dialect.read_chunk(chunk)
            batch.append(chunk)
        self._is_done = self._is_done or (self._reader.ended and self._fault is None)
        return batch if self._stops is None else self._stopped(batch, self._stops)

    @staticmethod
    def _error_in(chunk: WireChunk, payload: bytes) -> DragomanError | None:
        if bytes(chunk.error) != b"null":
            return error_in_stream(msgspec.json.decode(chunk.error), payload)
        return error_in_body(payload) if chunk.usage is None else None

    def _stopped(self, batch: list[ChatChunk], stops: StopFilter) -> list[ChatChunk]:
        batch = stops.feed(batch)
        if stops.ended:
            self._is_done = True
            self._fault = None
        elif self._is_done:
            batch += stops.close()
        return batch

    def _read_end(self) -> list[ChatChunk]:
        """The connection ended: that is well after `[DONE]`, or where a server is known to omit it."""
        batch = self._chunks(self._reader.close())
        if not self._is_done and self._fault is None:
            self._is_done = self._has_finish and self._dialect.omits_done
            if not self._is_done:
                detail = "the stream ended without [DONE]"
                self._fault = EngineLostError("the engine's answer ended early", log_detail=detail)
        return batch

    async def _finish(self) -> None:
        """Gives the connection back after the last piece, or hangs up where the answer was cut here."""
        content = self._response.content
        if not (self._is_closed or content.at_eof() or (self._stops is not None and self._stops.ended)):
            try:
                async with asyncio.timeout(_LAST_PIECE_SECONDS):
                    while not content.at_eof():
                        await content.readany()
            except (TimeoutError, aiohttp.ClientError):
                self._response.close()
        await self.aclose()
