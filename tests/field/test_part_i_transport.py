"""Errors, auth, headers and transport: the cases of part I but for those about what a request holds."""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import dragoman
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import (
    Delay,
    Fail,
    Hang,
    Script,
    ScriptedInferenceEngine,
    answer,
    call_chunk,
    finish_chunk,
    text_chunk,
)
from dragoman.errors import EngineFaultError
from dragoman.settings import EngineEntry, Settings
from dragoman.wire.anthropic.errors import ErrorType
from tests.server.conftest import Serve
from tests.server.http import (
    REQUEST,
    STREAMED,
    ask,
    asked,
    connected,
    data_of,
    error_of,
    events_of,
    eventually,
    names_of,
    post_bytes,
    post_head,
    read_response,
    read_until,
    refused,
)
from tests.support import answers
from tests.support.fake_openai import Answer as Reply
from tests.support.fake_openai import Cut as HangUp
from tests.support.fake_openai import FakeOpenAI, chunk, events, reply, whole
from tests.support.serving import running_server

TURN = {"role": "user", "content": "Hi"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


@contextmanager
def in_front_of(*chats: Reply, dialect: str = "generic") -> Iterator[str]:
    """A server in front of a fake of a remote engine, which answers chats in this order."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    fake = FakeOpenAI()
    fake.chat(*chats)

    async def live() -> None:
        async with fake:
            started.set()
            await ended.wait()

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    started.wait(10)
    entry = msgspec.convert({"url": fake.url, "name": "fake", "dialect": dialect}, EngineEntry)
    try:
        with running_server(RemoteInferenceEngine(entry)) as url:
            yield url
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize("headers", [{"x-api-key": "k"}, {"authorization": "Bearer k"}])
def test_i120_keys_are_taken_in_either_header(serve: Serve, headers: dict[str, str]) -> None:
    assert ask(serve(api_keys={"me": "k"}).url, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "lines", [["x-api-key: k", "x-api-key: k"], ["x-api-key:"], ["authorization: Bearer "], []]
)
def test_i120_doubled_and_empty_keys_fail_closed_in_the_apis_shape(serve: Serve, lines: list[str]) -> None:
    url = serve(api_keys={"me": "k"}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, "content-length: 0", *lines))
        response = read_response(sock)
    assert response.status_code == 401
    assert error_of(response)["type"] == "authentication_error"


def test_i121_validation_errors_have_the_apis_shape_and_no_python_in_them(plain: str) -> None:
    error = refused(plain, messages=[{"role": "user", "content": [{"type": "text", "text": None}]}])
    assert error["message"].startswith("messages.0.content.0.text: ")
    assert not [word for word in ("Struct", "NoneType", "object at", "{'") if word in error["message"]]


def test_i122_client_errors_are_no_500_and_types_are_the_apis(plain: str) -> None:
    missing = asked(plain, model="none")
    assert (missing.status_code, error_of(missing)["type"]) == (404, "not_found_error")
    assert [name for name in get_args(ErrorType) if not re.fullmatch("[a-z_]+", name)] == []


def test_i123_an_error_in_the_engines_stream_keeps_its_meaning() -> None:
    fault = {"error": {"message": "internal trouble", "type": "server_error", "code": 503}}
    with in_front_of(events(chunk({"content": "So far"}), fault)) as url:
        events_seen = events_of(ask(url, STREAMED).content)
    assert data_of(events_seen[-1])["error"]["type"] == "overloaded_error"
    assert [event.event for event in events_seen].count("error") == 1


@pytest.mark.parametrize("status", [500, 502, 200])
def test_i124_an_engines_html_page_is_a_clean_500(status: int) -> None:
    page = Reply(status=status, content_type="text/html", pieces=[b"<html>Bad Gateway at 10.0.0.1</html>"])
    with in_front_of(page, page) as url:
        for body in (REQUEST, STREAMED):
            response = ask(url, body)
            assert response.status_code == 500
            assert error_of(response)["type"] == "api_error"
            assert "10.0.0.1" not in response.text
            assert "invalid character" not in response.text


def test_i125_errors_while_streaming_are_not_swallowed(serve: Serve) -> None:
    served = serve([Script(steps=[text_chunk("So far"), Fail(EngineFaultError("the engine failed"))])])
    last = data_of(events_of(ask(served.url, STREAMED).content)[-1])
    assert last["error"] == {"type": "api_error", "message": "the engine failed"}


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_i126_a_stream_that_ends_without_its_mark_is_an_error(dialect: str) -> None:
    cut = events(chunk({"role": "assistant", "content": "So far"}), chunk({"content": "."}), HangUp())
    with in_front_of(cut, dialect=dialect) as url:
        names = names_of(ask(url, STREAMED).content)
    assert names[-1] == "error"
    assert "message_stop" not in names


def test_i126_so_is_one_without_a_finish_reason(serve: Serve) -> None:
    served = serve({"": Script(steps=[text_chunk("So far")])})
    assert names_of(ask(served.url, STREAMED).content)[-1] == "error"
    assert ask(served.url).status_code == 500


@pytest.mark.parametrize(
    ("status", "ours", "kind"),
    [(429, 429, "rate_limit_error"), (503, 529, "overloaded_error"), (529, 529, "overloaded_error")],
)
def test_i127_a_busy_engine_is_no_500(status: int, ours: int, kind: str) -> None:
    busy = reply({"error": {"message": "busy", "code": status}}, min(status, 503), retry_after="7")
    with in_front_of(busy) as url:
        response = ask(url)
    assert (response.status_code, error_of(response)["type"]) == (ours, kind)
    assert response.headers["retry-after"] == "7"


def test_i128_no_message_holds_a_trace(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve()

    def fails(model: str) -> str:
        raise RuntimeError("Traceback: secret")

    monkeypatch.setattr(served.running.app.service, "resolve", fails)
    response = ask(served.url)
    assert response.status_code == 500
    assert "Traceback" not in response.text
    assert "secret" not in response.text


def test_i131_a_base_url_with_v1_is_told_what_is_wrong(plain: str) -> None:
    response = httpx.post(f"{plain}/v1/v1/messages", json=REQUEST)
    assert response.status_code == 404
    assert "the base URL must not end in /v1" in error_of(response)["message"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_i132_probes_of_the_root_are_answered(plain: str, method: str) -> None:
    assert httpx.request(method, plain).status_code == 200


@pytest.mark.parametrize("model", ["claude-opus-5", "claude-3-5-haiku-20241022", "org/Qwen3-Coder"])
def test_i132_claude_names_and_names_with_slashes_are_served(serve: Serve, model: str) -> None:
    served = serve(models=("org/Qwen3-Coder",))
    assert asked(served.url, model=model).json()["model"] == model
    assert served.engine.calls[0].request.model == "org/Qwen3-Coder"


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/v1/messages/count_tokens?beta=true"])
def test_i133_a_query_does_not_break_the_path(plain: str, path: str) -> None:
    assert httpx.post(plain + path, json=REQUEST).status_code == 200


def test_i134_pings_fill_the_silence_of_a_long_prompt(serve: Serve) -> None:
    served = serve([answer("Late.", wait=0.4)], ping_interval=0.1)
    assert names_of(ask(served.url, STREAMED).content)[:3] == ["message_start", "ping", "ping"]


def test_i134_and_that_of_a_call_that_is_held_back(serve: Serve) -> None:
    second = [step for _ in range(5) for step in (call_chunk(1, arguments=" "), Delay(0.08))]
    steps = [
        call_chunk(0, call_id="a", name="f", arguments='{"a":'),
        call_chunk(1, call_id="b", name="g", arguments="{"),
        *second,
        call_chunk(0, arguments="1}"),
        call_chunk(1, arguments="}"),
        finish_chunk("tool_calls"),
    ]
    response = ask(serve([Script(steps=steps)], ping_interval=0.1).url, {**STREAMED, "tools": [TOOL]})
    names = names_of(response.content)
    assert names[: names.index("content_block_stop")].count("ping") >= 1
    assert [block["input"] for block in answers.blocks(response.content)] == [{"a": 1}, {}]


@pytest.mark.parametrize("body", [STREAMED, REQUEST])
def test_i135_a_client_that_left_is_noticed(serve: Serve, body: object) -> None:
    served = serve([Script(steps=[text_chunk("So far"), Hang()])])
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, body))
        assert eventually(lambda: len(served.engine.calls) == 1)
    assert eventually(lambda: served.engine.calls[0].outcome == "cancelled", 1.0)
    assert eventually(lambda: len(served.running.app.traffic) == 0)


def test_i136_proxies_are_told_not_to_buffer(plain: str) -> None:
    headers = ask(plain, STREAMED).headers
    assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-cache")


def test_i136_a_body_that_trickles_in_has_a_limit(serve: Serve) -> None:
    url = serve(timeouts={"body": 0.3}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, "content-length: 1000") + b'{"model"')
        assert read_response(sock).status_code == 408


def test_i136_a_body_that_is_too_large_is_413(serve: Serve) -> None:
    response = ask(serve(limits={"body_bytes": 50}).url)
    assert (response.status_code, error_of(response)["type"]) == (413, "request_too_large")


def test_i141_the_protocol_can_be_imported_without_a_server() -> None:
    for name in (
        "dragoman.wire.anthropic.request",
        "dragoman.translate.request",
        "dragoman.translate.stream",
    ):
        assert importlib.import_module(name).__name__ == name
    assert {"MessagesService", "create_app"} <= set(dragoman.__all__)


def test_i142_load_is_counted_down_when_a_call_is_cancelled(serve: Serve) -> None:
    served = serve({"": Script(steps=[text_chunk("So far"), Hang()])})
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"So far")
        assert "dragoman_requests_running 2.0" in httpx.get(f"{served.url}/metrics").text
    assert eventually(lambda: "dragoman_requests_running 1.0" in httpx.get(f"{served.url}/metrics").text)


def test_i143_every_metric_of_a_request_names_its_route(serve: Serve) -> None:
    url = serve().url
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        httpx.post(url + path, json=REQUEST)
    httpx.get(f"{url}/v1/models/x%2Fy")
    httpx.get(f"{url}/some/path")
    text = httpx.get(f"{url}/metrics").text
    for route in ("/v1/messages", "/v1/messages/count_tokens", "/v1/models/{id:path}", "other"):
        assert f'route="{route}"' in text
    assert "/some/path" not in text


def test_i144_token_ids_are_not_promised_before_they_are_kept(plain: str) -> None:
    # Token ids and log-probabilities of every call are the ledger's, which is not part of this server yet:
    # an answer holds exactly the API's own keys, and none that looks like a capture.
    message = ask(plain).json()
    assert not [key for key in message if "token_ids" in key or "logprobs" in key]


def test_i145_claude_codes_request_reaches_an_engine_in_one_hop() -> None:
    # The path that gateways lost: Claude Code's fields in, Chat Completions out. The real program runs in
    # the tests of the clients.
    fields: dict[str, Any] = {
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.abc;"}],
    }
    with in_front_of(reply(whole("Done."))) as url:
        message = asked(url, **fields).json()
    assert message["content"][0]["text"] == "Done."
    assert message["context_management"] == {"applied_edits": []}


async def test_i146_the_app_mounts_in_another_server(tmp_path: Any) -> None:
    app = dragoman.create_app(
        ScriptedInferenceEngine({"": answer("Hello.")}), Settings(state_dir=str(tmp_path))
    )
    await app.service.client.start()
    outer = Starlette(routes=[Mount("/llm", app)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://localhost") as client:
        response = await client.post("/llm/v1/messages", json=REQUEST)
        missing = await client.get("/llm/none")
    await app.service.aclose()
    assert response.json()["content"][0]["text"] == "Hello."
    assert missing.status_code == 404
    assert error_of(missing)["type"] == "not_found_error"
