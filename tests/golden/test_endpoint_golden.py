"""Answers of counts, models, files and batches, as a running server gives them.

A file is `endpoints/ROOT.CASE.json`, where ROOT is the SDK's type as `tests.oracle.sdk` names it. Ids, times
and addresses are made equal first. `make golden` writes the files anew: read the difference before you commit
it.
"""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec

from dragoman.engines.scripted import Script, ScriptedInferenceEngine, answer
from dragoman.engines.scripts import refuse
from dragoman.errors import OverloadedError
from dragoman.wire.openai import ChatCompletion, ChatRequest
from tests.golden.test_answer_golden import compare
from tests.server.http import eventually
from tests.support.serving import Running, serving

HERE = Path(__file__).parent / "endpoints"
# What is another in every run, and what stands for it.
_CHANGING = (
    (re.compile(r"\b(msgbatch|msg|file|req|page)_[\w-]{10,}"), r"\1_golden"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"), "2026-11-20T12:00:00Z"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1"),
)
BODY: dict[str, Any] = {
    "model": "scripted",
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "Hello"}],
}
EDIT = {"edits": [{"type": "clear_tool_uses_20250919"}]}
Made = dict[str, Any]


class HeldEngine(ScriptedInferenceEngine):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__({"": answer("Hello.")})
        self.begun = threading.Event()
        self.gate = threading.Event()

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        self.begun.set()
        assert await asyncio.to_thread(self.gate.wait, 20)
        return await super().chat_completion(request)


def requests_of(*names: str, **fields: Any) -> list[dict[str, Any]]:
    """Requests of a batch, by their names."""
    return [{"custom_id": name, "params": BODY | fields} for name in names]


def created(client: httpx.Client, *requests: dict[str, Any]) -> Made:
    """A new batch."""
    batch: Made = client.post("/v1/messages/batches", json={"requests": requests}).json()
    return batch


def ended(client: httpx.Client, batch: Made) -> Made:
    """The batch, when it has ended."""
    address = f"/v1/messages/batches/{batch['id']}"
    assert eventually(lambda: client.get(address).json()["processing_status"] == "ended", seconds=20)
    found: Made = client.get(address).json()
    return found


def results(client: httpx.Client, batch: Made) -> list[Any]:
    """The lines of an ended batch."""
    text = client.get(f"/v1/messages/batches/{batch['id']}/results").text
    return [msgspec.json.decode(line) for line in text.splitlines()]


def of_models(client: httpx.Client) -> Made:
    """Counts and models."""
    return {
        "token_count.plain": client.post("/v1/messages/count_tokens", json=BODY).json(),
        "token_count.edited": client.post(
            "/v1/messages/count_tokens", json=BODY | {"context_management": EDIT}
        ).json(),
        "model.one": client.get("/v1/models/scripted").json(),
        "model_page.all": client.get("/v1/models").json(),
    }


def of_files(client: httpx.Client) -> Made:
    """A file in all of its answers."""
    sent = {"file": ("notes.txt", b"hello", "text/plain")}
    kept = client.post("/v1/files", files=sent).json()
    expiring = client.post("/v1/files", files=sent, data={"expires_in_seconds": "3600"}).json()
    return {
        "file.kept": kept,
        "file.expiring": expiring,
        "file_page.first": client.get("/v1/files?limit=1").json(),
        "file_page.all": client.get("/v1/files").json(),
        "deleted_file.one": client.delete(f"/v1/files/{kept['id']}").json(),
    }


def of_batches(client: httpx.Client) -> Made:
    """A batch from its creation to its end, with an answer and an error."""
    asked = {"requests": [*requests_of("good"), *requests_of("bad", max_tokens=-1)]}
    made = client.post("/v1/messages/batches", json=asked).json()
    done = ended(client, made)
    good, bad = results(client, done)
    return {
        "batches.two": asked,
        "batch.begun": made,
        "batch.ended": done,
        "batch_page.all": client.get("/v1/messages/batches").json(),
        "batch_line.succeeded": good,
        "batch_line.errored": bad,
        "deleted_batch.one": client.delete(f"/v1/messages/batches/{made['id']}").json(),
    }


def of_a_canceled_batch(client: httpx.Client, engine: HeldEngine) -> Made:
    """A batch that is canceled while the first of its two requests runs: its second is canceled."""
    made = created(client, *requests_of("running", "waiting"))
    assert engine.begun.wait(20)
    canceling = client.post(f"/v1/messages/batches/{made['id']}/cancel").json()
    engine.gate.set()
    done = ended(client, made)
    return {
        "batch.canceling": canceling,
        "batch.canceled": done,
        "batch_line.canceled": results(client, done)[1],
    }


def of_an_expired_batch(client: httpx.Client) -> Made:
    """A batch in front of an engine that stays full."""
    done = ended(client, created(client, *requests_of("late")))
    return {"batch.expired": done, "batch_line.expired": results(client, done)[0]}


def client_of(running: Running) -> httpx.Client:
    """A client of a server."""
    return httpx.Client(base_url=running.url, headers={"anthropic-version": "2023-06-01"})


def full(_: ChatRequest) -> Script:
    """An engine that has too much to do."""
    return refuse(OverloadedError("full"))


def written(value: Any) -> str:
    """A value as text, without what is another in every run."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
    for pattern, words in _CHANGING:
        text = pattern.sub(words, text)
    return text


def hold(made: Made, update: bool) -> None:
    """Hold values against their golden files."""
    HERE.mkdir(exist_ok=True)
    for name, value in made.items():
        compare(written(value), HERE / f"{name}.json", update)


def test_counts_models_and_files(tmp_path: Path, update_golden: bool) -> None:
    engine = ScriptedInferenceEngine({"": answer("Hello.")})
    with serving(engine, state_dir=str(tmp_path)) as running, client_of(running) as client:
        hold(of_models(client) | of_files(client), update_golden)


def test_batches(tmp_path: Path, update_golden: bool) -> None:
    engine = ScriptedInferenceEngine({"": answer("Hello.")})
    with serving(engine, state_dir=str(tmp_path)) as running, client_of(running) as client:
        hold(of_batches(client), update_golden)


def test_a_canceled_batch(tmp_path: Path, update_golden: bool) -> None:
    engine = HeldEngine()
    with (
        serving(engine, state_dir=str(tmp_path), batches={"concurrency": 1}) as running,
        client_of(running) as client,
    ):
        hold(of_a_canceled_batch(client, engine), update_golden)


def test_an_expired_batch(tmp_path: Path, update_golden: bool) -> None:
    with (
        serving(ScriptedInferenceEngine(full), state_dir=str(tmp_path), batches={"expiry": 0.2}) as running,
        client_of(running) as client,
    ):
        hold(of_an_expired_batch(client), update_golden)
