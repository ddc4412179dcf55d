"""What the tests of the aided engine have in common: requests, and answers in llama.cpp's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from dragoman.engines.llamacpp.aided import AidedInferenceEngine
from dragoman.models import PromptAids
from dragoman.settings import EngineEntry
from dragoman.wire.openai import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionCall,
    FunctionSpec,
    ToolCall,
)
from tests.support.fake_openai import DONE, Answer, FakeOpenAI, chunk, events, reply
from tests.unit.engines.remotes import QUICK, read

AIDS = PromptAids(policy="Call.", result="Answer.", fences=("```json",), marks=("<tool_call>",))
CALL = '{"name": "f", "arguments": {"a": 1}}'


def tool(name: str, schema: bytes = b'{"type":"object"}') -> ChatTool:
    """A tool."""
    return ChatTool(function=FunctionSpec(name=name, parameters=msgspec.Raw(schema)))


def asking(**more: Any) -> ChatRequest:
    """A request with two tools."""
    messages = more.pop("messages", [ChatMessage(role="user", content="Hi")])
    return ChatRequest(**{"model": "m", "messages": messages, "tools": [tool("f"), tool("g")], **more})


def after_a_call(*behind: ChatMessage, **more: Any) -> ChatRequest:
    """A request that ends with the result of the call `CALL`, and what stands behind it."""
    call = ToolCall("c", FunctionCall("f", '{"a":1}'))
    return asking(
        messages=[
            ChatMessage(role="user", content="Hi"),
            ChatMessage(role="assistant", tool_calls=[call]),
            ChatMessage(role="tool", content="1", tool_call_id="c"),
            *behind,
        ],
        **more,
    )


def said(
    *pieces: str, finish: str = "stop", prompt: int = 20, cached: int = 8, ends: tuple[Any, ...] = (DONE,)
) -> Answer:
    """An answer as llama.cpp streams it, with its counts in every chunk."""
    counts = {"cache_n": cached, "prompt_n": prompt - cached}
    progress = {"prompt_progress": {"total": prompt, "cache": cached}}
    chunks = [
        {**chunk({"content": piece}), "timings": {**counts, "predicted_n": number}}
        for number, piece in enumerate(pieces, 1)
    ]
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": len(pieces),
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    last = [chunk({}, finish), {"choices": [], "usage": usage}] if finish else []
    return events({**chunk({"role": "assistant"}), **progress}, *chunks, *last, *ends)


def slots(*seeds: int) -> Answer:
    """Two slots, those with a seed at work."""
    return reply(
        [
            {"id": number, "is_processing": seed >= 0, "params": {"seed": seed}}
            for number, seed in enumerate(seeds)
        ]
    )


@asynccontextmanager
async def aided(fake: FakeOpenAI, **more: Any) -> AsyncIterator[AidedInferenceEngine]:
    """The engine in front of the fake."""
    fake.routes["/props"] = reply({"default_generation_settings": {"n_ctx": 500}})
    fake.routes["/apply-template"] = reply({"prompt": ""})
    entry = EngineEntry(url=fake.url, dialect="llamacpp")
    engine = AidedInferenceEngine(entry, QUICK, **{"aids": AIDS, **more})
    try:
        yield engine
    finally:
        await engine.aclose()


async def chunks_of(fake: FakeOpenAI, request: ChatRequest, *answers: Answer) -> list[ChatChunk]:
    """The chunks of a streamed answer."""
    fake.chat(*answers)
    async with aided(fake) as engine:
        stream = await engine.stream_chat_completion(request)
        try:
            return await read(stream)
        finally:
            await stream.aclose()


def calls_of(chunks: list[ChatChunk]) -> list[tuple[str | None, str | None]]:
    """Name and arguments of every piece of a call."""
    deltas = [delta for one in chunks for choice in one.choices for delta in choice.delta.tool_calls or ()]
    return [(delta.function.name, delta.function.arguments) for delta in deltas if delta.function]


def end_of(chunks: list[ChatChunk]) -> tuple[str | None, str | int | None]:
    """Finish reason and matched stop."""
    finals = [choice for one in chunks for choice in one.choices if choice.finish_reason]
    assert len(finals) == 1
    return finals[0].finish_reason, finals[0].matched_stop


def billed(chunks: list[ChatChunk]) -> tuple[int, int, int]:
    """Prompt, cached and completion tokens of the last counts."""
    usage = [one.usage for one in chunks if one.usage is not None][-1]
    return usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
