"""The interface that every inference engine offers to the layers above it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

import msgspec

from dragoman.engines.control import EngineControl
from dragoman.errors import DragomanError, EngineConfigurationError, NotSupportedError, OverloadedError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatRequest, ModelCard
from dragoman.wire.tokens import RelayRequest, TokenChunk, TokenRequest

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
    safe to call at any moment, more than once. `engine` names the engine that answers, `weight_version` the
    weights that the last batch was sampled with; "" where that is not known.
    """

    engine: str
    weight_version: str = ""

    def __aiter__(self) -> ChatStream:
        """The stream itself."""
        return self

    @abstractmethod
    async def __anext__(self) -> list[ChatChunk]:
        """The chunks of the next read."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stops the engine's work on this answer and frees the connection."""


class TokenStream(ABC):
    """A running answer as token ids: an async iterator of chunks, one for each read from the engine.

    It ends after the chunk with the finish reason; one that ends before raises `EngineFaultError`. `aclose`,
    `engine` and `weight_version` are as for a `ChatStream`.
    """

    engine: str
    weight_version: str = ""

    def __aiter__(self) -> TokenStream:
        """The stream itself."""
        return self

    @abstractmethod
    async def __anext__(self) -> TokenChunk:
        """What the next read adds."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stops the engine's work on this answer and frees the connection."""


class RelayedAnswer(ABC):
    """An engine's own answer to a body of its own API, passed on as it is: an iterator of pieces of bytes.

    Failures are raised before: `status` is 200, or the 4xx of a mistake of the client, with what the engine
    says of it. `content_type` is that of the engine. A connection that ends before its time raises
    `EngineFaultError`.
    """

    engine: str
    status: int
    content_type: str

    def __aiter__(self) -> RelayedAnswer:
        """The answer itself."""
        return self

    @abstractmethod
    async def __anext__(self) -> bytes:
        """The next bytes, at least one."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stops the engine's work on this answer and frees the connection."""


class Answering(Protocol):
    """Who answers chat requests: an engine, many, or what records their tokens."""

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer."""
        ...

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The answer as a stream."""
        ...


class InferenceEngine(ABC):
    """One engine, or many that look like one. All calls raise `DragomanError`s only.

    Cancelling a call (task cancellation) cancels the engine's work. `named_models`: what the settings say
    that it serves, known before it answers. `secret`: its key, which nothing may show. `max_requests`: how
    many calls it may be given at a time (0: no bound). `weight`: its share of sessions beside the others'.
    """

    name: str
    named_models: tuple[str, ...] = ()
    secret: str = ""
    max_requests: int = 0
    weight: float = 1.0

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

    async def render(self, request: ChatRequest) -> list[int]:
        """The token ids of a request's prompt, with the start of the answer; else `NotSupportedError`."""
        raise NotSupportedError(f"the engine {self.name} does not render prompts")

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        """The text of token ids, markers included; else `NotSupportedError`."""
        raise NotSupportedError(f"the engine {self.name} does not say what token ids mean")

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        """The answer to token ids as token ids; returns and raises as `stream_chat_completion`."""
        raise NotSupportedError(f"the engine {self.name} takes no token ids")

    async def relay(self, request: RelayRequest) -> RelayedAnswer:
        """The engine's own answer to a request of its OpenAI API; returns when it began to answer."""
        raise NotSupportedError(f"the engine {self.name} has no {request.path}")

    @property
    def control(self) -> EngineControl:
        """The control plane; an engine without one says so on each call."""
        return EngineControl(self.name)

    @abstractmethod
    async def health(self) -> EngineHealth:
        """Asks the engine how it is; never raises."""

    async def running(self) -> int | None:
        """Calls that run or wait there, of all its clients; None where the engine does not tell."""
        return None

    @abstractmethod
    async def aclose(self) -> None:
        """Frees connections and processes; safe to call twice."""
