"""Answers in rounds: tools that run inside them, streamed and whole."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import (
    Fail,
    Script,
    Scripts,
    answer,
    call_chunk,
    finish_chunk,
    refuse,
    text_chunk,
    usage_chunk,
)
from dragoman.errors import EngineFaultError, OverloadedError
from dragoman.server_tools import Hit, Page, ServerTools
from dragoman.settings import ServerTools as Limits
from dragoman.settings import Settings
from dragoman.wire.identity import Caller
from dragoman.wire.openai import ChatRequest, ChatUsage, PromptTokensDetails
from tests.support.rounds import Message, accumulated, events, unsealed
from tests.support.server_tools import (
    BY_REGEX,
    BY_WORDS,
    WEB_FETCH,
    WEB_SEARCH,
    ToldFetch,
    ToldSearch,
    WaitingSearch,
    request,
    service_with,
)
from tests.support.translation import tool

CALLER = Caller(request_id="req_1")
LOOK = ("web_search", '{"query": "x"}')
AGAIN = ("web_search", '{"query": "y"}')


async def both(
    scripts: list[Script], here: ServerTools, settings: Settings | None = None, **fields: Any
) -> tuple[Message, list[ChatRequest]]:
    """The message of a request, the same streamed and whole, and what the engine was asked."""
    asked = request(**fields)
    async with service_with(list(scripts), here, settings) as (service, engine):
        whole = msgspec.json.decode((await service.create(asked, CALLER)).body)
        requests = [made.request for made in engine.calls]
    async with service_with(list(scripts), here, settings) as (service, engine):
        stream = await service.stream(asked, CALLER)
        streamed = accumulated(b"".join([piece async for piece in stream]))
        again = [made.request for made in engine.calls]
    assert unsealed(streamed["content"]) == unsealed(whole["content"])
    for key in ("stop_reason", "stop_sequence"):
        assert streamed[key] == whole[key]
    assert streamed["usage"] == {key: whole["usage"][key] for key in streamed["usage"]}
    assert [made.messages for made in again] == [made.messages for made in requests]
    return whole, requests


def kinds(message: Message) -> list[str]:
    return [block["type"] for block in message["content"]]


async def test_the_engine_goes_on_with_what_a_search_gave() -> None:
    scripts = [answer("Let me look.", thinking="hm", calls=[LOOK]), answer("Yes.")]
    message, (first, second) = await both(scripts, ServerTools(web_search=ToldSearch()))
    assert kinds(message) == ["thinking", "text", "server_tool_use", "web_search_tool_result", "text"]
    _, _, made, given, _ = message["content"]
    assert made["id"].startswith("srvtoolu_")
    assert (made["name"], made["input"], given["tool_use_id"]) == ("web_search", {"query": "x"}, made["id"])
    assert given["content"][0]["url"].startswith("https://a.example/")
    assert message["stop_reason"] == "end_turn"
    assert second.messages[: len(first.messages)] == first.messages
    said, read = second.messages[len(first.messages) :]
    assert (said.content, said.reasoning) == ("Let me look.", "hm")
    assert read.content is not None
    assert "x: yes." in str(read.content)


async def test_usage_is_that_of_all_rounds() -> None:
    first = ChatUsage(prompt_tokens=10, completion_tokens=5)
    second = ChatUsage(prompt_tokens=30, completion_tokens=2, prompt_tokens_details=PromptTokensDetails(8))
    scripts = [answer("", calls=[LOOK], usage=first), answer("Yes.", usage=second)]
    message, _ = await both(scripts, ServerTools(web_search=ToldSearch()))
    usage = message["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["cache_read_input_tokens"]) == (32, 7, 8)
    assert usage["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}


async def test_later_rounds_get_what_is_left_of_the_limit() -> None:
    scripts = [
        Script(
            steps=[
                call_chunk(name="web_search", arguments='{"query":"x"}'),
                finish_chunk(),
                usage_chunk(9, 40),
            ]
        ),
        Script(steps=[text_chunk("Yes."), finish_chunk("length"), usage_chunk(9, 60)]),
    ]
    message, (first, second) = await both(scripts, ServerTools(web_search=ToldSearch()), max_tokens=100)
    assert (first.max_tokens, second.max_tokens) == (100, 60)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 100)


async def test_a_limit_that_is_used_up_ends_the_message() -> None:
    chunks = [call_chunk(name="web_search", arguments='{"query":"x"}'), finish_chunk(), usage_chunk(9, 100)]
    message, requests = await both(
        [Script(steps=chunks)], ServerTools(web_search=ToldSearch()), max_tokens=100
    )
    assert (kinds(message)[-1], message["stop_reason"]) == ("web_search_tool_result", "max_tokens")
    assert len(requests) == 1


async def test_a_limit_that_the_engine_fills_by_itself_is_left_out() -> None:
    scripts = [answer("", calls=[LOOK]), answer("Yes.")]
    _, (first, second) = await both(scripts, ServerTools(web_search=ToldSearch()), max_tokens=100_000)
    assert (first.max_tokens, second.max_tokens) == (None, None)


async def test_a_cut_call_is_no_call_of_the_client_and_does_not_run() -> None:
    search = ToldSearch()
    script = Script(steps=[call_chunk(name="web_search", arguments='{"query":"x'), finish_chunk("length")])
    async with service_with([script, script], ServerTools(web_search=search)) as (service, _):
        whole = msgspec.json.decode((await service.create(request(), CALLER)).body)
        stream = await service.stream(request(), CALLER)
        seen = events(b"".join([piece async for piece in stream]))
    assert (kinds(whole), whole["stop_reason"]) == (["server_tool_use"], "max_tokens")
    assert [event["content_block"]["type"] for event in seen if "content_block" in event] == [
        "server_tool_use"
    ]
    assert search.asked == []


async def test_a_filtered_answer_runs_nothing() -> None:
    search = ToldSearch()
    script = answer("", calls=[LOOK], finish="content_filter")
    message, _ = await both([script], ServerTools(web_search=search))
    assert (kinds(message), message["stop_reason"]) == (["server_tool_use"], "refusal")
    assert search.asked == []


async def test_only_one_call_a_round_where_the_client_wants_no_more() -> None:
    scripts = [answer("", calls=[LOOK, AGAIN]), answer("", calls=[AGAIN]), answer("Yes.")]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    message, _ = await both(scripts, ServerTools(web_search=ToldSearch()), tool_choice=choice)
    assert kinds(message) == ["server_tool_use", "web_search_tool_result"] * 2 + ["text"]
    assert len({block["id"] for block in message["content"] if "id" in block}) == 2


async def test_calls_for_the_client_end_the_message_behind_the_results() -> None:
    scripts = [answer("", calls=[("f", '{"q":"1"}'), LOOK])]
    message, requests = await both(
        scripts, ServerTools(web_search=ToldSearch()), tools=[WEB_SEARCH, tool("f")]
    )
    assert kinds(message) == ["tool_use", "server_tool_use", "web_search_tool_result"]
    assert message["stop_reason"] == "tool_use"
    assert len(requests) == 1


async def test_uses_beyond_the_limit_are_errors_and_the_model_goes_on() -> None:
    scripts = [answer("", calls=[LOOK, AGAIN]), answer("Yes.")]
    declared = [WEB_SEARCH | {"max_uses": 1}]
    message, (_, second) = await both(scripts, ServerTools(web_search=ToldSearch()), tools=declared)
    assert kinds(message)[2:] == ["web_search_tool_result", "web_search_tool_result", "text"]
    assert message["content"][3]["content"] == {
        "type": "web_search_tool_result_error",
        "error_code": "max_uses_exceeded",
    }
    assert second.messages[-1].content == "[error] max_uses_exceeded"
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1


async def test_a_paused_turn_goes_on_when_it_comes_back() -> None:
    settings = Settings(server_tools=Limits(max_rounds=2))
    scripts = [answer("One.", calls=[LOOK]), answer("Two.", calls=[AGAIN]), answer("Done.")]
    asked = request()
    async with service_with(scripts, ServerTools(web_search=ToldSearch()), settings) as (service, engine):
        paused = msgspec.json.decode((await service.create(asked, CALLER)).body)
        assert (kinds(paused)[-1], paused["stop_reason"]) == ("web_search_tool_result", "pause_turn")
        turns = [
            {"role": "user", "content": "Is it so?"},
            {"role": "assistant", "content": paused["content"]},
        ]
        rest = msgspec.json.decode((await service.create(request(messages=turns), CALLER)).body)
        assert (rest["content"][0]["text"], rest["stop_reason"]) == ("Done.", "end_turn")
        before, after = engine.calls[1].request, engine.calls[2].request
        assert after.messages[: len(before.messages)] == before.messages
        assert [turn.role for turn in after.messages[len(before.messages) :]] == ["assistant", "tool"]
        assert not after.continue_final


async def test_a_forced_tool_is_forced_once() -> None:
    scripts = [answer("", calls=[LOOK]), answer("Yes.")]
    _, (first, second) = await both(
        scripts,
        ServerTools(web_search=ToldSearch()),
        tool_choice={"type": "tool", "name": "web_search"},
    )
    assert first.tool_choice is not None
    assert second.tool_choice is not None
    assert (first.tool_choice.mode, second.tool_choice.mode) == ("function", "auto")


async def test_demands_hold_in_all_rounds_but_a_forced_call_in_the_first() -> None:
    schema = {
        "type": "object",
        "required": ["high"],
        "additionalProperties": False,
        "properties": {"high": {}},
    }
    demands: dict[str, Any] = {
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }
    search = ServerTools(web_search=ToldSearch())
    message, _ = await both([answer("Look:", calls=[LOOK]), answer('{"high":77}')], search, **demands)
    assert (kinds(message)[-1], message["stop_reason"]) == ("text", "end_turn")
    wrong = [answer("", calls=[LOOK]), answer("It is high.")]
    async with service_with(wrong, search) as (service, _):
        with pytest.raises(EngineFaultError, match="not of the schema"):
            await service.create(request(**demands), CALLER)


async def test_what_the_client_began_is_one_turn_with_the_first_round() -> None:
    scripts = [answer(" I think:", calls=[LOOK]), answer("Yes.")]
    turns = [{"role": "user", "content": "Is it so?"}, {"role": "assistant", "content": "Well,"}]
    _, (first, second) = await both(scripts, ServerTools(web_search=ToldSearch()), messages=turns)
    assert (first.continue_final, second.continue_final) == (True, False)
    assert [turn.role for turn in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1].content == "Well, I think:"


async def test_a_page_is_fetched_only_where_its_address_was_named() -> None:
    pages = {"https://a.example/p": Page(url="https://a.example/p", title="P", text="All of it.")}
    scripts = [
        answer(
            "",
            calls=[
                ("web_fetch", '{"url":"https://a.example/p"}'),
                ("web_fetch", '{"url":"https://b.example/"}'),
            ],
        ),
        answer("Yes."),
    ]
    message, _ = await both(
        scripts,
        ServerTools(web_fetch=ToldFetch(pages)),
        tools=[WEB_FETCH],
        messages=[{"role": "user", "content": "Read https://a.example/p."}],
    )
    one, two = (block["content"] for block in message["content"][2:4])
    assert one["content"]["source"] == {"type": "text", "data": "All of it.", "media_type": "text/plain"}
    assert two["error_code"] == "url_not_in_prior_context"
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 0, "web_fetch_requests": 1}


@pytest.mark.parametrize(
    ("declared", "query"), [(BY_WORDS, '{"query":"weather"}'), (BY_REGEX, '{"query":"^get_.*r$|zzz"}')]
)
async def test_deferred_tools_are_found_and_called(declared: dict[str, Any], query: str) -> None:
    late = [tool(name, defer_loading=True, description=name) for name in ("get_weather", "send_mail")]
    scripts = [
        answer("", calls=[(declared["name"], query)]),
        answer("", calls=[("get_weather", '{"q":"x"}')]),
    ]
    message, (_, second) = await both(scripts, ServerTools(), tools=[declared, *late])
    assert kinds(message) == ["server_tool_use", "tool_search_tool_result", "tool_use"]
    (found,) = message["content"][1]["content"]["tool_references"]
    assert (found["tool_name"], message["stop_reason"]) == ("get_weather", "tool_use")
    assert "get_weather" in str(second.messages[-1].content)
    assert "send_mail" not in str(second.messages[-1].content)
    assert [loaded.function.name for loaded in second.loaded_tools] == ["get_weather"]
    # and so it is in the next turn, whose prompt extends the last round's
    call = message["content"][-1]
    turns = [
        {"role": "user", "content": "Is it so?"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}]},
    ]
    _, (following,) = await both([answer("Yes.")], ServerTools(), tools=[declared, *late], messages=turns)
    assert following.messages[: len(second.messages)] == second.messages
    assert [loaded.function.name for loaded in following.loaded_tools] == ["get_weather"]


async def test_an_answer_without_calls_is_as_it_is_everywhere() -> None:
    message, requests = await both([answer("Yes.")], ServerTools(web_search=ToldSearch()))
    assert (kinds(message), message["stop_reason"], len(requests)) == (["text"], "end_turn", 1)
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 0, "web_fetch_requests": 0}


async def test_a_round_that_says_nothing_adds_no_block() -> None:
    message, _ = await both([answer("", calls=[LOOK]), answer(" ")], ServerTools(web_search=ToldSearch()))
    assert (kinds(message)[-1], message["stop_reason"]) == ("web_search_tool_result", "end_turn")


@pytest.mark.parametrize("is_held_to_a_form", [False, True])
async def test_a_round_that_is_cut_before_its_first_word_adds_no_block(is_held_to_a_form: bool) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form: dict[str, Any] = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    wanted = form if is_held_to_a_form else {}
    scripts = [answer("", calls=[LOOK]), answer("", finish="length")]
    message, _ = await both(scripts, ServerTools(web_search=ToldSearch()), **wanted)
    assert (kinds(message), message["stop_reason"]) == (
        ["server_tool_use", "web_search_tool_result"],
        "max_tokens",
    )


async def test_results_that_the_context_has_no_room_for_end_the_message() -> None:
    hits = [Hit(title="A", url="https://a.example/", text="word " * 1_900)] * 20
    message, requests = await both(
        [answer("Let me look.", calls=[LOOK])], ServerTools(web_search=ToldSearch({"x": hits}))
    )
    assert kinds(message) == ["text", "server_tool_use", "web_search_tool_result"]
    assert message["stop_reason"] == "model_context_window_exceeded"
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1
    assert len(requests) == 2


async def streamed(scripts: Scripts, tools: ServerTools) -> list[dict[str, Any]]:
    async with service_with(scripts, tools) as (service, _):
        stream = await service.stream(request(), CALLER)
        return events(b"".join([piece async for piece in stream]))


@pytest.mark.parametrize(
    "second",
    [
        refuse(OverloadedError("too much")),
        Script(steps=[text_chunk("a"), Fail(EngineFaultError("it broke"))]),
        Script(steps=[call_chunk(name="web_search", arguments="[]")]),
    ],
)
async def test_an_engine_that_fails_later_is_one_error_event(second: Script) -> None:
    seen = await streamed([answer("", calls=[LOOK]), second], ServerTools(web_search=ToldSearch()))
    assert [event["type"] for event in seen].count("error") == 1
    assert seen[-1]["type"] == "error"
    async with service_with([answer("", calls=[LOOK]), second], ServerTools(web_search=ToldSearch())) as (
        service,
        _,
    ):
        with pytest.raises((OverloadedError, EngineFaultError)):
            await service.create(request(), CALLER)


async def test_pings_go_on_while_a_tool_runs() -> None:
    search = WaitingSearch()
    settings = Settings(ping_interval=0.02)
    scripts = [answer("", calls=[LOOK]), answer("Yes.")]
    async with service_with(scripts, ServerTools(web_search=search), settings) as (service, _):
        stream = await service.stream(request(), CALLER)
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            written.append(data)
            if search.began.is_set() and data.startswith(b"event: ping"):
                search.go.set()

        await stream.play(write)
    names = [event["type"] for event in events(b"".join(written))]
    assert names[-1] == "message_stop"
    assert search.ended == "done"


async def test_a_client_that_leaves_ends_the_tool() -> None:
    search = WaitingSearch()
    async with service_with([answer("", calls=[LOOK])], ServerTools(web_search=search)) as (service, _):
        stream = await service.stream(request(), CALLER)

        async def read() -> None:
            async for _ in stream:
                pass

        reader = asyncio.create_task(read())
        await search.began.wait()
        reader.cancel()
        await asyncio.wait({reader})
    assert search.ended == "cancelled"


async def test_only_the_first_rounds_first_token_is_measured() -> None:
    scripts = [answer("a", calls=[LOOK]), answer("Yes.")]
    async with service_with(scripts, ServerTools(web_search=ToldSearch())) as (service, _):
        stream = await service.stream(request(), CALLER)
        async for _ in stream:
            pass
        measured = re.findall(rb"first_token\w*_count\{[^}]*\} (\S+)", service.metrics.render())
    assert (stream.engine, measured) == ("scripted", [b"1.0"])
