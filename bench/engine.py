"""The canned engine: answers every chat request with pre-made bytes, at full speed or at a pace.

`GET /bench/mode?answer=NAME&pace_ms=N` says what the requests after it get, so that the requests themselves
differ in nothing but what is measured. `GET /bench/stats` tells how many paced answers ran at once since.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import cast
from urllib.parse import parse_qs, urlsplit

import msgspec
import uvloop

from bench import canned

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
MODELS = msgspec.json.encode(
    {
        "object": "list",
        "data": [{"id": "canned", "object": "model", "created": 1700000000, "owned_by": "bench"}],
    }
)
CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
BACKLOG = 2048


def response(status: bytes, body: bytes) -> bytes:
    """A small JSON answer."""
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


class Stats(msgspec.Struct):
    """How many paced answers run now, and the most that ran at once."""

    live: int = 0
    most: int = 0


class Mode:
    """What chat requests get: the packets of one answer, and the seconds between them."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.set("mixed", 0)

    def set(self, answer: str, pace_ms: float) -> None:
        """Takes an answer and a pace for the requests to come."""
        packets = canned.packets(canned.ANSWERS[answer])
        self.packets = [b"".join(map(canned.chunked, packet)) for packet in packets]
        self.packets[0] = STREAM_HEAD + self.packets[0]
        self.packets[-1] += END
        self.whole = b"".join(self.packets)
        self.pace_s = pace_ms / 1000
        self.stats.most = self.stats.live


class CannedEngine(asyncio.Protocol):
    """One connection: waits for a whole request, then writes the answer in one piece or packet by packet."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport; nothing is sent before a request is here."""
        self._transport = cast(asyncio.Transport, transport)
        self._pieces: list[bytes] = []
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        """Answers as soon as head and body are complete."""
        self._pieces.append(data)
        if self._missing > len(data):
            self._missing -= len(data)
            return
        request = b"".join(self._pieces)
        self._pieces = [request]
        head, mark, body = request.partition(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head) if mark else None
        self._missing = int(length.group(1)) - len(body) if length else 0
        if mark and self._missing <= 0:
            self._pieces, self._missing = [], 0
            self._answer(head.split(b" ", 2)[1].decode())

    def connection_lost(self, _: Exception | None) -> None:
        """Ends a paced answer that nobody reads any more."""
        if self._next is not None:
            self._next.cancel()
            self._end()

    def _answer(self, target: str) -> None:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if path == "/v1/chat/completions":
            self._chat()
        elif path == "/v1/models":
            self._transport.write(response(b"200 OK", MODELS))
        elif path == "/bench/mode":
            self._mode.set(query["answer"][0], float(query["pace_ms"][0]))
            self._transport.write(response(b"200 OK", b"{}"))
        elif path == "/bench/stats":
            self._transport.write(response(b"200 OK", msgspec.json.encode(self._mode.stats)))
        elif path == "/health":
            self._transport.write(response(b"200 OK", b"{}"))
        else:
            error = b'{"error": {"message": "no such path", "code": 404}}'
            self._transport.write(response(b"404 Not Found", error))

    def _chat(self) -> None:
        if not self._mode.pace_s:
            self._transport.write(self._mode.whole)
            return
        stats = self._mode.stats
        stats.live += 1
        stats.most = max(stats.most, stats.live)
        self._packet(self._mode.packets, self._mode.pace_s, self._loop.time(), 0)

    def _packet(self, packets: list[bytes], pace_s: float, start: float, number: int) -> None:
        self._transport.write(packets[number])
        if number + 1 == len(packets):
            self._end()
            return
        # counted from the start of the answer, so that a late packet does not delay those after it
        due = start + (number + 1) * pace_s
        self._next = self._loop.call_at(due, self._packet, packets, pace_s, start, number + 1)

    def _end(self) -> None:
        self._next = None
        self._mode.stats.live -= 1


async def serve(port: int) -> None:
    """Serves until the process is ended."""
    mode = Mode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: CannedEngine(mode), "127.0.0.1", port, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
