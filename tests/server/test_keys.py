"""Who comes in where there are keys."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from dragoman.engines.scripted import ScriptedInferenceEngine, answer
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, connected, error_of, eventually, post_head, read_response
from tests.support.serving import running_server

KEYS = {"alice": "key-a", "bob": "schlüssel-b", "carol": "clé-à"}


@pytest.fixture(scope="module")
def keyed() -> Iterator[str]:
    """The address of a server with two keys."""
    with running_server(ScriptedInferenceEngine({"": answer("Hello.")}), api_keys=KEYS) as url:
        yield url


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "key-a"},
        {"authorization": "Bearer key-a"},
        {"authorization": "bearer   key-a"},
        {"x-api-key": "schlüssel-b".encode()},
        {"x-api-key": "clé-à".encode()},
        {"x-api-key": "key-a", "authorization": "Bearer wrong"},
    ],
)
def test_any_of_the_keys_opens_in_either_header(keyed: str, headers: dict[str, str | bytes]) -> None:
    assert ask(keyed, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "key-"},
        {"x-api-key": "key-aa"},
        {"authorization": "key-a"},
        {"authorization": "Basic key-a"},
        {"authorization": "Bearer"},
        {"x-api-key": "wrong", "authorization": "Bearer key-a"},
        {"x-api-key": "", "authorization": "Bearer key-a"},
    ],
)
def test_everything_else_is_refused_for_good(keyed: str, headers: dict[str, str]) -> None:
    response = ask(keyed, headers=headers)
    assert response.status_code == 401
    assert response.headers["x-should-retry"] == "false"
    assert error_of(response)["type"] == "authentication_error"


def test_two_keys_are_as_good_as_none(keyed: str) -> None:
    with connected(keyed) as sock:
        sock.sendall(post_head(keyed, "content-length: 0", "x-api-key: key-a", "x-api-key: key-a"))
        assert read_response(sock).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/scripted"),
        ("GET", "/metrics"),
    ],
)
def test_every_path_that_tells_something_wants_a_key(keyed: str, method: str, path: str) -> None:
    assert httpx.request(method, keyed + path).status_code == 401


def test_a_server_with_keys_answers_to_any_name_and_type(keyed: str) -> None:
    headers = {"x-api-key": "key-a", "host": "proxy.example", "content-type": "text/plain"}
    assert ask(keyed, headers=headers).status_code == 200


def test_the_log_names_who_called_and_never_the_key(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dragoman")
    ask(serve(api_keys=KEYS).url, headers={"x-api-key": "key-a"})
    assert eventually(lambda: "request" in [record.message for record in caplog.records])
    lines = [record.fields for record in caplog.records if record.message == "request"]  # type: ignore[attr-defined]  # our own extra
    assert [(line["key"], line["status"], line["engine"]) for line in lines] == [("alice", 200, "scripted")]
    assert "key-a" not in str(lines)
    assert str(REQUEST["messages"][0]["content"]) not in str(lines)
