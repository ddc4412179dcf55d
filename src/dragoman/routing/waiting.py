"""The line of calls that wait because all engines that could take them are full."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from typing import NamedTuple

from dragoman.errors import OverloadedError
from dragoman.observe.metrics import Metrics
from dragoman.routing.member import Member

# Bounds of what a client that finds the line full is told to wait, in seconds.
_SHORTEST, _LONGEST = 1.0, 60.0
# How much the newest step of the line says about its pace.
_NEWEST = 0.2


class _Waiter(NamedTuple):
    model: str
    excluded: Collection[str]
    place: asyncio.Future[Member]


class WaitingLine:
    """First come, first served, among those that the engine which has room can serve.

    At most `most` wait, each for at most `seconds`; more get `OverloadedError` (529), with a delay by the
    pace at which the line moves.
    """

    def __init__(self, most: int, seconds: float, metrics: Metrics) -> None:
        self._most = most
        self._seconds = seconds
        self._metrics = metrics
        self._waiters: list[_Waiter] = []
        self._pace = _SHORTEST  # seconds from one step of the line to the next
        self._moved: float | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    async def wait(self, model: str, excluded: Collection[str]) -> Member:
        """The engine that has room; the call counts as in flight there from now on."""
        loop = asyncio.get_running_loop()
        if len(self._waiters) >= self._most:
            self._metrics.turned_away()
            raise OverloadedError("all engines are busy, and so is the queue", retry_after=self._delay())
        waiter = _Waiter(model, excluded, loop.create_future())
        self._waiters.append(waiter)
        self._metrics.waiting(1)
        try:
            async with asyncio.timeout(self._seconds):
                return await waiter.place
        except TimeoutError as error:
            if waiter.place.done() and not waiter.place.cancelled():
                # both at once: the engine counts the call already
                return waiter.place.result()
            self._metrics.turned_away()
            raise OverloadedError("no engine had room in time", retry_after=self._delay()) from error
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            self._metrics.waiting(-1)

    def offer(self, member: Member) -> None:
        """An engine has room: the first who can use it gets it."""
        if member.is_draining or not member.is_well:
            return
        while not member.is_full:
            waiter = next((one for one in self._waiters if _fits(member, one)), None)
            if waiter is None:
                return
            self._waiters.remove(waiter)
            member.enter()
            waiter.place.set_result(member)
            self._step()

    def _give_back(self, waiter: _Waiter) -> None:
        """The room of a call that was given it and is no more there to take it."""
        if waiter.place.done() and not waiter.place.cancelled():
            member = waiter.place.result()
            member.leave()
            self.offer(member)

    def _step(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._moved is not None:
            self._pace += _NEWEST * (now - self._moved - self._pace)
        self._moved = now

    def _delay(self) -> float:
        return float(math.ceil(min(_LONGEST, max(_SHORTEST, self._pace * (len(self._waiters) + 1)))))


def _fits(member: Member, waiter: _Waiter) -> bool:
    return not waiter.place.done() and member.name not in waiter.excluded and member.serves(waiter.model)
