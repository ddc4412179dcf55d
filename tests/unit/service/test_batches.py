"""The runner of batches: every request has one result, whatever the engine, the client and the process do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import Hang, Script, ScriptedInferenceEngine, Scripts, answer, refuse
from dragoman.errors import ApiError, DragomanError, OverloadedError, RateLimitError
from dragoman.server.app import create_service
from dragoman.server.ids import new_id
from dragoman.service.batches import BatchRunner, Lock
from dragoman.settings import Batches, Settings
from dragoman.store.interface import StoredBatch
from dragoman.store.store import Store
from dragoman.wire.openai import ChatRequest
from tests.support.clock import Clock


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Returns when something has come true."""
    async with asyncio.timeout(20):
        # what is waited for lies in a database, which tells nobody
        while not (found if isinstance(found := holds(), bool) else await found):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


class Bench:
    """A runner over a scripted engine, with a clock that the test moves."""

    def __init__(self, folder: Path, scripts: Scripts, clock: Clock | None = None, **settings: Any) -> None:
        self.settings = Settings(state_dir=str(folder), **settings)
        self.engine = ScriptedInferenceEngine(scripts)
        self.clock = clock or Clock()
        self.service = create_service(self.engine, self.settings)
        self.service.store = self.store = Store(self.settings, self.clock)
        self.runner = BatchRunner(self.service, self.settings, ids=new_id, ready=self._ready)
        self.not_ready: list[DragomanError] = []

    async def _ready(self) -> None:
        await self.service.client.start()
        if self.not_ready:
            raise self.not_ready.pop()

    async def create(self, *texts: str, batch_id: str = "batch_1", **fields: Any) -> StoredBatch:
        """Adds a batch with one request a text, whose custom id it is too."""
        requests = [(text, params(text, **fields)) for text in texts]
        made = await self.store.batches.create(batch_id, "ann", requests, lifetime=60)
        self.runner.wake()
        return made

    async def ended(self, batch_id: str = "batch_1") -> StoredBatch:
        """The batch, when it has ended."""

        async def has_ended() -> bool:
            return (await self.store.batches.get(batch_id, "ann")).ended is not None

        await until(has_ended)
        return await self.store.batches.get(batch_id, "ann")

    async def calls(self, count: int) -> None:
        """Returns when the engine has so many calls."""
        await until(lambda: len(self.engine.calls) >= count)

    async def results(self, batch_id: str = "batch_1") -> dict[str, Any]:
        rows = await self.store.batches.results(batch_id, "ann", -1, 1000)
        found = {name: msgspec.json.decode(result) for _, name, result in rows}
        assert len(found) == len(rows)
        return found

    async def aclose(self) -> None:
        await self.runner.aclose()
        await self.service.client.aclose()
        await self.store.aclose()


