"""Bodies and heads that are too large, too late, or no HTTP at all."""

from __future__ import annotations

import gzip
import threading
from contextlib import suppress

import httpx
import msgspec
import pytest

from dragoman.engines.scripted import Hang, Script, text_chunk
from tests.server.conftest import Serve
from tests.server.http import (
    REQUEST,
    STREAMED,
    ask,
    connected,
    error_of,
    eventually,
    post_bytes,
    post_head,
    read_all,
    read_response,
    read_until,
)

LARGE = {**REQUEST, "messages": [{"role": "user", "content": "x" * 300_000}]}


def test_a_declared_length_over_the_limit_is_refused(serve: Serve) -> None:
    url = serve(limits={"body_bytes": 1000}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, "content-length: 1001"))
        response = read_response(sock)
    assert response.status_code == 413
    assert error_of(response)["type"] == "request_too_large"
    assert response.headers["connection"] == "close"


def test_a_client_that_sends_all_of_it_still_sees_why(serve: Serve) -> None:
    response = ask(serve(limits={"body_bytes": 100_000}).url, LARGE)
    assert response.status_code == 413
    assert error_of(response)["type"] == "request_too_large"


def test_a_body_in_chunks_is_measured_as_it_comes(serve: Serve) -> None:
    url = serve(limits={"body_bytes": 100_000}).url
    pieces = (b" " * 10_000 for _ in range(30))
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{url}/v1/messages", content=pieces, headers=headers)
    assert response.status_code == 413
    assert error_of(response)["type"] == "request_too_large"


def test_a_client_that_never_stops_sending_is_cut_off(serve: Serve) -> None:
    url = serve(limits={"body_bytes": 1000}, timeouts={"body": 5.0}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, "transfer-encoding: chunked"))

        def send() -> None:
            for _ in range(100_000):
                try:
                    sock.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
                except OSError:
                    return

        sender = threading.Thread(target=send)
        sender.start()
        response = read_response(sock)
        sender.join(20)
        assert not sender.is_alive()
    assert response.status_code == 413


def test_one_that_stops_in_the_middle_is_not_waited_for_either(serve: Serve) -> None:
    url = serve(limits={"body_bytes": 1000}, timeouts={"body": 0.3}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, "transfer-encoding: chunked") + b"7d0\r\n" + b" " * 2000 + b"\r\n")
        assert read_response(sock).status_code == 413
        assert read_all(sock) == b""


def test_a_client_that_asks_first_need_not_send(serve: Serve) -> None:
    url = serve(limits={"body_bytes": 1000}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, "content-length: 2000", "expect: 100-continue"))
        assert read_response(sock).status_code == 413
    body = post_bytes(url, REQUEST).partition(b"\r\n\r\n")[2]
    with connected(url) as sock:
        sock.sendall(post_head(url, f"content-length: {len(body)}", "expect: 100-continue"))
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_response(sock).status_code == 200


