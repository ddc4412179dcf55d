"""What a client sees of a batch whose time passes: over HTTP, with other results, and after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from dragoman.engines.scripted import Hang, Script, ScriptedInferenceEngine, Scripts, answer, refuse
from dragoman.errors import OverloadedError
from dragoman.server.app import create_service
from dragoman.store.store import Store
from dragoman.wire.openai import ChatRequest
from tests.server.http import eventually
from tests.server.test_batches import batch_of, create, ended, lines
from tests.support.clock import Clock
from tests.support.serving import serving, settings_of

DAY = 86_400
COUNTS = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
EXPIRED = {"type": "expired"}


class Timed(msgspec.Struct, frozen=True):
    """A running server whose store has the test's clock, and the engine behind it."""

    url: str
    engine: ScriptedInferenceEngine


@contextmanager
def timed(folder: Path, clock: Clock, scripts: Scripts, **values: Any) -> Iterator[Timed]:
    values = {"state_dir": str(folder), **values}
    settings = settings_of(values)
    engine = ScriptedInferenceEngine(scripts)
    service = create_service(engine, settings)
    service.store = Store(settings, clock)
    with serving(service, **values) as running:
        yield Timed(running.url, engine)


def said(request: ChatRequest) -> str:
    return str(request.messages[-1].content)


def echo(request: ChatRequest) -> Script:
    return answer(f"echo {said(request)}")


def full_for_late(request: ChatRequest) -> Script:
    """An engine that is full whenever it is asked for what is called late."""
    return refuse(OverloadedError("full")) if said(request).startswith("late") else echo(request)


def hangs_for_late(request: ChatRequest) -> Script:
    """An engine that never answers what is called late."""
    return Script(steps=[Hang()]) if said(request).startswith("late") else echo(request)


def words(result: dict[str, Any]) -> str:
    text: str = result["message"]["content"][0]["text"]
    return text


def is_asked(engine: ScriptedInferenceEngine, name: str) -> bool:
    return any(said(call.request) == name for call in engine.calls)


def is_answered(engine: ScriptedInferenceEngine, name: str) -> bool:
    return any(said(call.request) == name and call.outcome == "finished" for call in engine.calls)


def test_a_batch_that_nothing_answers_in_time_expires_whole(tmp_path: Path) -> None:
    clock = Clock()
    with timed(tmp_path, clock, full_for_late) as server:
        made = create(server.url, "late-1", "late-2", "late-3")
        assert eventually(lambda: is_asked(server.engine, "late-1"))
        clock.pass_by(DAY + 1)
        done = ended(server.url, made)
        assert done["request_counts"] == {**COUNTS, "expired": 3}
        assert done["ended_at"] > done["expires_at"] > done["created_at"]
        assert (done["cancel_initiated_at"], done["archived_at"]) == (None, None)
        response = httpx.get(done["results_url"])
    assert [msgspec.json.decode(line) for line in response.text.splitlines()] == [
        {"custom_id": f"late-{number}", "result": EXPIRED} for number in (1, 2, 3)
    ]


def test_a_batch_that_expires_in_the_middle_keeps_what_it_has(tmp_path: Path) -> None:
    clock = Clock()
    body = batch_of("first", "wrong", "late-1", "second", "late-2")
    body["requests"][1]["params"]["max_tokens"] = -1
    with timed(tmp_path, clock, full_for_late, batches={"concurrency": 5}) as server:
        made = httpx.post(f"{server.url}/v1/messages/batches", json=body).json()
        assert eventually(lambda: all(is_answered(server.engine, name) for name in ("first", "second")))
        before = httpx.get(f"{server.url}/v1/messages/batches/{made['id']}").json()
        assert (before["processing_status"], before["results_url"]) == ("in_progress", None)
        clock.pass_by(DAY + 1)
        done = ended(server.url, made)
        results = lines(httpx.get(done["results_url"]))
        assert httpx.delete(f"{server.url}/v1/messages/batches/{made['id']}").status_code == 200
    assert done["request_counts"] == {**COUNTS, "succeeded": 2, "errored": 1, "expired": 2}
    assert list(results) == ["first", "wrong", "late-1", "second", "late-2"]
    assert (words(results["first"]), words(results["second"])) == ("echo first", "echo second")
    assert results["wrong"]["type"] == "errored"
    assert (results["late-1"], results["late-2"]) == (EXPIRED, EXPIRED)


