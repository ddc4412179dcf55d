"""What travels between an engine's actor and those who use it: plain values, errors among them."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from typing import Any, Literal

import msgspec

from dragoman.engines.base import EngineHealth, InferenceEngine
from dragoman.engines.control import Operation
from dragoman.errors import DragomanError, EngineFaultError
from dragoman.settings import EngineEntry, Settings
from dragoman.wire.openai import ChatChunk
from dragoman.wire.tokens import TokenChunk

Door = Literal["chat", "tokens", "relay"]
# Items of a stream that may be on their way to its reader, and after how many it asks for more.
WINDOW = 64
GRANT = 32
# How many signs of life a reader may miss in a row: a process that dies closes nothing.
MISSED = 6


class Recipe(msgspec.Struct, frozen=True):
    """How an actor makes its engine: the entry, and the settings that engines read."""

    entry: EngineEntry
    settings: Settings

    @classmethod
    def of(cls, entry: EngineEntry, settings: Settings) -> Recipe:
        """The recipe of an entry; keys of this server's own doors stay here."""
        few = Settings(timeouts=settings.timeouts, limits=settings.limits, local=settings.local)
        return cls(entry, few)

    @property
    def digest(self) -> str:
        """What two recipes have in common only where they are the same."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def engine(self) -> InferenceEngine:
        """The engine, made here."""
        assert self.entry.ray is not None
        nowhere = "" if self.entry.model else _NOWHERE
        bare = msgspec.structs.replace(self.entry, ray=None, url=self.entry.url or nowhere)
        if self.entry.ray.factory:
            module, _, name = self.entry.ray.factory.partition(":")
            made: InferenceEngine = getattr(importlib.import_module(module), name)(bare)
            return made
        if self.entry.url or self.entry.model:
            registry = importlib.import_module("dragoman.engines.registry")
            built: InferenceEngine = registry.build_engine(bare, self.settings)
            return built
        llamacpp = importlib.import_module("dragoman.engines.llamacpp")
        loaded: InferenceEngine = llamacpp.LlamaCppInferenceEngine(
            self.entry.ray.model,
            local=self.settings.local,
            timeouts=self.settings.timeouts,
            limits=self.settings.limits,
            name=self.entry.name,
        )
        return loaded


# An entry without a Ray actor must have an address; what a factory makes needs none.
_NOWHERE = "http://127.0.0.1:0"


class Standing(msgspec.Struct, frozen=True):
    """How an actor's engine is, what its control plane can, which actor says so, and by which recipe."""

    health: EngineHealth
    operations: frozenset[Operation]
    life: str
    digest: str


class Opened(msgspec.Struct, frozen=True):
    """The first item of a stream: the engine began to answer."""

    engine: str
    status: int = 200
    content_type: str = ""


class Failed:
    """An error in the place of a value: Ray would wrap one that is raised into another class."""

    def __init__(self, error: DragomanError) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        """With the error as it is, or with its words alone where something in it cannot travel."""
        try:
            pickle.dumps(self.error)
        except Exception:  # noqa: BLE001 - any object may stand in an error, and fail in its own way
            told = EngineFaultError(self.error.message, log_detail=self.error.log_detail)
            return Failed, (told,)
        return Failed, (self.error,)


def fault(error: Exception) -> Failed:
    """An error that no engine should raise."""
    detail = f"{type(error).__name__}: {error}"
    return Failed(EngineFaultError("the engine failed", log_detail=detail))


_ENCODER = msgspec.msgpack.Encoder()
_CHUNKS = msgspec.msgpack.Decoder(list[ChatChunk])
_TOKENS = msgspec.msgpack.Decoder(TokenChunk)


def encode(item: list[ChatChunk] | TokenChunk | bytes) -> bytes:
    """One read of a stream as bytes."""
    if isinstance(item, bytes):
        return item
    return _ENCODER.encode(item if isinstance(item, TokenChunk) else [_plain(chunk) for chunk in item])


def _plain(chunk: ChatChunk) -> ChatChunk:
    """The neutral chunk alone: what a dialect's own has besides (JSON as it came, say) ends here."""
    if type(chunk) is ChatChunk:
        return chunk
    return ChatChunk(**{field: getattr(chunk, field) for field in ChatChunk.__struct_fields__})


decode_chunks = _CHUNKS.decode
decode_tokens = _TOKENS.decode
