"""The engines' own OpenAI API through this server: the same routing, sessions, keys and limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import msgspec
import pytest

from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import ScriptedInferenceEngine
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import EngineEntry, Settings
from tests.support.fake_openai import DONE, Answer, Cut, FakeOpenAI, Pause, Route, Seen, event, reply
from tests.support.serving import running_server

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
# Of nine prompts, one more is in the cache each time.
CACHED = {"prompt_tokens_details": {"cached_tokens": 36}}


@contextmanager
def fakes(*routes: Mapping[str, Route | Answer], **settings: Any) -> Iterator[tuple[str, list[FakeOpenAI]]]:
    """A server in front of fake engines, named by their numbers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers: list[FakeOpenAI] = []
    try:
        for each in routes:
            fake = FakeOpenAI({"/v1/models": reply({"data": [{"id": "m"}, {"id": "n"}]}), **each})
            asyncio.run_coroutine_threadsafe(fake.__aenter__(), loop).result(10)
            servers.append(fake)
        engines = [
            RemoteInferenceEngine(EngineEntry(url=fake.url, name=str(number), dialect="vllm"))
            for number, fake in enumerate(servers)
        ]
        chosen = Settings(**settings)
        with running_server(InferenceEngineClient(engines, chosen), **settings) as url:
            yield url, servers
    finally:
        for fake in servers:
            asyncio.run_coroutine_threadsafe(fake.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def seen(fake: FakeOpenAI, path: str) -> list[Seen]:
    return [each for each in fake.seen if each.path == path]


def chat(**members: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}


ANSWER = reply({"id": "x", "choices": [{"index": 0, "message": {"content": "Hi"}}], "usage": USAGE})


def test_a_chat_goes_through_as_it_is() -> None:
    with fakes({CHAT: ANSWER}) as (url, (fake,)):
        body = b'{"model": "m",  "odd": 1.50, "messages": [{"role":"user","content":"\\u00e9"}]}'
        got = httpx.post(url + CHAT, content=body, headers={"content-type": "application/json"})
        assert (got.status_code, got.json()["choices"][0]["message"]["content"]) == (200, "Hi")
        assert got.headers["x-dragoman-engine"] == "0"
        assert got.headers["request-id"].startswith("req_")
        (sent,) = seen(fake, CHAT)
        assert b'"odd":1.50' in sent.body
        assert b'"content":"\\u00e9"' in sent.body
        metrics = httpx.get(url + "/metrics").text
    assert 'dragoman_tokens_total{kind="input",model="m"} 7.0' in metrics
    assert 'dragoman_tokens_total{kind="output",model="m"} 2.0' in metrics
    assert 'dragoman_requests_total{model="m",route="/v1/chat/completions",status="200"} 1.0' in metrics


def test_a_stream_goes_through_byte_for_byte() -> None:
    parts = [
        event({"choices": [{"delta": {"content": "H"}}]}),
        event({"choices": [], "usage": USAGE}),
        event(DONE),
    ]
    answer = Answer(content_type="text/event-stream", pieces=[parts[0], Pause(0.02), *parts[1:]])
    with fakes({CHAT: answer}) as (url, (fake,)):
        with httpx.stream("POST", url + CHAT, json=chat(stream=True, session_id=7)) as got:
            assert got.headers["content-type"].startswith("text/event-stream")
            assert got.headers["x-dragoman-engine"] == "0"
            assert got.read() == b"".join(parts)
        assert seen(fake, CHAT)[0].json == chat(stream=True)
        assert 'dragoman_tokens_total{kind="output",model="m"} 2.0' in httpx.get(url + "/metrics").text


def test_an_alias_is_the_served_name_to_the_engine() -> None:
    with fakes({CHAT: ANSWER}) as (url, (fake,)):
        assert httpx.post(url + CHAT, json=chat(model="claude-x")).status_code == 200
        assert seen(fake, CHAT)[0].json["model"] == "m"
        missing = httpx.post(url + CHAT, json=chat(model="other"))
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


def named(
    body: dict[str, Any], headers: dict[str, str]
) -> Callable[[str], tuple[dict[str, Any], dict[str, str]]]:
    def of(session: str) -> tuple[dict[str, Any], dict[str, str]]:
        text = msgspec.json.encode([body, headers]).decode().replace("SESSION", session)
        filled = msgspec.json.decode(text)
        return filled[0], filled[1]

    return of


@pytest.mark.parametrize(
    "ask", [named({"session_id": "SESSION"}, {}), named({}, {"x-session-id": "SESSION"})]
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_session_stays_with_its_engine(path: str, ask: Any) -> None:
    with fakes(*({path: ANSWER} for _ in range(3))) as (url, servers):
        engines = {}
        for number in range(12):
            body, headers = ask(f"session {number}")
            got = {
                httpx.post(url + path, json=chat(prompt="x", **body), headers=headers).headers[
                    "x-dragoman-engine"
                ]
                for _ in range(2)
            }
            assert len(got) == 1
            engines[number] = got.pop()
        assert set(engines.values()) == {"0", "1", "2"}
        assert not [each for fake in servers for each in seen(fake, path) if b"session_id" in each.body]


def test_a_number_and_its_text_are_one_session() -> None:
    with fakes(*({CHAT: ANSWER} for _ in range(3))) as (url, _):
        for number in range(9):
            places = {
                httpx.post(url + CHAT, json=chat(session_id=session)).headers["x-dragoman-engine"]
                for session in (number, str(number))
            }
            assert len(places) == 1


# ---- batches of prompts --------------------------------------------------------------------------------


def echo(request: Seen) -> Answer:
    prompt = request.json["prompt"]
    choices = [{"index": n, "text": f"{prompt}!"} for n in range(request.json.get("n", 1))]
    cached = int(prompt[1:]) if isinstance(prompt, str) and prompt[1:].isdigit() else 0
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": cached}}
    return reply({"id": "x", "model": "m", "choices": choices, "usage": usage})


def test_a_batch_keeps_its_order_over_all_engines() -> None:
    with fakes(*({COMPLETIONS: echo} for _ in range(3))) as (url, servers):
        prompts = [f"p{n}" for n in range(9)]
        body = {"model": "m", "prompt": prompts, "session_id": [f"s{n}" for n in range(9)]}
        got = httpx.post(url + COMPLETIONS, json=body).json()
        assert [(choice["index"], choice["text"]) for choice in got["choices"]] == [
            (n, f"{prompt}!") for n, prompt in enumerate(prompts)
        ]
        usage = {"prompt_tokens": 63, "completion_tokens": 18, "total_tokens": 81}
        assert got["usage"] == usage | CACHED
        assert (got["id"], got["model"]) == ("x", "m")
        assert all(seen(fake, COMPLETIONS) for fake in servers)
        several = httpx.post(url + COMPLETIONS, json={"model": "m", "prompt": [[1], [2]], "n": 2}).json()
    assert [choice["text"] for choice in several["choices"]] == ["[1]!", "[1]!", "[2]!", "[2]!"]
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("prompt", ["text", [1, 2, 3], ["only one"], [[1, 2]], None, 5, []])
def test_one_prompt_goes_through_as_it_is(prompt: object) -> None:
    with fakes({COMPLETIONS: echo}) as (url, (fake,)):
        assert httpx.post(url + COMPLETIONS, json={"model": "m", "prompt": prompt}).status_code == 200
        assert [each.json["prompt"] for each in seen(fake, COMPLETIONS)] == [prompt]


def test_a_batch_fails_as_a_whole() -> None:
    def one_bad(request: Seen) -> Answer:
        return (
            reply({"error": {"message": "bad prompt"}}, 400)
            if request.json["prompt"] == "p3"
            else echo(request)
        )

    def one_broken(request: Seen) -> Answer:
        return reply({}, 500) if request.json["prompt"] == "p3" else echo(request)

    body = {"model": "m", "prompt": [f"p{n}" for n in range(6)]}
    with fakes({COMPLETIONS: one_bad}) as (url, _):
        got = httpx.post(url + COMPLETIONS, json=body)
        assert (got.status_code, got.json()) == (400, {"error": {"message": "bad prompt"}})
    with fakes({COMPLETIONS: one_broken}) as (url, _):
        got = httpx.post(url + COMPLETIONS, json=body)
        assert (got.status_code, got.json()["error"]["type"]) == (500, "api_error")
    with fakes({COMPLETIONS: reply({"no": "choices"})}) as (url, _):
        assert httpx.post(url + COMPLETIONS, json=body).status_code == 500
    with fakes({COMPLETIONS: reply({"choices": []})}) as (url, _):
        assert httpx.post(url + COMPLETIONS, json=body).json()["usage"] is None


# ---- mistakes and failures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "headers", "field"),
    [
        (CHAT, b"[]", {}, "the body"),
        (CHAT, b"{no", {}, "the body"),
        (CHAT, b"{}", {}, "model"),
        (CHAT, b'{"model": 5}', {}, "model"),
        (CHAT, b'{"model": "m", "stream": "yes"}', {}, "stream"),
        (CHAT, b'{"model": "m", "session_id": 1.5}', {}, "session_id"),
        (CHAT, b'{"model": "m", "session_id": true}', {}, "session_id"),
        (CHAT, b'{"model": "m", "session_id": ["a"]}', {}, "session_id"),
        (CHAT, b'{"model": "m", "session_id": "a"}', {"x-session-id": "b"}, "session_id"),
        (COMPLETIONS, b'{"model": "m", "prompt": ["a", "b"], "session_id": ["a"]}', {}, "session_id"),
        (COMPLETIONS, b'{"model": "m", "prompt": ["a", "b"], "stream": true}', {}, "stream"),
    ],
)
def test_a_mistake_is_told_by_its_field(path: str, body: bytes, headers: dict[str, str], field: str) -> None:
    with fakes({path: ANSWER}) as (url, (fake,)):
        got = httpx.post(url + path, content=body, headers={"content-type": "application/json", **headers})
        assert (got.status_code, got.json()["error"]["type"]) == (400, "invalid_request_error")
        assert got.json()["error"]["message"].startswith(field)
        assert not seen(fake, path)


@pytest.mark.parametrize("streams", [False, True])
def test_the_engine_words_what_it_refuses(streams: bool) -> None:
    with fakes({CHAT: reply({"error": {"message": "no such thing", "code": 400}}, 422)}) as (url, _):
        got = httpx.post(url + CHAT, json=chat(stream=streams))
        assert (got.status_code, got.json()["error"]["message"]) == (422, "no such thing")
        assert got.headers["x-dragoman-engine"] == "0"


def test_an_engine_that_fails_is_replaced_and_counted() -> None:
    with fakes({CHAT: reply({}, 503)}, {CHAT: ANSWER}) as (url, _):
        places = {
            httpx.post(url + CHAT, json=chat(session_id=n)).headers["x-dragoman-engine"] for n in range(6)
        }
        assert places == {"1"}
        assert (
            'dragoman_engine_errors_total{cause="overloaded",engine="0"}' in httpx.get(url + "/metrics").text
        )


def test_a_stream_that_breaks_ends_in_an_error_that_clients_read() -> None:
    answer = Answer(content_type="text/event-stream", pieces=[event({"choices": []}), Pause(0.02), Cut()])
    with fakes({CHAT: answer}) as (url, _):
        got = httpx.post(url + CHAT, json=chat(stream=True))
    first, last = got.content.strip().split(b"\n\n")
    assert msgspec.json.decode(first.removeprefix(b"data: ")) == {"choices": []}
    error = msgspec.json.decode(last.removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("api_error", 500)


def test_a_client_that_leaves_stops_the_engine() -> None:
    answer = Answer(content_type="text/event-stream", pieces=[event({"choices": []}), Pause(30)])
    with fakes({CHAT: answer}) as (url, (fake,)):
        with httpx.stream("POST", url + CHAT, json=chat(stream=True)) as got:
            next(got.iter_bytes())
        deadline = threading.Event()
        for _ in range(500):
            if seen(fake, CHAT)[0].hung_up:
                break
            deadline.wait(0.01)
        assert seen(fake, CHAT)[0].hung_up


def test_the_door_is_the_same(tmp_path: Any) -> None:
    with fakes({CHAT: ANSWER}, api_keys={"alice": "secret"}) as (url, (fake,)):
        assert httpx.post(url + CHAT, json=chat()).status_code == 401
        keyed = {"authorization": "Bearer secret"}
        assert httpx.post(url + CHAT, json=chat(), headers=keyed).status_code == 200
        assert "secret" not in str(seen(fake, CHAT)[0].headers)
    with fakes({CHAT: ANSWER}) as (url, _):
        assert (
            httpx.post(url + CHAT, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
        )
        assert httpx.get(url + CHAT).status_code == 405


def test_an_engine_without_that_api_says_so() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(running_server(ScriptedInferenceEngine([])))
        got = httpx.post(url + CHAT, json=chat(model="scripted"))
    assert (got.status_code, got.json()["error"]["type"]) == (501, "not_supported")


@pytest.mark.parametrize(
    "tail", [b"", b'"usage":', b'"usage":null}', b'"usage":{"prompt_tokens":"x"}}', b'"usage":{']
)
def test_counts_that_cannot_be_read_are_none(tail: bytes) -> None:
    answer = Answer(pieces=[b'{"choices":[],' + tail])
    with fakes({CHAT: answer}) as (url, _):
        assert httpx.post(url + CHAT, json=chat()).status_code == 200
        assert "dragoman_tokens_total{" not in httpx.get(url + "/metrics").text
