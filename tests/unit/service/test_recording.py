"""Turns in the ledger as the service records them: an agent's loop on the scripted engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count, pairwise
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import Fail, Hang, Script, Scripts, answer, refuse, text_chunk
from dragoman.engines.scripted_tokens import ScriptedTokenEngine
from dragoman.errors import ApiError, DragomanError, EngineFaultError
from dragoman.ledger.canonical import Canonical
from dragoman.ledger.interface import Messages
from dragoman.ledger.memory import MemoryStore
from dragoman.ledger.recorder import Ledger, LedgerUnwritableError
from dragoman.ledger.values import Turn
from dragoman.routing.client import InferenceEngineClient
from dragoman.service import MessagesService
from dragoman.settings import Settings
from dragoman.translate.signature import Signer
from dragoman.translate.system import without_billing_header
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.identity import Caller, SessionKey
from tests.unit.service.test_service import all_of

TOOLS = [{"name": "ls", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}]
SYSTEM = "x-anthropic-billing-header: cc_version=1; cch={};\nBe brief."


class Agent:
    """A client that sends its history again with every request, as real ones do."""

    def __init__(self, service: MessagesService, session: str = "s", *, streams: bool = True) -> None:
        self.messages: list[dict[str, Any]] = []
        self._service = service
        self._session = SessionKey(session, "x-session-id")
        self._streams = streams
        self._numbers = count()

    async def says(self, text: str, **more: Any) -> list[dict[str, Any]]:
        """Sends a user's text; the answer's content."""
        self.messages.append({"role": "user", "content": text})
        return await self.goes_on(**more)

    async def goes_on(self, **more: Any) -> list[dict[str, Any]]:
        number = next(self._numbers)
        body = {"model": "scripted", "max_tokens": 500, "tools": TOOLS, "messages": self.messages, **more}
        body["system"] = SYSTEM.format(number)
        request = decode_messages(msgspec.json.encode(body))
        caller = Caller(request_id=f"{self._session.value}-{number}", session=self._session)
        if self._streams:
            content = read(await all_of(await self._service.stream(request, caller)))
        else:
            given = await self._service.create(request, caller)
            await given.recording.delivered()
            content = msgspec.json.decode(given.body)["content"]
        self.messages.append({"role": "assistant", "content": content})
        return content

    async def gives(self, content: Sequence[dict[str, Any]], result: str) -> list[dict[str, Any]]:
        """Sends the results of the calls in an answer."""
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        marked = {"cache_control": {"type": "ephemeral"}}
        results = [
            {"type": "tool_result", "tool_use_id": call, "content": result, **marked} for call in calls
        ]
        self.messages.append({"role": "user", "content": results})
        return await self.goes_on()


def read(stream: bytes) -> list[dict[str, Any]]:
    """The content of a stream, as a client puts it together."""
    content: list[dict[str, Any]] = []
    for line in stream.split(b"\n"):
        event = msgspec.json.decode(line[6:]) if line.startswith(b"data: ") else {}
        if event.get("type") == "content_block_start":
            content.append({**event["content_block"]})
        elif event.get("type") == "content_block_delta":
            add(content[-1], event["delta"])
    for block in content:
        if "partial" in block:
            block["input"] = msgspec.json.decode(block.pop("partial") or "{}")
    return content


def add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    names = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
    if delta["type"] == "input_json_delta":
        block["partial"] = block.get("partial", "") + delta["partial_json"]
    else:
        name = names[delta["type"]]
        block[name] = block.get(name, "") + delta[name]


class Recorded:
    """A service with a ledger over one scripted engine."""

    def __init__(self, service: MessagesService, engine: ScriptedTokenEngine, store: MemoryStore) -> None:
        self.service = service
        self.engine = engine
        self.store = store

    async def turns(self, session: str = "s") -> list[Turn]:
        return await self.store.turns("", session)


@asynccontextmanager
async def recorded(
    scripts: Scripts, store: MemoryStore | None = None, *, is_required: bool = False
) -> AsyncIterator[Recorded]:
    store = store or MemoryStore()
    engine, moments = ScriptedTokenEngine(scripts), count(1)
    client = InferenceEngineClient([engine])
    await client.start()
    ledger = Ledger(
        store, Canonical(without_billing_header), now=lambda: float(next(moments)), is_required=is_required
    )
    ids = count()
    service = MessagesService(
        client,
        Signer([bytes(32)]),
        Settings(),
        ids=lambda prefix: f"{prefix}_{next(ids)}",
        ledger=ledger,
    )
    yield Recorded(service, engine, store)
    await client.aclose()


LOOP = [
    answer("Let me look.", thinking="They ask.", calls=[("ls", '{ "path":"/tmp"}')]),
    answer("There is a.txt.", thinking="One file."),
    answer(calls=[("ls", '{"path": "/"}'), ("ls", '{"path": "/usr"}')]),
    answer("Done."),
]


async def play(agent: Agent) -> None:
    await agent.gives(await agent.says("List /tmp."), "a.txt")
    await agent.gives(await agent.says("And the rest?"), "bin")


@pytest.mark.parametrize("streams", [True, False])
async def test_an_agents_loop_is_one_growing_sequence(streams: bool) -> None:
    async with recorded(LOOP) as here:
        await play(Agent(here.service, streams=streams))
        turns = await here.turns()
    assert [turn.state for turn in turns] == ["done"] * 4
    assert [turn.delivered for turn in turns] == [True] * 4
    assert [turn.stop_reason for turn in turns] == ["tool_use", "end_turn", "tool_use", "end_turn"]
    assert [turn.why_untrainable() for turn in turns] == [""] * 4
    sequence: list[int] = []
    for turn, prompt in zip(turns, here.engine.prompts, strict=True):
        (sample,) = turn.samples
        assert list(sample.prompt_ids) == prompt
        assert prompt[: len(sequence)] == sequence
        assert sample.carried == len(sequence)
        assert turn.prompt_tokens == len(prompt)
        assert turn.completion_tokens == len(sample.sampled_ids)
        sequence = [*prompt, *sample.sampled_ids]
    assert [turn.samples[0].base for turn in turns] == ["", *(turn.id for turn in turns[:-1])]
    # what the template would have written otherwise: thinking before the second question
    causes = [turn.samples[0].drift.cause if turn.samples[0].drift else "" for turn in turns]
    assert causes == ["", "", "cut thinking", "cut thinking"]


async def test_each_message_is_stored_once() -> None:
    async with recorded(LOOP) as here:
        await play(Agent(here.service))
        turns = await here.turns()
    digests = {digest for turn in turns for digest in (*turn.path, turn.answer)}
    # the head, two questions, two rounds of results, four answers
    assert len(digests) == 9
    assert set(here.store.kept) == digests
    for before, turn in pairwise(turns):
        assert turn.path[: len(before.path) + 1] == (*before.path, before.answer)
    roles = [msgspec.json.decode(here.store.kept[each].body).get("role") for each in turns[-1].path]
    assert roles == [None, "user", "assistant", "user", "assistant", "user", "assistant", "user"]


class Watching(MemoryStore):
    """Notes what was delivered when a turn was put."""

    def __init__(self) -> None:
        super().__init__()
        self.delivered = b""
        self.at_commit = b""

    async def put(self, turn: Turn, messages: Messages) -> None:
        if turn.state == "done" and not turn.delivered:
            self.at_commit = self.delivered
        await super().put(turn, messages)


async def test_a_turn_is_committed_before_its_last_event_leaves() -> None:
    store = Watching()
    async with recorded([answer("Hello.")], store) as here:
        request = decode_messages(
            b'{"model":"scripted","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
        )
        stream = await here.service.stream(request, Caller(request_id="r"))

        async def write(data: bytes) -> None:
            store.delivered += data

        await stream.play(write)
    assert store.delivered.endswith(b'"message_stop"}\n\n')
    assert b"message_stop" not in store.at_commit
    # a call of no session is a session of its own
    (turn,) = await store.turns("", "r")
    assert (turn.session_evidence, turn.delivered) == ("none", True)


async def test_what_the_client_did_not_get_is_not_delivered() -> None:
    async with recorded([answer("Hello.")]) as here:
        request = decode_messages(
            b'{"model":"scripted","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
        )
        stream = await here.service.stream(request, Caller(request_id="r"))

        async def write(data: bytes) -> None:
            if b"message_stop" in data:
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await stream.play(write)
        (turn,) = await here.turns("r")
    assert (turn.state, turn.delivered) == ("done", False)


async def test_an_answer_that_is_cut_keeps_its_tokens() -> None:
    async with recorded([Script(steps=[text_chunk("One two"), Hang()])]) as here:
        request = decode_messages(
            b'{"model":"scripted","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
        )
        stream = await here.service.stream(request, Caller(request_id="r"))
        async for piece in stream:
            if b"text_delta" in piece:
                break
        await stream.aclose()
        (turn,) = await here.turns("r")
    assert (turn.state, turn.answer, turn.why_untrainable()) == ("cut", "", "its state is cut")
    assert here.engine.vocabulary.decode(turn.samples[0].sampled_ids) == "One two"


@pytest.mark.parametrize("streams", [True, False])
async def test_failures_are_turns_too(streams: bool) -> None:
    broken = Script(steps=[text_chunk("One"), Fail(EngineFaultError("it broke"))])
    async with recorded([broken, refuse(EngineFaultError("no"))]) as here:
        for number, expected in enumerate(["api_error: it broke", "api_error: no"]):
            agent = Agent(here.service, f"s{number}", streams=streams)
            with suppress(DragomanError):
                await agent.says("Hi")
            (turn,) = await here.turns(f"s{number}")
            assert (turn.state, turn.error) == ("failed", expected)


class Broken(MemoryStore):
    """A store whose disk is full."""

    async def put(self, turn: Turn, messages: Messages) -> None:
        raise ApiError("the store cannot be used", log_detail="disk full")


async def test_a_turn_that_cannot_be_kept_marks_its_session_or_fails_the_call() -> None:
    store = Broken()
    async with recorded([answer("Hello.")], store) as here:
        content = await Agent(here.service).says("Hi")
    assert content[0]["text"] == "Hello."
    session = await store.session("", "s")
    assert session is not None
    assert session.incomplete == "a turn was not recorded"
    async with recorded([answer("Hello.")], Broken(), is_required=True) as here:
        with pytest.raises(LedgerUnwritableError, match="could not be recorded"):
            await Agent(here.service, streams=False).says("Hi")


async def test_an_edited_history_forks() -> None:
    scripts = [answer("One."), answer("Two.")]
    async with recorded(scripts) as here:
        agent = Agent(here.service)
        await agent.says("Hi")
        agent.messages[0]["content"] = "Hello"
        await agent.says("And?")
        _, turn = await here.turns()
    sample = turn.samples[0]
    assert (sample.base, sample.carried) == ("", 0)
    assert sample.drift is not None
    assert (sample.drift.cause, sample.drift.used) == ("edited text", "template")
