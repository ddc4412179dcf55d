"""The aided engine over scripted answers in llama.cpp's words: text, a call in its place, counts, endings."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from dragoman.wire.openai import (
    ToolChoice,
)
from tests.support.fake_openai import DONE, Answer, FakeOpenAI, Hang, Seen, chunk, events, reply
from tests.unit.engines.aided import (
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
    tool,
)
from tests.unit.engines.remotes import text_of, until


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


async def test_a_loaded_tool_is_known_by_its_name_and_a_removed_one_by_its_form_only() -> None:
    request = asking(loaded_tools=[tool("late")], removed_tools=["f"])
    async with FakeOpenAI() as fake:
        late = '{"name": "late", "arguments": {}}'
        chunks = await chunks_of(fake, request, said('{"name": "late"'), said(late))
        schemas = [seen.json["response_format"]["json_schema"]["schema"] for seen in fake.chats[1:]]
        assert [named["properties"]["name"] for named in schemas] == [{"const": "late"}]
        assert [seen.json["tools"] for seen in fake.chats] == [fake.chats[0].json["tools"]] * 2
        assert len(fake.chats[0].json["tools"]) == 2
    assert calls_of(chunks)[0] == ("late", "")
    async with FakeOpenAI() as fake:
        await chunks_of(fake, request, said('{"name": "f", "arguments": {'), said(late))
        either = fake.chats[1].json["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [one["properties"]["name"]["const"] for one in either] == ["g", "late"]


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
