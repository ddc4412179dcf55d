"""Any body gets a well-formed answer or a 4xx in the envelope: never a 500, never silence."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.engines.scripted import ScriptedInferenceEngine, answer
from dragoman.server.app import create_app
from dragoman.settings import Settings
from tests.support import answers

PATHS = ["/v1/messages", "/v1/messages/count_tokens"]
VALID: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "output_config": {"effort": "low"},
    "stop_sequences": ["stop"],
    "metadata": {"user_id": "u"},
    "stream": False,
}
# Words that mean something somewhere in a request, so that chance finds the places where they do.
WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        """
        type text role user assistant system content source base64 data media_type image/png url file tool_use
        tool_result tool_use_id id name input is_error thinking signature redacted_thinking document
        search_result tool_reference tool_name cache_control ephemeral enabled disabled adaptive budget_tokens
        display omitted any none tool auto function json_schema schema format effort low max stream thread
        create continue session_id metadata user_id mcp_servers container context_management edits
        bash_20250124 web_search_20250305 defer_loading custom strict claude-x scripted max_tokens
        stop_sequences
        """,
    )
)
TEXTS = WORDS | st.text(max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2, 5)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
MANY = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Asked:
    """A server in this process and thread, without a network."""

    def __init__(self, runner: asyncio.Runner) -> None:
        engine = ScriptedInferenceEngine({"": answer("Hello.", thinking="Hm.", calls=[("f", '{"a": 1}')])})
        self._runner = runner
        self._app = create_app(engine, Settings(signature_key="00" * 32))
        transport = httpx.ASGITransport(self._app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        runner.run(self._app.service.client.start())

    def post(self, path: str, body: bytes) -> httpx.Response:
        """The answer to a body."""
        headers = {"content-type": "application/json"}
        return self._runner.run(self._client.post(path, content=body, headers=headers))

    def close(self) -> None:
        """Frees what it holds."""
        self._runner.run(self._client.aclose())
        self._runner.run(self._app.service.client.aclose())


@pytest.fixture(scope="module")
def server() -> Iterator[Asked]:
    """One server for all bodies."""
    with asyncio.Runner() as runner:
        asked = Asked(runner)
        yield asked
        asked.close()


def check(response: httpx.Response) -> None:
    """Fails for anything but a message, a whole stream, a count, or a client's error in the envelope."""
    assert response.headers["request-id"].startswith("req_")
    if response.status_code == 200:
        _check_success(response)
    else:
        body = response.json()
        assert 400 <= response.status_code < 500, body
        assert body["type"] == "error"
        assert body["request_id"] == response.headers["request-id"]
        assert body["error"]["message"]
        assert body["error"]["type"] in {"invalid_request_error", "not_found_error"}


def _check_success(response: httpx.Response) -> None:
    if response.headers["content-type"].startswith("text/event-stream"):
        message = answers.read(response.content)
    else:
        message = response.json()
    if "input_tokens" in message:
        assert message["input_tokens"] > 0
    else:
        assert message["type"] == "message"
        assert message["stop_reason"]
        assert message["usage"]["input_tokens"] > 0


@pytest.mark.parametrize("path", PATHS)
@MANY
@given(body=JSON)
def test_any_json(server: Asked, path: str, body: object) -> None:
    check(server.post(path, msgspec.json.encode(body)))


@st.composite
def mutated(draw: st.DrawFn) -> object:
    """A valid request in which some values, anywhere, are replaced, removed, or joined by others."""
    request = msgspec.json.decode(msgspec.json.encode(VALID))
    request["stream"] = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        place = request
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else None
            inner = place[key] if key is not None else None
            if not isinstance(inner, dict | list) or not draw(st.booleans()):
                break
            place = inner
        _change(draw, place, key)
    return request


def _change(draw: st.DrawFn, place: Any, key: Any) -> None:
    how = draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "add" or key is None:
        extra = draw(JSON)
        if isinstance(place, dict):
            place[draw(TEXTS)] = extra
        else:
            place.append(extra)
    elif how == "remove":
        del place[key]
    else:
        place[key] = draw(JSON)


@pytest.mark.parametrize("path", PATHS)
@MANY
@given(body=mutated())
def test_any_change_of_a_valid_request(server: Asked, path: str, body: object) -> None:
    check(server.post(path, msgspec.json.encode(body)))


@pytest.mark.parametrize("path", PATHS)
@MANY
@given(body=st.binary(max_size=200))
def test_any_bytes(server: Asked, path: str, body: bytes) -> None:
    check(server.post(path, body))


@MANY
@given(place=st.integers(0, 10_000), changed=st.binary(max_size=4), removed=st.integers(0, 4))
def test_any_damage_to_the_bytes_of_a_request(
    server: Asked, place: int, changed: bytes, removed: int
) -> None:
    body = msgspec.json.encode(VALID)
    at = place % len(body)
    check(server.post("/v1/messages", body[:at] + changed + body[at + removed :]))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        msgspec.json.encode(VALID).replace(b'"Hi"', b"[" * 5000 + b"]" * 5000),
        msgspec.json.encode(VALID).replace(b'{"a":[1]}', b'{"a":' * 5000 + b"1" + b"}" * 5000),
        msgspec.json.encode(VALID).replace(b"10", b"1" * 5000),
        msgspec.json.encode(VALID).replace(b"10", b"1e999"),
        msgspec.json.encode(VALID).replace(b'"Hi"', b'"\\ud800"'),
        msgspec.json.encode(VALID).replace(b'"Hi"', b'"\\u0000"'),
        b"\xef\xbb\xbf" + msgspec.json.encode(VALID),
        msgspec.json.encode(VALID).decode().encode("utf-16"),
    ],
    ids=[
        "[[[",
        "{{{",
        "deep content",
        "deep input",
        "long number",
        "infinite",
        "surrogate",
        "nul",
        "bom",
        "utf-16",
    ],
)
def test_what_breaks_parsers(server: Asked, body: bytes) -> None:
    for path in PATHS:
        check(server.post(path, body))


def test_the_valid_request_is_valid(server: Asked) -> None:
    assert server.post("/v1/messages", msgspec.json.encode(VALID)).status_code == 200
