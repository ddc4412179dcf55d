"""Where a call goes, and where it goes next when an engine fails before it said anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeVar

from dragoman.engines.base import ChatStream, RelayedAnswer, TokenStream
from dragoman.errors import DragomanError, OverloadedError
from dragoman.observe.metrics import Metrics
from dragoman.routing.budget import RetryBudget
from dragoman.routing.causes import cause_of, is_asking_to_wait, is_engines
from dragoman.routing.fleet import Fleet
from dragoman.routing.member import Member
from dragoman.routing.policy import Candidate, Placements
from dragoman.routing.waiting import WaitingLine
from dragoman.settings import Routing

T = TypeVar("T")


class Placed(Protocol):
    """What placement reads of a call; it writes the engine's name into it."""

    model: str
    placement_key: str | None
    engine: str


class Router:
    """Gives calls to engines: the session's one, when it has room and generation is not paused."""

    def __init__(self, fleet: Fleet, routing: Routing, metrics: Metrics) -> None:
        self._fleet = fleet
        self._routing = routing
        self._metrics = metrics
        self._budget = RetryBudget(routing.retry_share)
        self._line = WaitingLine(routing.queue, routing.queue_seconds, metrics)
        self._placements = Placements(bound=routing.bound, idle=routing.idle, few=routing.few)
        self._running = asyncio.Event()
        self._running.set()
        fleet.on_room = self._line.offer

    async def run(
        self, call: Placed, attempt: Callable[[Member], Awaitable[T]], *, but: str | None = None
    ) -> T:
        """What the attempt gives, made on one engine, and on others where that fails.

        An error of the client is raised at once; an engine's is, when no retry is left or no other engine is
        there. `but` names an engine that failed already.
        """
        self._budget.earn()
        failed = {but} if but is not None else set()
        left = self._routing.retries
        while True:
            member = await self._admitted(call, failed)
            try:
                return await self._tried(member, call, attempt)
            except DragomanError as error:
                failed.add(member.name)
                if not left or not is_engines(error) or not await self._may_retry(call, error, failed):
                    raise
                left -= 1
                self._metrics.retried(member.name, cause_of(error))

    def has_other(self, model: str, failed: Collection[str]) -> bool:
        """Whether another engine than those that failed can take a model's calls."""
        now = asyncio.get_running_loop().time()
        return any(
            member.name not in failed and member.is_usable(now) for member in self._fleet.serving(model)
        )

    def forget(self, key: str) -> None:
        """A session is over: it has no place any more."""
        self._placements.release(key)

    def left(self, member: Member) -> None:
        """A call is in flight no more: there may be room for one that waits."""
        member.leave()
        self._line.offer(member)

    # ---- pause -------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Calls wait from now on."""
        self._running.clear()

    def release(self) -> None:
        """Calls go on."""
        self._running.set()

    @property
    def is_held(self) -> bool:
        """Whether calls wait."""
        return not self._running.is_set()

    async def _not_held(self) -> None:
        try:
            async with asyncio.timeout(self._routing.pause_seconds):
                await self._running.wait()
        except TimeoutError as error:
            raise OverloadedError("generation is paused", retry_after=1.0) from error

    # ---- the steps ---------------------------------------------------------------------------------------

    async def _admitted(self, call: Placed, failed: set[str]) -> Member:
        """The engine that takes a call, which is in flight there from now on."""
        if self.is_held:
            await self._not_held()
        serving = self._fleet.serving(call.model)
        fit = [member for member in serving if member.name not in failed] or serving
        free = [member for member in fit if not member.is_full]
        if not free:
            return await self._line.wait(call.model, failed)
        candidates = [Candidate(member.name, member.load, member.engine.weight) for member in free]
        now = asyncio.get_running_loop().time()
        member = self._fleet.members[self._placements.place(candidates, call.placement_key, now)]
        member.enter()
        return member

    async def _tried(self, member: Member, call: Placed, attempt: Callable[[Member], Awaitable[T]]) -> T:
        call.engine = member.name
        member.breaker.begin(asyncio.get_running_loop().time())
        try:
            result = await attempt(member)
        except DragomanError as error:
            self._fleet.failed(member, error)
            raise
        except BaseException:  # cancelled, or our own fault: it says nothing of the engine
            member.breaker.dropped()
            raise
        else:
            if isinstance(result, ChatStream | TokenStream | RelayedAnswer):
                member.breaker.answering()
            else:
                member.breaker.succeeded()
            return result
        finally:
            self.left(member)

    async def _may_retry(self, call: Placed, error: DragomanError, failed: set[str]) -> bool:
        """Whether to try again: now at another engine; where all ask to wait, after the last one's delay.

        A single engine's wish to be asked later is the client's to fulfil.
        """
        others = self.has_other(call.model, failed)
        delay = 0.0
        if not others:
            delay = error.retry_after or 0.0
            waits = len(failed) > 1 and is_asking_to_wait(error)
            if not waits or not 0 < delay <= self._routing.retry_wait:
                return False
        if not self._budget.take():
            return False
        if not others:
            await asyncio.sleep(delay)
            failed.clear()
        return True
