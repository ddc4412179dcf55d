"""A client that goes away stops the engine's work, wherever that stands."""

from __future__ import annotations

import httpx
import pytest

from dragoman.engines.scripted import Hang, Script, answer, text_chunk, usage_chunk
from dragoman.wire.openai import PromptTokensDetails
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, connected, eventually, post_bytes, read_until

HANGING = Script(steps=[text_chunk("So far"), Hang()])


@pytest.mark.parametrize(
    ("script", "body"),
    [
        (HANGING, STREAMED),
        (HANGING, REQUEST),
        (answer("Late.", wait=60.0), STREAMED),
        (answer("Late.", wait=60.0), REQUEST),
        (Script(steps=[Hang()]), STREAMED),
    ],
    ids=["streamed", "whole", "prefill streamed", "prefill whole", "accepted and silent"],
)
def test_the_engine_is_told_within_a_second(serve: Serve, script: Script, body: object) -> None:
    served = serve([script])
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, body))
        assert eventually(lambda: len(served.engine.calls) == 1)
        assert served.engine.calls[0].outcome == "running"
    assert eventually(lambda: served.engine.calls[0].outcome == "cancelled", 1.0)
    assert eventually(lambda: len(served.running.app.traffic) == 0)
    lost = 'dragoman_clients_lost_total{how="disconnected"} 1.0'
    assert eventually(lambda: lost in httpx.get(f"{served.url}/metrics").text)


def test_after_the_head_was_sent_while_prefilling(serve: Serve) -> None:
    served = serve([answer("Late.", wait=60.0)], ping_interval=0.1)
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"event: ping")
    assert eventually(lambda: served.engine.calls[0].outcome == "cancelled", 1.0)


def test_the_log_tells_what_an_interrupted_answer_had_read(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dragoman")
    counted = usage_chunk(77, 0)
    assert counted.usage is not None
    counted.usage.prompt_tokens_details = PromptTokensDetails(cached_tokens=7)
    served = serve([Script(steps=[[counted, text_chunk("So far")], Hang()])])
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"text_delta")
    assert eventually(lambda: "request" in [record.message for record in caplog.records])
    (line,) = [record.__dict__["fields"] for record in caplog.records if record.message == "request"]
    assert (line["client"], line["input_tokens"], line["cached_tokens"]) == ("disconnected", 70, 7)


def test_a_client_that_only_stops_sending_is_gone_too(serve: Serve) -> None:
    served = serve([HANGING])
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"text_delta")
        sock.shutdown(1)
        assert eventually(lambda: served.engine.calls[0].outcome == "cancelled", 2.0)


def test_requests_that_wait_behind_another_do_not_hide_it(serve: Serve) -> None:
    served = serve({"": HANGING})
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED) * 3)
        read_until(sock, b"text_delta")
    assert eventually(lambda: served.engine.calls[0].outcome == "cancelled", 1.0)
    assert eventually(lambda: len(served.running.app.traffic) == 0)
    assert len(served.engine.calls) == 1


def test_a_client_that_leaves_after_its_answer_cancels_nothing(serve: Serve) -> None:
    served = serve([answer("Hi."), answer("Hi.")])
    with connected(served.url) as sock:
        for body, mark in ((STREAMED, b"message_stop"), (REQUEST, b'"stop_reason"')):
            sock.sendall(post_bytes(served.url, body))
            read_until(sock, mark)
    assert eventually(lambda: len(served.running.app.traffic) == 0)
    assert [call.outcome for call in served.engine.calls] == ["finished", "finished"]
    assert "clients_lost_total{" not in httpx.get(f"{served.url}/metrics").text


def test_one_that_leaves_does_not_touch_its_neighbours(serve: Serve) -> None:
    served = serve({"": HANGING})
    with connected(served.url) as stays:
        stays.sendall(post_bytes(served.url, STREAMED))
        read_until(stays, b"text_delta")
        with connected(served.url) as leaves:
            leaves.sendall(post_bytes(served.url, STREAMED))
            read_until(leaves, b"text_delta")
        assert eventually(lambda: served.engine.calls[1].outcome == "cancelled", 1.0)
        assert served.engine.calls[0].outcome == "running"
