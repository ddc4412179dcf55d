"""The aided engine over scripted answers in llama.cpp's words: text, a call in its place, counts, endings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dragoman.engines.llamacpp.aided import WORDS, AidedInferenceEngine
from dragoman.errors import EngineFaultError, EngineUnavailableError, InvalidRequestError, SettingsError
from dragoman.models import PromptAids, find
from dragoman.settings import EngineEntry
from dragoman.wire.openai import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionCall,
    FunctionSpec,
    ToolCall,
    ToolChoice,
)
from tests.support.fake_openai import DONE, Answer, FakeOpenAI, Hang, Seen, chunk, events, reply
from tests.unit.engines.remotes import QUICK, read, text_of, until

AIDS = PromptAids(policy="Call.", result="Answer.", fences=("```json",), marks=("<tool_call>",))
CALL = '{"name": "f", "arguments": {"a": 1}}'


def tool(name: str, schema: bytes = b'{"type":"object"}') -> ChatTool:
    """A tool."""
    return ChatTool(function=FunctionSpec(name=name, parameters=msgspec.Raw(schema)))


def asking(**more: Any) -> ChatRequest:
    """A request with two tools."""
    messages = more.pop("messages", [ChatMessage(role="user", content="Hi")])
    return ChatRequest(**{"model": "m", "messages": messages, "tools": [tool("f"), tool("g")], **more})


def after_a_call(**more: Any) -> ChatRequest:
    """A request that ends with the result of the call `CALL`."""
    call = ToolCall("c", FunctionCall("f", '{"a":1}'))
    return asking(
        messages=[
            ChatMessage(role="user", content="Hi"),
            ChatMessage(role="assistant", tool_calls=[call]),
            ChatMessage(role="tool", content="1", tool_call_id="c"),
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


async def test_text_streams_as_it_comes() -> None:
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(fake, asking(), said("Hel", "lo", "."))
    pieces = [choice.delta.content for one in chunks for choice in one.choices if choice.delta.content]
    assert pieces == ["Hel", "lo", "."]
    assert (end_of(chunks), billed(chunks)) == (("stop", None), (20, 8, 3))
    assert len(fake.chats) == 1


async def test_the_first_question_holds_the_aids_and_all_tools() -> None:
    async with FakeOpenAI() as fake:
        await chunks_of(fake, after_a_call(stop=["x"]), said("Hello."))
    body = fake.chats[0].json
    contents = [turn["content"] for turn in body["messages"]]
    assert contents == ["Call.", "Hi", None, "1\nAnswer."]
    assert (body["tool_choice"], len(body["tools"])) == ("none", 2)
    assert "stop" not in body


async def test_a_call_is_asked_for_again_and_streams() -> None:
    async with FakeOpenAI() as fake:
        seeds: list[int] = []

        def seen(_: Seen) -> Answer:
            seeds.append(fake.chats[0].json["seed"])
            return slots(5, *seeds)

        fake.routes["/slots"] = seen
        first = said("```json\n", '{"name": "f"', finish="", ends=(Hang(),))
        second = said('{"name": "f", "argu', 'ments": {', '"a": ', "1}", "}", prompt=20, cached=19)
        chunks = await chunks_of(fake, asking(stop=["```"]), first, second)
        await until(lambda: fake.chats[0].hung_up)
    assert calls_of(chunks) == [("f", ""), (None, "{"), (None, '"a": '), (None, "1}")]
    assert (text_of(chunks), end_of(chunks)) == ("", ("tool_calls", None))
    # the first prompt, as its cache was; the tokens that were delivered
    assert billed(chunks) == (20, 8, 5)
    one, two = (seen.json for seen in fake.chats)
    assert two["messages"] == one["messages"]
    assert (two["tools"], two["tool_choice"], two["id_slot"]) == (one["tools"], "none", 1)
    assert "stop" not in two
    schema = two["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"] == {"const": "f"}


async def test_a_name_that_no_tool_has_leaves_all_tools_open() -> None:
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(
            fake, asking(), said('{"name": "h", "arguments"', finish="", ends=(Hang(),)), said(CALL)
        )
    assert [name for name, _ in calls_of(chunks)] == ["f", None]
    assert len(fake.chats[1].json["response_format"]["json_schema"]["schema"]["anyOf"]) == 2
    # without a list of slots the call is asked for wherever there is room
    assert "id_slot" not in fake.chats[1].json


async def test_streamed_and_whole_answers_are_the_same() -> None:
    async with FakeOpenAI() as fake, aided(fake) as engine:
        fake.chat(said('{"name": "f"', finish="", ends=(Hang(),)), said(CALL))
        completion = await engine.chat_completion(asking())
    choice = completion.choices[0]
    calls = [call.function for call in choice.message.tool_calls or () if call.function]
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a": 1}')]
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (20, 1)


async def test_a_cut_call_is_reported_as_cut() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        second = said('{"name": "f", "arguments": {"a', finish="length")
        chunks = await chunks_of(fake, asking(max_tokens=9), first, second)
    assert calls_of(chunks) == [("f", ""), (None, '{"a')]
    assert end_of(chunks) == ("length", None)
    assert [seen.json["max_tokens"] for seen in fake.chats] == [9, 9]


async def test_an_answer_cut_before_it_could_be_a_call_is_text() -> None:
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(fake, asking(), said("```json", '\n{"na', finish="length"))
    assert (text_of(chunks), end_of(chunks)) == ('```json\n{"na', ("length", None))


async def test_what_is_held_when_no_finish_reason_comes_is_text() -> None:
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(fake, asking(stop=["never"]), said("{", finish=""))
    assert text_of(chunks) == "{"


async def test_stop_strings_end_text_and_are_named() -> None:
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(
            fake, asking(stop=["END"]), said("One", " EN", "D", finish="", ends=(Hang(),))
        )
        await until(lambda: fake.chats[0].hung_up)
    assert (text_of(chunks), end_of(chunks)) == ("One ", ("stop", "END"))
    assert billed(chunks) == (20, 8, 3)


async def test_a_call_behind_words_is_billed_with_them() -> None:
    async with FakeOpenAI() as fake:
        first = said("Let me", " see", ". <tool", '_call>{"name": "f"', finish="", ends=(Hang(),))
        second = said('{"name": "f", "arguments": ', '{"a": 1}', "}")
        chunks = await chunks_of(fake, asking(max_tokens=50, stop=[". x"]), first, second)
    assert (text_of(chunks), calls_of(chunks)) == ("Let me see. ", [("f", ""), (None, '{"a": 1}')])
    assert (end_of(chunks), billed(chunks)) == (("tool_calls", None), (20, 8, 6))
    # three tokens of words were shown
    assert fake.chats[1].json["max_tokens"] == 47


async def test_words_and_a_mark_in_one_piece() -> None:
    async with FakeOpenAI() as fake:
        first = said('So <tool_call>{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(fake, asking(), first, said(CALL))
    assert (text_of(chunks), billed(chunks)) == ("So ", (20, 8, 2))
    assert calls_of(chunks) == [("f", ""), (None, '{"a": 1}')]


async def test_a_stop_string_before_a_call_ends_the_answer() -> None:
    async with FakeOpenAI() as fake:
        first = said('So END <tool_call>{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(fake, asking(stop=["END"]), first)
    assert (text_of(chunks), end_of(chunks)) == ("So ", ("stop", "END"))


async def test_thinking_of_the_first_answer_is_the_one_that_is_shown() -> None:
    def at(number: int, **delta: str) -> dict[str, Any]:
        return {**chunk(delta), "timings": {"cache_n": 0, "prompt_n": 9, "predicted_n": number}}

    first = events(at(4, reasoning_content="Hm."), at(9, content='{"name": "f"'), Hang())
    second = events(at(5, reasoning_content="Oh."), at(15, content=CALL), chunk({}, "stop"), DONE)
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(fake, asking(max_tokens=50), first, second)
    # four tokens of the first thought, ten of the call; the budget is for the second thought too
    assert (billed(chunks), fake.chats[1].json["max_tokens"]) == ((9, 0, 14), 50)
    thoughts = [choice.delta.reasoning for one in chunks for choice in one.choices if choice.delta.reasoning]
    assert thoughts == ["Hm."]
    assert calls_of(chunks) == [("f", ""), (None, '{"a": 1}')]


@pytest.mark.parametrize(
    ("choice", "number"), [(ToolChoice("required"), 2), (ToolChoice("function", "g"), 1)]
)
async def test_a_forced_call_is_asked_for_at_once(choice: ToolChoice, number: int) -> None:
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(fake, asking(tool_choice=choice, stop=["a"]), said(CALL))
    assert calls_of(chunks) == [("f", ""), (None, '{"a": 1}')]
    assert (end_of(chunks), billed(chunks)) == (("tool_calls", None), (20, 8, 1))
    body = fake.chats[0].json
    assert len(body["response_format"]["json_schema"]["schema"]["$defs"]) == number
    assert (len(body["tools"]), "stop" in body) == (2, False)


async def test_the_call_that_was_just_answered_gives_way_to_words() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        second = said('{"name": "f", "arguments": {"a"', ": 1}}", prompt=20, cached=19)
        third = said("It is", " 1.", prompt=20, cached=19)
        chunks = await chunks_of(fake, after_a_call(stop=["2"]), first, second, third)
    assert (calls_of(chunks), text_of(chunks)) == ([], "It is 1.")
    assert (end_of(chunks), billed(chunks)) == (("stop", None), (20, 8, 2))
    assert [seen.json.get("grammar") for seen in fake.chats] == [None, None, WORDS]
    assert "stop" not in fake.chats[2].json


async def test_stop_strings_end_such_words_too() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        third = said("It is", " 1.", ends=(Hang(),))
        chunks = await chunks_of(fake, after_a_call(stop=["1"]), first, said(CALL), third)
    assert (text_of(chunks), end_of(chunks)) == ("It is ", ("stop", "1"))


async def test_another_call_after_a_result_is_a_call() -> None:
    async with FakeOpenAI() as fake:
        second = said('{"name": "f", "arguments": {"a": ', "2}}")
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(fake, after_a_call(), first, second)
    assert "".join(arguments or "" for _, arguments in calls_of(chunks)) == '{"a": 2}'


async def test_a_model_that_is_not_let_to_chain_calls_answers_a_result_in_words() -> None:
    aids = msgspec.structs.replace(AIDS, chains=False)
    async with FakeOpenAI() as fake, aided(fake, aids=aids) as engine:
        fake.chat(said("It is", " 1."), said("Hello."))
        for request in (after_a_call(), asking()):
            await read(await engine.stream_chat_completion(request))
    assert [seen.json.get("grammar") for seen in fake.chats] == [WORDS, None]


async def test_a_repeat_that_was_cut_is_shown_as_cut() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        second = said('{"name": "f", "arguments": {"a"', finish="length")
        chunks = await chunks_of(fake, after_a_call(), first, second)
    assert calls_of(chunks) == [("f", ""), (None, '{"a"')]
    assert end_of(chunks) == ("length", None)


async def test_a_schema_that_cannot_be_followed_gives_way_to_any_object() -> None:
    refused = reply({"error": {"code": 400, "message": "JSON schema error at #", "type": "x"}}, 400)
    async with FakeOpenAI() as fake:
        chunks = await chunks_of(fake, asking(tool_choice=ToolChoice("required")), refused, said(CALL))
    assert calls_of(chunks) == [("f", ""), (None, '{"a": 1}')]
    form = fake.chats[1].json["response_format"]["json_schema"]["schema"]["anyOf"][0]
    assert form["properties"]["arguments"] == {"type": "object"}


async def test_a_prompt_that_is_too_long_is_not_asked_twice() -> None:
    full = {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 600, "n_ctx": 500}
    async with FakeOpenAI() as fake:
        fake.routes["/v1/chat/completions/input_tokens"] = reply({"input_tokens": 600})
        with pytest.raises(InvalidRequestError, match="prompt is too long"):
            await chunks_of(
                fake,
                asking(tool_choice=ToolChoice("required")),
                reply({"error": {"message": "", **full}}, 400),
            )
    assert len(fake.chats) == 1


@pytest.mark.parametrize(
    "more",
    [{}, {"tools": []}, {"tool_choice": ToolChoice("function", "f")}, {"tool_choice": ToolChoice("none")}],
)
async def test_what_is_counted_is_what_is_asked(more: dict[str, Any]) -> None:
    async with FakeOpenAI() as fake:
        fake.routes["/v1/chat/completions/input_tokens"] = reply({"input_tokens": 7})
        fake.chat(said("Hello."))
        async with aided(fake) as engine:
            assert await engine.count_tokens(after_a_call(**more)) == 7
            stream = await engine.stream_chat_completion(after_a_call(**more))
            await stream.aclose()
        counted = next(seen.json for seen in fake.seen if seen.path.endswith("input_tokens"))
        asked = fake.chats[0].json
        shaping = ("messages", "tools", "tool_choice")
        assert [counted.get(key) for key in shaping] == [asked.get(key) for key in shaping]
        assert "response_format" not in counted


async def test_closing_hangs_up_while_listening_and_while_a_call_comes() -> None:
    async with FakeOpenAI() as fake, aided(fake) as engine:
        fake.chat(said("Hello", finish="", ends=(Hang(),)))
        stream = await engine.stream_chat_completion(asking())
        await stream.__anext__()
        await stream.aclose()
        await until(lambda: fake.chats[0].hung_up)
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()

        fake.chat(said('{"name": "f"', finish="", ends=(Hang(),)))
        fake.chat(said('{"name": "f", "arguments": {', finish="", ends=(Hang(),)))
        stream = await engine.stream_chat_completion(asking())
        while not calls_of(await stream.__anext__()):
            pass
        await stream.aclose()
        await until(lambda: all(seen.hung_up for seen in fake.chats))
        assert len(fake.chats) == 3


async def test_a_stream_that_is_closed_while_it_asks_again_ends_that_too() -> None:
    async with FakeOpenAI() as fake, aided(fake) as engine:
        asked = asyncio.Event()

        def slow(_: Seen) -> Answer:
            asked.set()
            return slots()

        fake.routes["/slots"] = slow
        fake.chat(said('{"name": "f"', finish="", ends=(Hang(),)), said("{", finish="", ends=(Hang(),)))
        stream = await engine.stream_chat_completion(asking())
        reading = asyncio.ensure_future(read(stream))
        await asked.wait()
        await stream.aclose()
        await until(lambda: len(fake.chats) == 2 and fake.chats[1].hung_up)
        assert calls_of(await reading) == []


async def test_a_fault_of_the_second_answer_is_raised() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        with pytest.raises(EngineFaultError):
            await chunks_of(fake, asking(), first, reply({"error": {"message": "broken"}}, 500))


async def test_it_calls_one_tool_at_a_time() -> None:
    async with FakeOpenAI() as fake:
        async with aided(fake) as engine:
            assert not (await engine.capabilities("m")).parallel_tools
        async with aided(fake, aids=None) as engine:
            assert (await engine.capabilities("m")).parallel_tools


async def test_without_aids_nothing_is_changed() -> None:
    async with FakeOpenAI() as fake:
        fake.routes["/v1/chat/completions/input_tokens"] = reply({"input_tokens": 7})
        async with aided(fake, aids=None) as engine:
            fake.chat(said(CALL))
            stream = await engine.stream_chat_completion(after_a_call())
            assert text_of(await read(stream)) == CALL
            assert await engine.count_tokens(after_a_call()) == 7
    body = fake.chats[0].json
    assert "tool_choice" not in body
    assert [turn["content"] for turn in body["messages"]] == ["Hi", None, "1"]


def test_an_entry_names_the_model_whose_aids_it_gets() -> None:
    url, name = "http://127.0.0.1:1", find("").name
    engine = AidedInferenceEngine(EngineEntry(url=url, dialect="llamacpp", aids=name))
    assert engine._aids == find("").aids
    with pytest.raises(SettingsError, match='aids need dialect = "llamacpp", not "vllm"'):
        AidedInferenceEngine(EngineEntry(url=url, dialect="vllm", aids=name))
    with pytest.raises(EngineUnavailableError, match="no model is named 'x'"):
        AidedInferenceEngine(EngineEntry(url=url, dialect="llamacpp", aids="x"))
