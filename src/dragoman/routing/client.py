"""InferenceEngineClient: many engines that look like one."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from dragoman.engines.base import (
    CONFIGURATION,
    ChatStream,
    EngineHealth,
    EngineUnreachableError,
    InferenceEngine,
    unwell,
)
from dragoman.engines.registry import build_engines
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    NotFoundError,
    OverloadedError,
    SettingsError,
)
from dragoman.observe.logs import hide, log
from dragoman.routing.member import CountedStream, Member
from dragoman.routing.policy import Candidate, choose, common
from dragoman.settings import Settings
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatCompletion, ChatRequest, ModelCard

if TYPE_CHECKING:
    from dragoman.models.progress import Report

# Between two looks at the engines, in seconds: while all are well, and while one is not.
CALM_INTERVAL = 10.0
ANXIOUS_INTERVAL = 1.0
# What an error repeats of a name that nobody knows, in characters.
_LONGEST_NAME = 200


class InferenceEngineClient(InferenceEngine):
    """Engines as one: their models together, each call on one of those that serve its model.

    Between `start` and `aclose` the engines are looked at from time to time, so that one that was down is
    used when it is back. Engines' names must differ (`SettingsError`).
    """

    name = "client"

    def __init__(self, engines: Sequence[InferenceEngine], settings: Settings | None = None) -> None:
        names = [engine.name for engine in engines]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise SettingsError(f"engines: more than one is called {', '.join(doubled)}; give them names")
        self._members = {engine.name: Member(engine) for engine in engines}
        for engine in engines:
            hide(engine.secret)
        self._settings = settings or Settings()
        self._starting: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._found_unwell = asyncio.Event()
        self.is_started = False

    async def start(self) -> None:
        """Starts every engine and looks at it, once.

        A call while it starts waits for the same start; `aclose` ends it, being cancelled does not.
        A start that failed is tried again by the next call.
        """
        # one that failed after all who waited had gone has nobody left to tell
        if self._starting is None or (self._starting.done() and not self.is_started):
            self._starting = asyncio.get_running_loop().create_task(self._start())
        starting = self._starting
        try:
            await asyncio.shield(starting)
        finally:
            if starting.done() and not self.is_started and self._starting is starting:
                self._starting = None

    async def look(self) -> None:
        """Asks all engines how they are and what they serve."""
        await asyncio.gather(*(member.look() for member in self._members.values()))

    def resolve(self, requested: str) -> str:
        """The served model for a requested name: the name itself, else by alias.

        Raises `NotFoundError` with the list of names; `OverloadedError` while no engine has said what it
        serves, and for a model that the settings mean while it may be that of an engine which is away.
        """
        served = [card.id for card in self._cards()]
        if requested in served:
            return requested
        if not served:
            raise self._nothing_served()
        # quoted, so that a log line can leave it out
        shown = repr(requested if len(requested) <= _LONGEST_NAME else f"{requested[:_LONGEST_NAME]}...")
        target = self._target(requested)
        if target is None:
            raise NotFoundError(f"model: {shown} is not served here; there is {', '.join(served)}")
        meant = target or self._settings.default_model or served[0]
        if meant in served:
            return meant
        if not self._are_all_well:
            raise OverloadedError("no engine that serves this model is ready", log_detail=self._summary())
        role = "an alias of" if target else "an alias of the default model"
        raise NotFoundError(
            f"model: {shown} is {role} {meant}, which is not served here; there is {', '.join(served)}"
        )

    async def models(self) -> list[ModelCard]:
        """All models that are served, the default first."""
        return self._cards()

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What every engine that may be given the model can do with it.

        One that cannot say is taken for unwell, and the others decide; its error is raised where none can.
        """
        found: list[EngineCapabilities] = []
        failures: list[DragomanError] = []
        for member in self._serving(model):
            try:
                found.append(await member.engine.capabilities(model))
            except DragomanError as error:
                self._note(member, error)
                failures.append(error)
        if not found:
            raise failures[0]
        return common(found)

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer, from the engine of the request's session."""
        async with self._placed(request) as member:
            completion = await member.engine.chat_completion(request)
        completion.engine = completion.engine or member.name
        return completion

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The answer as a stream, from the engine of the request's session."""
        async with self._placed(request) as member:
            stream = await member.engine.stream_chat_completion(request)
            return CountedStream(stream, member)

    async def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of the prompt, by the engine of the request's session."""
        async with self._placed(request) as member:
            return await member.engine.count_tokens(request)

    async def health(self) -> EngineHealth:
        """Well if any engine is; else what is known of all.

        After `start` it is what the last look saw: who asks often makes no work, and waits for no engine.
        """
        if self._looking is None:
            await self.look()
        if any(member.is_well for member in self._members.values()):
            return EngineHealth("ok")
        for member in self._members.values():
            return EngineHealth(member.health.status, self._summary())
        return EngineHealth("failed", "no engine is set up")

    def troubles(self) -> list[str]:
        """What keeps engines from being used, a sentence for each that is not well."""
        return [
            f"{member.name} is {member.health.status}: {member.health.detail}"
            for member in self._members.values()
            if not member.is_well
        ]

    async def aclose(self) -> None:
        """Closes every engine."""
        tasks, self._starting, self._looking = (self._starting, self._looking), None, None
        self.is_started = False
        for task in filter(None, tasks):
            task.cancel()
            # a start that failed has told whoever waited for it
            await asyncio.wait([task])
        await asyncio.gather(*(member.engine.aclose() for member in self._members.values()))

    # ---- the steps ---------------------------------------------------------------------------------------

    async def _start(self) -> None:
        await asyncio.gather(*(member.engine.start() for member in self._members.values()))
        await self.look()
        # made here: it belongs to the event loop that runs
        self._found_unwell = asyncio.Event()
        # not before: that an engine which is being loaded is loading is worth no line
        self._looking = asyncio.get_running_loop().create_task(self._look_on())
        self._check_default()
        self.is_started = True

    def _cards(self) -> list[ModelCard]:
        cards = {card.id: card for member in self._members.values() for card in member.models}
        default = cards.pop(self._settings.default_model, None)
        return [*([default] if default else []), *cards.values()]

    def _target(self, requested: str) -> str | None:
        """What the first alias that fits a name means; None where none does."""
        aliases = self._settings.aliases.items()
        return next((to for pattern, to in aliases if _pattern(pattern).fullmatch(requested)), None)

    @property
    def _are_all_well(self) -> bool:
        return all(member.is_well for member in self._members.values())

    def _nothing_served(self) -> DragomanError:
        """Later it may be otherwise, unless it is our settings that no engine accepts."""
        members = self._members.values()
        if members and all(member.health.status == "misconfigured" for member in members):
            return EngineConfigurationError(CONFIGURATION, log_detail=self._summary())
        return OverloadedError("no engine is ready yet", log_detail=self._summary())

    def _check_default(self) -> None:
        default, cards = self._settings.default_model, self._cards()
        if default and cards and cards[0].id != default:
            served = ", ".join(card.id for card in cards)
            log(logging.WARNING, f"default_model {default} is not served; there is {served}", {})

    def _serving(self, model: str) -> list[Member]:
        """The well engines that serve a model; where none is well, all that serve it."""
        serving = [member for member in self._members.values() if member.serves(model)]
        if not serving:
            raise OverloadedError("no engine that serves this model is ready", log_detail=self._summary())
        return [member for member in serving if member.is_well] or serving

    @asynccontextmanager
    async def _placed(self, request: ChatRequest) -> AsyncIterator[Member]:
        candidates = [Candidate(member.name, member.in_flight) for member in self._serving(request.model)]
        member = self._members[choose(candidates, request.placement_key)]
        member.in_flight += 1
        request.engine = member.name
        try:
            yield member
        except EngineUnreachableError as error:
            self._note(member, error)
            raise
        finally:
            member.in_flight -= 1

    def _note(self, member: Member, error: DragomanError) -> None:
        """Takes note of an engine that a request found unwell."""
        member.saw(unwell(error))
        self._found_unwell.set()

    async def _pause(self) -> None:
        """The time between two looks, which gets short when a request finds an engine unwell."""
        if self._are_all_well:
            self._found_unwell.clear()
            try:
                async with asyncio.timeout(CALM_INTERVAL):
                    await self._found_unwell.wait()
            except TimeoutError:
                return
        await asyncio.sleep(ANXIOUS_INTERVAL)

    async def _look_on(self) -> None:
        while True:
            await self._pause()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - one engine's bug must not end the looking at all of them
                log(logging.ERROR, "an engine cannot be looked at", {}, error)

    def _summary(self) -> str:
        return "; ".join(
            f"{member.name}: {member.health.status} {member.health.detail}".strip()
            for member in self._members.values()
        )


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    """An alias pattern: `*` is any text, `?` any character, all else is itself."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, re.DOTALL)


def build_client(settings: Settings, report: Report | None = None) -> InferenceEngineClient:
    """The client for the engines that the settings name; the embedded one tells `report` how it loads."""
    return InferenceEngineClient(build_engines(settings, report), settings)
