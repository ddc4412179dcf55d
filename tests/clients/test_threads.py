"""The official SDKs' tool loops over message threads, and what they do when a thread cannot go on."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import beta_async_tool

from dragoman.engines.scripted import answer
from dragoman.wire.openai import ChatMessage
from tests.clients.conftest import Serve, Served
from tests.clients.python_sdk import sent_by
from tests.clients.sdk import API_KEY, SDK, blocks

pytestmark = pytest.mark.clients

PARIS, TOKYO = '{"city": "Paris"}', '{"city":  "Tokyo"}'
LOOP = [
    answer("Let me check.", thinking="First Paris.", calls=[("get_weather", PARIS)]),
    answer("Now Tokyo.", calls=[("get_weather", TOKYO), ("get_weather", PARIS)]),
    answer("It is 21 degrees."),
]
ASK = {
    "model": "scripted",
    "max_tokens": 500,
    "system": "Be kind.",
    "thinking": {"type": "adaptive", "display": "omitted"},
    "messages": [{"role": "user", "content": "Weather in Paris and Tokyo?"}],
}


def seen(server: Served) -> list[list[ChatMessage]]:
    """The prompts that the engine saw."""
    return [call.request.messages for call in server.calls]


def threads(sent: list[dict[str, Any]]) -> list[str | None]:
    """What kind of thread each body asked for."""
    return [body["thread"]["type"] if body.get("thread") else None for body in sent]


def assert_the_loop(server: Served, message: dict[str, Any]) -> None:
    """The loop ended well, and each prompt of the engine extends the one before it."""
    assert blocks(message) == [{"type": "text", "text": "It is 21 degrees."}]
    first, second, third = seen(server)
    assert [turn.role for turn in third] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "tool",
    ]
    assert second[: len(first)] == first
    assert third[: len(second)] == second
    assert second[2].reasoning == "First Paris."
    spelled = [call.function.arguments for turn in third for call in turn.tool_calls or ()]
    assert spelled == [PARIS, TOKYO, PARIS]
    assert {tool.function.name for call in server.calls for tool in call.request.tools} == {"get_weather"}
    assert all(call.request.tools for call in server.calls)


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_loop_sends_only_what_is_new(sdk: SDK, serve: Serve, stream: bool) -> None:
    server = serve(LOOP)
    got = sdk.call("tool_runner", server.url, {**ASK, "stream": stream})
    assert_the_loop(server, got["message"])
    assert [call["city"] for call in got["calls"]] == ["Paris", "Tokyo", "Paris"]
    assert threads(got["sent"]) == ["create", "continue", "continue"]
    for body, results in zip(got["sent"][1:], (1, 2), strict=True):
        assert not {"system", "tools"} & set(body)
        (turn,) = body["messages"]
        assert turn["role"] == "user"
        assert [block["type"] for block in turn["content"]] == ["tool_result"] * results


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_loop_without_threads_is_the_same_to_the_engine(
    sdk: SDK, serve: Serve, stream: bool
) -> None:
    plain, threaded = serve(LOOP), serve(LOOP)
    got = sdk.call("tool_runner", plain.url, {**ASK, "stream": stream, "thread": False})
    sdk.call("tool_runner", threaded.url, {**ASK, "stream": stream})
    assert threads(got["sent"]) == [None] * 3
    assert_the_loop(plain, got["message"])
    assert [tools for call in plain.calls for tools in call.request.tools] == [
        tools for call in threaded.calls for tools in call.request.tools
    ]
    assert [[(turn.role, turn.content) for turn in prompt] for prompt in seen(plain)] == [
        [(turn.role, turn.content) for turn in prompt] for prompt in seen(threaded)
    ]


def test_a_lost_thread_is_sent_again_and_then_no_more(sdk: SDK, serve: Serve) -> None:
    server = serve(LOOP, threads={"max_bytes": 1})
    got = sdk.call("tool_runner", server.url, ASK)
    assert threads(got["sent"]) == ["create", "continue", "create", "continue", None]
    assert_the_loop(server, got["message"])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_asynchronous_loop_is_threaded_too(serve: Serve, stream: bool) -> None:
    server = serve(LOOP)

    @beta_async_tool
    async def get_weather(city: str) -> str:
        """Weather for a city."""
        return f"21 degrees in {city}"

    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=API_KEY, max_retries=0) as client:
        sent = sent_by(client)
        runner = client.beta.messages.tool_runner(**ASK, tools=[get_weather], stream=stream)  # type: ignore[call-overload]  # a plain dictionary
        if stream:
            message = [await reply.get_final_message() async for reply in runner][-1]
        else:
            message = await runner.until_done()
    assert_the_loop(server, message.to_dict(mode="json"))
    assert threads(sent) == ["create", "continue", "continue"]


@pytest.fixture
def client(serve: Serve) -> anthropic.Anthropic:
    """A client of a server that says yes to everything."""
    return anthropic.Anthropic(base_url=serve(lambda _: answer("Yes.")).url, api_key=API_KEY, max_retries=0)


TURN: dict[str, Any] = {"model": "scripted", "max_tokens": 9}


def test_a_thread_that_was_continued_elsewhere_is_sent_again(client: anthropic.Anthropic) -> None:
    thread = client.beta.messages.thread(**TURN)
    first = thread.send({"role": "user", "content": "One"})
    went_on = {"type": "continue", "previous_message_id": first.id}
    other = client.beta.messages.create(**TURN, messages=[{"role": "user", "content": "x"}], thread=went_on)  # type: ignore[call-overload]  # a plain dictionary
    sent = sent_by(client)
    assert thread.send({"role": "user", "content": "Two"}).id != other.id
    assert threads(sent) == ["continue", "create"]
    assert [len(body["messages"]) for body in sent] == [1, 3]


def test_errors_have_the_sdks_own_classes(client: anthropic.Anthropic) -> None:
    message = {"role": "user", "content": "x"}

    def go_on(message_id: str, **fields: Any) -> Any:
        thread = {"type": "continue", "previous_message_id": message_id}
        return client.beta.messages.create(**TURN, messages=[message], thread=thread, **fields)  # type: ignore[call-overload]  # plain dictionaries

    with pytest.raises(anthropic.types.ThreadNotFoundError):
        go_on("msg_unknown")
    first = client.beta.messages.create(**TURN, messages=[message], system="a", thread={"type": "create"})  # type: ignore[call-overload]  # plain dictionaries
    with pytest.raises(anthropic.types.ThreadFingerprintMismatchError):
        go_on(first.id, system="b")
    go_on(first.id)
    with pytest.raises(anthropic.types.ThreadAlreadyContinuedError):
        go_on(first.id)
