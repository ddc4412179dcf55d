"""The interface that every inference engine offers to the layers above it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import msgspec

from dragoman.errors import DragomanError, EngineConfigurationError, OverloadedError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatRequest, ModelCard

HealthStatus = Literal["ok", "loading", "unreachable", "failed", "misconfigured"]
# What a client reads when it is our settings that an engine does not accept.
CONFIGURATION = "the engine is not set up for this request; the server's log says what is missing"


class EngineHealth(msgspec.Struct, frozen=True):
    """Whether an engine can take a request now, and why not.

    "misconfigured": it refuses our key or our address, which no waiting mends.
    """

    status: HealthStatus
    detail: str = ""


class EngineUnreachableError(OverloadedError):
    """529: nothing answers at the engine's address; it has not seen the request."""


def unwell(error: DragomanError) -> EngineHealth:
    """The health of an engine that answers a question about itself with an error."""
    status: HealthStatus = "failed"
    if isinstance(error, EngineUnreachableError):
        status = "unreachable"
    elif isinstance(error, OverloadedError):
        status = "loading"
    elif isinstance(error, EngineConfigurationError):
        status = "misconfigured"
    return EngineHealth(status, error.log_detail or error.message)


class ChatStream(ABC):
    """A running answer: an async iterator of batches, one batch per read from the engine.

    A batch may be empty. The iterator ends when the engine said that it is done (`[DONE]`, or its own mark);
    a connection that ends before that raises `EngineFaultError`. `aclose` cancels the engine's work and is
    safe to call at any moment, more than once. `engine` names the engine that answers.
    """

    engine: str

    def __aiter__(self) -> ChatStream:
        """The stream itself."""
        return self

    @abstractmethod
    async def __anext__(self) -> list[ChatChunk]:
        """The chunks of the next read."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stops the engine's work on this answer and frees the connection."""


class InferenceEngine(ABC):
    """One engine, or many that look like one. All calls raise `DragomanError`s only.

    Cancelling a call (task cancellation) cancels the engine's work. `named_models`: what the settings say
    that it serves, known before it answers. `secret`: its key, which nothing may show.
    """

    name: str
    named_models: tuple[str, ...] = ()
    secret: str = ""

    async def start(self) -> None:
        """Makes the engine ready: connects, loads, finds the dialect. Called once."""
        return

    @abstractmethod
    async def capabilities(self, model: str) -> EngineCapabilities:
        """What the engine can do with `model` (cached; cheap to call on every request)."""

    @abstractmethod
    async def models(self) -> list[ModelCard]:
        """The models that are served, the default first."""

    @abstractmethod
    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer."""

    @abstractmethod
    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The answer as a stream; returns when the engine began to answer, and raises what it refuses."""

    @abstractmethod
    async def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of the prompt, by the engine's own template and tokenizer; else `NotSupportedError`."""

    @abstractmethod
    async def health(self) -> EngineHealth:
        """Asks the engine how it is; never raises."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees connections and processes; safe to call twice."""