def test_the_limit_itself_is_taken(serve: Serve) -> None:
    url = serve(limits={"body_bytes": 1000}).url
    body = post_bytes(url, REQUEST).partition(b"\r\n\r\n")[2].ljust(1000)
    response = httpx.post(f"{url}/v1/messages", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200


def test_a_body_in_many_pieces_is_put_together(serve: Serve) -> None:
    assert ask(serve().url, LARGE).status_code == 200


@pytest.mark.parametrize("framing", ["content-length: 100", "transfer-encoding: chunked"])
def test_a_body_that_does_not_arrive_is_not_waited_for(serve: Serve, framing: str) -> None:
    url = serve(timeouts={"body": 0.2}).url
    with connected(url) as sock:
        sock.sendall(post_head(url, framing))
        response = read_response(sock)
    assert response.status_code == 408
    assert error_of(response)["type"] == "timeout_error"


def test_a_client_that_goes_away_while_it_sends_is_no_failure(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dragoman")
    url = serve().url
    with connected(url) as sock:
        sock.sendall(post_head(url, "content-length: 100") + b"{")
    assert eventually(lambda: "request" in [record.message for record in caplog.records])
    lines = [record.fields for record in caplog.records if record.message == "request"]  # type: ignore[attr-defined]  # our own extra
    assert [(line["status"], line["client"]) for line in lines] == [(499, "disconnected")]


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_compressed_bodies_are_refused_by_code(plain: str, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = httpx.post(f"{plain}/v1/messages", content=gzip.compress(b"{}"), headers=headers)
    assert response.status_code == 415
    assert error_of(response)["details"] == {"error_code": "request_body_encoding_unsupported"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"model": 1}', b"\xef\xbb\xbf{}"])
def test_what_is_no_request_is_refused(plain: str, body: bytes) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        response = httpx.post(plain + path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", "2099-01-01", None])
def test_versions_are_taken_and_may_be_missing(plain: str, version: str | None) -> None:
    assert ask(plain, headers={"anthropic-version": version} if version else {}).status_code == 200


@pytest.mark.parametrize("version", ["1", "2023-6-1", "yesterday", "2023-06-01-02", "20a3-06-01"])
def test_a_malformed_version_is_refused(plain: str, version: str) -> None:
    response = ask(plain, headers={"anthropic-version": version})
    assert response.status_code == 400
    assert error_of(response)["message"].startswith("anthropic-version: ")


def test_unknown_fields_are_taken_unless_the_server_is_strict(serve: Serve) -> None:
    body = {**REQUEST, "colour": "blue"}
    assert ask(serve().url, body).status_code == 200
    strict = serve(strict=True).url
    response = ask(strict, body)
    assert response.status_code == 400
    assert error_of(response)["message"] == "colour: Extra inputs are not permitted"
    assert ask(strict).status_code == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"FETCH / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_envelope_too(plain: str, garbage: bytes) -> None:
    with connected(plain) as sock:
        sock.sendall(garbage)
        response = read_response(sock)
    assert response.status_code == 400
    assert error_of(response)["message"] == "the request is not valid HTTP"


def test_an_endless_head_is_cut_off(plain: str) -> None:
    with connected(plain) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + b"a: %s\r\n" % (b"x" * 1000) * 70)
        response = read_response(sock)
    assert response.status_code == 431
    assert error_of(response)["type"] == "request_too_large"


@pytest.mark.parametrize("lines", [b"a: %b\r\n" % (b"x" * 70_000), b"a: %b\r\n" % (b"x" * 70) * 1000])
def test_a_whole_head_that_is_too_large_is_refused_however_it_is_read(plain: str, lines: bytes) -> None:
    for line in (b"GET / HTTP/1.1\r\n", b"GET /%s HTTP/1.1\r\n" % (b"y" * 40_000)):
        with connected(plain) as sock:
            sock.sendall(line + b"host: localhost\r\n" + lines + b"\r\n")
            response = read_response(sock)
        assert response.status_code == 431
        assert error_of(response)["type"] == "request_too_large"
    assert httpx.get(f"{plain}/health", headers={"a": "x" * 60_000}).status_code == 200


def test_a_head_that_does_not_arrive_is_not_waited_for(serve: Serve) -> None:
    url = serve(timeouts={"body": 0.2}).url
    with connected(url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert read_response(sock).status_code == 408
    with connected(url) as sock:
        assert read_all(sock) == b""


def test_an_idle_connection_is_closed_in_the_end(serve: Serve) -> None:
    with connected(serve(timeouts={"keep_alive": 1.0}).url) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_response(sock).status_code == 200
        assert read_all(sock) == b""


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", b"\r\n"),
        (b"POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\na", b"b"),
    ],
)
def test_bytes_that_begin_no_request_keep_no_connection_open(serve: Serve, first: bytes, more: bytes) -> None:
    with connected(serve(timeouts={"keep_alive": 1.0}).url) as sock:
        sock.sendall(first)
        read_response(sock)
        sock.sendall(more)
        assert read_all(sock) == b""


TRAILING = b"transfer-encoding: chunked\r\n\r\n0\r\n"


def test_an_endless_tail_of_a_body_is_cut_off(plain: str) -> None:
    line = b"a: %s\r\n" % (b"x" * 1000)
    with connected(plain) as sock:
        head, _, tail = TRAILING.partition(b"\r\n\r\n")
        sock.sendall(post_head(plain, "expect: 100-continue")[:-2] + head + b"\r\n\r\n")
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        sock.sendall(tail + line * 70)
        response = read_response(sock)
    assert response.status_code == 431
    with connected(plain) as sock:
        sock.sendall(b"POST /nothing HTTP/1.1\r\nhost: localhost\r\n" + TRAILING)
        assert read_response(sock).status_code == 404
        with suppress(ConnectionError):
            for _ in range(70):
                sock.sendall(line)
            assert read_all(sock) == b""


def test_what_follows_a_body_is_no_header(serve: Serve) -> None:
    served = serve(api_keys={"me": "k"})
    data = msgspec.json.encode(REQUEST)
    chunks = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(data), data)
    with connected(served.url) as sock:
        sock.sendall(post_head(served.url, "x-api-key: k")[:-2] + chunks + b"x-session-id: late\r\n\r\n")
        assert read_response(sock).status_code == 200
    key = served.engine.calls[0].request.placement_key
    assert key is not None
    assert "late" not in key


def test_requests_may_follow_each_other_on_one_connection(plain: str) -> None:
    with connected(plain) as sock:
        for _ in range(3):
            sock.sendall(post_bytes(plain, REQUEST))
            assert read_response(sock).status_code == 200
        sock.sendall(post_bytes(plain, {}) + b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_response(sock).status_code == 400


def test_an_old_client_is_answered(plain: str) -> None:
    with connected(plain) as sock:
        sock.sendall(b"GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n")
        assert read_all(sock).endswith(b'{"status":"ok"}')


def test_garbage_inside_a_body_ends_its_request_only(plain: str) -> None:
    with connected(plain) as sock:
        sock.sendall(post_head(plain, "transfer-encoding: chunked") + b"5\r\n{    \r\n")
        sock.sendall(b"not a length\r\n")
        response = read_response(sock)
    assert response.status_code == 400
    assert ask(plain).status_code == 200


def test_garbage_behind_a_running_answer_is_no_part_of_it(serve: Serve) -> None:
    served = serve([Script(steps=[text_chunk("So far"), Hang()])])
    with connected(served.url) as sock:
        sock.sendall(post_bytes(served.url, STREAMED))
        read_until(sock, b"So far")
        sock.sendall(b"garbage\r\n\r\n")
        assert b"HTTP/1.1" not in read_all(sock)
    assert eventually(lambda: served.engine.calls[0].outcome == "cancelled")


def test_an_upgrade_is_answered_as_plain_http(plain: str) -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-key": "x"}
    assert httpx.get(f"{plain}/health", headers=headers).status_code == 200
