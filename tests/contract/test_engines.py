"""The contract of every inference engine: one suite, run over all of them with the parrot's dialogues."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dragoman.engines.base import ChatStream, InferenceEngine
from dragoman.engines.whole import fold
from dragoman.errors import NotSupportedError, PromptTooLongError
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatMessage, ChatRequest, Reasoning
from tests.contract.conftest import PLAIN
from tests.support.dialogues import CONTEXT, ENDLESS, MODEL, dialogues

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = [
    "hello",
    "hello/nothink",
    "call-Paris",
    "parallel/nothink/sys",
    "quotes",
    "result-Paris",
    "scripts/sys",
]


def asked(name: str, **changes: Any) -> ChatRequest:
    return msgspec.structs.replace(dialogues()[name].request, **changes)


async def read(stream: ChatStream) -> list[ChatChunk]:
    return [chunk async for batch in stream for chunk in batch]


async def streamed(engine: InferenceEngine, request: ChatRequest) -> ChatCompletion:
    stream = await engine.stream_chat_completion(request)
    try:
        return fold(await read(stream))
    finally:
        await stream.aclose()


def parts(completion: ChatCompletion) -> tuple[str, str, list[tuple[str | None, Any]], str | None]:
    """Thinking, text, calls and finish of an answer; outer white space is each parser's own affair."""
    choice = completion.choices[0]
    calls = [
        (call.function.name, msgspec.json.decode(call.function.arguments or ""))
        for call in choice.message.tool_calls or ()
        if call.function is not None
    ]
    text = (choice.message.content or "").strip()
    return (choice.message.reasoning or "").strip(), text, calls, choice.finish_reason


def expected(name: str) -> tuple[str, str, list[tuple[str | None, Any]], str | None]:
    dialogue = dialogues()[name]
    calls: list[tuple[str | None, Any]] = [(called, arguments) for called, arguments in dialogue.calls]
    return dialogue.thinking, dialogue.text, calls, "tool_calls" if calls else "stop"


@pytest.mark.parametrize("name", NAMES)
async def test_the_answer_is_the_models(engine: InferenceEngine, name: str) -> None:
    capabilities = await engine.capabilities(MODEL)
    thinks = dialogues()[name].enable_thinking or not capabilities.reasoning_switch
    name = name.replace("/nothink", "") if thinks else name
    whole = await engine.chat_completion(asked(name))
    assert parts(whole) == expected(name)
    assert parts(await streamed(engine, asked(name))) == expected(name)


async def test_a_call_has_an_id_and_a_name(engine: InferenceEngine) -> None:
    for completion in (
        await engine.chat_completion(asked("parallel")),
        await streamed(engine, asked("parallel")),
    ):
        calls = completion.choices[0].message.tool_calls or []
        assert len({call.id for call in calls}) == 2
        assert all(call.id for call in calls)


async def test_the_count_is_the_usage_or_there_is_none(engine: InferenceEngine) -> None:
    capabilities = await engine.capabilities(MODEL)
    for request in (asked("hello"), asked("result-thought-Paris"), asked("parallel/sys")):
        usages = [(await engine.chat_completion(request)).usage, (await streamed(engine, request)).usage]
        used = [usage.prompt_tokens for usage in usages if usage is not None]
        counted = await counts(engine, request)
        assert (counted is not None) == capabilities.counting
        assert used == [counted or used[0]] * 2


async def counts(engine: InferenceEngine, request: ChatRequest) -> int | None:
    try:
        return await engine.count_tokens(request)
    except NotSupportedError:
        return None


async def test_an_early_count_is_the_late_one(engine: InferenceEngine) -> None:
    capabilities = await engine.capabilities(MODEL)
    chunks = await read(await engine.stream_chat_completion(asked("hello")))
    usages = [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage is not None]
    assert len(set(usages)) == 1
    assert not capabilities.early_usage or chunks[0].usage is not None


@pytest.mark.parametrize("name", ["count", "count/nothink"])
async def test_a_stop_string_ends_the_text_and_is_named(engine: InferenceEngine, name: str) -> None:
    request = asked(name, stop=["zzz", "7, 8"])
    for completion in (await engine.chat_completion(request), await streamed(engine, request)):
        choice = completion.choices[0]
        assert (choice.message.content or "").strip() == "1, 2, 3, 4, 5, 6,"
        assert (choice.finish_reason, choice.matched_stop) == ("stop", "7, 8")


