"""Which path answers what, and how everything else is refused."""

from __future__ import annotations

import httpx
import pytest

from dragoman import __version__
from dragoman.routing import fleet as fleet_module
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, ask, error_of, eventually, names_of


def test_a_whole_answer_has_its_headers(plain: str) -> None:
    response = ask(plain)
    assert response.status_code == 200
    assert response.json()["content"] == [
        {"type": "text", "text": "Hello from the script.", "citations": None}
    ]
    assert response.json()["model"] == "claude-test"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["x-dragoman-engine"] == "scripted"


def test_a_stream_has_its_headers_and_events(plain: str) -> None:
    response = ask(plain, STREAMED)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-dragoman-engine"] == "scripted"
    names = names_of(response.content)
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])


def test_every_request_has_an_id_of_its_own(serve: Serve) -> None:
    url = serve().url
    ids = {httpx.get(f"{url}/health").headers["request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("query", ["?beta=true", "?anything=else"])
def test_queries_make_no_difference(serve: Serve, query: str) -> None:
    url = serve().url
    assert httpx.post(f"{url}/v1/messages{query}", json=REQUEST).status_code == 200
    count = {name: REQUEST[name] for name in ("model", "messages")}
    assert httpx.post(f"{url}/v1/messages/count_tokens{query}", json=count).json()["input_tokens"] > 0


def test_a_count_equals_what_is_billed(serve: Serve) -> None:
    url = serve().url
    count = {name: REQUEST[name] for name in ("model", "messages")}
    counted = httpx.post(f"{url}/v1/messages/count_tokens", json=count).json()
    assert counted == {"input_tokens": ask(url).json()["usage"]["input_tokens"]}


def test_a_count_answers_context_management(serve: Serve) -> None:
    body = {"model": "scripted", "messages": REQUEST["messages"], "context_management": {"edits": []}}
    counted = httpx.post(f"{serve().url}/v1/messages/count_tokens", json=body).json()
    assert counted["context_management"] == {"original_input_tokens": counted["input_tokens"]}


@pytest.mark.parametrize("path", ["/", "/api/hello"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_clients_may_probe(serve: Serve, method: str, path: str) -> None:
    response = httpx.request(method, serve(api_keys={"me": "k"}).url + path)
    assert response.status_code == 200
    shown = {"GET": {"name": "dragoman", "version": __version__, "api": "/v1/messages"}, "HEAD": None}
    assert (response.json() if response.content else None) == shown[method]


def test_health_and_readiness(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "CALM_INTERVAL", 0.02)
    served = serve(api_keys={"me": "k"})
    assert httpx.get(f"{served.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{served.url}/ready").json() == {"status": "ok"}
    served.engine.status = "loading"
    assert eventually(lambda: httpx.get(f"{served.url}/ready").status_code == 503)
    response = httpx.get(f"{served.url}/ready")
    assert "loading" in error_of(response)["message"]
    assert httpx.get(f"{served.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("POST", "/v1/complete"),
        ("POST", "/v1/messages/"),
        ("POST", "/v1/chat/completions/"),
        ("DELETE", "/v1"),
        ("GET", "/v1/messages/batch"),
        ("POST", "/v1//messages"),
        ("GET", "/%FF%00"),
    ],
)
def test_unknown_paths_get_the_envelope(plain: str, method: str, path: str) -> None:
    response = httpx.request(method, plain + path)
    assert response.status_code == 404
    assert error_of(response)["type"] == "not_found_error"


def test_a_base_url_that_ends_in_v1_is_told_so(serve: Serve) -> None:
    response = httpx.post(f"{serve().url}/v1/v1/messages", json=REQUEST)
    assert response.status_code == 404
    assert "must not end in /v1" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/messages", "POST"),
        ("PUT", "/v1/messages", "POST"),
        ("GET", "/v1/messages/count_tokens", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/x", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("OPTIONS", "/v1/messages", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
    ],
)
def test_wrong_methods_are_told_the_right_ones(plain: str, method: str, path: str, allowed: str) -> None:
    response = httpx.request(method, plain + path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert error_of(response)["type"] == "invalid_request_error"


def test_a_failure_of_ours_shows_nothing_of_itself(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()

    def fails(model: str) -> str:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(served.running.app.service, "resolve", fails)
    response = ask(served.url)
    assert response.status_code == 500
    error = error_of(response)
    assert (error["type"], error["message"]) == ("api_error", "internal server error")
    failures = [record for record in caplog.records if record.exc_info]
    assert [record.fields["id"] for record in failures] == [response.headers["request-id"]]  # type: ignore[attr-defined]  # our own extra


def test_metrics_stand_behind_the_keys(serve: Serve) -> None:
    url = serve(api_keys={"me": "k"}).url
    assert httpx.get(f"{url}/metrics").status_code == 401
    ask(url, headers={"x-api-key": "k"})
    text = httpx.get(f"{url}/metrics", headers={"authorization": "Bearer k"}).text
    assert 'dragoman_requests_total{model="scripted",route="/v1/messages",status="200"} 1.0' in text
    assert 'dragoman_requests_total{model="",route="/metrics",status="401"} 1.0' in text
    assert 'dragoman_tokens_total{kind="output",model="scripted"}' in text


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.__dict__["fields"] for record in caplog.records if record.message == "request"]


def test_the_log_says_why_a_request_was_refused(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dragoman")
    blocks = [{"role": "user", "content": [{"type": "a secret"}]}]
    assert ask(serve().url, {**REQUEST, "messages": blocks}).status_code == 400
    assert eventually(lambda: len(_lines(caplog)) == 1)
    (line,) = _lines(caplog)
    assert (line["status"], line["error"]) == (400, "invalid_request_error")
    assert str(line["why"]).startswith("messages.0.content.0.type: Input should be 'text', ")
    assert "secret" not in caplog.text + str(line)


def test_a_refusal_on_which_clients_go_on_is_called_expected(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dragoman")
    body = {**REQUEST, "thread": {"type": "continue", "previous_message_id": "msg_0"}}
    url = serve().url
    assert httpx.post(f"{url}/v1/messages/count_tokens", json=body).status_code == 400
    assert ask(url, body).status_code == 404
    assert eventually(lambda: len(_lines(caplog)) == 2)
    assert [line["note"] for line in _lines(caplog)] == [
        "expected: the client goes on without threads",
        "expected: the client sends the whole conversation",
    ]
    assert not any({"error", "why"} & set(line) for line in _lines(caplog))
