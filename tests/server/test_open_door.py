"""A server without keys: this machine only, and no web page."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dragoman.engines.scripted import ScriptedInferenceEngine
from dragoman.errors import SettingsError
from dragoman.routing.client import InferenceEngineClient
from dragoman.server.run import bind, new_loop
from dragoman.server.run import serve as serving
from dragoman.settings import Settings
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, connected, error_of, read_response


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
def test_other_addresses_want_keys(host: str) -> None:
    with pytest.raises(SettingsError, match="there are no API keys; set api_keys"):
        bind(Settings(host=host, port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_needs_none(host: str) -> None:
    bind(Settings(host=host, port=0)).close()


def test_keys_open_other_addresses() -> None:
    bind(Settings(host="0.0.0.0", port=0, api_keys={"me": "k"})).close()


def test_a_port_in_use_is_said_in_one_sentence() -> None:
    with bind(Settings(port=0)) as taken:
        taken.listen()
        with pytest.raises(SettingsError, match="the port is in use; --port chooses another one"):
            bind(Settings(port=taken.getsockname()[1]))


def test_a_port_that_was_taken_while_the_engine_loaded_is_said_too() -> None:
    with bind(Settings(port=0)) as sock:
        settings = Settings(port=sock.getsockname()[1])
        with bind(settings) as late, asyncio.Runner(loop_factory=new_loop) as runner:
            sock.listen()
            engine = InferenceEngineClient([ScriptedInferenceEngine([])])
            with pytest.raises(SettingsError, match="the port is in use"):
                runner.run(serving(settings, late, lambda *_: None, client=engine, signals=()))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8484",
        "127.9.9.9",
        "[::1]",
        "[::1]:80",
        "a.example:7",
    ],
)
def test_names_of_this_machine_are_answered(serve: Serve, host: str) -> None:
    url = serve(allowed_hosts=["A.example"]).url
    assert ask(url, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "",
        "[::1",
        ":80",
        "127.0.0.1:80@evil.example",
        "localhost:80:80",
        "[::1]:80@evil.example",
        "localhost/evil.example",
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/health", "/nothing"])
def test_other_names_are_refused(plain: str, host: str, path: str) -> None:
    response = httpx.post(plain + path, json=REQUEST, headers={"host": host})
    assert response.status_code == 403
    assert error_of(response)["type"] == "permission_error"


@pytest.mark.parametrize("lines", ["", "host: localhost\r\nhost: localhost\r\n"])
def test_exactly_one_name_is_expected(plain: str, lines: str) -> None:
    with connected(plain) as sock:
        sock.sendall(f"GET /health HTTP/1.1\r\n{lines}\r\n".encode())
        assert read_response(sock).status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_that_any_page_could_post_is_refused(plain: str, kind: str) -> None:
    response = ask(plain, headers={"content-type": kind})
    assert response.status_code == 415
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/x+json"]
)
def test_json_is_taken(plain: str, kind: str) -> None:
    assert ask(plain, headers={"content-type": kind}).status_code == 200


PREFLIGHT = {
    "origin": "https://page.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type, x-api-key",
    "access-control-request-private-network": "true",
}


def test_pages_of_other_origins_get_nothing_by_default(serve: Serve) -> None:
    url = serve().url
    asked = httpx.options(f"{url}/v1/messages", headers=PREFLIGHT)
    answered = ask(url, headers={"origin": "https://page.example"})
    assert asked.status_code == 405
    assert not [name for name in [*asked.headers, *answered.headers] if name.startswith("access-control")]


@pytest.mark.parametrize("origins", [["https://page.example"], ["*"]])
def test_named_pages_may_ask_and_read(serve: Serve, origins: list[str]) -> None:
    url = serve(cors_origins=origins, api_keys={"me": "k"}).url
    asked = httpx.options(f"{url}/v1/messages", headers=PREFLIGHT)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://page.example"
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert asked.headers["access-control-allow-headers"] == "content-type, x-api-key"
    assert asked.headers["access-control-allow-private-network"] == "true"
    answered = ask(url, headers={"origin": "https://page.example", "x-api-key": "k"})
    assert answered.headers["access-control-allow-origin"] == "https://page.example"
    assert "request-id" in answered.headers["access-control-expose-headers"]
    assert answered.headers["vary"] == "origin"
    refused = ask(url, headers={"origin": "https://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"


def test_a_bare_preflight_allows_no_headers(serve: Serve) -> None:
    url = serve(cors_origins=["*"]).url
    headers = {"origin": "null", "access-control-request-method": "POST"}
    asked = httpx.options(f"{url}/v1/messages", headers=headers)
    assert asked.headers["access-control-allow-origin"] == "null"
    assert "access-control-allow-headers" not in asked.headers


def test_other_pages_stay_out(serve: Serve) -> None:
    url = serve(cors_origins=["https://page.example"]).url
    asked = httpx.options(f"{url}/v1/messages", headers={**PREFLIGHT, "origin": "https://other.example"})
    assert asked.status_code == 405
    assert "access-control-allow-origin" not in asked.headers
