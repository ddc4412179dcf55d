"""The load: many streams at a time over raw sockets, read to their end and counted, not parsed."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from functools import partial
from typing import cast

import msgspec
import uvloop

from bench import canned

END = b"0\r\n\r\n"
# How a whole stream ends: the last event of the Messages API, or of the engine where the bytes are copied.
LAST_EVENTS = (b"message_stop", b"[DONE]")
TAIL = 200


class Load(msgspec.Struct, frozen=True):
    """What one run saw: whole and broken streams, seconds, the median wait for a first byte, bytes."""

    streams: int
    broken: int
    wall_s: float
    ttft_p50_ms: float
    bytes: int


class Reader(asyncio.Protocol):
    """One connection that sends the same request again as soon as the answer has ended."""

    def __init__(self, request: bytes, tickets: list[None], done: asyncio.Future[None]) -> None:
        self._request = request
        self._tickets = tickets
        self._done = done
        self._tail = b""
        self._sent = 0.0
        self.first_bytes: list[float] = []
        self.broken = 0
        self.bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Notes the first byte, counts, and goes on at the end of the stream."""
        if not self._tail:
            self.first_bytes.append(time.perf_counter() - self._sent)
        self.bytes += len(data)
        self._tail = (self._tail + data)[-TAIL:]
        if self._tail.endswith(END):
            self.broken += not any(mark in self._tail for mark in LAST_EVENTS)
            self._next()

    def connection_lost(self, _: Exception | None) -> None:
        """Counts an answer that was cut."""
        self.broken += not self._done.done()
        self._finish()

    def _next(self) -> None:
        if not self._tickets:
            self._finish()
            return
        self._tickets.pop()
        self._tail = b""
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
            self._transport.close()


async def run(port: int, streams: int, total: int) -> Load:
    """Sends `total` requests, `streams` at a time."""
    loop = asyncio.get_running_loop()
    request = (
        b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
        b"anthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n%s"
    ) % (port, len(canned.REQUEST), canned.REQUEST)
    tickets: list[None] = [None] * total
    waiting = [loop.create_future() for _ in range(streams)]
    started = time.perf_counter()
    readers = []
    for done in waiting:
        _, reader = await loop.create_connection(partial(Reader, request, tickets, done), "127.0.0.1", port)
        readers.append(reader)
    await asyncio.gather(*waiting)
    wall = time.perf_counter() - started
    first = [seconds for reader in readers for seconds in reader.first_bytes]
    broken = sum(reader.broken for reader in readers)
    return Load(
        streams=total - broken,
        broken=broken,
        wall_s=wall,
        ttft_p50_ms=statistics.median(first) * 1000,
        bytes=sum(reader.bytes for reader in readers),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--total", type=int, required=True)
    options = parser.parse_args()
    load = uvloop.run(run(options.port, options.streams, options.total))
    print(msgspec.json.encode(load).decode())
