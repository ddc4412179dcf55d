"""What is being answered now: the bound on it, and the way out when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dragoman.errors import OverloadedError
from dragoman.server.exchange import Exchange

# How long exchanges that were told to end may take to say so.
_LAST_WORDS = 2.0


class Traffic:
    """The running exchanges of one server; at most `limit` of them (0: no bound)."""

    def __init__(self, limit: int) -> None:
        self.draining = False
        self._limit = limit
        self._running: set[Exchange] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._running)

    @asynccontextmanager
    async def admit(self, exchange: Exchange) -> AsyncIterator[None]:
        """Room for one exchange, interruptible from outside; `OverloadedError` where there is none."""
        if self.draining:
            raise _shutting_down()
        if self._limit and len(self._running) >= self._limit:
            raise OverloadedError("too many requests are running here, try again later", retry_after=1)
        self._running.add(exchange)
        self._empty.clear()
        try:
            async with exchange:
                yield
        finally:
            self._running.discard(exchange)
            if not self._running:
                self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Lets nothing new in, gives what runs some time to end, then ends it."""
        self.draining = True
        if not await self._emptied(seconds):
            for exchange in tuple(self._running):
                exchange.interrupt(_shutting_down())
            await self._emptied(_LAST_WORDS)

    async def _emptied(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _shutting_down() -> OverloadedError:
    return OverloadedError("the server is shutting down", retry_after=1)
