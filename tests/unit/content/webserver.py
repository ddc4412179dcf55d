"""A server of the web that answers what a test wants, byte by byte, on two addresses of loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"
"""What these tests take for an address of the internet, and what not."""

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]
Answers = dict[str, Write | bytes]


class WebServer:
    """What it was asked, where, and with which head."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.port = 0
        self.asked: list[tuple[str, str]] = []
        self.heads: list[str] = []

    def url(self, path: str, host: str = "files.example") -> str:
        """The address of a path."""
        return f"http://{host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request and hangs up."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        self.heads.append(head)
        self.asked.append((writer.get_extra_info("sockname")[0], path))
        found = self._answers[path]
        try:
            if isinstance(found, bytes):
                writer.write(found)
            else:
                await found(writer)
            await writer.drain()
        except ConnectionError:
            return  # the client has heard enough
        finally:
            writer.close()


@asynccontextmanager
async def web_server(answers: Answers) -> AsyncIterator[WebServer]:
    """A running server; what it still answers at the end of the block is cancelled."""
    server = WebServer(answers)
    socks = _listening()
    server.port = socks[0].getsockname()[1]
    running = [await asyncio.start_server(server.answer, sock=sock) for sock in socks]
    before = asyncio.all_tasks()
    try:
        yield server
    finally:
        for task in asyncio.all_tasks() - before:
            task.cancel()
        for one in running:
            one.close()


def _listening() -> list[socket.socket]:
    """One port that is free on both addresses."""
    while True:
        first = socket.create_server((PUBLIC, 0))
        try:
            return [first, socket.create_server((PRIVATE, first.getsockname()[1]))]
        except OSError:
            first.close()


def page(body: bytes, kind: str = "text/plain", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body


def redirect(target: str, status: int = 302) -> bytes:
    """An answer that leads on."""
    return f"HTTP/1.1 {status} Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
