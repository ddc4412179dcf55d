"""The aided engine over scripted answers: repeats, what is counted, how answers end, where aids come from."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from dragoman.engines.llamacpp.aided import RATHER_WORDS, WORDS, AidedInferenceEngine
from dragoman.engines.llamacpp.recogniser import CallRecogniser
from dragoman.errors import EngineFaultError, EngineUnavailableError, InvalidRequestError, SettingsError
from dragoman.models import find
from dragoman.settings import EngineEntry
from dragoman.wire.openai import ChatMessage, ToolChoice
from tests.support.fake_openai import Answer, Cut, FakeOpenAI, Hang, Seen, reply
from tests.unit.engines.aided import (
    AIDS,
    CALL,
    after_a_call,
    aided,
    asking,
    billed,
    calls_of,
    chunks_of,
    end_of,
    said,
    slots,
)
from tests.unit.engines.remotes import read, text_of, until


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


REMINDER = ChatMessage(role="user", content="<system-reminder>Be brief.</system-reminder>")


async def test_a_reminder_behind_the_result_does_not_let_the_call_through() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(fake, after_a_call(REMINDER), first, said(CALL), said("It is 1."))
    assert (calls_of(chunks), text_of(chunks)) == ([], "It is 1.")
    assert [seen.json.get("grammar") for seen in fake.chats] == [None, None, WORDS]


async def test_a_repeat_behind_text_ends_the_answer_there() -> None:
    async with FakeOpenAI() as fake:
        first = said("Let me", " see. <tool", '_call>{"name": "f"', finish="", ends=(Hang(),))
        second = said(
            '{"name": "f", "arguments": {"a"', ": 1}}", prompt=20, cached=19, finish="", ends=(Hang(),)
        )
        chunks = await chunks_of(fake, after_a_call(max_tokens=9), first, second, said("Let me see."))
        await until(lambda: fake.chats[1].hung_up)
    assert (calls_of(chunks), text_of(chunks)) == ([], "Let me see. ")
    # what was shown is billed, and nothing is shown twice
    assert (end_of(chunks), billed(chunks)) == (("stop", None), (20, 8, 2))
    assert [seen.json["max_tokens"] for seen in fake.chats] == [9, 7]


async def test_without_leave_to_call_a_call_gives_way_to_words() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(
            fake, asking(tool_choice=ToolChoice("none"), stop=["x"]), first, said("It is", " late.")
        )
    assert (calls_of(chunks), text_of(chunks)) == ([], "It is late.")
    assert (end_of(chunks), billed(chunks)) == (("stop", None), (20, 8, 2))
    assert [seen.json.get("grammar") for seen in fake.chats] == [None, WORDS]


async def test_without_leave_to_call_words_before_a_call_are_all() -> None:
    async with FakeOpenAI() as fake:
        first = said('So <tool_call>{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(fake, asking(tool_choice=ToolChoice("none")), first)
        await until(lambda: fake.chats[0].hung_up)
    assert (calls_of(chunks), text_of(chunks), end_of(chunks)) == ([], "So ", ("stop", None))
    assert (billed(chunks), len(fake.chats)) == ((20, 8, 1), 1)


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


async def test_a_model_that_does_not_chain_calls_is_brought_to_answer_a_result_in_words() -> None:
    aids = msgspec.structs.replace(AIDS, chains=False)
    async with FakeOpenAI() as fake, aided(fake, aids=aids) as engine:
        fake.chat(said("It is", " 1."), said("It is 1."), said("Hello."))
        for request in (after_a_call(), after_a_call(REMINDER), asking()):
            await read(await engine.stream_chat_completion(request))
    assert [seen.json.get("grammar") for seen in fake.chats] == [RATHER_WORDS, RATHER_WORDS, None]


@pytest.mark.parametrize("insisting", ['({"name": "f"', ', {"name": "f"'])
async def test_a_model_that_insists_on_another_call_gets_it_but_no_repeat(insisting: str) -> None:
    aids = msgspec.structs.replace(AIDS, chains=False)
    first = said(insisting, finish="", ends=(Hang(),))
    async with FakeOpenAI() as fake, aided(fake, aids=aids) as engine:
        fake.chat(first, said('{"name": "f", "arguments": {"a": 2}}'), first, said(CALL), said("It is 1."))
        other = await read(await engine.stream_chat_completion(after_a_call()))
        repeat = await read(await engine.stream_chat_completion(after_a_call()))
    assert (text_of(other), calls_of(other)) == ("", [("f", ""), (None, '{"a": 2}')])
    assert (text_of(repeat), calls_of(repeat)) == ("It is 1.", [])
    asked = [seen.json.get("grammar") for seen in fake.chats]
    assert asked == [RATHER_WORDS, None, RATHER_WORDS, None, WORDS]


def test_words_that_are_asked_for_begin_with_nothing_that_may_begin_a_call() -> None:
    found = re.fullmatch(r"root ::= (\[\^.+?\]) .*", WORDS)
    assert found is not None
    letters = [chr(code) for code in range(0x20, 0x7F)] + ["\t", "\n", "\r"]
    held = [letter for letter in letters if not CallRecogniser((), AIDS.fences, AIDS.marks).feed(letter)]
    assert "{" in held
    assert [letter for letter in held if re.match(found[1], letter)] == []


async def test_a_forced_call_may_have_a_penalty_on_what_comes_again() -> None:
    aids = msgspec.structs.replace(AIDS, forced_penalty=1.5)
    async with FakeOpenAI() as fake, aided(fake, aids=aids) as engine:
        fake.chat(said(CALL), said("Hello."))
        for request in (asking(tool_choice=ToolChoice("required")), asking()):
            await read(await engine.stream_chat_completion(request))
    assert [seen.json.get("repeat_penalty") for seen in fake.chats] == [1.5, None]


async def test_a_repeat_that_was_cut_is_shown_as_cut() -> None:
    async with FakeOpenAI() as fake:
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        second = said('{"name": "f", "arguments": {"a"', finish="length")
        chunks = await chunks_of(fake, after_a_call(), first, second)
    assert calls_of(chunks) == [("f", ""), (None, '{"a"')]
    assert end_of(chunks) == ("length", None)


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


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("function", "f")])
async def test_a_forced_call_behind_a_begun_answer_is_refused_by_name(choice: ToolChoice) -> None:
    begun = ChatMessage(role="assistant", content="So")
    request = after_a_call(begun, tool_choice=choice, continue_final=True)
    async with FakeOpenAI() as fake, aided(fake) as engine:
        for asked in (engine.stream_chat_completion, engine.chat_completion, engine.count_tokens):
            with pytest.raises(
                InvalidRequestError, match=r"^tool_choice: a forced call cannot continue an ass"
            ):
                await asked(request)
    assert fake.chats == []


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


async def test_a_list_of_slots_that_does_not_come_only_costs_the_cache() -> None:
    async with FakeOpenAI() as fake:
        fake.routes["/slots"] = Answer(silent=True, pieces=[Cut()])
        first = said('{"name": "f"', finish="", ends=(Hang(),))
        chunks = await chunks_of(fake, asking(), first, said(CALL))
    assert calls_of(chunks) == [("f", ""), (None, '{"a": 1}')]
    assert "id_slot" not in fake.chats[1].json
