"""One engine among others: how it is, what it serves, what is in flight there."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from dragoman.engines.base import EngineHealth, InferenceEngine, unwell
from dragoman.errors import DragomanError
from dragoman.observe.logs import Fields, log
from dragoman.routing.breaker import Breaker
from dragoman.routing.causes import is_asking_to_wait, is_engines
from dragoman.settings import Routing
from dragoman.wire.openai import ModelCard

NOT_ASKED = EngineHealth("loading", "not asked yet")


class Member:
    """An engine among others, with what was last seen of it.

    `is_draining`: it gets no new calls. `idle` is set while nothing is in flight.
    """

    def __init__(self, engine: InferenceEngine, routing: Routing | None = None) -> None:
        routing = routing or Routing()
        self.engine = engine
        self.name = engine.name
        self.models = [ModelCard(id=model) for model in engine.named_models]
        self.health = NOT_ASKED
        self.in_flight = 0
        self._others = 0
        self.weight_version = ""
        self.is_draining = False
        self.breaker = Breaker(routing.breaker_failures, routing.breaker_seconds)
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def is_well(self) -> bool:
        """Whether it may be given a call."""
        return self.health.status == "ok"

    @property
    def load(self) -> int:
        """Calls there: those of this process, and those of others when the engine was last asked."""
        return self.in_flight + self._others

    @property
    def is_full(self) -> bool:
        """Whether it runs as many calls as it may."""
        most = self.engine.max_requests
        return bool(most) and self.in_flight >= most

    def is_usable(self, now: float) -> bool:
        """Whether it is well and does not keep failing; `now` in seconds of the loop's clock."""
        return self.is_well and self.breaker.allows(now)

    async def look(self) -> None:
        """Asks how it is and what it serves; an engine that does not say keeps what it said before."""
        health = await self.engine.health()
        if health.status == "ok":
            try:
                self.models = await self.engine.models()
            except DragomanError as error:
                health = unwell(error)
            else:
                health = health if self.models else EngineHealth("loading", "it serves no model yet")
                await self._count_others()
                await self.look_at_weights()
        self.saw(health)

    async def look_at_weights(self) -> None:
        """Asks which weights it has, where it tells."""
        control = self.engine.control
        if "weight_version" in control.operations:
            with suppress(DragomanError):
                self.weight_version = await control.weight_version()

    async def _count_others(self) -> None:
        try:
            running = await self.engine.running()
        except DragomanError:
            # it is well all the same: it answered what matters
            running = None
        self._others = max(0, (running or 0) - self.in_flight)

    def saw(self, health: EngineHealth) -> None:
        """Takes note of how it is; a change is logged."""
        before, self.health = self.health, health
        if health != before:
            log(_level(before, health), f"the engine is {health.status}", _fields(self.name, health))

    def serves(self, model: str) -> bool:
        """Whether the model is among those it said it serves."""
        return any(card.id == model for card in self.models)

    def enter(self) -> None:
        """A call is in flight."""
        self.in_flight += 1
        self.idle.clear()

    def leave(self) -> None:
        """A call is in flight no more."""
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()

    def failed(self, error: DragomanError, now: float) -> bool:
        """Takes note of a call's error; whether that opened the breaker."""
        if not is_engines(error) or is_asking_to_wait(error):
            self.breaker.dropped()
            return False
        return self.breaker.failed(now)


def _level(before: EngineHealth, now: EngineHealth) -> int:
    """An engine that is well from the start is worth a line only to who debugs."""
    if now.status == "ok":
        return logging.DEBUG if before is NOT_ASKED else logging.INFO
    return logging.INFO if now.status == "loading" else logging.WARNING


def _fields(name: str, health: EngineHealth) -> Fields:
    fields: Fields = {"engine": name, "status": health.status}
    return fields | ({"detail": health.detail} if health.detail else {})
