"""What only the Python SDK offers: the async client, raw answers, old headers, streaming runners."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool

from dragoman.engines.scripted import Delay, Hang, Script, Step, answer, finish_chunk, text_chunk
from tests.clients.conftest import Serve, Served
from tests.clients.sdk import API_KEY, eventually

pytestmark = pytest.mark.clients

HELLO: dict[str, Any] = {
    "model": "scripted",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Say hello."}],
}


def client(url: str, **options: Any) -> anthropic.Anthropic:
    """The SDK as a user makes it, without retries."""
    return anthropic.Anthropic(base_url=url, api_key=API_KEY, max_retries=0, **options)


def async_client(url: str) -> anthropic.AsyncAnthropic:
    """The async SDK, without retries."""
    return anthropic.AsyncAnthropic(base_url=url, api_key=API_KEY, max_retries=0)


def outcomes(server: Served) -> list[str]:
    """How the calls of the engine ended, or that they run."""
    return [call.outcome for call in server.calls]


async def test_many_async_streams_at_a_time(serve: Serve) -> None:
    server = serve(lambda request: answer(f"You said: {request.messages[0].content}"))

    async with async_client(server.url) as sdk:

        async def one(number: int) -> str:
            said = {"role": "user", "content": f"number {number}"}
            async with sdk.messages.stream(**{**HELLO, "messages": [said]}) as stream:
                return await stream.get_final_text()

        texts = await asyncio.gather(*map(one, range(24)))
    assert texts == [f"You said: number {number}" for number in range(24)]


async def test_async_create_counts_and_models(serve: Serve) -> None:
    server = serve([answer("Hello.")])
    async with async_client(server.url) as sdk:
        message = await sdk.messages.create(**HELLO)
        counted = await sdk.messages.count_tokens(model="scripted", messages=HELLO["messages"])
        models = [model.id async for model in sdk.models.list()]
    assert message.usage.input_tokens == counted.input_tokens
    assert models == ["scripted"]
    assert str(message._request_id).startswith("req_")


async def test_a_cancelled_task_ends_the_engines_work_while_it_prefills(serve: Serve) -> None:
    server = serve(lambda _: Script(steps=[text_chunk("late")], wait=60.0))
    async with async_client(server.url) as sdk:
        for request in (sdk.messages.create(**HELLO), sdk.messages.create(**HELLO, stream=True)):
            task = asyncio.ensure_future(request)
            assert await asyncio.to_thread(eventually, lambda: outcomes(server)[-1:] == ["running"])
            task.cancel()
            assert await asyncio.to_thread(eventually, lambda: outcomes(server)[-1:] == ["cancelled"])
    assert outcomes(server) == ["cancelled", "cancelled"]


def test_a_client_that_times_out_ends_the_engines_work(serve: Serve) -> None:
    server = serve([Script(steps=[text_chunk("Hel"), Hang()])])
    with client(server.url) as sdk, pytest.raises(anthropic.APITimeoutError):
        sdk.messages.create(**HELLO, timeout=0.5)
    assert eventually(lambda: server.calls[0].outcome == "cancelled")


def test_a_raw_stream_is_legal_server_sent_events(serve: Serve) -> None:
    server = serve([answer("Hello.")])
    with (
        client(server.url) as sdk,
        sdk.messages.with_streaming_response.create(**HELLO, stream=True) as raw,
    ):
        headers = dict(raw.headers)
        lines = list(raw.iter_lines())
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["request-id"].startswith("req_")
    assert headers["x-dragoman-engine"] == "scripted"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_pings_come_in_a_silence_and_are_no_content(serve: Serve) -> None:
    steps: list[Step] = [text_chunk("Hel"), Delay(0.5), text_chunk("lo."), finish_chunk()]
    server = serve(lambda _: Script(steps=steps, wait=0.5), ping_interval=0.1)
    with client(server.url) as sdk:
        with sdk.messages.with_streaming_response.create(**HELLO, stream=True) as raw:
            lines = [line for line in raw.iter_lines() if line.startswith("event: ")]
        with sdk.messages.stream(**HELLO) as stream:
            text = stream.get_final_text()
    assert lines[:2] == ["event: message_start", "event: ping"]
    assert "event: ping" in lines[lines.index("event: content_block_delta") :]
    assert text == "Hello."


def test_both_versions_keys_and_the_beta_methods_are_accepted(serve: Serve) -> None:
    server = serve(lambda _: answer("Hello."), api_keys={"me": "secret"})
    old = {"anthropic-version": "2023-06-01", "x-api-key": "secret", "authorization": ""}
    with client(server.url, default_headers=old) as sdk:
        assert sdk.messages.create(**HELLO, extra_body={"temperature": 0.5, "top_k": 3}).content
    with anthropic.Anthropic(base_url=server.url, api_key="secret", max_retries=0) as sdk:
        management = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
        betas = ["context-management-2025-06-27", "a-beta-that-nobody-knows-2030-01-01"]
        message = sdk.beta.messages.create(
            **HELLO, betas=betas, extra_body={"context_management": management}
        )
    assert message.context_management is not None
    assert message.context_management.applied_edits == []
    assert (server.calls[0].request.temperature, server.calls[0].request.top_k) == (0.5, 3)


def test_a_streaming_tool_runner_runs_to_the_end(serve: Serve) -> None:
    calls = [("get_weather", '{"city": "Paris"}'), ("get_weather", '{"city": "Oslo"}')]
    server = serve([answer("Two.", calls=calls), answer("It is warm.")])
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """Weather for a city."""
        asked.append(city)
        return f"warm in {city}"

    with client(server.url) as sdk:
        runner = sdk.beta.messages.tool_runner(**HELLO, tools=[get_weather], stream=True)
        texts = [stream.get_final_message().content[0].to_dict()["text"] for stream in runner]
    assert texts == ["Two.", "It is warm."]
    assert asked == ["Paris", "Oslo"]
    results = server.calls[-1].request.messages[-2:]
    assert [result.content for result in results] == ["warm in Paris", "warm in Oslo"]


def test_a_begun_answer_is_continued(serve: Serve) -> None:
    server = serve([answer(" there.")])
    begun = [*HELLO["messages"], {"role": "assistant", "content": "Hello"}]
    with client(server.url) as sdk:
        message = sdk.messages.create(**{**HELLO, "messages": begun})
    assert message.content[0].to_dict()["text"] == " there."
    assert server.calls[0].request.continue_final