def test_a_batch_whose_time_passes_between_two_servers_expires_in_the_second(tmp_path: Path) -> None:
    clock = Clock()
    with timed(tmp_path, clock, hangs_for_late, batches={"concurrency": 2}) as first:
        made = create(first.url, "early", "late-running", "late-too", "late-waiting")
        assert eventually(lambda: is_answered(first.engine, "early") and is_asked(first.engine, "late-too"))
    clock.pass_by(DAY + 1)
    with timed(tmp_path, clock, echo) as second:
        done = ended(second.url, made)
        results = lines(httpx.get(done["results_url"]))
        # nothing begins after its time
        assert second.engine.calls == []
    assert done["request_counts"] == {**COUNTS, "succeeded": 1, "expired": 3}
    assert words(results.pop("early")) == "echo early"
    assert results == {"late-running": EXPIRED, "late-too": EXPIRED, "late-waiting": EXPIRED}
    with timed(tmp_path, clock, echo) as third:
        again = httpx.get(f"{third.url}/v1/messages/batches/{made['id']}").json()
        assert again == {**done, "results_url": again["results_url"]}
        assert list(lines(httpx.get(again["results_url"]))) == ["early", *results]


def test_one_batch_expires_and_a_younger_one_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    with timed(tmp_path, clock, hangs_for_late, batches={"concurrency": 1}) as first:
        old = create(first.url, "late-old", "old")
        assert eventually(lambda: is_asked(first.engine, "late-old"))
        clock.pass_by(DAY / 2)
        young = create(first.url, "young")
    clock.pass_by(DAY / 2 + 1)
    with timed(tmp_path, clock, echo) as second:
        assert ended(second.url, old)["request_counts"] == {**COUNTS, "expired": 2}
        assert ended(second.url, young)["request_counts"] == {**COUNTS, "succeeded": 1}


def test_a_canceled_batch_whose_time_passes_is_canceled(tmp_path: Path) -> None:
    clock = Clock()
    with timed(tmp_path, clock, hangs_for_late, batches={"concurrency": 1}) as first:
        made = create(first.url, "late-running", "waiting")
        assert eventually(lambda: is_asked(first.engine, "late-running"))
        httpx.post(f"{first.url}/v1/messages/batches/{made['id']}/cancel")
    clock.pass_by(DAY + 1)
    with timed(tmp_path, clock, echo) as second:
        done = ended(second.url, made)
        results = lines(httpx.get(done["results_url"]))
    assert done["request_counts"] == {**COUNTS, "canceled": 2}
    assert results == {"late-running": {"type": "canceled"}, "waiting": {"type": "canceled"}}


def test_the_setting_says_how_long_a_batch_lives(tmp_path: Path) -> None:
    clock = Clock()
    with timed(tmp_path, clock, full_for_late, batches={"expiry": 90}) as server:
        made = create(server.url, "early", "late")
        lives = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
        assert lives == timedelta(seconds=90)
        assert eventually(lambda: is_answered(server.engine, "early"))
        clock.pass_by(80)
        # a batch that came later has ended, so the runner has looked at this one, too
        ended(server.url, create(server.url, "other"))
        address = f"{server.url}/v1/messages/batches/{made['id']}"
        assert httpx.get(address).json()["processing_status"] == "in_progress"
        clock.pass_by(11)
        done = ended(server.url, made)
        assert done["request_counts"] == {**COUNTS, "succeeded": 1, "expired": 1}
        assert lines(httpx.get(done["results_url"]))["late"] == EXPIRED