def params(text: str, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return msgspec.json.encode({"model": "scripted", "max_tokens": 9, "messages": messages, **fields})


def said(request: ChatRequest) -> str:
    content = request.messages[-1].content
    assert isinstance(content, str)
    return content


def echo(request: ChatRequest) -> Script:
    return answer(f"echo {said(request)}")


MakeBench = Callable[..., Bench]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[MakeBench]:
    """Makes benches over one state folder; they are closed with the test."""
    made: list[Bench] = []

    def make(scripts: Scripts = echo, **settings: Any) -> Bench:
        made.append(Bench(tmp_path, scripts, made[0].clock if made else None, **settings))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def test_every_request_has_its_answer(bench: MakeBench) -> None:
    it = bench()
    names = [f"r{number}" for number in range(20)]
    await it.create(*names)
    ended = await it.ended()
    assert (ended.succeeded, ended.total) == (20, 20)
    results = await it.results()
    assert list(results) == names
    for name, result in results.items():
        assert result["type"] == "succeeded"
        assert result["message"]["content"][0]["text"] == f"echo {name}"
        assert result["message"]["usage"]["service_tier"] == "batch"
        assert result["message"]["type"] == "message"


async def test_nothing_is_opened_where_nothing_was_stored(bench: MakeBench) -> None:
    it = bench()
    it.runner.wake()
    await asyncio.sleep(0.05)
    assert not it.store.is_there


async def test_no_more_run_at_a_time_than_the_setting_says(bench: MakeBench) -> None:
    gate = asyncio.Event()
    running: list[int] = []

    it = bench(batches=Batches(concurrency=3))
    chat_completion = it.service.client.chat_completion

    async def gated(request: ChatRequest) -> Any:
        running.append(1)
        await gate.wait()
        return await chat_completion(request)

    it.service.client.chat_completion = gated  # type: ignore[method-assign]  # holds the engine's answers back
    await it.create(*[f"r{number}" for number in range(9)])
    await until(lambda: len(running) == 3)
    it.runner.wake()
    await asyncio.sleep(0.1)
    assert len(running) == 3
    gate.set()
    assert (await it.ended()).succeeded == 9


async def test_a_long_batch_does_not_keep_a_short_one_waiting(bench: MakeBench) -> None:
    it = bench(batches=Batches(concurrency=2))
    await it.create(*[f"long{number}" for number in range(40)])
    await it.calls(1)
    await it.create("short", batch_id="batch_2")
    await it.ended("batch_2")
    assert (await it.store.batches.get("batch_1", "ann")).ended is None
    await it.ended()


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"stream": True}, "invalid_request_error", "stream: a request of a batch cannot be streamed"),
        ({"messages": []}, "invalid_request_error", "messages"),
        ({"max_tokens": "x"}, "invalid_request_error", "max_tokens: Input should be"),
        ({"model": "unheard-of"}, "not_found_error", "unheard-of"),
    ],
)
async def test_what_is_wrong_with_a_request_is_its_result(
    bench: MakeBench, fields: dict[str, Any], kind: str, words: str
) -> None:
    it = bench()
    await it.create("bad", **fields)
    assert (await it.ended()).errored == 1
    result = (await it.results())["bad"]
    assert (result["type"], result["error"]["type"]) == ("errored", "error")
    assert result["error"]["error"]["type"] == kind
    assert words in result["error"]["error"]["message"]
    assert result["error"]["request_id"].startswith("req_")


