"""The engines of a client: who is there, how they are, and what each serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from dragoman.engines.base import CONFIGURATION, EngineHealth, EngineUnreachableError, InferenceEngine, unwell
from dragoman.errors import DragomanError, EngineConfigurationError, OverloadedError, SettingsError
from dragoman.observe.logs import hide, log
from dragoman.observe.metrics import Metrics
from dragoman.routing.causes import cause_of, is_engines
from dragoman.routing.member import Member
from dragoman.settings import Routing
from dragoman.wire.openai import ModelCard

# Between two looks at the engines, in seconds: while all are well, and while one is not.
CALM_INTERVAL = 10.0
ANXIOUS_INTERVAL = 1.0


class Fleet:
    """Engines by name; `SettingsError` where two have the same.

    While it watches, the engines are looked at from time to time, so that one that was down is used when it
    is back; `on_room` is called with each that may be given calls after a look.
    """

    def __init__(self, engines: Sequence[InferenceEngine], routing: Routing, metrics: Metrics) -> None:
        names = [engine.name for engine in engines]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise SettingsError(f"engines: more than one is called {', '.join(doubled)}; give them names")
        self._routing = routing
        self._metrics = metrics
        self.members = {engine.name: self._member(engine) for engine in engines}
        self.on_room: Callable[[Member], None] = _nobody_waits
        self._watching: asyncio.Task[None] | None = None
        self._found_unwell = asyncio.Event()

    def _member(self, engine: InferenceEngine) -> Member:
        hide(engine.secret)
        return Member(engine, self._routing)

    def __iter__(self) -> Iterator[Member]:
        """The members; one that joins or leaves meanwhile is no matter."""
        return iter(list(self.members.values()))

    # ---- who is there ------------------------------------------------------------------------------------

    def check_new(self, name: str) -> None:
        """`SettingsError` where a name is taken."""
        if name in self.members:
            raise SettingsError(f"engines: one is called {name} already")

    def add(self, engine: InferenceEngine) -> Member:
        """One more engine, which was started; `SettingsError` where its name is taken."""
        self.check_new(engine.name)
        member = self.members[engine.name] = self._member(engine)
        return member

    async def drain(self, name: str, seconds: float | None) -> bool:
        """Gives an engine no new calls; whether those in flight ended within `seconds` (None: no bound)."""
        member = self.named(name)
        member.is_draining = True
        try:
            async with asyncio.timeout(seconds):
                await member.idle.wait()
        except TimeoutError:
            return False
        return True

    async def remove(self, name: str, seconds: float | None) -> None:
        """Drains an engine, then closes it; it is forgotten also where its closing fails.

        Of two who remove it at a time each returns when it is closed.
        """
        member = self.named(name)
        await self.drain(name, seconds)
        if self.members.get(name) is member:
            del self.members[name]
        await member.engine.aclose()

    def named(self, name: str) -> Member:
        """The member of a name; `SettingsError` where there is none."""
        try:
            return self.members[name]
        except KeyError:
            raise SettingsError(
                f"engines: none is called {name!r}; there is {', '.join(self.members)}"
            ) from None

    def serving(self, model: str) -> list[Member]:
        """Those that may be given a model's calls: the usable ones, else the well ones, else all.

        An engine that is being drained is none of them. `OverloadedError` where nobody is left.
        """
        now = asyncio.get_running_loop().time()
        serving = [member for member in self if member.serves(model) and not member.is_draining]
        if not serving:
            raise OverloadedError("no engine that serves this model is ready", log_detail=self.summary())
        well = [member for member in serving if member.is_well]
        return [member for member in well if member.breaker.allows(now)] or well or serving

    def cards(self) -> list[ModelCard]:
        """All models, each once."""
        return list({card.id: card for member in self for card in member.models}.values())

    # ---- how they are ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts every engine, looks at it, and goes on looking."""
        await asyncio.gather(*(member.engine.start() for member in self))
        await self.look()
        # made here: it belongs to the event loop that runs
        self._found_unwell = asyncio.Event()
        # not before: that an engine which is being loaded is loading is worth no line
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    @property
    def is_watching(self) -> bool:
        """Whether the engines are looked at from time to time."""
        return self._watching is not None

    async def look(self) -> None:
        """Asks all engines how they are and what they serve."""
        await asyncio.gather(*(member.look() for member in self))
        for member in self:
            if member.is_well:
                self.on_room(member)

    async def aclose(self) -> None:
        """Closes every engine."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        await asyncio.gather(*(member.engine.aclose() for member in self))

    def failed(self, member: Member, error: DragomanError) -> None:
        """Takes note of a call that failed at an engine."""
        if isinstance(error, EngineUnreachableError):
            self.unwell(member, error)
        if member.failed(error, asyncio.get_running_loop().time()):
            self._metrics.breaker_opened(member.name)
            log(
                logging.WARNING, "the engine keeps failing", {"engine": member.name, "cause": cause_of(error)}
            )
        if is_engines(error) and not error.is_counted:
            error.is_counted = True
            self._metrics.engine_failed(member.name, cause_of(error))

    def unwell(self, member: Member, error: DragomanError) -> None:
        """Takes note of an engine that cannot be used; it is looked at again soon."""
        member.saw(unwell(error))
        self._found_unwell.set()

    @property
    def are_all_well(self) -> bool:
        """Whether every engine is."""
        return all(member.is_well for member in self)

    def nothing_served(self) -> DragomanError:
        """Why no model is there: later it may be otherwise, unless no engine accepts our settings."""
        if self.members and all(member.health.status == "misconfigured" for member in self):
            return EngineConfigurationError(CONFIGURATION, log_detail=self.summary())
        return OverloadedError("no engine is ready yet", log_detail=self.summary())

    def health(self) -> EngineHealth:
        """Well if any engine is; else what is known of all."""
        if any(member.is_well for member in self):
            return EngineHealth("ok")
        for member in self:
            return EngineHealth(member.health.status, self.summary())
        return EngineHealth("failed", "no engine is set up")

    def troubles(self) -> list[str]:
        """What keeps engines from being used, a sentence for each that is not well."""
        return [
            f"{member.name} is {member.health.status}: {member.health.detail}"
            for member in self
            if not member.is_well
        ]

    def summary(self) -> str:
        """All engines' health in one line, for the log."""
        return "; ".join(
            f"{member.name}: {member.health.status} {member.health.detail}".strip() for member in self
        )

    # ---- watching ----------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        """The time between two looks, which gets short when a request finds an engine unwell."""
        if self.are_all_well:
            self._found_unwell.clear()
            try:
                async with asyncio.timeout(CALM_INTERVAL):
                    await self._found_unwell.wait()
            except TimeoutError:
                return
        await asyncio.sleep(ANXIOUS_INTERVAL)

    async def _watch(self) -> None:
        while True:
            await self._pause()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - one engine's bug must not end the looking at all of them
                log(logging.ERROR, "an engine cannot be looked at", {}, error)


def _nobody_waits(_member: Member) -> None:
    return
