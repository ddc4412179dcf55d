"""The end of a server: what runs may finish, what comes is sent away, and nothing is cut without a word."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from dragoman.engines.scripted import Delay, Hang, Script, answer, finish_chunk, text_chunk
from tests.server.conftest import Serve
from tests.server.http import (
    REQUEST,
    STREAMED,
    connected,
    error_of,
    eventually,
    post_bytes,
    read_all,
    read_response,
    read_until,
)
from tests.support.dialogues import ENDLESS
from tests.support.serving import dragoman_process

PARROT = str(Path(__file__).parents[1] / "models" / "parrot" / "parrot.gguf")
SONG = {**STREAMED, "max_tokens": 30_000, "messages": [{"role": "user", "content": ENDLESS}]}
HANGING = Script(steps=[text_chunk("So far"), Hang()])


def test_while_it_drains_nothing_new_is_begun(serve: Serve) -> None:
    served = serve([HANGING], timeouts={"shutdown": 3.0})
    with connected(served.url) as sock, httpx.Client(base_url=served.url) as client:
        sock.sendall(post_bytes(served.url, STREAMED))
        so_far = read_until(sock, b"So far")
        served.running.begin_stop()
        assert eventually(lambda: served.running.app.traffic.draining)
        ready = client.get("/ready")
        assert ready.status_code == 503
        assert error_of(ready)["message"] == "the server is shutting down"
        refused = client.post("/v1/messages", json=REQUEST)
        assert refused.status_code == 529
        assert error_of(refused)["type"] == "overloaded_error"
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        rest = read_all(sock)
    assert b"So far" in so_far
    assert b"event: error" in rest
    assert b'"overloaded_error","message":"the server is shutting down"' in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert served.engine.calls[0].outcome == "cancelled"


def test_a_stream_that_ends_in_time_ends_well(serve: Serve) -> None:
    script = Script(steps=[text_chunk("So far"), Delay(0.5), text_chunk(", so good."), finish_chunk()])
    served = serve([script], timeouts={"shutdown": 10.0})
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"So far")
        served.running.begin_stop()
        rest = read_all(sock)
    assert b"so good" in rest
    assert b"event: message_stop" in rest
    assert b"event: error" not in rest


def test_a_whole_answer_that_is_late_is_529(serve: Serve) -> None:
    served = serve([answer("Late.", wait=60.0)], timeouts={"shutdown": 0.3})
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, REQUEST))
        assert eventually(lambda: len(served.engine.calls) == 1)
        served.running.begin_stop()
        response = read_response(sock)
    assert response.status_code == 529
    assert error_of(response)["message"] == "the server is shutting down"
    assert served.engine.calls[0].outcome == "cancelled"


def test_a_client_that_reads_nothing_does_not_hold_it_up(serve: Serve) -> None:
    pieces = [text_chunk("x" * 100_000) for _ in range(400)]
    served = serve([Script(steps=[*pieces, Hang()])], timeouts={"shutdown": 0.3, "body": 0.5})
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        assert eventually(lambda: len(served.engine.calls) == 1)
        served.running.stop()
    assert eventually(lambda: served.engine.calls[0].outcome == "cancelled")


def test_what_is_waited_for_is_said(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dragoman")
    served = serve([HANGING, HANGING], timeouts={"shutdown": 0.3})
    with connected(served.url) as one, connected(served.url) as other:
        for sock in (one, other):
            sock.sendall(post_bytes(served.url, STREAMED))
            read_until(sock, b"So far")
        served.running.stop()
    assert "waiting for 2 running answers, at most 0.3 s; Ctrl-C again ends them at once" in caplog.messages


def test_idle_connections_do_not_hold_it_up(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dragoman")
    served = serve(timeouts={"shutdown": 20.0})
    with connected(served.url) as sock, connected(served.url):
        sock.sendall(post_bytes(served.url, REQUEST))
        assert read_response(sock).status_code == 200
        served.running.stop()
    assert "waiting" not in caplog.text


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_real_command_ends_well_on_a_signal(number: int) -> None:
    environ = {"DRAGOMAN_TIMEOUTS__SHUTDOWN": "0.5"}
    with (
        dragoman_process("--model", PARROT, environ=environ) as process,
        connected(process.url) as sock,
    ):
        sock.sendall(post_bytes(process.url, SONG))
        read_until(sock, b"text_delta")
        process.signal(number)
        rest = read_all(sock)
        status, said, errors = process.ended()
    assert b"event: error" in rest
    assert b"overloaded_error" in rest
    assert status == 0
    assert "waiting for 1 running answer, at most 0.5 s; Ctrl-C again ends it at once" in errors
    assert "ready on" in said
    assert "Traceback" not in errors


@pytest.mark.engine
def test_a_second_signal_ends_it_at_once() -> None:
    environ = {"DRAGOMAN_TIMEOUTS__SHUTDOWN": "600"}
    with (
        dragoman_process("--model", PARROT, environ=environ) as process,
        connected(process.url) as sock,
    ):
        sock.sendall(post_bytes(process.url, SONG))
        read_until(sock, b"text_delta")
        process.signal()
        assert eventually(lambda: httpx.get(f"{process.url}/ready").status_code == 503)
        process.signal()
        status, _, errors = process.ended()
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in errors
