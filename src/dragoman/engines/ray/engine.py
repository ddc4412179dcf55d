"""RayInferenceEngine: any engine, in a process that Ray places, watches and begins anew."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

from dragoman.engines.base import (
    ChatStream,
    EngineHealth,
    EngineUnreachableError,
    InferenceEngine,
    RelayedAnswer,
    TokenStream,
    unwell,
)
from dragoman.engines.control import EngineControl, Operation
from dragoman.engines.ray.actor import EngineActor
from dragoman.engines.ray.cluster import join, load_ray
from dragoman.engines.ray.control import RayControl
from dragoman.engines.ray.streams import (
    GRACE,
    RayChatStream,
    RayRelayedAnswer,
    RayTokenStream,
    Reading,
    error_of,
)
from dragoman.engines.ray.values import Failed, Recipe, Standing
from dragoman.errors import DragomanError, EngineTimeoutError, SettingsError
from dragoman.settings import EngineEntry, RayActor, Settings
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatCompletion, ChatRequest, ModelCard
from dragoman.wire.tokens import RelayRequest, TokenRequest

# Calls that may be in the actor at a time; what its engine takes of them is its own affair.
_CONCURRENCY = 10_000
# How long an engine may take to end before its actor is ended, in seconds.
_ENDING = 10.0


class RayInferenceEngine(InferenceEngine):
    """An engine in a Ray actor, which makes it there from an `EngineEntry` with a table `ray`.

    A shared actor is one for all processes of the cluster that name it; it outlives them, and refuses who
    has other settings for it (`SettingsError`). An actor that died is begun anew, by Ray or at the next look
    at its health, unless the entry forbids it.
    """

    def __init__(self, entry: EngineEntry, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self.name = entry.name
        # what its actor reads there may come back in an error that is logged here
        self.secret = entry.key or os.environ.get(entry.key_env, "")
        self.named_models = entry.models
        self.max_requests, self.weight = entry.max_requests, entry.weight
        self._place: RayActor = entry.ray or RayActor()
        self._recipe = Recipe.of(entry, self._settings)
        self._timeouts = self._settings.timeouts
        self._actor: Any = None
        self._is_closed = False
        self._life = ""
        self._operations: frozenset[Operation] = frozenset()
        self._capabilities: dict[str, EngineCapabilities] = {}

    # ---- the actor ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Joins or begins a cluster, and waits for the actor's engine, `timeouts.load` at most.

        What the engine's own start raises is raised here; an actor that has no place yet is loading. A shared
        one whose engine cannot start ends: it would keep its name from whoever mends the entry.
        """
        await asyncio.to_thread(join, self._settings.ray)
        self._is_closed = False
        self._actor = self._made()
        try:
            standing = await self._waited(self._actor.start.remote(), self._timeouts.load)
        except (EngineUnreachableError, EngineTimeoutError):
            return
        except DragomanError:
            if self._place.shared:
                await asyncio.to_thread(end_shared, self.name, self._settings.ray.namespace)
            raise
        self._saw(standing)

    def _made(self) -> Any:
        place = self._place
        options: dict[str, Any] = {
            "num_cpus": place.num_cpus,
            "num_gpus": place.num_gpus,
            "resources": dict(place.resources),
            "max_restarts": -1 if place.restart else 0,
            # what was in flight may have been answered in part: the layers above know what to do
            "max_task_retries": 0,
            "max_concurrency": _CONCURRENCY,
        }
        if place.shared:
            options |= {
                "name": shared_name(self.name),
                "namespace": self._settings.ray.namespace,
                "get_if_exists": True,
                "lifetime": "detached",
            }
        return load_ray().remote(EngineActor).options(**options).remote(self._recipe)

    def _reached(self) -> Any:
        if self._actor is None:
            detail = "its actor was not made, or is closed"
            raise EngineUnreachableError("the engine cannot be reached", log_detail=detail)
        return self._actor

    async def _waited(self, ref: Any, seconds: float) -> Any:
        """The value that an actor's method returns; whoever stops waiting stops the method."""
        errors = load_ray("ray.exceptions")
        try:
            async with asyncio.timeout(seconds + GRACE):
                value = await ref
        except TimeoutError as error:
            load_ray().cancel(ref)
            detail = f"nothing from its actor within {seconds + GRACE:g} s"
            raise EngineTimeoutError("the engine did not answer in time", log_detail=detail) from error
        except asyncio.CancelledError:
            load_ray().cancel(ref)
            raise
        except errors.RayError as error:
            raise error_of(error, begun=False) from error
        if isinstance(value, Failed):
            raise value.error
        return value

    async def _ask(self, question: str, *arguments: Any, seconds: float | None = None) -> Any:
        ref = self._reached().ask.remote(question, *arguments)
        return await self._waited(ref, self._timeouts.first_byte if seconds is None else seconds)

    def _saw(self, standing: Standing) -> None:
        if standing.digest != self._recipe.digest:
            raise SettingsError(
                f"engines: the Ray actor of {self.name} runs with other settings than these; end it first, "
                "or give this engine another name"
            )
        if standing.life != self._life:
            # another process, which may have loaded something else
            self._life = standing.life
            self._capabilities.clear()
        self._operations = standing.operations

    # ---- the engine in it --------------------------------------------------------------------------------

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What the engine can do with a model; asked once in an actor's life."""
        known = self._capabilities.get(model)
        if known is not None:
            return known
        found: EngineCapabilities = await self._ask("capabilities", model)
        return self._capabilities.setdefault(model, found)

    async def models(self) -> list[ModelCard]:
        """What the engine serves."""
        found: list[ModelCard] = await self._ask("models", seconds=self._timeouts.probe)
        return found

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The engine's whole answer."""
        # the engine bounds the waits inside its answer itself; this ends that for a process that stands still
        seconds = self._timeouts.first_byte + self._timeouts.between_bytes
        completion: ChatCompletion = await self._ask("chat_completion", request, seconds=seconds)
        return completion

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The engine's answer, read by read."""
        reading = Reading(self._reached(), "chat", request, self._timeouts)
        return RayChatStream(reading, await reading.opened())

    async def count_tokens(self, request: ChatRequest) -> int:
        """By the engine."""
        counted: int = await self._ask("count_tokens", request)
        return counted

    async def render(self, request: ChatRequest) -> list[int]:
        """By the engine."""
        ids: list[int] = await self._ask("render", request)
        return ids

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        """By the engine."""
        text: str = await self._ask("detokenize", model, token_ids)
        return text

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        """The engine's answer to token ids, read by read."""
        reading = Reading(self._reached(), "tokens", request, self._timeouts)
        return RayTokenStream(reading, await reading.opened())

    async def relay(self, request: RelayRequest) -> RelayedAnswer:
        """The engine's own answer, piece by piece."""
        reading = Reading(self._reached(), "relay", request, self._timeouts)
        return RayRelayedAnswer(reading, await reading.opened())

    @property
    def control(self) -> EngineControl:
        """The engine's control plane; none as long as it was not asked how it is."""
        return RayControl(self.name, self._operations, self._command)

    async def _command(self, operation: Operation, *arguments: Any) -> Any:
        # waiting for answers to end, or for weights, takes as long as loading
        return await self._waited(self._reached().control.remote(operation, *arguments), self._timeouts.load)

    async def health(self) -> EngineHealth:
        """How the engine is; an actor that is gone for good is made anew."""
        try:
            standing: Standing = await self._waited(self._reached().standing.remote(), self._timeouts.probe)
            self._saw(standing)
        except EngineUnreachableError as error:
            return self._begun_anew(error)
        except EngineTimeoutError as error:
            # the actor of an engine that never answered waits for room on a node
            return EngineHealth("unreachable" if self._life else "loading", error.log_detail)
        except DragomanError as error:
            return unwell(error)
        return standing.health

    def _begun_anew(self, error: EngineUnreachableError) -> EngineHealth:
        if self._is_closed or self._actor is None or not self._place.restart:
            return unwell(error)
        died = load_ray("ray.exceptions").ActorDiedError
        if isinstance(error.__cause__, died):
            self._actor = self._made()
        return EngineHealth("loading", error.log_detail)

    async def running(self) -> int | None:
        """As the engine tells."""
        running: int | None = await self._ask("running", seconds=self._timeouts.probe)
        return running

    async def aclose(self) -> None:
        """Ends the engine and its actor; a shared one goes on for the others."""
        actor, self._actor = self._actor, None
        self._is_closed = True
        if actor is None or self._place.shared:
            return
        with suppress(DragomanError):
            await self._waited(actor.aclose.remote(), _ENDING)
        load_ray().kill(actor)


def shared_name(engine: str) -> str:
    """What a shared actor is called in Ray."""
    return f"engine {engine}"


def end_shared(engine: str, namespace: str) -> None:
    """Ends an engine's shared actor, if there is one."""
    ray = load_ray()
    with suppress(ValueError):
        ray.kill(ray.get_actor(shared_name(engine), namespace=namespace))
