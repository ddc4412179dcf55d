"""The reading side of an actor's streams."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from dragoman.engines.base import ChatStream, EngineUnreachableError, RelayedAnswer, TokenStream
from dragoman.engines.ray.cluster import load_ray
from dragoman.engines.ray.values import GRANT, Door, Failed, Opened, decode_chunks, decode_tokens
from dragoman.errors import DragomanError, EngineFaultError, EngineLostError, EngineTimeoutError
from dragoman.settings import Timeouts
from dragoman.wire.openai import ChatChunk
from dragoman.wire.tokens import TokenChunk

Item = TypeVar("Item")
# How much longer than the engine's own limits its actor is waited for, in seconds: its error says more.
GRACE = 5.0
# How often an actor is told that a stream is still read, in seconds. With what it may miss that makes half a
# minute: a process that stands still for a while is not dead.
PULSE = 5.0


def error_of(failure: Exception, *, begun: bool) -> DragomanError:
    """What an error of Ray means: before an answer began, nothing answers there; after, it was lost."""
    ray = load_ray("ray.exceptions")
    detail = f"{type(failure).__name__}: {failure}"
    # what the actor itself cancelled, since it heard nothing of its reader, is lost and no fault
    if isinstance(failure, ray.RayTaskError) and not isinstance(failure.cause, ray.TaskCancelledError):
        return EngineFaultError("the engine failed", log_detail=detail)
    if begun:
        return EngineLostError("the engine's answer ended early", log_detail=detail)
    return EngineUnreachableError("the engine cannot be reached", log_detail=detail)


class Reading:
    """One stream of an actor, item by item, of which no more are on their way than its window holds."""

    def __init__(self, actor: Any, door: Door, request: Any, timeouts: Timeouts) -> None:
        self._actor = actor
        self._call = secrets.token_hex(8)
        self._items = actor.stream.options(num_returns="streaming").remote(self._call, door, request, PULSE)
        self._timeouts = timeouts
        # looked up once, not for each read
        self._ray_error = load_ray("ray.exceptions").RayError
        self._read = 0
        self._is_over = False
        asyncio.get_running_loop().call_later(PULSE, _tell, weakref.ref(self))

    async def opened(self) -> Opened:
        """That the engine began to answer; what it refuses is raised."""
        try:
            first = await self._next(self._timeouts.first_byte, begun=False)
        except StopAsyncIteration:
            detail = "its actor ended the stream before it began"
            raise EngineLostError("the engine's answer ended early", log_detail=detail) from None
        except BaseException:  # cancelled also: nobody will close what was never handed out
            self.close()
            raise
        assert isinstance(first, Opened)
        return first

    async def next(self) -> bytes:
        """The next item."""
        item: bytes = await self._next(self._timeouts.between_bytes, begun=True)
        self._read += 1
        if self._read % GRANT == 0:
            self._actor.more.remote(self._call, GRANT)
        return item

    async def _next(self, seconds: float, *, begun: bool) -> Any:
        if self._is_over:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(seconds + GRACE):
                item = await (await anext(self._items))
        except StopAsyncIteration:
            self._is_over = True
            raise
        except TimeoutError as error:
            self.close()
            detail = f"nothing from its actor within {seconds + GRACE:g} s"
            raise EngineTimeoutError("the engine did not answer in time", log_detail=detail) from error
        except self._ray_error as error:
            if self._is_over:
                # closed while somebody waited for the next
                raise StopAsyncIteration from error
            self._is_over = True
            raise error_of(error, begun=begun) from error
        if isinstance(item, Failed):
            self._is_over = True
            raise item.error
        return item

    def tell(self) -> bool:
        """Tells the actor that somebody reads; false when that is over."""
        if not self._is_over:
            self._actor.more.remote(self._call, 0)
        return not self._is_over

    def close(self) -> None:
        """Stops the engine's work: letting go of a stream of Ray does not."""
        if not self._is_over:
            self._is_over = True
            load_ray().cancel(self._items)


def _tell(reading: weakref.ref[Reading]) -> None:
    """Again and again, until the stream is over or nobody has it any more."""
    read = reading()
    if read is not None and read.tell():
        asyncio.get_running_loop().call_later(PULSE, _tell, reading)


class _Read(Generic[Item]):
    """What the three kinds have in common."""

    def __init__(self, reading: Reading, opened: Opened, decode: Callable[[bytes], Item]) -> None:
        self.engine = opened.engine
        self._reading = reading
        self._decode = decode

    async def __anext__(self) -> Item:
        """The next read."""
        return self._decode(await self._reading.next())

    async def aclose(self) -> None:
        """Stops the engine's work."""
        self._reading.close()


class RayChatStream(_Read[list[ChatChunk]], ChatStream):
    """A chat answer."""

    def __init__(self, reading: Reading, opened: Opened) -> None:
        super().__init__(reading, opened, decode_chunks)


class RayTokenStream(_Read[TokenChunk], TokenStream):
    """An answer in token ids."""

    def __init__(self, reading: Reading, opened: Opened) -> None:
        super().__init__(reading, opened, decode_tokens)


class RayRelayedAnswer(_Read[bytes], RelayedAnswer):
    """An answer in the engine's own words."""

    def __init__(self, reading: Reading, opened: Opened) -> None:
        super().__init__(reading, opened, bytes)
        self.status = opened.status
        self.content_type = opened.content_type
