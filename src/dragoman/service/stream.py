"""One streamed answer: events out as the engine's chunks come in, and pings while they do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from dragoman.engines.base import Answering, ChatStream
from dragoman.errors import DragomanError
from dragoman.translate.stream import MessageStream
from dragoman.wire.openai import ChatChunk, ChatRequest, ChatUsage

Write = Callable[[bytes], Awaitable[None]]


class Keeper(Protocol):
    """Keeps what is delivered: sees each write before it leaves, and is released when no more will."""

    def recorded(self, message_id: str, write: Write) -> Write:
        """The `write` to use instead."""
        ...

    async def release(self) -> None:
        """The stream is over, whether it came to its end or not."""
        ...


class AnswerStream:
    """An answer that is being given; made by `MessagesService.stream`.

    `play` writes all of it; iterating reads the same bytes one write at a time. `events` holds what is known
    of the message, `early` what the engine counted with its first words. An engine that fails before `opened`
    returns raises its error; later, its error is the stream's last event, and `error`.
    """

    def __init__(
        self,
        client: Answering,
        chat: ChatRequest,
        events: MessageStream,
        *,
        estimate: int,
        ping_interval: float,
        on_first: Callable[[float], None],
        on_end: Callable[[AnswerStream], None],
        keeper: Keeper | None = None,
    ) -> None:
        self.events = events
        self.error: DragomanError | None = None
        self.early: ChatUsage | None = None
        self._client = client
        self._chat = chat
        self._estimate = estimate
        self._interval = ping_interval
        self._on_first = on_first
        self._on_end = on_end
        self._keeper = keeper
        self._began = time.monotonic()
        self._chunks: ChatStream | None = None
        self._first: asyncio.Task[list[ChatChunk] | None] | None = None
        self._written = 0.0
        self._is_writing = False

    @property
    def engine(self) -> str:
        """The engine that answers, or at which the call waits; "" as long as it is not placed."""
        return self._chat.engine if self._chunks is None else self._chunks.engine

    async def opened(self) -> AnswerStream:
        """This stream, when the engine gave its first answer or the ping interval passed."""
        self._first = asyncio.create_task(self._read_first())
        try:
            await _within(self._first, self._interval)
            if self._first.done():
                self._first.result()
        except BaseException:  # refused or cancelled: the engine must not work on for nobody
            await self.aclose()
            raise
        return self

    async def _read_first(self) -> list[ChatChunk] | None:
        """The first read of the engine's answer that holds something; None where it ends without any."""
        self._chunks = await self._client.stream_chat_completion(self._chat)
        async for batch in self._chunks:
            if batch:
                counts = (chunk.usage for chunk in batch if chunk.usage is not None)
                self.early = next((said for said in counts if said.prompt_tokens > 0), None)
                return batch
        return None

    async def play(self, write: Write) -> None:
        """Writes every event; ends when the message has, or with an error event.

        `write` may wait: nothing is read from the engine meanwhile. Cancelling stops the engine's work.
        """
        if self._keeper is not None:
            write = self._keeper.recorded(self.events.message_id, write)
        pinger = _Pinger(self, write, self._interval)
        try:
            await self.tell(write)
        except DragomanError as error:
            await self._put(write, self.fail(error))
        finally:
            pinger.stop()
            self._on_end(self)
            await self.aclose()

    async def tell(self, write: Write) -> None:
        """Writes the events of the message; an error is raised, not told."""
        events, first = self.events, self._first
        assert first is not None, "opened() comes first"
        batch = first.result() if first.done() else None
        await self._put(write, events.start(self._count()) + (events.feed(batch) if batch else b""))
        if not first.done():
            batch = await first
            await self._put(write, events.feed(batch) if batch else b"")
        if batch is not None and not events.finished:
            await self._pump(write)
        await self._put(write, b"" if events.finished else events.end())
        self.error = events.fault

    async def _pump(self, write: Write) -> None:
        events, chunks = self.events, self._chunks
        assert chunks is not None
        waits_for_content = self._note_first() if events.started_content else True
        async for batch in chunks:
            data = events.feed(batch)
            if data:
                await self._put(write, data)
            if waits_for_content and events.started_content:
                waits_for_content = self._note_first()
            if events.finished:
                return

    def _note_first(self) -> bool:
        self._on_first(time.monotonic() - self._began)
        return False

    async def _put(self, write: Write, data: bytes) -> None:
        if not data:
            return
        self._is_writing = True
        await write(data)
        self._is_writing = False
        self._written = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the client last heard something; 0 while it is being written to."""
        return 0.0 if self._is_writing else time.monotonic() - self._written

    async def ping(self, write: Write) -> None:
        """A sign of life; nothing before the start and after the end."""
        self._written = time.monotonic()
        ping = self.events.ping()
        if ping:
            await write(ping)

    def _count(self) -> int:
        """Input tokens for the stream's head: the engine's early count, else the estimate; never 0."""
        return self._estimate if self.early is None else self.early.prompt_tokens

    def fail(self, error: DragomanError) -> bytes:
        """The error event that ends the stream; nothing where it has ended."""
        self.error = error
        return b"" if self.events.finished else self.events.fail(error)

    async def aclose(self) -> None:
        """Stops the engine's work. Safe at any moment, more than once."""
        first = self._first
        if first is not None:
            if not first.done():
                first.cancel()
                await asyncio.wait({first})
            # asked for, so that a failure which nobody waits for any more is no failure of the loop
            _ = first.cancelled() or first.exception()
        if self._chunks is not None:
            await self._chunks.aclose()
        if self._keeper is not None:
            await self._keeper.release()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The stream's bytes, one write at a time; the engine is not read ahead."""
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        is_read = True

        async def play() -> None:
            try:
                await self.play(pieces.put)
            finally:
                # a reader that left makes no room for the end
                if is_read:
                    await pieces.put(None)

        player = asyncio.create_task(play())
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await player
        finally:
            is_read = False
            player.cancel()
            await asyncio.wait({player})


async def _within(task: asyncio.Task[Any], seconds: float) -> None:
    """Waits until a task ends or the time is over: `asyncio.wait` for one task, at a third of its cost."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def end(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(seconds, end)
    task.add_done_callback(end)
    try:
        await over
    finally:
        timer.cancel()
        task.remove_done_callback(end)


class _Pinger:
    """Pings a client that heard nothing for the interval; one timer, and a task only for the ping itself."""

    def __init__(self, stream: AnswerStream, write: Write, interval: float) -> None:
        self._stream = stream
        self._write = write
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval, self._look)

    def stop(self) -> None:
        """No more pings."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _pinged(self, task: asyncio.Task[None]) -> None:
        # a writer that fails shows that to the next event too
        if not task.cancelled() and task.exception() is not None:
            self._timer.cancel()

    def _look(self) -> None:
        left = self._interval - self._stream.silence
        if left <= 0 and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._stream.ping(self._write))
            self._task.add_done_callback(self._pinged)
            left = self._interval
        if not self._stream.events.finished:
            self._timer = self._loop.call_later(left if left > 0 else self._interval, self._look)
