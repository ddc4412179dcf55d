"""One engine among others: how it is, what it serves, what is in flight there."""

from __future__ import annotations

import logging

from dragoman.engines.base import ChatStream, EngineHealth, InferenceEngine, unwell
from dragoman.errors import DragomanError
from dragoman.observe.logs import Fields, log
from dragoman.wire.openai import ChatChunk, ModelCard

NOT_ASKED = EngineHealth("loading", "not asked yet")


class Member:
    """An engine among others, with what was last seen of it."""

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self.name = engine.name
        self.models = [ModelCard(id=model) for model in engine.named_models]
        self.health = NOT_ASKED
        self.in_flight = 0

    @property
    def is_well(self) -> bool:
        """Whether it may be given a call."""
        return self.health.status == "ok"

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
        self.saw(health)

    def saw(self, health: EngineHealth) -> None:
        """Takes note of how it is; a change is logged."""
        before, self.health = self.health, health
        if health != before:
            log(_level(before, health), f"the engine is {health.status}", _fields(self.name, health))

    def serves(self, model: str) -> bool:
        """Whether the model is among those it said it serves."""
        return any(card.id == model for card in self.models)


class CountedStream(ChatStream):
    """A stream that counts as a call in flight at its engine until it ends."""

    def __init__(self, stream: ChatStream, member: Member) -> None:
        self.engine = stream.engine
        self._stream = stream
        self._member: Member | None = member
        member.in_flight += 1

    async def __anext__(self) -> list[ChatChunk]:
        """The next batch."""
        try:
            return await anext(self._stream)
        except BaseException:  # its end, a failure, a cancellation: the call is in flight no more
            self._end()
            raise

    async def aclose(self) -> None:
        """Stops the engine's work."""
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        member, self._member = self._member, None
        if member is not None:
            member.in_flight -= 1


def _level(before: EngineHealth, now: EngineHealth) -> int:
    """An engine that is well from the start is worth a line only to who debugs."""
    if now.status == "ok":
        return logging.DEBUG if before is NOT_ASKED else logging.INFO
    return logging.INFO if now.status == "loading" else logging.WARNING


def _fields(name: str, health: EngineHealth) -> Fields:
    fields: Fields = {"engine": name, "status": health.status}
    return fields | ({"detail": health.detail} if health.detail else {})
