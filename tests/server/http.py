"""Speaking HTTP to a server under test: whole requests, raw bytes, and waiting for what must come."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from dragoman.wire.sse import SSEDecoder, SSEEvent

REQUEST: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello."}],
}
STREAMED = {**REQUEST, "stream": True}


def ask(url: str, body: object = None, **kwargs: Any) -> httpx.Response:
    """A Messages request, a plain one by default."""
    return httpx.post(f"{url}/v1/messages", json=REQUEST if body is None else body, timeout=20, **kwargs)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of an envelope; fails where the answer is not one in every particular."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    assert body["request_id"].startswith("req_")
    error: dict[str, Any] = body["error"]
    return error


def asked(url: str, **changes: Any) -> httpx.Response:
    """The plain request with some fields changed."""
    return ask(url, {**REQUEST, **changes})


def refused(url: str, **changes: Any) -> dict[str, Any]:
    """The error of a request that is refused with a 400."""
    response = asked(url, **changes)
    assert response.status_code == 400, response.text
    error = error_of(response)
    assert error["type"] == "invalid_request_error"
    return error


def events_of(text: bytes) -> list[SSEEvent]:
    """The events of a stream."""
    return SSEDecoder().feed(text)


def data_of(event: SSEEvent) -> dict[str, Any]:
    """An event's data."""
    data: dict[str, Any] = msgspec.json.decode(event.data)
    return data


def names_of(text: bytes) -> list[str | None]:
    """The names of a stream's events."""
    return [event.event for event in events_of(text)]


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A plain connection."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=20) as sock:
        yield sock


def post_head(url: str, *headers: str, path: str = "/v1/messages") -> bytes:
    """The head of a POST with JSON."""
    lines = [f"POST {path} HTTP/1.1", f"host: {urlsplit(url).netloc}", "content-type: application/json"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def post_bytes(url: str, body: object) -> bytes:
    """A whole POST of JSON to /v1/messages."""
    data = msgspec.json.encode(body)
    return post_head(url, f"content-length: {len(data)}") + data


def read_all(sock: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """What comes up to a mark; fails where the server hangs up before."""
    data = b""
    while mark not in data:
        part = sock.recv(65536)
        assert part, f"the server hung up after {data[-200:]!r}"
        data += part
    return data


def read_response(sock: socket.socket) -> httpx.Response:
    """One answer that says how long it is."""
    head, _, body = read_until(sock, b"\r\n\r\n").partition(b"\r\n\r\n")
    response = _response(head, body)
    while len(body) < int(response.headers["content-length"]):
        body += sock.recv(65536)
    return _response(head, body)


def _response(head: bytes, body: bytes) -> httpx.Response:
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether something comes true; asked again and again, for so long at most."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return holds()
