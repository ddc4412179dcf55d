"""Threads over the service: what the engine sees of a continued conversation, and what lets go of one."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import (
    Fail,
    Hang,
    Script,
    ScriptedInferenceEngine,
    Scripts,
    answer,
    refuse,
    text_chunk,
)
from dragoman.errors import (
    ApiError,
    DragomanError,
    InvalidRequestError,
    OverloadedError,
    ThreadAlreadyContinuedError,
    ThreadContinueInFlightError,
    ThreadFingerprintMismatchError,
    ThreadNotFoundError,
)
from dragoman.routing.client import InferenceEngineClient
from dragoman.service import MessagesService
from dragoman.settings import Settings, Threads
from dragoman.store.database import FILE_NAME
from dragoman.translate.signature import Signer
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.identity import Caller, SessionKey

ME = Caller(request_id="req_1", scope="me")
TOOL = {"name": "read", "input_schema": {"type": "object"}}
FIRST: dict[str, Any] = {
    "model": "scripted",
    "max_tokens": 9,
    "system": "Be kind.",
    "tools": [TOOL],
    "thinking": {"type": "adaptive"},
    "messages": [{"role": "user", "content": "Hi"}],
    "thread": {"type": "create"},
}
CALLS = answer("Let me see.", thinking="Hm.", calls=[("read", '{"path":  "/a"}')])


class Conversation:
    """A client of a service, which continues what it got. `clock` is the time that the service sees."""

    def __init__(self, service: MessagesService, engine: ScriptedInferenceEngine, clock: list[float]) -> None:
        self.service = service
        self.engine = engine
        self.clock = clock

    async def say(self, body: dict[str, Any], caller: Caller = ME, *, stream: bool = False) -> dict[str, Any]:
        """The message that answers a body."""
        request = decode_messages(msgspec.json.encode(body))
        if not stream:
            return dict(msgspec.json.decode((await self.service.create(request, caller)).body))
        answered = await self.service.stream(request, caller)
        async for _ in answered:
            pass
        return {"id": answered.events.message_id, "error": answered.error}

    def prompt(self, call: int = -1) -> list[tuple[str, object]]:
        """What the engine saw: roles and contents."""
        return [(turn.role, turn.content) for turn in self.engine.calls[call].request.messages]


def after(message: dict[str, Any], content: object = "Go on", **fields: Any) -> dict[str, Any]:
    """The body that continues an answer."""
    return {
        "model": "scripted",
        "max_tokens": 9,
        "thinking": {"type": "adaptive"},
        "messages": [{"role": "user", "content": content}],
        "thread": {"type": "continue", "previous_message_id": message["id"]},
        **fields,
    }


@asynccontextmanager
async def talking(scripts: Scripts, folder: Path, **threads: Any) -> AsyncIterator[Conversation]:
    """A conversation with a service over a scripted engine, its store in a folder."""
    settings = Settings(state_dir=str(folder), threads=Threads(**threads))
    engine, clock = ScriptedInferenceEngine(scripts), [0.0]
    client = InferenceEngineClient([engine], settings)
    await client.start()
    numbers = itertools.count()
    service = MessagesService(
        client,
        Signer([bytes(32)]),
        settings,
        ids=lambda prefix: f"{prefix}_{next(numbers)}",
        now=lambda: clock[0],
    )
    yield Conversation(service, engine, clock)
    await client.aclose()
    await service.aclose()


def refused(kind: type[DragomanError]) -> Any:
    return pytest.raises(kind)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_continued_turn_is_the_whole_conversation(tmp_path: Path, stream: bool) -> None:
    async with talking([CALLS, answer("21."), answer("Bye.")], tmp_path) as it:
        first = await it.say(FIRST, stream=stream)
        shown = it.engine.calls[0].request
        ids = [key[2] for key in it.service._spellings._kept]
        result = {"type": "tool_result", "tool_use_id": ids[0], "content": "21 degrees"}
        second = await it.say(after(first, [result]), stream=stream)
        await it.say(after(second, "Thanks"), stream=stream)
    assert it.prompt(0) == [("system", "Be kind."), ("user", "Hi")]
    assert it.prompt(1) == [*it.prompt(0), ("assistant", "Let me see."), ("tool", "21 degrees")]
    assert it.prompt(2) == [*it.prompt(1), ("assistant", "21."), ("user", "Thanks")]
    last = it.engine.calls[2].request
    assert last.tools == shown.tools
    # thinking, the engine's own call id and its spelling come home as if the client had sent them
    assert last.messages[2].reasoning == "Hm."
    assert [(c.id, c.function.arguments) for c in last.messages[2].tool_calls or ()] == [
        ("call_0", '{"path":  "/a"}')
    ]


async def test_it_is_as_if_the_client_had_sent_it_all(tmp_path: Path) -> None:
    scripts = [CALLS, answer("21."), answer("21.")]
    async with talking(scripts, tmp_path) as it:
        first = await it.say(FIRST)
        result = {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": first["content"][2]["id"], "content": "21"}],
        }
        await it.say(after(first, result["content"]))
        whole = [*FIRST["messages"], {"role": "assistant", "content": first["content"]}, result]
        await it.say({**FIRST, "messages": whole, "thread": None})
    threaded, unthreaded = (call.request for call in it.engine.calls[1:])
    assert threaded == unthreaded
    assert len(threaded.messages) == 4


async def test_a_conversation_stays_where_its_cache_is(tmp_path: Path) -> None:
    named = Caller(request_id="req_1", scope="me", session=SessionKey("mine", "session_id"))
    found = msgspec.structs.replace(ME, session=SessionKey("of the first turn", "fingerprint", durable=False))
    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        for caller in (found, named):
            first = await it.say(FIRST, caller)
            await it.say(after(await it.say(after(first), caller)), caller)
    keys = [call.request.placement_key for call in it.engine.calls]
    assert keys[1] == keys[2] is not None
    assert keys[3:] == ["me\0mine"] * 3


async def test_each_code_is_its_own(tmp_path: Path) -> None:
    async with talking([answer("Yes."), answer("No.")], tmp_path) as it:
        first = await it.say(FIRST)
        with refused(ThreadNotFoundError):
            await it.say(after({"id": "msg_unknown"}))
        with refused(ThreadNotFoundError):
            await it.say(after(first), Caller(request_id="req_1", scope="somebody else"))
        await it.say(after(first))
        with refused(ThreadAlreadyContinuedError):
            await it.say(after(first))
        assert len(it.engine.calls) == 2


async def test_a_thread_ends_five_minutes_after_its_last_answer(tmp_path: Path) -> None:
    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        message = await it.say(FIRST)
        for _ in range(3):
            it.clock[0] += 299
            message = await it.say(after(message))
        it.clock[0] += 300
        with refused(ThreadNotFoundError):
            await it.say(after(message))


async def test_what_a_thread_keeps_may_be_sent_again_but_not_changed(tmp_path: Path) -> None:
    billing = "x-anthropic-billing-header: cc_version=1.2.3;"
    asked = {**FIRST, "output_config": {"effort": "low"}}
    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        message = await it.say(asked)
        same = {
            "system": [{"type": "text", "text": "Be kind."}],
            "tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}],
        }
        message = await it.say(after(message, output_config={"effort": "low"}, **same))
        message = await it.say(
            after(message, output_config={"effort": "low"}, system=[{"type": "text", "text": billing}])
        )
        assert it.prompt()[0] == ("system", "Be kind.")
        for changed, named in (
            ({"system": "Be rude."}, "system"),
            ({"tools": []}, "tools"),
            ({"output_config": {"effort": "high"}}, "output_config"),
            ({"output_config": None, "system": "x"}, "system, output_config"),
        ):
            with refused(ThreadFingerprintMismatchError) as caught:
                await it.say(after(message, **{"output_config": {"effort": "low"}, **changed}))
            assert caught.value.error_code == "thread_fingerprint_mismatch"
            assert f"differing field(s): {named}. " in caught.value.message
        # a refused turn is no turn
        await it.say(after(message, output_config={"effort": "low"}, model="claude-other", max_tokens=3))


FAILURES: list[Script] = [
    refuse(OverloadedError("full")),
    Script(steps=[text_chunk("Hel"), Fail(OverloadedError("gone"))]),
    Script(steps=[text_chunk("Hel")]),
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_fails_can_be_said_again(tmp_path: Path, failure: Script, stream: bool) -> None:
    async with talking([answer("Yes."), failure, answer("No.")], tmp_path) as it:
        first = await it.say(FIRST)
        try:
            assert (await it.say(after(first), stream=stream))["error"] is not None
        except DragomanError as error:
            assert error.status >= 500  # noqa: PT017 - a stream tells its error as its last event
        await it.say(after(first, "Again"), stream=stream)
    assert it.prompt() == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Yes."), ("user", "Again")]


async def test_a_stream_that_breaks_is_let_go_before_its_error_leaves(tmp_path: Path) -> None:
    broken = Script(steps=[text_chunk("Hel"), Fail(OverloadedError("gone"))])
    async with talking([answer("Yes."), broken, answer("No.")], tmp_path) as it:
        first = await it.say(FIRST)
        request = decode_messages(msgspec.json.encode(after(first)))
        stream, again = await it.service.stream(request, ME), []

        async def write(data: bytes) -> None:
            if b"event: error" in data:
                again.append(await it.say(after(first, "Again")))

        await stream.play(write)
        await stream.aclose()
    assert [message["content"][0]["text"] for message in again] == ["No."]


async def test_a_stream_is_kept_before_its_last_event_leaves(tmp_path: Path) -> None:
    async with talking([answer("Yes."), answer("No.")], tmp_path) as it:
        stream, next_turns = await it.service.stream(decode_messages(msgspec.json.encode(FIRST)), ME), []

        async def write(data: bytes) -> None:
            if b"message_stop" in data:
                next_turns.append(await it.say(after({"id": stream.events.message_id})))

        await stream.play(write)
        await stream.aclose()
    assert [message["content"][0]["text"] for message in next_turns] == ["No."]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_lets_go_of_its_thread(tmp_path: Path, stream: bool) -> None:
    hanging = Script(steps=[text_chunk("Hel"), Hang()])
    async with talking([answer("Yes."), hanging, answer("No.")], tmp_path) as it:
        first = await it.say(FIRST)
        turn = asyncio.create_task(it.say(after(first), stream=stream))
        async with asyncio.timeout(5):
            while len(it.engine.calls) < 2:  # noqa: ASYNC110 - the engine tells nobody when it is asked
                await asyncio.sleep(0.01)
        with refused(ThreadContinueInFlightError):
            await it.say(after(first))
        turn.cancel()
        await asyncio.wait({turn})
        await it.say(after(first))


async def test_a_client_that_leaves_at_once_holds_nothing(tmp_path: Path) -> None:
    async with talking([answer("Yes."), answer("No.")], tmp_path) as it:
        first = await it.say(FIRST)
        turn = asyncio.create_task(it.say(after(first)))
        await asyncio.sleep(0)
        turn.cancel()
        await asyncio.wait({turn})
        await it.say(after(first))


async def test_a_refusal_names_the_place_in_what_the_client_sent(tmp_path: Path) -> None:
    async with talking([CALLS], tmp_path) as it:
        first = await it.say(FIRST)
        wrong = {"type": "tool_result", "tool_use_id": "toolu_other", "content": "x"}
        with refused(InvalidRequestError) as caught:
            await it.say(after(first, [wrong]))
        assert caught.value.message.startswith("messages.0.content.0: unexpected `tool_use_id`")
        with refused(InvalidRequestError) as caught:
            await it.say(after(first, "No result"))
        assert caught.value.message.startswith("thread: messages.1: `tool_use` ids were found without")


async def test_an_answer_without_content_adds_none(tmp_path: Path) -> None:
    async with talking([answer("x"), answer("Yes.")], tmp_path) as it:
        warmed = await it.say({**FIRST, "max_tokens": 0})
        await it.say(after(warmed, "Now"))
    assert it.prompt() == [("system", "Be kind."), ("user", "Hi\nNow")]


async def test_a_turn_may_add_nothing(tmp_path: Path) -> None:
    async with talking([answer("One,"), answer(" two.")], tmp_path) as it:
        first = await it.say(FIRST)
        await it.say({**after(first), "messages": []})
    assert it.prompt() == [*it.prompt(0), ("assistant", "One,")]
    assert it.engine.calls[1].request.continue_final


async def test_beyond_the_bound_the_answer_comes_and_is_not_kept(tmp_path: Path) -> None:
    async with talking(lambda _: answer("Yes."), tmp_path, max_bytes=600) as it:
        first = await it.say(FIRST)
        second = await it.say(after(first, "x" * 600))
        with refused(ThreadNotFoundError):
            await it.say(after(second))


async def test_a_store_that_cannot_be_used_costs_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, but long enough to be looked at" * 30)
    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        first = await it.say(FIRST)
        assert (await it.say(FIRST, stream=True))["error"] is None
        with refused(ThreadNotFoundError):
            await it.say(after(first))
    assert "the store cannot be used" in caplog.text


async def test_what_another_version_kept_is_a_thread_that_is_not_there(tmp_path: Path) -> None:
    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        first = await it.say(FIRST)

        def change(connection: sqlite3.Connection) -> None:
            body = zlib.compress(b'{"messages":[{"role":"narrator"}]}')
            connection.execute("UPDATE thread_turns SET body = ?", (body,))

        await it.service.store.database.run(change)
        for _ in range(2):
            with refused(ThreadNotFoundError):
                await it.say(after(first))


async def test_what_expired_is_removed_though_nobody_comes(tmp_path: Path) -> None:
    async with talking(lambda _: answer("Yes."), tmp_path, seconds=0.01) as it:
        await it.say(FIRST)
        await it.say(FIRST)
        threads = it.service._threads
        for now, timer in ((0.0, True), (9.0, False)):
            it.clock[0] = now
            threads._begin_sweep()
            assert threads._sweep is not None
            await threads._sweep
            # as long as there is something left, it looks again
            assert (threads._sweeper is not None) is timer
        assert await threads.store.sweep(0.0) == 0


async def test_a_store_that_fails_later_only_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> int:
        raise ApiError("the store cannot be used", log_detail="full")

    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        threads = it.service._threads
        monkeypatch.setattr(threads.store, "sweep", fails)
        threads._begin_sweep()
        assert threads._sweep is not None
        await threads._sweep
    assert "the store cannot be used" in caplog.text


async def test_without_a_thread_no_store_is_opened(tmp_path: Path) -> None:
    async with talking(lambda _: answer("Yes."), tmp_path) as it:
        await it.say({**FIRST, "thread": None})
        await it.say({**FIRST, "thread": None}, stream=True)
    assert not (tmp_path / FILE_NAME).exists()
