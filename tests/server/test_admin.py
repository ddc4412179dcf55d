"""/admin: the control plane over HTTP, behind its own key."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest

from dragoman.engines.scripted import ScriptedInferenceEngine, answer
from dragoman.routing.client import InferenceEngineClient
from tests.support.serving import running_server
from tests.unit.routing.test_control import ALL, Controlled

KEYED = {"x-api-key": "admin-secret"}
ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def served(*engines: ScriptedInferenceEngine, **settings: Any) -> Any:
    settings.setdefault("admin_key", "admin-secret")
    return running_server(InferenceEngineClient(engines), **settings)


def post(url: str, path: str, body: object = None, **more: Any) -> httpx.Response:
    more.setdefault("headers", KEYED)
    given: dict[str, Any] = {} if body is None else {"json": body}
    return httpx.post(f"{url}/admin/{path}", **given, **more)


def told(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["message"]


CALLS: list[tuple[str, object, tuple[Any, ...]]] = [
    ("pause", None, ("pause_generation", "keep")),
    ("pause", {"mode": "abort"}, ("pause_generation", "abort")),
    ("resume", {}, ("resume_generation",)),
    ("sleep", {"level": 2}, ("sleep", 2)),
    ("wake_up", {"tags": ["weights"]}, ("wake_up", ("weights",))),
    ("reset_prefix_cache", None, ("reset_prefix_cache",)),
    ("init_weight_update", {"info": {"port": 1}}, ("init_weight_update_communicator", {"port": 1})),
    (
        "update_weights",
        {"update": {"weight_version": "7"}},
        ("update_named_weights", {"weight_version": "7"}),
    ),
    ("teardown", None, ("teardown",)),
    ("finish_session", {"session_id": "s", "key": "alice"}, ("finish_session", "alice\0s")),
]


@pytest.mark.parametrize(
    ("path", "body", "noted"), CALLS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_control_reaches_all_engines(path: str, body: object, noted: tuple[Any, ...]) -> None:
    one, two = Controlled("one"), Controlled("two")
    with served(one, two) as url:
        got = post(url, path, body)
        assert (got.status_code, got.json()) == (200, {"status": "ok"})
    assert noted in one.noted.told
    assert noted in two.noted.told


def test_without_the_key_nothing_is_done() -> None:
    one = Controlled("one")
    with served(one, api_keys={"alice": "secret"}) as url:
        for headers in ({}, {"x-api-key": "secret"}, {"authorization": "Bearer wrong"}):
            assert post(url, "pause", headers=headers).status_code == 401
        assert post(url, "pause", headers={"authorization": "Bearer admin-secret"}).status_code == 200
        # the admin's key opens no other door
        assert httpx.post(f"{url}/v1/messages", json=ASKED, headers=KEYED).status_code == 401
    with served(Controlled("two"), admin_key="") as url:
        assert post(url, "pause").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("pause", {"mode": "stop"}, "mode"),
        ("pause", {"modes": "keep"}, "modes"),
        ("pause", [], "object"),
        ("sleep", {"level": 3}, "level"),
        ("init_weight_update", {}, "info"),
        ("update_weights", {"update": []}, "update"),
        ("finish_session", {"session_id": ""}, "session_id"),
        ("engines", {"name": "x"}, "url"),
        ("engines", {"url": "ftp://x"}, "url"),
        ("engines", {"url": "http://127.0.0.1:1", "name": "one"}, "one"),
        ("engines/one/drain", {"seconds": 0}, "seconds"),
    ],
)
def test_a_mistake_is_told_by_its_field(path: str, body: object, field: str) -> None:
    one = Controlled("one")
    with served(one) as url:
        status, message = told(post(url, path, body))
    assert status == 400
    assert field in message
    assert not [each for each in one.noted.told if each != ("weight_version",)]


def test_each_failure_is_told_by_engine() -> None:
    with served(Controlled("one"), Controlled("two", failing="sleep")) as url:
        got = post(url, "sleep")
    assert told(got) == (500, "sleep: failed on two; done on one")
    assert got.json()["error"]["details"] == {"engines": {"two": "two failed"}, "done": ["one"]}
    assert got.headers["x-should-retry"] == "false"


def test_what_no_engine_has_is_said() -> None:
    with served(ScriptedInferenceEngine([], models=["m"])) as url:
        assert told(post(url, "sleep")) == (501, "sleep: the engine client cannot do this")


def test_calls_wait_on_pings_while_generation_is_paused() -> None:
    one = Controlled("one")
    with served(one, ping_interval=0.05) as url:
        assert post(url, "pause", {"mode": "wait"}).status_code == 200
        lines: list[str] = []

        def read() -> None:
            with httpx.stream("POST", f"{url}/v1/messages", json={**ASKED, "stream": True}) as stream:
                lines.extend(line for line in stream.iter_lines() if line.startswith("event: "))

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.3)
        assert not one.calls
        assert post(url, "resume").status_code == 200
        reader.join(10)
    assert lines[0] == "event: message_start"
    assert lines.count("event: ping") >= 2
    assert lines[-1] == "event: message_stop"
    assert "event: error" not in lines


def test_an_answer_tells_its_engine_and_its_weights() -> None:
    one = Controlled("one", version="3")
    with served(one) as url:
        for body in (ASKED, {**ASKED, "stream": True}):
            headers = httpx.post(f"{url}/v1/messages", json=body).headers
            assert (headers["x-dragoman-engine"], headers["x-dragoman-weight-version"]) == ("one", "3")
        assert post(url, "update_weights", {"update": {"weight_version": "4"}}).status_code == 200
        headers = httpx.post(f"{url}/v1/messages", json=ASKED).headers
        assert headers["x-dragoman-weight-version"] == "4"
        got = httpx.get(f"{url}/admin/weight_version", headers=KEYED)
        assert got.json() == {"engines": {"one": "4"}}


def test_engines_are_listed_drained_and_removed() -> None:
    bare = ScriptedInferenceEngine(lambda _request: answer("Hi"), name="org/two", models=["m"])
    with served(Controlled("one", version="3"), bare) as url:
        first, second = httpx.get(f"{url}/admin/engines", headers=KEYED).json()["engines"]
        assert first == {
            "name": "one",
            "status": "ok",
            "detail": "",
            "models": ["m"],
            "in_flight": 0,
            "load": 0,
            "is_draining": False,
            "weight_version": "3",
            "controls": sorted(ALL),
        }
        assert (second["name"], second["controls"]) == ("org/two", [])
        assert post(url, "engines/org/two/drain", {"seconds": 1}).json() == {"status": "idle"}
        listed = httpx.get(f"{url}/admin/engines", headers=KEYED).json()["engines"]
        assert [each["is_draining"] for each in listed] == [False, True]
        assert httpx.delete(f"{url}/admin/engines/org/two", headers=KEYED).status_code == 200
        assert httpx.post(f"{url}/v1/messages", json=ASKED).headers["x-dragoman-engine"] == "one"
        missing = httpx.delete(f"{url}/admin/engines/org/two", headers=KEYED)
    assert told(missing) == (404, "no engine is called 'org/two'; there is one")


def test_an_engine_is_added_while_the_server_runs() -> None:
    inner = ScriptedInferenceEngine(lambda _request: answer("Hi"), name="one", models=["m"])
    with served(inner) as url:
        entry = {"url": "http://127.0.0.1:1", "name": "late", "models": ["late-model"], "dialect": "vllm"}
        assert post(url, "engines", entry).status_code == 200
        listed = httpx.get(f"{url}/admin/engines", headers=KEYED).json()["engines"]
        assert [(each["name"], each["status"]) for each in listed] == [("one", "ok"), ("late", "unreachable")]
        assert {each["id"] for each in httpx.get(f"{url}/v1/models").json()["data"]} == {"m", "late-model"}
