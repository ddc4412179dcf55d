"""When a stream begins, what keeps it alive, and how it ends badly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec
import pytest

from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    Cut,
    Delay,
    Fail,
    Hang,
    Script,
    answer,
    call_chunk,
    finish_chunk,
    refuse,
    text_chunk,
)
from dragoman.errors import (
    EngineConfigurationError,
    EngineFaultError,
    EngineTimeoutError,
    NotSupportedError,
    OverloadedError,
    PromptTooLongError,
    RateLimitError,
)
from tests.server.conftest import Serve
from tests.server.http import (
    REQUEST,
    STREAMED,
    ask,
    connected,
    data_of,
    error_of,
    events_of,
    eventually,
    names_of,
    post_bytes,
    read_until,
)


def test_headers_and_a_ping_come_while_the_engine_still_reads_the_prompt(serve: Serve) -> None:
    served = serve([answer("Late.", wait=0.5)], ping_interval=0.1)
    response = ask(served.url, STREAMED)
    names = names_of(response.content)
    assert names[0] == "message_start"
    assert names[1:3] == ["ping", "ping"]
    assert names[-1] == "message_stop"
    assert response.headers["x-dragoman-engine"] == "scripted"


def test_pings_come_between_blocks_and_while_a_call_is_held_back(serve: Serve) -> None:
    steps = [
        text_chunk("One moment."),
        Delay(0.35),
        call_chunk(0, call_id="a", name="f", arguments='{"a":'),
        call_chunk(1, call_id="b", name="g", arguments="{"),
        *[step for _ in range(4) for step in (Delay(0.08), call_chunk(1, arguments=" "))],
        call_chunk(0, arguments="1}"),
        call_chunk(1, arguments="}"),
        finish_chunk("tool_calls"),
    ]
    names = names_of(ask(serve([Script(steps=steps)], ping_interval=0.1).url, STREAMED).content)
    first_delta = names.index("content_block_delta")
    call = names.index("content_block_start", first_delta)
    assert names[first_delta + 1 : call].count("ping") >= 2
    assert names[call:].count("ping") >= 1
    assert names[-1] == "message_stop"


def test_there_are_no_pings_while_events_come(serve: Serve) -> None:
    steps = [step for _ in range(10) for step in (Delay(0.05), text_chunk("a"))]
    script = Script(steps=[*steps, finish_chunk()])
    assert "ping" not in names_of(ask(serve([script], ping_interval=5.0).url, STREAMED).content)


def test_a_whole_answer_knows_no_pings(serve: Serve) -> None:
    response = ask(serve([answer("Late.", wait=0.3)], ping_interval=0.1).url)
    assert response.json()["content"][0]["text"] == "Late."


def test_the_head_of_a_stream_carries_the_engines_early_count(serve: Serve) -> None:
    early = msgspec.structs.replace(SCRIPTED_CAPABILITIES, early_usage=True)
    events = events_of(ask(serve([answer("Hi.")], capabilities=early).url, STREAMED).content)
    usage = data_of(events[-2])["usage"]
    assert data_of(events[0])["message"]["usage"]["input_tokens"] == usage["input_tokens"] > 0


def test_without_one_the_head_carries_an_estimate(serve: Serve) -> None:
    events = events_of(ask(serve([answer("Hi.", wait=0.2)], ping_interval=0.05).url, STREAMED).content)
    assert data_of(events[0])["message"]["usage"]["input_tokens"] > 0
    assert data_of(events[-2])["usage"]["input_tokens"] > 0


REFUSALS = [
    (PromptTooLongError(9, 5), 400, "invalid_request_error"),
    (RateLimitError("slow down", retry_after=7.2), 429, "rate_limit_error"),
    (EngineFaultError("the engine failed", log_detail="http://10.0.0.1 said: secret"), 500, "api_error"),
    (EngineConfigurationError("the engine refused this server"), 500, "api_error"),
    (NotSupportedError("not here"), 501, "not_supported"),
    (EngineTimeoutError("the engine did not answer"), 504, "timeout_error"),
    (OverloadedError("full", retry_after=0.2), 529, "overloaded_error"),
]


@pytest.mark.parametrize("body", [REQUEST, STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize(("error", "status", "kind"), REFUSALS, ids=lambda value: str(value)[:20])
def test_what_the_engine_refuses_keeps_its_status(
    serve: Serve, body: object, error: Exception, status: int, kind: str
) -> None:
    response = ask(serve([Script(refusal=error)]).url, body)  # type: ignore[arg-type]  # all are our errors
    assert response.status_code == status
    said = error_of(response)
    assert (said["type"], said["message"]) == (kind, str(error))
    retry = {529: "1", 429: "8"}.get(status)
    assert response.headers.get("retry-after") == retry
    assert b"secret" not in response.content


def test_an_error_in_the_first_read_still_has_its_status(serve: Serve) -> None:
    response = ask(serve([Script(steps=[Fail(OverloadedError("full"))])]).url, STREAMED)
    assert response.status_code == 529


@pytest.mark.parametrize(
    ("steps", "kind", "cause"),
    [
        ([Fail(OverloadedError("full now"))], "overloaded_error", "overloaded"),
        ([Cut()], "api_error", "lost"),
        ([], "api_error", "api_error"),
    ],
    ids=["error", "cut", "no finish reason"],
)
def test_a_later_error_is_the_last_event(
    serve: Serve, steps: list[Fail | Cut], kind: str, cause: str
) -> None:
    served = serve([Script(steps=[text_chunk("So far"), *steps])])
    response = ask(served.url, STREAMED)
    events = events_of(response.content)
    assert response.status_code == 200
    assert [event.event for event in events].count("error") == 1
    last = data_of(events[-1])
    assert (last["type"], last["error"]["type"]) == ("error", kind)
    assert last["request_id"] == response.headers["request-id"]
    metrics = httpx.get(f"{served.url}/metrics").text
    assert f'dragoman_engine_errors_total{{cause="{cause}",engine="scripted"}} 1.0' in metrics


def test_a_refusal_after_the_head_is_an_event(serve: Serve) -> None:
    served = serve([refuse(PromptTooLongError(9, 5), wait=0.3)], ping_interval=0.1)
    events = events_of(ask(served.url, STREAMED).content)
    assert events[0].event == "message_start"
    assert data_of(events[-1])["error"]["message"] == "prompt is too long: 9 tokens > 5 maximum"


def test_a_failure_of_ours_in_a_stream_is_an_event_without_internals(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve([Script(steps=[text_chunk("So far"), Delay(0.05), text_chunk("."), finish_chunk()])])

    def fails(self: object, batch: object) -> bytes:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("dragoman.translate.stream.MessageStream.feed", fails)
    response = ask(served.url, STREAMED)
    assert data_of(events_of(response.content)[-1])["error"] == {
        "type": "api_error",
        "message": "internal server error",
    }
    assert b"secret" not in response.content
    assert served.engine.calls[0].outcome == "cancelled"


def test_too_many_at_a_time_are_told_to_come_back(serve: Serve) -> None:
    served = serve({"": Script(steps=[text_chunk("a"), Hang()])}, limits={"requests": 1})
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"text_delta")
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            response = httpx.post(served.url + path, json=REQUEST)
            assert response.status_code == 529
            assert error_of(response)["type"] == "overloaded_error"
            assert response.headers["retry-after"] == "1"
        assert httpx.get(f"{served.url}/v1/models").status_code == 200
        assert "dragoman_requests_running 2.0" in httpx.get(f"{served.url}/metrics").text


def test_fifty_streams_at_a_time_are_each_their_own(serve: Serve) -> None:
    def script(request: object) -> Script:
        (message,) = request.messages  # type: ignore[attr-defined]  # a chat request
        words = [f"{message.content}-{number} " for number in range(20)]
        steps = [step for word in words for step in (Delay(0.005), text_chunk(word))]
        return Script(steps=[*steps, finish_chunk()])

    served = serve(script)

    def one(number: int) -> tuple[int, str]:
        body = {**STREAMED, "messages": [{"role": "user", "content": f"s{number}"}]}
        events = events_of(ask(served.url, body).content)
        texts = [
            data_of(event)["delta"].get("text", "")
            for event in events
            if event.event == "content_block_delta"
        ]
        return number, "".join(texts)

    with ThreadPoolExecutor(50) as pool:
        answers = dict(pool.map(one, range(50)))
    for number in range(50):
        assert answers[number] == "".join(f"s{number}-{word} " for word in range(20))
    assert eventually(lambda: len(served.running.app.traffic) == 0)


def test_the_spelling_of_arguments_comes_home(serve: Serve) -> None:
    spelled = '{"b" :  1,"a":2.50}'
    served = serve([answer(calls=[("f", spelled)]), answer("Done."), answer("Done.")])
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    headers = {"x-session-id": "s1"}
    first = ask(served.url, {**REQUEST, "tools": tools}, headers=headers).json()
    (call,) = first["content"]
    turns = [
        *REQUEST["messages"],
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "1"}]},
    ]
    for session, seen in (("s1", spelled), ("s2", '{"b":1,"a":2.5}')):
        ask(served.url, {**REQUEST, "tools": tools, "messages": turns}, headers={"x-session-id": session})
        (sent,) = [
            message.tool_calls[0]
            for message in served.engine.calls[-1].request.messages
            if message.tool_calls
        ]
        assert sent.function.arguments == seen
        assert sent.id == "call_0"
