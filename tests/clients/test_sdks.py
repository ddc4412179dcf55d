"""What the official SDKs do every day, against the scripted engine; each test runs with both SDKs."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from dragoman.engines.scripted import (
    Fail,
    Hang,
    Script,
    answer,
    call_chunk,
    finish_chunk,
    refuse,
    text_chunk,
)
from dragoman.errors import OverloadedError
from dragoman.settings import Limits
from dragoman.wire.openai import ImagePart, ImageURL, TextPart
from tests.clients.conftest import Serve
from tests.clients.sdk import SDK, SDKError, blocks, eventually

pytestmark = pytest.mark.clients

WEATHER = {
    "name": "get_weather",
    "description": "Weather for a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
PARIS = '{"city": "Paris"}'


def ask(text: str = "Say hello.", **fields: Any) -> dict[str, Any]:
    """A request with one user turn."""
    return {
        "model": "scripted",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


def test_create_reads_the_answer(sdk: SDK, serve: Serve) -> None:
    server = serve([answer("Hello there.")])
    got = sdk.call("create", server.url, ask(system="Be kind."))
    message = got["message"]
    assert blocks(message) == [{"type": "text", "text": "Hello there."}]
    assert (message["role"], message["model"], message["stop_reason"]) == (
        "assistant",
        "scripted",
        "end_turn",
    )
    assert message["id"].startswith("msg_")
    assert message["usage"]["output_tokens"] == 2
    assert got["request_id"] == got["headers"]["request-id"]
    assert got["headers"]["x-dragoman-engine"] == "scripted"
    received = server.calls[0].request
    assert [(turn.role, turn.content) for turn in received.messages] == [
        ("system", "Be kind."),
        ("user", "Say hello."),
    ]


def test_stream_gives_the_same_message_as_create(sdk: SDK, serve: Serve) -> None:
    script = answer("Let me check.", thinking="The user asks.", calls=[("get_weather", PARIS)])
    server = serve(lambda _: script)
    request = ask(tools=[WEATHER], thinking={"type": "adaptive", "display": "summarized"})
    whole = sdk.call("create", server.url, request)["message"]
    streamed = sdk.call("stream", server.url, request)
    message = streamed["message"]

    def bare(found: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {key: block[key] for key in block if key not in {"id", "signature"}} for block in blocks(found)
        ]

    assert (
        bare(message)
        == bare(whole)
        == [
            {"type": "thinking", "thinking": "The user asks."},
            {"type": "text", "text": "Let me check."},
            {"type": "tool_use", "name": "get_weather", "input": {"city": "Paris"}},
        ]
    )
    assert message["stop_reason"] == whole["stop_reason"] == "tool_use"
    assert message["usage"] == whole["usage"]
    assert (streamed["text"], streamed["thinking"]) == ("Let me check.", "The user asks.")
    assert (streamed["events"][0], streamed["events"][-1]) == ("message_start", "message_stop")
    assert streamed["request_id"].startswith("req_")


def test_a_raw_stream_has_every_event_and_the_headers(sdk: SDK, serve: Serve) -> None:
    server = serve([answer("Let me check.", calls=[("get_weather", PARIS)])])
    got = sdk.call("raw_stream", server.url, ask(tools=[WEATHER]))
    kinds = [event["type"] for event in got["events"]]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    starts = [event for event in got["events"] if event["type"] == "content_block_start"]
    assert [(event["index"], event["content_block"]["type"]) for event in starts] == [
        (0, "text"),
        (1, "tool_use"),
    ]
    assert got["headers"]["request-id"].startswith("req_")
    assert got["headers"]["x-dragoman-engine"] == "scripted"


def test_two_calls_come_home_with_their_results(sdk: SDK, serve: Serve) -> None:
    calls = [("get_weather", PARIS), ("get_weather", '{"city":  "Tokyo"}')]
    server = serve([answer("Two calls.", thinking="Both.", calls=calls), answer("21 degrees in both.")])
    request = ask(tools=[WEATHER], thinking={"type": "adaptive", "display": "summarized"})
    first = sdk.call("stream", server.url, request)["message"]
    ids = [block["id"] for block in first["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": ids[0], "content": "21 degrees"}]
    results += [{"type": "tool_result", "tool_use_id": ids[1], "content": "no such city", "is_error": True}]
    assistant = {"role": "assistant", "content": blocks(first)}
    second_turn = [*request["messages"], assistant, {"role": "user", "content": results}]
    last = sdk.call("stream", server.url, {**request, "messages": second_turn})["message"]
    assert blocks(last) == [{"type": "text", "text": "21 degrees in both."}]
    assert len(set(ids)) == 2
    first_request, second_request = (call.request for call in server.calls)
    assert second_request.messages[: len(first_request.messages)] == first_request.messages
    turn, paris, tokyo = second_request.messages[len(first_request.messages) :]
    assert (turn.content, turn.reasoning) == ("Two calls.", "Both.")
    # ids and the spelling of the arguments return as the engine wrote them
    assert [(call.id, call.function.arguments) for call in turn.tool_calls or ()] == [
        ("call_0", calls[0][1]),
        ("call_1", calls[1][1]),
    ]
    assert [(result.role, result.tool_call_id) for result in (paris, tokyo)] == [
        ("tool", "call_0"),
        ("tool", "call_1"),
    ]
    assert paris.content == "21 degrees"
    assert "no such city" in str(tokyo.content)


def test_tool_runner_runs_to_the_end_without_threads(sdk: SDK, serve: Serve) -> None:
    server = serve([answer("Let me check.", calls=[("get_weather", PARIS)]), answer("It is 21 degrees.")])
    got = sdk.call("tool_runner", server.url, {**ask("Weather in Paris?"), "max_tokens": 500})
    assert blocks(got["message"]) == [{"type": "text", "text": "It is 21 degrees."}]
    assert [call["city"] for call in got["calls"]] == ["Paris"]
    assert len(server.calls) == 2
    last = server.calls[1].request.messages
    assert [turn.role for turn in last] == ["user", "assistant", "tool"]
    assert last[2].content == "21 degrees"
    assert [tool.function.name for tool in server.calls[1].request.tools] == ["get_weather"]


def test_parse_gives_a_typed_value(sdk: SDK, serve: Serve) -> None:
    server = serve([answer('{"name": "Ada", "age": 36}')])
    got = sdk.call("parse", server.url, ask("Who is Ada?"))
    assert got["parsed"] == {"name": "Ada", "age": 36}
    wanted = server.calls[0].request.response_format
    assert wanted is not None
    assert b'"age"' in bytes(wanted.schema)


def test_count_tokens_is_what_is_billed(sdk: SDK, serve: Serve) -> None:
    server = serve(lambda _: answer("Hello."))
    request = ask("Count these words, please.", tools=[WEATHER], system="Be exact.")
    usage = sdk.call("create", server.url, request)["message"]["usage"]
    streamed = sdk.call("stream", server.url, request)["message"]["usage"]
    del request["max_tokens"]
    counted = sdk.call("count_tokens", server.url, request)["input_tokens"]
    assert counted == usage["input_tokens"] == streamed["input_tokens"]
    assert counted > 0


def test_models_are_listed_and_found(sdk: SDK, serve: Serve) -> None:
    server = serve([], models=("scripted", "org/Qwen3 8B"))
    listed = sdk.call("models", server.url)["models"]
    assert [model["id"] for model in listed] == ["scripted", "org/Qwen3 8B"]
    found = sdk.call("model", server.url, {"id": "org/Qwen3 8B"})["model"]
    assert (found["id"], found["type"]) == ("org/Qwen3 8B", "model")
    assert found == listed[1]


def test_models_are_paged(sdk: SDK, serve: Serve) -> None:
    names = tuple(f"model-{number}" for number in range(5))
    server = serve([], models=names)
    assert [model["id"] for model in sdk.call("models", server.url, {"limit": 2})["models"]] == list(names)


def test_an_image_reaches_the_engine(sdk: SDK, serve: Serve) -> None:
    server = serve([answer("A picture.")])
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    sdk.call("create", server.url, {**ask(), "messages": [{"role": "user", "content": content}]})
    assert server.calls[0].request.messages[0].content == [
        TextPart(text="What is it?"),
        ImagePart(image_url=ImageURL(url=f"data:image/png;base64,{data}")),
    ]


def test_a_stop_sequence_is_named(sdk: SDK, serve: Serve) -> None:
    server = serve(lambda _: answer("one two three"))
    request = ask("Count.", stop_sequences=["three"])
    for op in ("create", "stream"):
        message = sdk.call(op, server.url, request)["message"]
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "three")
        assert message["content"][0]["text"] == "one two "


def test_a_call_cut_by_max_tokens_is_not_completed(sdk: SDK, serve: Serve) -> None:
    cut = [call_chunk(0, call_id="c", name="get_weather", arguments='{"city": "Pa'), finish_chunk("length")]
    server = serve(lambda _: Script(steps=cut))
    for op in ("create", "stream"):
        message = sdk.call(op, server.url, ask(tools=[WEATHER]))["message"]
        assert message["stop_reason"] == "max_tokens"
        assert message["content"][0]["input"] == {}


@pytest.mark.parametrize("op", ["create", "stream", "count_tokens"])
def test_a_wrong_key_is_401(sdk: SDK, serve: Serve, op: str) -> None:
    server = serve([], api_keys={"me": "secret-of-the-server"})
    more = {} if op == "count_tokens" else {"max_tokens": 100}
    request = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], **more}
    with pytest.raises(SDKError) as caught:
        sdk.call(op, server.url, request, api_key="wrong")
    assert (caught.value.name, caught.value.status) == ("AuthenticationError", 401)
    assert caught.value.type == "authentication_error"
    assert str(caught.value.request_id).startswith("req_")


def test_the_right_key_opens_the_door(sdk: SDK, serve: Serve) -> None:
    server = serve([answer("Hello.")], api_keys={"me": "secret-of-the-server"})
    got = sdk.call("create", server.url, ask(), api_key="secret-of-the-server")
    assert got["message"]["stop_reason"] == "end_turn"


def test_an_unknown_model_is_404_and_names_those_there_are(sdk: SDK, serve: Serve) -> None:
    server = serve([])
    with pytest.raises(SDKError) as caught:
        sdk.call("create", server.url, {**ask(), "model": "nobody"})
    assert (caught.value.name, caught.value.status, caught.value.type) == (
        "NotFoundError",
        404,
        "not_found_error",
    )
    assert "nobody" in caught.value.message
    assert "scripted" in caught.value.message
    with pytest.raises(SDKError) as caught:
        sdk.call("model", server.url, {"id": "nobody"})
    assert caught.value.status == 404


def test_a_body_over_the_limit_is_413(sdk: SDK, serve: Serve) -> None:
    server = serve([], limits=Limits(body_bytes=1000))
    with pytest.raises(SDKError) as caught:
        sdk.call("create", server.url, ask("word " * 1000))
    assert (caught.value.status, caught.value.type) == (413, "request_too_large")


def test_what_cannot_reach_the_model_is_400_with_its_path(sdk: SDK, serve: Serve) -> None:
    server = serve([])
    content = [{"type": "container_upload", "file_id": "file_1"}]
    with pytest.raises(SDKError) as caught:
        sdk.call("create", server.url, {**ask(), "messages": [{"role": "user", "content": content}]})
    assert (caught.value.name, caught.value.type) == ("BadRequestError", "invalid_request_error")
    assert "messages.0.content.0" in caught.value.message
    assert server.calls == []


def test_an_engine_that_is_full_is_asked_again(sdk: SDK, serve: Serve) -> None:
    full = refuse(OverloadedError("the engine is full", retry_after=0.01))
    server = serve([full, answer("Hello."), full])
    got = sdk.call("create", server.url, ask(), max_retries=1)
    assert blocks(got["message"]) == [{"type": "text", "text": "Hello."}]
    with pytest.raises(SDKError) as caught:
        sdk.call("stream", server.url, ask())
    assert (caught.value.status, caught.value.type) == (529, "overloaded_error")
    assert [call.outcome for call in server.calls] == ["failed", "finished", "failed"]


def test_an_error_in_mid_stream_is_thrown(sdk: SDK, serve: Serve) -> None:
    server = serve([Script(steps=[text_chunk("Hel"), Fail(OverloadedError("the engine is gone"))])])
    with pytest.raises(SDKError) as caught:
        sdk.call("stream", server.url, ask(), max_retries=2)
    assert caught.value.type == "overloaded_error"
    assert len(server.calls) == 1


def test_a_client_that_goes_away_ends_the_engines_work(sdk: SDK, serve: Serve) -> None:
    server = serve([Script(steps=[text_chunk("Hello"), Hang()])])
    assert sdk.call("abandon", server.url, ask())["text"] == "Hello"
    assert eventually(lambda: server.calls[0].outcome == "cancelled")
