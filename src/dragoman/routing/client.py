"""InferenceEngineClient: many engines that look like one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dragoman.engines.base import ChatStream, EngineHealth, InferenceEngine, RelayedAnswer, TokenStream
from dragoman.engines.control import EngineControl
from dragoman.engines.registry import build_engines
from dragoman.engines.whole import WholeStream, as_chunk, folded
from dragoman.errors import DragomanError, NotFoundError, OverloadedError
from dragoman.observe.logs import log
from dragoman.observe.metrics import Metrics
from dragoman.routing.continuation import ContinuedStream
from dragoman.routing.control import FleetControl
from dragoman.routing.fleet import Fleet
from dragoman.routing.member import Member
from dragoman.routing.names import shown, target_of
from dragoman.routing.policy import common
from dragoman.routing.router import Router
from dragoman.routing.said import ABORTED
from dragoman.routing.streams import CountedRelay, CountedStream, CountedTokens
from dragoman.routing.token_continuation import ContinuedTokens
from dragoman.settings import Settings
from dragoman.translate.parsers import FORMATS
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatCompletion, ChatRequest, ModelCard
from dragoman.wire.tokens import RelayRequest, TokenRequest

if TYPE_CHECKING:
    from dragoman.models.progress import Report


class InferenceEngineClient(InferenceEngine):
    """Engines as one: their models together, each call on one of those that serve its model.

    Between `start` and `aclose` the engines are looked at from time to time, so that one that was down is
    used when it is back. Engines' names must differ (`SettingsError`). `metrics` count what fails.
    """

    name = "client"

    def __init__(
        self,
        engines: Sequence[InferenceEngine],
        settings: Settings | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self.metrics = metrics or Metrics()
        self._fleet = Fleet(engines, self._settings.routing, self.metrics)
        self._router = Router(self._fleet, self._settings.routing, self.metrics)
        self._starting: asyncio.Task[None] | None = None
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

    async def _start(self) -> None:
        await self._fleet.start()
        self._check_default()
        self.is_started = True

    async def look(self) -> None:
        """Asks all engines how they are and what they serve."""
        await self._fleet.look()

    async def aclose(self) -> None:
        """Closes every engine."""
        starting, self._starting = self._starting, None
        self.is_started = False
        if starting is not None:
            starting.cancel()
            # a start that failed has told whoever waited for it
            await asyncio.wait([starting])
        await self._fleet.aclose()

    # ---- models ------------------------------------------------------------------------------------------

    def resolve(self, requested: str) -> str:
        """The served model for a requested name: the name itself, else by alias.

        Raises `NotFoundError` with the list of names; `OverloadedError` while no engine has said what it
        serves, and for a model that the settings mean while it may be that of an engine which is away.
        """
        served = [card.id for card in self._cards()]
        if requested in served:
            return requested
        if not served:
            raise self._fleet.nothing_served()
        target = target_of(requested, self._settings.aliases)
        if target is None:
            raise NotFoundError(f"model: {shown(requested)} is not served here; there is {', '.join(served)}")
        meant = target or self._settings.default_model or served[0]
        if meant in served:
            return meant
        if not self._fleet.are_all_well:
            raise OverloadedError(
                "no engine that serves this model is ready", log_detail=self._fleet.summary()
            )
        role = "an alias of" if target else "an alias of the default model"
        raise NotFoundError(
            f"model: {shown(requested)} is {role} {meant}, which is not served here; there is "
            f"{', '.join(served)}"
        )

    async def models(self) -> list[ModelCard]:
        """All models that are served, the default first."""
        return self._cards()

    def _cards(self) -> list[ModelCard]:
        cards = self._fleet.cards()
        default = self._settings.default_model
        return sorted(cards, key=lambda card: card.id != default) if default else cards

    def _check_default(self) -> None:
        default, cards = self._settings.default_model, self._cards()
        if default and cards and cards[0].id != default:
            served = ", ".join(card.id for card in cards)
            log(logging.WARNING, f"default_model {default} is not served; there is {served}", {})

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What every engine that may be given the model can do with it.

        One that cannot say is taken for unwell, and the others decide; its error is raised where none can.
        """
        found: list[EngineCapabilities] = []
        failures: list[DragomanError] = []
        for member in self._fleet.serving(model):
            try:
                found.append(await member.engine.capabilities(model))
            except DragomanError as error:
                self._fleet.unwell(member, error)
                failures.append(error)
        if not found:
            raise failures[0]
        return common(found)

    # ---- calls -------------------------------------------------------------------------------------------

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer, from the engine of the request's session; one that was given up goes on."""

        async def ask(member: Member) -> ChatCompletion:
            completion = await member.engine.chat_completion(request)
            completion.engine = completion.engine or member.name
            return completion

        completion = await self._router.run(request, ask)
        if completion.choices and completion.choices[0].finish_reason == ABORTED:
            return await self._folded(request, completion)
        return completion

    async def chat_completions(self, requests: Sequence[ChatRequest]) -> list[ChatCompletion]:
        """Whole answers in the order of their requests; where one fails, all do, with its error."""
        tasks = [asyncio.create_task(self.chat_completion(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The answer as a stream, from the engine of the request's session, and from others if it fails."""
        if not (self._settings.routing.continuation and self._may_outlive):
            return await self._open(request)
        request.return_token_ids = await self._tells_ids(request.model)
        return self._continued(request, await self._open(request))

    async def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of the prompt, by the engine of the request's session."""
        return await self._router.run(request, lambda member: member.engine.count_tokens(request))

    async def render(self, request: ChatRequest) -> list[int]:
        """The prompt's token ids, by the engine of the request's session."""
        return await self._router.run(request, lambda member: member.engine.render(request))

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        """The text of token ids, by any engine that serves the model."""
        call = TokenRequest(model=model, prompt_token_ids=token_ids)
        return await self._router.run(call, lambda member: member.engine.detokenize(model, token_ids))

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        """The answer to token ids, from the engine of the request's session, and from others if it fails."""
        stream = await self._open_tokens(request)
        routing = self._settings.routing
        if not (routing.continuation and self._may_outlive):
            return stream
        return ContinuedTokens(request, stream, self, retries=routing.retries, metrics=self.metrics)

    async def reopen_tokens(self, request: TokenRequest, but: str | None) -> TokenStream | None:
        """An answer's stream on another engine than the named one; None where there is no other."""
        if but is not None and not self._router.has_other(request.model, {but}):
            return None
        return await self._open_tokens(request, but)

    async def _open_tokens(self, request: TokenRequest, but: str | None = None) -> TokenStream:
        async def ask(member: Member) -> TokenStream:
            stream = await member.engine.stream_tokens(request)
            return CountedTokens(stream, member, self._router, self._fleet)

        return await self._router.run(request, ask, but=but)

    async def relay(self, request: RelayRequest) -> RelayedAnswer:
        """An engine's answer in its own words, from the engine of the request's session."""

        async def ask(member: Member) -> RelayedAnswer:
            answer = await member.engine.relay(request)
            return CountedRelay(answer, member, self._router, self._fleet)

        return await self._router.run(request, ask)

    @property
    def _may_outlive(self) -> bool:
        """Whether an answer can go on: elsewhere, or where a pause gave it up."""
        return len(self._fleet.members) > 1 or "pause_generation" in self.control.operations

    async def _tells_ids(self, model: str) -> bool:
        """Whether an answer could go on from its ids."""
        can = await self.capabilities(model)
        return can.token_ids and can.token_door and can.raw_format in FORMATS

    async def reopen(self, request: ChatRequest, but: str | None) -> ChatStream | None:
        """An answer's stream on another engine than the named one; None where there is no other."""
        if but is not None and not self._router.has_other(request.model, {but}):
            return None
        return await self._open(request, but)

    async def _open(self, request: ChatRequest, but: str | None = None) -> ChatStream:
        async def ask(member: Member) -> ChatStream:
            stream = await member.engine.stream_chat_completion(request)
            return CountedStream(stream, member, self._router, self._fleet)

        return await self._router.run(request, ask, but=but)

    def _continued(self, request: ChatRequest, stream: ChatStream) -> ContinuedStream:
        return ContinuedStream(
            request,
            stream,
            self,
            retries=self._settings.routing.retries,
            metrics=self.metrics,
        )

    async def _folded(self, request: ChatRequest, begun: ChatCompletion) -> ChatCompletion:
        """The whole of an answer whose engine gave it up after `begun`."""
        return await folded(self._continued(request, WholeStream(begun.engine, [as_chunk(begun)])))

    # ---- how it is, and who is in it ---------------------------------------------------------------------

    @property
    def control(self) -> EngineControl:
        """The control plane of all engines together."""
        return self.control_plane

    @property
    def control_plane(self) -> FleetControl:
        """The same, with what only many have."""
        return FleetControl(self.name, self._fleet, self._router)

    def weight_version(self, engine: str) -> str:
        """The weights that an engine had when it was last asked; "" where it does not tell."""
        member = self._fleet.members.get(engine)
        return "" if member is None else member.weight_version

    async def finish_session(self, key: str) -> None:
        """A session is over: it has no place any more, and engines free what they keep for it."""
        self._router.forget(key)
        await self.control.finish_session(key)

    async def health(self) -> EngineHealth:
        """Well if any engine is; else what is known of all.

        After `start` it is what the last look saw: who asks often makes no work, and waits for no engine.
        """
        if not self._fleet.is_watching:
            await self.look()
        return self._fleet.health()

    def troubles(self) -> list[str]:
        """What keeps engines from being used, a sentence for each that is not well."""
        return self._fleet.troubles()

    @property
    def engines(self) -> dict[str, Member]:
        """The engines by name, with what was last seen of each."""
        return dict(self._fleet.members)

    async def add(self, engine: InferenceEngine) -> None:
        """One more engine, started here; it takes its share of the sessions as soon as it is well.

        One that cannot start, or whose name was taken meanwhile, is closed.
        """
        self._fleet.check_new(engine.name)
        try:
            await engine.start()
            member = self._fleet.add(engine)
        except BaseException:  # cancelled, too: who stops waiting leaves a half-loaded engine to nobody
            await engine.aclose()
            raise
        await member.look()

    async def drain(self, name: str, seconds: float | None = None) -> bool:
        """Gives an engine no new calls and waits for those in flight; whether all ended in time."""
        return await self._fleet.drain(name, seconds)

    async def remove(self, name: str, seconds: float | None = None) -> None:
        """Drains an engine and closes it; what still runs after `seconds` goes on elsewhere."""
        await self._fleet.remove(name, seconds)


def build_client(settings: Settings, report: Report | None = None) -> InferenceEngineClient:
    """The client for the engines that the settings name; the embedded one tells `report` how it loads."""
    return InferenceEngineClient(build_engines(settings, report), settings)
