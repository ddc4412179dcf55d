"""The Message Batches API over HTTP: six calls, their shapes, and every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from dragoman.engines.scripted import Hang, Script, ScriptedInferenceEngine, answer
from dragoman.server.app import create_app
from dragoman.settings import Settings
from dragoman.wire.openai import ChatRequest
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, connected, error_of, eventually, post_bytes
from tests.support.serving import serving


def echo(request: ChatRequest) -> Script:
    return answer(f"echo {request.messages[-1].content}")


def slow(request: ChatRequest) -> Script:
    return Script(steps=[Hang()])


def batch_of(*names: str, **fields: Any) -> dict[str, Any]:
    """A body with one request a name, which it says."""
    messages = REQUEST["messages"]
    return {
        "requests": [
            {
                "custom_id": name,
                "params": {**REQUEST, "messages": [{**messages[0], "content": name}], **fields},
            }
            for name in names
        ]
    }


def create(url: str, *names: str, **kwargs: Any) -> dict[str, Any]:
    made = httpx.post(f"{url}/v1/messages/batches", json=batch_of(*names), **kwargs)
    assert made.status_code == 200, made.text
    batch: dict[str, Any] = made.json()
    return batch


def ended(url: str, batch: dict[str, Any], client: Any = httpx, **kwargs: Any) -> dict[str, Any]:
    """The batch, when it has ended."""
    address = f"{url}/v1/messages/batches/{batch['id']}"
    assert eventually(
        lambda: client.get(address, **kwargs).json()["processing_status"] == "ended", seconds=20
    )
    found: dict[str, Any] = client.get(address, **kwargs).json()
    return found


def lines(response: Any) -> dict[str, Any]:
    """Custom id -> result."""
    found = [msgspec.json.decode(line) for line in response.text.splitlines()]
    results = {line["custom_id"]: line["result"] for line in found}
    assert len(results) == len(found)
    return results


@pytest.fixture
def url(serve: Serve, tmp_path: Path) -> str:
    """A server that echoes, with a state folder of its own."""
    return serve(echo, state_dir=str(tmp_path)).url


@pytest.fixture
def busy(serve: Serve, tmp_path: Path) -> str:
    """A server whose engine answers nothing, with a state folder of its own."""
    return serve(slow, state_dir=str(tmp_path)).url


def test_a_batch_runs_and_gives_its_results(url: str) -> None:
    names = [f"r-{number}" for number in range(50)]
    made = create(url, *names)
    assert made["id"].startswith("msgbatch_")
    assert {name: made[name] for name in made.keys() - {"id", "created_at", "expires_at"}} == {
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": 50, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    }
    done = ended(url, made)
    assert done["request_counts"] == {
        "processing": 0,
        "succeeded": 50,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    assert done["results_url"] == f"{url}/v1/messages/batches/{made['id']}/results"
    assert done["ended_at"] > done["created_at"]
    response = httpx.get(done["results_url"])
    assert response.headers["content-type"] == "application/x-jsonl"
    results = lines(response)
    assert list(results) == names
    assert results["r-7"]["message"]["content"][0]["text"] == "echo r-7"
    gone = httpx.delete(f"{url}/v1/messages/batches/{made['id']}?beta=true")
    assert gone.json() == {"id": made["id"], "type": "message_batch_deleted"}
    assert httpx.get(done["results_url"]).status_code == 404


def test_a_request_that_is_wrong_does_not_spoil_the_others(url: str) -> None:
    body = batch_of("good", "bad")
    body["requests"][1]["params"]["max_tokens"] = -1
    made = httpx.post(f"{url}/v1/messages/batches", json=body).json()
    done = ended(url, made)
    assert (done["request_counts"]["succeeded"], done["request_counts"]["errored"]) == (1, 1)
    results = lines(httpx.get(done["results_url"]))
    assert results["bad"]["error"]["error"]["message"].startswith("max_tokens: ")


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, None),
        ({"x-forwarded-proto": "https", "x-forwarded-host": "llm.example.org"}, "https://llm.example.org"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-host": "a.org:8443, b"}, "https://a.org:8443"),
        ({"x-forwarded-proto": "javascript", "x-forwarded-host": 'a"b'}, None),
    ],
)
def test_results_are_where_the_client_is(url: str, headers: dict[str, str], origin: str | None) -> None:
    made = create(url, "r")
    done = ended(url, made, headers=headers)
    assert done["results_url"] == f"{origin or url}/v1/messages/batches/{made['id']}/results"


def test_a_canceled_batch_begins_nothing_more(serve: Serve, tmp_path: Path) -> None:
    server = serve(slow, state_dir=str(tmp_path), batches={"concurrency": 2})
    made = create(server.url, *[f"r{number}" for number in range(9)])
    assert eventually(lambda: len(server.engine.calls) == 2)
    address = f"{server.url}/v1/messages/batches/{made['id']}"
    canceled = httpx.post(f"{address}/cancel")
    assert canceled.json()["processing_status"] == "canceling"
    assert canceled.json()["cancel_initiated_at"] is not None
    assert httpx.post(f"{address}/cancel").json() == canceled.json()
    assert len(server.engine.calls) == 2


def test_a_batch_that_runs_has_no_results_and_cannot_be_deleted(busy: str) -> None:
    made = create(busy, "r")
    address = f"{busy}/v1/messages/batches/{made['id']}"
    missing = httpx.get(f"{address}/results")
    assert missing.status_code == 404
    assert "processing_status is in_progress" in error_of(missing)["message"]
    kept = httpx.delete(address)
    assert (kept.status_code, error_of(kept)["type"]) == (400, "invalid_request_error")
    assert httpx.get(address).json() == made


def test_pages_lead_both_ways(busy: str) -> None:
    made = [create(busy, "r")["id"] for _ in range(5)][::-1]
    address = f"{busy}/v1/messages/batches"

    def page(query: str) -> tuple[list[str], bool]:
        found = httpx.get(f"{address}?{query}").json()
        ids = [batch["id"] for batch in found["data"]]
        assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, found["has_more"]

    assert page("") == (made, False)
    assert page("limit=2") == (made[:2], True)
    assert page(f"limit=2&after_id={made[1]}") == (made[2:4], True)
    assert page(f"limit=2&after_id={made[3]}") == (made[4:], False)
    assert page(f"after_id={made[4]}") == ([], False)
    assert page(f"limit=2&before_id={made[3]}") == (made[1:3], True)
    assert page(f"limit=9&before_id={made[3]}") == (made[:3], False)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("after_id=a&before_id=b", "after_id"),
        ("after_id=none", "after_id"),
        ("before_id=none", "before_id"),
    ],
)
def test_questions_that_cannot_be_answered(url: str, query: str, name: str) -> None:
    refused = httpx.get(f"{url}/v1/messages/batches?{query}")
    assert refused.status_code == 400
    assert error_of(refused)["message"].startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"requests": []}, 400, "requests: Input should have at least 1 item"),
        (batch_of("a", "b", "c", "d"), 400, "requests: Input should have at most 3 items"),
        (batch_of("a", "a"), 400, "requests.1.custom_id: "),
        (batch_of("a", system="x" * 10_000), 413, "larger than 9000 bytes"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(
    serve: Serve, tmp_path: Path, body: Any, status: int, words: str
) -> None:
    limits = {"max_requests": 3, "max_bytes": 9000}
    url = serve(state_dir=str(tmp_path), batches=limits).url
    refused = httpx.post(f"{url}/v1/messages/batches", json=body)
    assert refused.status_code == status
    assert words in error_of(refused)["message"]
    assert httpx.get(f"{url}/v1/messages/batches").json()["data"] == []


def test_a_web_page_cannot_make_a_batch_at_an_open_door(url: str) -> None:
    body = msgspec.json.encode(batch_of("a"))
    refused = httpx.post(f"{url}/v1/messages/batches", content=body, headers={"content-type": "text/plain"})
    assert refused.status_code == 415


def test_another_key_finds_nothing(serve: Serve, tmp_path: Path) -> None:
    url = serve(echo, state_dir=str(tmp_path), api_keys={"ann": "key-a", "bob": "key-b"}).url
    ann, bob = {"x-api-key": "key-a"}, {"x-api-key": "key-b"}
    made = create(url, "r", headers=ann)
    address = f"{url}/v1/messages/batches/{made['id']}"
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/results")):
        assert httpx.request(method, address + path, headers=bob).status_code == 404
        assert httpx.request(method, address + path).status_code == 401
    assert httpx.get(f"{url}/v1/messages/batches", headers=bob).json()["data"] == []
    done = ended(url, made, headers=ann)
    assert lines(httpx.get(done["results_url"], headers=ann))["r"]["type"] == "succeeded"


def test_a_batch_goes_on_with_the_next_server(tmp_path: Path) -> None:
    with serving(ScriptedInferenceEngine(slow), state_dir=str(tmp_path)) as first:
        made = create(first.url, "a", "b")
    with serving(ScriptedInferenceEngine(echo), state_dir=str(tmp_path)) as second:
        done = ended(second.url, made)
        assert lines(httpx.get(done["results_url"]))["b"]["message"]["content"][0]["text"] == "echo b"


def test_a_server_that_is_stopping_begins_nothing_again(serve: Serve, tmp_path: Path) -> None:
    server = serve(slow, state_dir=str(tmp_path), timeouts={"shutdown": 2.0})
    made = create(server.url, "a")
    assert eventually(lambda: len(server.engine.calls) == 1)
    address = f"{server.url}/v1/messages/batches/{made['id']}"
    with connected(server.url) as sock, httpx.Client() as client:
        # its answer keeps the server until its time is over
        sock.sendall(post_bytes(server.url, STREAMED))
        assert eventually(lambda: len(server.engine.calls) == 2)
        client.get(address)
        server.running.begin_stop()
        assert eventually(lambda: server.engine.calls[0].outcome == "cancelled")
        assert client.get(address).json()["processing_status"] == "in_progress"
        server.running.stop()
    assert len(server.engine.calls) == 2


def test_a_mounted_app_goes_on_when_it_is_asked(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path))
    with serving(ScriptedInferenceEngine(slow), state_dir=str(tmp_path)) as first:
        made = create(first.url, "a")
    app = create_app(ScriptedInferenceEngine(echo), settings)
    mounted = Starlette(routes=[Mount("/llm", app=app)])
    with TestClient(mounted, base_url="http://localhost") as client:
        done = ended("/llm", made, client)
        assert done["results_url"] == f"http://localhost/llm/v1/messages/batches/{made['id']}/results"
        assert lines(client.get(done["results_url"]))["a"]["type"] == "succeeded"
        assert client.portal is not None
        client.portal.call(app.aclose)
        client.portal.call(app.service.client.aclose)


def test_a_server_of_somebody_else_can_leave_them_alone(tmp_path: Path) -> None:
    with serving(ScriptedInferenceEngine(slow), state_dir=str(tmp_path)) as first:
        create(first.url, "a")
    engine = ScriptedInferenceEngine(echo)
    with serving(engine, resumes_batches=False, state_dir=str(tmp_path)) as second:
        assert httpx.get(f"{second.url}/v1/messages/batches").json()["data"][0]["ended_at"] is None
    assert engine.calls == []


def test_results_that_are_deleted_while_they_are_read_cut_the_connection(url: str) -> None:
    # more than what a connection holds that nobody reads
    body = batch_of(*[f"r{number}" for number in range(100)])
    for request in body["requests"]:
        request["params"]["messages"][0]["content"] = "x" * 250_000
    made = httpx.post(f"{url}/v1/messages/batches", json=body, timeout=30).json()
    done = ended(url, made)
    with httpx.stream("GET", done["results_url"]) as response:
        pieces = response.iter_raw(1024)
        next(pieces)
        assert httpx.delete(done["results_url"].removesuffix("/results")).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
