"""The load: many streams at a time over raw sockets, read to their end and counted, not parsed."""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import time
from functools import partial
from typing import cast

import msgspec
import uvloop

from bench import bodies

END = b"0\r\n\r\n"
# How a whole stream ends: the last event of the Messages API, or of the engine where the bytes are copied.
LAST_EVENTS = (b"message_stop", b"[DONE]")
TAIL = 200
STALL_SECONDS = 60.0
GOOD = b"HTTP/1.1 200"
# What one token looks like: an event of the Messages API, or a chunk of the engine that is not the role's.
TOKEN = re.compile(rb'event: content_block_delta|"delta":\{"(?!role)')


class Load(msgspec.Struct, frozen=True):
    """What one run saw: whole and broken streams, seconds, waits for the first token, gaps between tokens."""

    streams: int
    broken: int
    why: str
    wall_s: float
    bytes: int
    first_token_ms: float | None
    between_p50_ms: float | None
    between_p99_ms: float | None


class Tally:
    """What all connections of a run share: how many requests are still to be sent, and what was seen."""

    def __init__(self, streams: int, seconds: float) -> None:
        self._at_least = streams
        self._until = time.perf_counter() + seconds
        self.sent = 0
        self.whole = 0
        self.broken = 0
        self.why = ""
        self.bytes = 0
        self.first_tokens: list[float] = []
        self.gaps: list[float] = []

    def another(self) -> bool:
        """Whether one more request is to be sent: every stream gets one, more follow while there is time."""
        if self.sent >= self._at_least and time.perf_counter() >= self._until:
            return False
        self.sent += 1
        return True

    def fault(self, why: str) -> None:
        """Counts a stream that did not end as it should."""
        self.broken += 1
        self.why = self.why or why


class Reader(asyncio.Protocol):
    """One connection that sends the same request again as soon as the answer has ended."""

    def __init__(self, request: bytes, tally: Tally, paced: bool, done: asyncio.Future[None]) -> None:
        self._request = request
        self._tally = tally
        self._paced = paced
        self._done = done
        self._tail = b""
        self._sent = 0.0
        self._last_token = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Notes when tokens come, counts, and goes on at the end of the stream."""
        if not self._tail and (why := fault_in(data.partition(b"\r\n\r\n")[0])):
            self._tally.fault(why)
            self._finish()
            return
        if self._paced or not self._last_token:
            self._note_tokens(data)
        self._tally.bytes += len(data)
        self._tail = (self._tail + data)[-TAIL:]
        if self._tail.endswith(END):
            self._ended()

    def connection_lost(self, _: Exception | None) -> None:
        """Counts an answer that was cut."""
        if not self._done.done():
            self._tally.fault("the connection was closed inside an answer")
            self._finish()

    def _note_tokens(self, data: bytes) -> None:
        now = time.perf_counter()
        tokens = len(TOKEN.findall(data)) if self._paced else int(TOKEN.search(data) is not None)
        if not tokens:
            return
        if self._last_token:
            # tokens that come together: the first ends the wait, the others did not have one
            self._tally.gaps += [now - self._last_token, *([0.0] * (tokens - 1))]
        else:
            self._tally.first_tokens.append(now - self._sent)
        self._last_token = now

    def _ended(self) -> None:
        if not any(mark in self._tail for mark in LAST_EVENTS):
            self._tally.fault("an answer ended without its last event")
        elif not self._last_token:
            self._tally.fault("an answer held no token")
        else:
            self._tally.whole += 1
        self._next()

    def _next(self) -> None:
        if not self._tally.another():
            self._finish()
            return
        self._tail = b""
        self._last_token = 0.0
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
            self._transport.close()


def fault_in(head: bytes) -> str:
    """Why an answer with this head is no stream; empty when it is one."""
    if not head.startswith(GOOD):
        status = head.split(b"\r\n", 1)[0]
        return f"answered {status[:TAIL].decode(errors='replace')}"
    return "" if b"chunked" in head.lower() else "an answer that is no chunked stream"


def http_request(path: str, body: bytes) -> bytes:
    """The bytes of one POST request."""
    return (
        b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nx-api-key: any-word\r\n"
        b"anthropic-version: 2023-06-01\r\ncontent-length: %d\r\n\r\n%s"
    ) % (path.encode(), len(body), body)


def percentile(values: list[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed (the nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


async def run(port: int, request: bytes, streams: int, seconds: float, pace_ms: float = 0.0) -> Load:
    """Keeps `streams` requests running for some seconds, at least one each, and lets the last ones end.

    Paced streams start one after the other within one pace, as those of independent clients would.
    """
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[None]] = [loop.create_future() for _ in range(streams)]
    tally = Tally(streams, seconds)
    started = time.perf_counter()
    for number, done in enumerate(waiting):
        due = started + number * pace_ms / 1000 / streams
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await loop.create_connection(partial(Reader, request, tally, pace_ms > 0, done), "127.0.0.1", port)
    await ended(waiting, tally)
    return summary(tally, time.perf_counter() - started)


async def ended(waiting: list[asyncio.Future[None]], tally: Tally, stall: float = STALL_SECONDS) -> None:
    """Waits for all connections; gives up those that are left when nothing comes any more."""
    pending = set(waiting)
    while pending:
        before = tally.bytes
        done, pending = await asyncio.wait(pending, timeout=stall)
        if not done and tally.bytes == before:
            for _ in pending:
                tally.fault(f"nothing came for {stall:g} s")
            return


def summary(tally: Tally, wall_s: float) -> Load:
    """The figures of a run."""
    gaps = tally.gaps
    return Load(
        streams=tally.whole,
        broken=tally.broken,
        why=tally.why,
        wall_s=wall_s,
        bytes=tally.bytes,
        first_token_ms=statistics.median(tally.first_tokens) * 1000 if tally.first_tokens else None,
        between_p50_ms=percentile(gaps, 50) * 1000 if gaps else None,
        between_p99_ms=percentile(gaps, 99) * 1000 if gaps else None,
    )


def main() -> None:
    """Runs one load and prints what it saw as JSON."""
    parser = argparse.ArgumentParser(prog="bench.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--form", choices=sorted(bodies.WRITERS), required=True)
    parser.add_argument("--body", choices=sorted(bodies.SIZES), default="1KB")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--pace-ms", type=float, default=0.0)
    options = parser.parse_args()
    request = http_request(options.path, bodies.body(options.body, options.form))
    load = uvloop.run(run(options.port, request, options.streams, options.seconds, options.pace_ms))
    print(msgspec.json.encode(load).decode())


if __name__ == "__main__":
    main()
