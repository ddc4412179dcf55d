"""The scripted engine: what it plays, how it picks, what it records."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from dragoman.engines.base import ChatStream
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    Cut,
    Delay,
    Fail,
    Hang,
    Script,
    ScriptedInferenceEngine,
    answer,
    call_chunk,
    finish_chunk,
    last_user_text,
    refuse,
    text_chunk,
    usage_chunk,
)
from dragoman.errors import EngineFaultError, NotSupportedError, OverloadedError
from dragoman.wire.openai import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    ChatTool,
    ChatUsage,
    FunctionCall,
    FunctionSpec,
    ImagePart,
    ImageURL,
    Part,
    TextPart,
    ToolCall,
)


def ask(text: str = "Hello", *, max_tokens: int | None = None, stop: list[str] | None = None) -> ChatRequest:
    messages = [ChatMessage(role="user", content=text)]
    return ChatRequest(model="scripted", messages=messages, max_tokens=max_tokens, stop=stop or [])


async def read(stream: ChatStream) -> list[ChatChunk]:
    return [chunk async for batch in stream for chunk in batch]


def text_of(chunks: list[ChatChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_streamed_and_whole_are_the_same_answer() -> None:
    script = answer("Let me look. ", thinking="A question.", calls=[("f", '{"a": 1}'), ("g", "{}")])
    engine = ScriptedInferenceEngine([script, script])
    whole = await engine.chat_completion(ask())
    chunks = await read(await engine.stream_chat_completion(ask()))
    assert text_of(chunks) == whole.choices[0].message.content == "Let me look. "
    assert whole.choices[0].message.reasoning == "A question."
    calls = whole.choices[0].message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls if call.function] == [
        ("f", '{"a": 1}'),
        ("g", "{}"),
    ]
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage == chunks[-1].usage
    assert whole.engine == "scripted"


async def test_the_usage_repeats_the_count() -> None:
    engine = ScriptedInferenceEngine([answer("one two three")])
    counted = await engine.count_tokens(ask("What is it?"))
    usage = (await engine.chat_completion(ask("What is it?"))).usage
    assert usage == ChatUsage(prompt_tokens=counted, completion_tokens=3)


async def test_tools_images_and_history_count() -> None:
    engine = ScriptedInferenceEngine([])
    plain = await engine.count_tokens(ask("x"))
    request = ask("x")
    request.tools = [ChatTool(function=FunctionSpec(name="f", parameters=msgspec.Raw(b'{"type":"object"}')))]
    with_tools = await engine.count_tokens(request)
    call = ToolCall(id="c", function=FunctionCall(name="f", arguments="{}"))
    request.messages.append(ChatMessage(role="assistant", reasoning="hm", tool_calls=[call]))
    with_history = await engine.count_tokens(request)
    parts: list[Part] = [
        TextPart(text="see"),
        ImagePart(image_url=ImageURL(url="data:image/png;base64,AA==")),
    ]
    request.messages.append(ChatMessage(role="user", content=parts))
    assert plain < with_tools < with_history
    assert await engine.count_tokens(request) == with_history + 1 + 1 + 85
    assert last_user_text(request) == "see"


async def test_a_script_with_its_own_usage_keeps_it() -> None:
    engine = ScriptedInferenceEngine(
        [
            Script(steps=[text_chunk("a"), finish_chunk(), usage_chunk(7, 8)]),
            answer("b", usage=ChatUsage(1, 2)),
        ]
    )
    assert (await engine.chat_completion(ask())).usage == ChatUsage(7, 8)
    assert (await engine.chat_completion(ask())).usage == ChatUsage(1, 2)


async def test_early_usage_comes_first() -> None:
    capabilities = msgspec.structs.replace(SCRIPTED_CAPABILITIES, early_usage=True)
    engine = ScriptedInferenceEngine([answer("hi")], capabilities=capabilities)
    chunks = await read(await engine.stream_chat_completion(ask()))
    assert chunks[0].usage == ChatUsage(prompt_tokens=await engine.count_tokens(ask()))
    assert chunks[-1].usage == ChatUsage(await engine.count_tokens(ask()), 1)


async def test_a_stop_string_ends_an_obedient_script() -> None:
    engine = ScriptedInferenceEngine([answer("one two three four")])
    whole = await engine.chat_completion(ask(stop=["o three"]))
    assert whole.choices[0].message.content == "one tw"
    assert (whole.choices[0].finish_reason, whole.choices[0].matched_stop) == ("stop", "o three")


@pytest.mark.parametrize(
    ("limit", "text", "reason"), [(2, "one two", "length"), (3, "one two three", "stop")]
)
async def test_max_tokens_counts_pieces(limit: int, text: str, reason: str) -> None:
    whole = await ScriptedInferenceEngine([answer("one two three")]).chat_completion(ask(max_tokens=limit))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (text, reason)


async def test_a_raw_script_is_played_as_written_in_its_reads() -> None:
    script = Script(
        steps=[[text_chunk("a"), text_chunk("b")], Delay(0.001), [], text_chunk("c"), finish_chunk()]
    )
    stream = await ScriptedInferenceEngine([script]).stream_chat_completion(ask(max_tokens=1, stop=["a"]))
    batches = [batch async for batch in stream]
    assert [len(batch) for batch in batches] == [2, 0, 1, 1, 1]
    assert text_of([chunk for batch in batches for chunk in batch]) == "abc"


async def test_a_mapping_picks_by_the_last_user_text() -> None:
    engine = ScriptedInferenceEngine({"weather": answer("Sunny."), "": answer("Hm.")})
    assert (await engine.chat_completion(ask("the weather?"))).choices[0].message.content == "Sunny."
    assert (await engine.chat_completion(ask("the time?"))).choices[0].message.content == "Hm."


async def test_a_function_picks_by_the_request() -> None:
    engine = ScriptedInferenceEngine(lambda request: answer(last_user_text(request).upper()))
    assert (await engine.chat_completion(ask("abc"))).choices[0].message.content == "ABC"
    assert last_user_text(ChatRequest(model="m", messages=[])) == ""


@pytest.mark.parametrize("engine", [ScriptedInferenceEngine([]), ScriptedInferenceEngine({"a": answer("b")})])
async def test_no_script_is_an_engine_fault(engine: ScriptedInferenceEngine) -> None:
    with pytest.raises(EngineFaultError):
        await engine.chat_completion(ask("zzz"))
    assert [call.outcome for call in engine.calls] == ["failed"]


async def test_a_refusal_comes_before_the_stream() -> None:
    engine = ScriptedInferenceEngine([refuse(OverloadedError("full", retry_after=2))])
    with pytest.raises(OverloadedError):
        await engine.stream_chat_completion(ask())
    assert engine.calls[0].outcome == "failed"


@pytest.mark.parametrize("fault", [Cut(), Fail(EngineFaultError("broken"))])
async def test_a_fault_comes_after_what_was_played(fault: Cut | Fail) -> None:
    stream = await ScriptedInferenceEngine([Script(steps=[text_chunk("a"), fault])]).stream_chat_completion(
        ask()
    )
    assert text_of(await anext(stream)) == "a"
    with pytest.raises(EngineFaultError):
        await anext(stream)


async def test_closing_a_hanging_stream_frees_its_reader() -> None:
    engine = ScriptedInferenceEngine([Script(steps=[text_chunk("a"), Hang()])])
    stream = await engine.stream_chat_completion(ask())
    await anext(stream)
    reader = asyncio.ensure_future(read(stream))
    await asyncio.sleep(0.01)
    assert [call.outcome for call in engine.calls] == ["running"]
    await stream.aclose()
    await stream.aclose()
    assert await reader == []
    assert [call.outcome for call in engine.calls] == ["cancelled"]


@pytest.mark.parametrize("script", [Script(steps=[Hang()]), answer("late", wait=60)])
async def test_cancelling_the_caller_is_recorded(script: Script) -> None:
    engine = ScriptedInferenceEngine([script])
    task = asyncio.ensure_future(engine.chat_completion(ask()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.calls[0].outcome == "cancelled"


async def test_a_finished_stream_stays_finished() -> None:
    engine = ScriptedInferenceEngine([answer("a")])
    stream = await engine.stream_chat_completion(ask())
    await read(stream)
    await stream.aclose()
    assert await read(stream) == []
    assert engine.calls[0].outcome == "finished"


async def test_scripts_can_be_played_again() -> None:
    script = Script(steps=[call_chunk(name="f", arguments="{"), finish_chunk()])
    engine = ScriptedInferenceEngine(lambda _request: script)
    first = await read(await engine.stream_chat_completion(ask()))
    first[0].choices[0].delta.tool_calls = None
    second = await read(await engine.stream_chat_completion(ask()))
    assert second[0].choices[0].delta.tool_calls is not None


async def test_what_was_given_is_what_it_says() -> None:
    capabilities = msgspec.structs.replace(SCRIPTED_CAPABILITIES, counting=False)
    engine = ScriptedInferenceEngine([], name="a", models=["m", "n"], capabilities=capabilities)
    await engine.start()
    assert await engine.capabilities("m") == capabilities
    assert [model.id for model in await engine.models()] == ["m", "n"]
    assert (await engine.health()).status == "ok"
    engine.status = "failed"
    assert (await engine.health()).status == "failed"
    with pytest.raises(NotSupportedError):
        await engine.count_tokens(ask())
    await engine.aclose()
