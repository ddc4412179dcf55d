"""The interface that every inference engine offers to the layers above it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import msgspec

from dragoman.errors import OverloadedError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatRequest, ModelCard


class EngineHealth(msgspec.Struct, frozen=True):
    """Whether an engine can take a request now, and why not."""

    status: Literal["ok", "loading", "unreachable", "failed"]
    detail: str = ""


class EngineUnreachableError(OverloadedError):
    """529: nothing answers at the engine's address; it has not seen the request."""


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
    that it serves, known before it answers.
    """

    name: str
    named_models: tuple[str, ...] = ()

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