async def test_the_log_says_of_each_request_what_came_of_it(
    bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dragoman")
    it = bench()
    await it.create("one", "two", temperature=0)
    await it.create("bad", batch_id="batch_2", messages=[])
    await it.ended()
    await it.ended("batch_2")
    result = (await it.results("batch_2"))["bad"]
    lines = [record.fields for record in caplog.records if record.message == "request of a batch"]  # type: ignore[attr-defined]  # our own extra
    told = sorted((line["batch"], line["number"], line.get("error", "")) for line in lines)
    assert told == [
        ("batch_1", 0, ""),
        ("batch_1", 1, ""),
        ("batch_2", 0, "invalid_request_error"),
    ]
    assert result["error"]["request_id"] in [line["id"] for line in lines]


async def test_other_fields_are_errors_in_strict_mode(bench: MakeBench) -> None:
    it = bench(strict=True)
    await it.create("bad", other=1)
    await it.ended()
    result = (await it.results())["bad"]
    assert result["error"]["error"]["message"] == "other: Extra inputs are not permitted"


async def test_a_fault_of_ours_is_an_error_without_internals(bench: MakeBench) -> None:
    it = bench()

    async def broken(*_: object, **__: object) -> None:
        raise LookupError("internals")

    it.service.create = broken  # type: ignore[assignment]  # something that nobody expects
    await it.create("r")
    await it.ended()
    error = (await it.results())["r"]["error"]["error"]
    assert error == {"type": "api_error", "message": "internal server error"}


async def test_an_engine_that_is_full_is_asked_again(bench: MakeBench) -> None:
    scripts = [
        refuse(OverloadedError("full", retry_after=0.01)),
        refuse(RateLimitError("slow down", retry_after=0.01)),
        answer("At last."),
    ]
    it = bench(scripts)
    it.not_ready.append(OverloadedError("the engines are still starting", retry_after=0.01))
    await it.create("r")
    assert (await it.ended()).succeeded == 1
    assert len(it.engine.calls) == 3


async def test_an_overload_that_lasts_is_a_result(bench: MakeBench) -> None:
    it = bench([refuse(OverloadedError("never", should_retry=False))])
    await it.create("r")
    assert (await it.ended()).errored == 1
    assert (await it.results())["r"]["error"]["error"]["type"] == "overloaded_error"


async def test_what_waits_for_a_full_engine_expires(bench: MakeBench) -> None:
    it = bench(lambda _: refuse(OverloadedError("full")))
    await it.create("r", "s")
    await it.calls(1)
    it.clock.pass_by(61)
    it.runner.wake()
    ended = await it.ended()
    assert (ended.expired, ended.succeeded) == (2, 0)
    assert await it.results() == {"r": {"type": "expired"}, "s": {"type": "expired"}}


async def test_a_cancel_lets_what_is_in_flight_end(bench: MakeBench) -> None:
    gate = asyncio.Event()
    it = bench(batches=Batches(concurrency=1))
    chat_completion = it.service.client.chat_completion
    begun: list[str] = []

    async def gated(request: ChatRequest) -> Any:
        begun.append(said(request))
        await gate.wait()
        return await chat_completion(request)

    it.service.client.chat_completion = gated  # type: ignore[method-assign]  # holds the engine's answers back
    await it.create("first", "second", "third")
    await until(lambda: bool(begun))
    await it.store.batches.cancel("batch_1", "ann")
    it.runner.wake()
    gate.set()
    ended = await it.ended()
    assert (ended.succeeded, ended.canceled) == (1, 2)
    assert {name: result["type"] for name, result in (await it.results()).items()} == {
        "first": "succeeded",
        "second": "canceled",
        "third": "canceled",
    }
    assert begun == ["first"]


async def test_what_is_in_flight_at_the_end_runs_again_after_it(bench: MakeBench) -> None:
    first = bench(lambda _: Script(steps=[Hang()]))
    await first.create("r", "s")
    await first.calls(2)
    await first.runner.aclose()
    await first.runner.aclose()
    assert await first.results() == {}
    second = bench()
    second.runner.start()
    assert (await second.ended()).succeeded == 2
    assert (await second.results())["r"]["message"]["content"][0]["text"] == "echo r"


@pytest.mark.parametrize("ticks", range(5))
async def test_a_runner_that_is_woken_while_it_is_ended_does_end(bench: MakeBench, ticks: int) -> None:
    it = bench()
    it.runner.start()
    await asyncio.sleep(0.05)
    it.runner.wake()
    for _ in range(ticks):
        await asyncio.sleep(0)
    await asyncio.wait_for(it.runner.aclose(), 10)


async def test_one_runner_works_and_another_takes_over_when_it_ends(bench: MakeBench) -> None:
    first = bench(lambda _: Script(steps=[Hang()]))
    await first.create("r")
    await first.calls(1)
    second = bench()
    second.runner.start()
    await asyncio.sleep(0.1)
    assert second.engine.calls == []
    await first.runner.aclose()
    second.runner.wake()
    assert (await second.ended()).succeeded == 1


async def test_a_store_in_trouble_is_tried_again(bench: MakeBench) -> None:
    it = bench()
    finish, unended = it.store.batches.finish, it.store.batches.unended
    troubles: list[Exception] = [ApiError("the disk is full"), RuntimeError("unheard of")]

    async def failing(*arguments: Any) -> Any:
        if len(troubles) == 2:
            raise troubles.pop()
        return await unended(*arguments)

    async def full(*arguments: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return await finish(*arguments)

    it.store.batches.unended = failing  # type: ignore[method-assign]  # the store fails where the disk does
    it.store.batches.finish = full  # type: ignore[method-assign, assignment]  # the store fails where the disk does
    await it.create("r")
    assert (await it.ended()).succeeded == 1
    assert len(it.engine.calls) == 2


async def test_a_lock_that_cannot_be_used_is_said_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(ApiError) as caught:
        Lock(tmp_path / "lock").acquire()
    assert "lock" in caught.value.log_detail
