"""Scripted engines that are made inside actors, and tell about themselves through their own interface."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.engines.base import EngineUnreachableError, InferenceEngine
from dragoman.engines.control import EngineControl, PauseMode
from dragoman.engines.ray import RayInferenceEngine, streams
from dragoman.engines.scripted import (
    Delay,
    Hang,
    Script,
    ScriptedInferenceEngine,
    Step,
    finish_chunk,
    last_user_text,
    refuse,
    text_chunk,
)
from dragoman.errors import InvalidRequestError, PromptTooLongError, RateLimitError, SettingsError
from dragoman.settings import EngineEntry
from dragoman.wire.openai import ChatMessage, ChatRequest

MODEL = "scripted"
WORDS = 120
# What the engine is asked for, in the last user text.
COUNT, FLOOD, HANG, REFUSE, LONG, UNREACHABLE, BUG = "count", "flood", "hang", "refuse", "long", "gone", "bug"
# To count so slowly that much can be done meanwhile.
SLOWLY = "count slowly"
FLOODED = 2_000


def request(text: str, key: str | None = None) -> ChatRequest:
    """A request for one of them."""
    messages = [ChatMessage(role="user", content=text)]
    return ChatRequest(model=MODEL, messages=messages, placement_key=key)


def _counting(asked: ChatRequest, pause: float) -> list[Step]:
    """The numbers from where the answer stands, with a pause after each."""
    last = asked.messages[-1]
    said = len(str(last.content).split()) if last.role == "assistant" else 0
    steps: list[Step] = []
    for number in range(said, WORDS):
        steps += [text_chunk(f"{number} "), Delay(pause)]
    return [*steps, finish_chunk()]


def script(asked: ChatRequest) -> Script:
    """What is played for a request."""
    refusals: Mapping[str, Exception] = {
        REFUSE: RateLimitError("slowly", retry_after=7.0, log_detail="a detail", details={"error_code": "x"}),
        LONG: PromptTooLongError(30, 20, log_detail="another"),
        UNREACHABLE: EngineUnreachableError("nobody there"),
    }
    text = last_user_text(asked)
    if text in refusals:
        return refuse(refusals[text])  # type: ignore[arg-type]  # all of them are of the tree
    if text == BUG:
        raise ValueError("a bug")
    if text == HANG:
        return Script(steps=[text_chunk("a"), Hang()])
    if text == FLOOD:
        return Script(steps=[*(text_chunk("x ") for _ in range(FLOODED)), finish_chunk()])
    return Script(steps=_counting(asked, 0.05 if text == SLOWLY else 0.01))


class Control(EngineControl):
    """A control plane that keeps what it was told."""

    operations = frozenset({"pause_generation", "update_named_weights", "weight_version", "wake_up"})

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.told: list[Any] = []

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        if mode == "wait":
            raise InvalidRequestError("not so")
        self.told.append(mode)

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        self.told.append(tags)

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        self.told.append(update)

    async def weight_version(self) -> str:
        return repr(self.told)


class Telling(ScriptedInferenceEngine):
    """`running` counts its calls; `detokenize` says in which process it is and how its calls ended."""

    def __init__(self, name: str) -> None:
        super().__init__(script, name=name, models=[MODEL])
        self._control = Control(name)

    async def running(self) -> int | None:
        return sum(call.outcome == "running" for call in self.calls)

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        told = {"pid": os.getpid(), "outcomes": [call.outcome for call in self.calls]}
        return msgspec.json.encode(told).decode()

    @property
    def control(self) -> EngineControl:
        return self._control


def telling(entry: EngineEntry) -> InferenceEngine:
    """The factory that entries name."""
    return Telling(entry.name)


def refusing(entry: EngineEntry) -> InferenceEngine:
    """A factory of an engine that cannot be made."""
    raise SettingsError(f"{entry.name} is not set up")


class Reader:
    """Another process that reads an engine's streams, and tells as often as it is told to that it does."""

    async def read(self, entry: EngineEntry, asked: list[str], pulse: float) -> int:
        """Its process, when it has the beginning of each answer."""
        streams.PULSE = pulse
        self._engine = RayInferenceEngine(entry)
        await self._engine.start()
        self._streams = [await self._engine.stream_chat_completion(request(text)) for text in asked]
        for stream in self._streams:
            await anext(stream)
        return os.getpid()