async def test_a_stop_string_in_thinking_ends_nothing(engine: InferenceEngine) -> None:
    request = asked("count", stop=["Counting"])
    for completion in (await engine.chat_completion(request), await streamed(engine, request)):
        assert parts(completion) == expected("count")
        assert completion.choices[0].matched_stop is None


async def test_max_tokens_ends_the_answer(engine: InferenceEngine) -> None:
    request = asked("hello", max_tokens=2)
    for completion in (await engine.chat_completion(request), await streamed(engine, request)):
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is None or completion.usage.completion_tokens <= 2


async def test_more_tokens_than_there_are_is_no_error(engine: InferenceEngine) -> None:
    request = asked("hello", max_tokens=10 * CONTEXT)
    assert parts(await engine.chat_completion(request)) == expected("hello")
    assert parts(await streamed(engine, request)) == expected("hello")


async def test_a_prompt_that_passes_the_context_is_told_in_the_known_words(engine: InferenceEngine) -> None:
    if (await engine.capabilities(MODEL)).context_length is None:
        pytest.skip("this server tells no context, and goes on beyond the model's")
    long = ChatRequest(model=MODEL, messages=[ChatMessage(role="user", content="word " * 3000)], max_tokens=9)
    for attempt in (engine.chat_completion, engine.stream_chat_completion):
        with pytest.raises(
            PromptTooLongError, match=r"^prompt is too long: \d+ tokens > \d+ maximum$"
        ) as raised:
            await attempt(long)
        assert (raised.value.tokens or 0) > 3000
        assert raised.value.maximum == CONTEXT


async def test_a_closed_stream_ends_and_the_engine_goes_on(engine: InferenceEngine) -> None:
    endless = ChatRequest(
        model=MODEL,
        messages=[ChatMessage(role="user", content=ENDLESS)],
        temperature=0.0,
        reasoning=Reasoning(enabled=False),
    )
    for _ in range(3):
        stream = await engine.stream_chat_completion(endless)
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        assert await read(stream) == []
    assert parts(await engine.chat_completion(asked("hello"))) == expected("hello")


async def test_a_cancelled_call_ends_and_the_engine_goes_on(engine: InferenceEngine) -> None:
    endless = ChatRequest(model=MODEL, messages=[ChatMessage(role="user", content=ENDLESS)], temperature=0.0)
    task = asyncio.ensure_future(engine.chat_completion(endless))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), task.result()
    assert parts(await engine.chat_completion(asked("hello"))) == expected("hello")


async def test_what_nobody_waits_for_runs_no_more(engine: InferenceEngine) -> None:
    endless = ChatRequest(model=MODEL, messages=[ChatMessage(role="user", content=ENDLESS)], temperature=0.0)
    stream = await engine.stream_chat_completion(endless)
    await anext(stream)
    await stream.aclose()
    task = asyncio.ensure_future(engine.chat_completion(endless))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(10):
        # an engine that does not tell says None
        while await engine.running():  # noqa: ASYNC110 - the engine is asked, it tells nothing by itself
            await asyncio.sleep(0.05)
    assert parts(await engine.chat_completion(asked("hello"))) == expected("hello")


async def test_calls_at_the_same_time_do_not_mix(engine: InferenceEngine) -> None:
    names = ["hello", "count", "call-Paris", "parallel", "result-Oslo", "quotes"]
    answers = await asyncio.gather(*(streamed(engine, asked(name)) for name in names))
    assert [parts(completion) for completion in answers] == [expected(name) for name in names]


async def test_an_answer_names_its_engine(engine: InferenceEngine) -> None:
    whole = await engine.chat_completion(asked("hello"))
    stream = await engine.stream_chat_completion(asked("hello"))
    await stream.aclose()
    assert whole.engine
    assert stream.engine


async def test_it_is_well_and_says_what_it_serves(
    engine: InferenceEngine, request: pytest.FixtureRequest
) -> None:
    assert (await engine.health()).status == "ok"
    assert MODEL in [card.id for card in await engine.models()]
    capabilities = await engine.capabilities(MODEL)
    assert capabilities == await engine.capabilities(MODEL)
    is_plain = request.node.callspec.params["engine"] in PLAIN
    assert capabilities.context_length == (None if is_plain else CONTEXT)
