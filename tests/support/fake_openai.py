"""A fake OpenAI-compatible server that says exactly the bytes that a test wants, and hangs up when told to.

async with FakeOpenAI() as fake:
    fake.chat(events({"choices": [...]}, DONE))
    engine = RemoteInferenceEngine(EngineEntry(url=fake.url))
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

import msgspec

DONE = "[DONE]"
CHAT = "/v1/chat/completions"


class Pause(msgspec.Struct, frozen=True):
    """Silence for some seconds."""

    seconds: float


class Hang(msgspec.Struct, frozen=True):
    """Silence until the client hangs up."""


class Hold(msgspec.Struct, frozen=True):
    """Silence until the event is set."""

    until: asyncio.Event


class Cut(msgspec.Struct, frozen=True):
    """The connection ends here, in the middle of the answer."""


class Raw(msgspec.Struct, frozen=True):
    """Bytes for the socket itself, outside of any framing."""

    data: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: its pieces are written as they stand, each in a write of its own.

    silent: nothing is said before the pieces (no status); with `Cut` or `Hang` as the only piece that is a
    server which dies or stalls. closes: the connection is not kept for another request.
    """

    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    pieces: Sequence[bytes | Raw | Pause | Hang | Hold | Cut] = ()
    silent: bool = False
    closes: bool = False


class Seen(msgspec.Struct, kw_only=True):
    """A request that came; written: pieces of its answer so far; hung_up: its client left before the end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    written: int = 0
    hung_up: bool = False

    @property
    def json(self) -> Any:
        """The body as a value."""
        return msgspec.json.decode(self.body)


Route = Callable[[Seen], Answer]


def reply(value: object, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; header names are written with `_` for `-`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status=status, headers=named, pieces=[msgspec.json.encode(value)])


def event(value: object) -> bytes:
    """The bytes of one event."""
    data = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
    return b"data: %b\n\n" % data


def events(*values: object, status: int = 200, closes: bool = False) -> Answer:
    """A stream of events, one write each; strings are written as they stand, pauses and faults are played."""
    pieces = [value if isinstance(value, Pause | Hang | Cut) else event(value) for value in values]
    return Answer(status=status, content_type="text/event-stream", pieces=pieces, closes=closes)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **choice: object) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"id": "c1", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **choice}]}


def usage(prompt: int, sampled: int, cached: int | None = None) -> dict[str, Any]:
    """The last chunk, with the counts."""
    counts: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": sampled}
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    return {"choices": [], "usage": counts}


def hello(*, finish: str = "stop") -> Answer:
    """A short stream that is in order."""
    return events(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk({}, finish), DONE
    )


def whole(text: str = "Hi", finish: str = "stop", **message: object) -> dict[str, Any]:
    """A whole answer's value."""
    said = {"role": "assistant", "content": text, **message}
    return {
        "id": "c1",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1},
    }


class FakeOpenAI:
    """The server. `routes` answers a path; `chat` queues answers to chat requests; all else is 404.

    Without a route of its own, `/v1/models` lists the model "m" of an unknown maker.
    """

    def __init__(self, routes: dict[str, Route | Answer] | None = None, *, port: int = 0) -> None:
        self.routes: dict[str, Route | Answer] = {
            "/v1/models": reply({"data": [{"id": "m"}]}),
            **(routes or {}),
        }
        self.seen: list[Seen] = []
        self.connections = 0
        self._port = port
        self._queue: deque[Answer] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port, which stays after `stop`."""
        return self._port

    @property
    def chats(self) -> list[Seen]:
        """The chat requests that came."""
        return [seen for seen in self.seen if seen.path == CHAT]

    def chat(self, *answers: Answer) -> None:
        """Queues answers to chat requests."""
        self._queue.extend(answers)

    async def start(self) -> None:
        """Listens, on the same port as before if it had one."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            while await self._one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(method=method, path=path, headers=headers, body=body, connection=number)
        self.seen.append(seen)
        return await self._play(self._answer(seen), seen, reader, writer)

    def _answer(self, seen: Seen) -> Answer:
        if seen.path == CHAT and self._queue:
            return self._queue.popleft()
        route = self.routes.get(seen.path)
        if route is None:
            return reply({"detail": "Not Found"}, 404)
        return route if isinstance(route, Answer) else route(seen)

    async def _play(
        self, answer: Answer, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if not answer.silent:
            writer.write(_head(answer))
            await writer.drain()
        for piece in answer.pieces:
            if isinstance(piece, Cut):
                return False
            if isinstance(piece, bytes | Raw):
                framed = piece.data if isinstance(piece, Raw) else b"%x\r\n%b\r\n" % (len(piece), piece)
                writer.write(framed)
                await writer.drain()
                seen.written += 1
                await asyncio.sleep(0)
            elif await _is_hung_up(reader, piece):
                seen.hung_up = True
                return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return not answer.closes


async def _is_hung_up(reader: asyncio.StreamReader, piece: Pause | Hang | Hold) -> bool:
    if isinstance(piece, Hold):
        reading, release = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(piece.until.wait())
        await asyncio.wait((reading, release), return_when=asyncio.FIRST_COMPLETED)
        ended = reading.done() and not reading.result()
        reading.cancel()
        release.cancel()
        return ended
    seconds = piece.seconds if isinstance(piece, Pause) else None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return not await reader.read(1)
    return False


def _head(answer: Answer) -> bytes:
    headers = {"content-type": answer.content_type, "transfer-encoding": "chunked", **answer.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    return f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n".encode()
