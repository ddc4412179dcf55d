"""The canned engine: answers every chat request with the same pre-made bytes, at full speed."""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import cast

import msgspec
import uvloop

from bench import canned

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
MODELS = msgspec.json.encode(
    {
        "object": "list",
        "data": [{"id": "canned", "object": "model", "created": 1700000000, "owned_by": "bench"}],
    }
)
CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def answer(status: bytes, body: bytes) -> bytes:
    """A small JSON answer."""
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


class CannedEngine(asyncio.Protocol):
    """One connection: waits for a whole request, then writes the answer in one piece or event by event."""

    stream = STREAM_HEAD + b"".join(map(canned.chunked, canned.events())) + b"0\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport; nothing is sent before a request is here."""
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answers as soon as head and body are complete."""
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = CONTENT_LENGTH.search(head)
        if length is not None and len(body) < int(length.group(1)):
            return
        self._buffer = b""
        self._transport.write(self._answer(head.split(b" ", 2)[1]))

    def _answer(self, path: bytes) -> bytes:
        if path == b"/v1/chat/completions":
            return self.stream
        if path == b"/v1/models":
            return answer(b"200 OK", MODELS)
        if path == b"/health":
            return answer(b"200 OK", b"{}")
        return answer(b"404 Not Found", b'{"error": {"message": "no such path", "code": 404}}')


async def serve(port: int) -> None:
    """Serves until the process is ended."""
    server = await asyncio.get_running_loop().create_server(CannedEngine, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
