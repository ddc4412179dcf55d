"""What becomes of each engine's answer: its wire is played through the reading path, member by member.

A thing that comes out is told of by the members of the engine's answer without which it does not, or says
something else. An engine's refusal is told of by its status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

import msgspec

from dragoman.engines.dialects import DIALECTS
from dragoman.engines.dialects.base import Reply
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import DragomanError
from dragoman.translate.response import to_message
from dragoman.translate.rounds import RoundStream
from dragoman.wire.openai import ChatMessage, ChatRequest, Reasoning
from dragoman.wire.sse import SSEDecoder
from tests.golden.test_answer_golden import ANSWER_OPTIONS, seal
from tests.golden.test_rounds_golden import plan, result
from tests.oracle.players import MODEL, PLAYED, able
from tests.oracle.wires import CONTEXT, MAX_TOKENS, REFUSALS, STOP, Chunk, Scene, scenes, whole
from tests.support.fake_openai import CHAT, DONE, Answer, FakeOpenAI, Route, events, reply
from tests.unit.engines.remotes import remote

_ESTIMATE = 7
OPTIONS = msgspec.structs.replace(
    ANSWER_OPTIONS, max_tokens=MAX_TOKENS, context_length=CONTEXT, input_estimate=_ESTIMATE
)
# Members that only frame what is said.
_FRAME = frozenset({"id", "object", "created", "model", "system_fingerprint", "choices", "usage"})
_CHOICE_FRAME = frozenset({"index", "delta"})
# An answer that breaks off lacks its end, whatever else it holds: only these tell of what broke it.
_ENDS = ("event:message_delta", "message:stop_reason", "stop_reason:")
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "output_tokens_details")

# What a whole message holds besides its blocks, and its stream as well.
_OF_MESSAGES = ("usage:", "stop_reason:", "message:stop", "message:usage")

Things = dict[str, Any]
"""What came out, by its kind and name (`block:text`), and what it says where that can differ."""


class Found(NamedTuple):
    """What an engine of one kind produces: each thing with what it comes from; whether stops match here.

    A thing that comes from no member of the answer is made here.
    """

    sources: dict[str, list[str]]
    matches_here: bool


@cache
def found(engine: str) -> Found:
    """What comes out of everything that an engine of that kind can say."""
    matches_here = DIALECTS[engine]().matches_stops_here(_request((STOP,)), able(engine))
    return Found(asyncio.run(_sources(engine)), matches_here)


async def _sources(engine: str) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    async with _served(engine) as (fake, client):
        for scene in scenes(engine).values():
            before = await _played(fake, client, scene)
            told = [thing for thing in before if thing.startswith(scene.about)]
            for thing in told:
                sources.setdefault(thing, [])
            for name in _members(scene):
                after = await _played(fake, client, _without(scene, name))
                for thing in told:
                    if _depends(thing, before, after) and name[1] not in sources[thing]:
                        sources[thing].append(name[1])
        for refusal in REFUSALS[engine]:
            fake.routes[CHAT] = Answer(status=refusal.status, pieces=[refusal.body])
            sources.setdefault(f"error:{await _refused(client)}", []).append(str(refusal.status))
    return sources


def _depends(thing: str, before: Things, after: Things) -> bool:
    if "event:error" in after and "event:error" not in before and not thing.startswith(_ENDS):
        return False
    return thing not in after or bool(before[thing] != after[thing])


# ---- one play ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _served(engine: str) -> AsyncIterator[tuple[FakeOpenAI, RemoteInferenceEngine]]:
    """A server of that kind, and our client of it, which has asked what it can do."""
    routes = {path: _route(answer) for path, answer in PLAYED[engine].items()}
    async with FakeOpenAI(routes) as fake, remote(fake, engine) as client:  # type: ignore[arg-type]  # one of the names
        await client.capabilities(MODEL)
        yield fake, client


def _route(answer: Any) -> Route | Answer:
    if callable(answer):
        return lambda seen: reply(answer(seen.json))
    if isinstance(answer, Reply):
        return Answer(status=answer.status, pieces=[answer.body])
    return reply(answer)


def _request(stop: tuple[str, ...] = ()) -> ChatRequest:
    """A request whose stop strings an engine that can will match itself: nothing is thought."""
    turn = ChatMessage(role="user", content="Hi")
    reasoning = Reasoning(enabled=False if stop else None)
    return ChatRequest(
        model=MODEL, messages=[turn], stop=list(stop), reasoning=reasoning, max_tokens=MAX_TOKENS
    )


async def _played(fake: FakeOpenAI, client: RemoteInferenceEngine, scene: Scene) -> Things:
    """The things of a scene as a stream."""
    stream = RoundStream(OPTIONS, seal, plan())
    parts = [stream.start(_ESTIMATE), stream.ping()]
    for chunks in scene.rounds:
        fake.routes[CHAT] = events(*chunks, DONE)
        try:
            answer = await client.stream_chat_completion(_request(scene.stop))
            parts += [stream.feed(batch) async for batch in answer]
            parts.append(stream.end())
        except DragomanError as error:
            parts.append(stream.fail(error))
        if stream.due:
            parts.append(stream.give([result(call) for call in stream.due])[0])
        if stream.finished:
            break
    decoder = SSEDecoder()
    data = [*decoder.feed(b"".join(parts)), *decoder.close()]
    return _things([msgspec.json.decode(event.data) for event in data])


def _things(said: list[Any]) -> Things:
    """What some events hold; a message is what its events put together."""
    found: Things = {f"event:{event['type']}": None for event in said}
    content: list[Any] = []
    block: list[Any] = []
    for event in said:
        match event["type"]:
            case "content_block_start":
                # an answer without content is an empty text block: what it says is compared, too
                block = found.setdefault(f"block:{event['content_block']['type']}", [])
                block.append(event["content_block"])
                content.append(event["content_block"])
            case "content_block_delta":
                found[f"delta:{event['delta']['type']}"] = None
                block.append(event["delta"])
                content.append(event["delta"])
            case "message_delta":
                found |= _end(event["delta"], event["usage"])
            case "error":
                found[f"error:{event['error']['type']}"] = None
    return found | ({"message:content": content} if content else {})


def _end(end: Any, usage: Any) -> Things:
    counts = {name: value for name, value in usage.items() if name in _COUNTS and value}
    return {
        f"stop_reason:{end['stop_reason']}": None,
        **{
            f"message:{name}": end[name] for name in ("stop_reason", "stop_sequence") if end[name] is not None
        },
        **{f"usage:{name}": value for name, value in counts.items()},
        **({"usage:server_tool_use": None} if any((usage["server_tool_use"] or {}).values()) else {}),
        "message:usage": counts,
    }


async def _refused(client: RemoteInferenceEngine) -> str:
    """The type of the error that a refusal becomes."""
    try:
        await client.stream_chat_completion(_request())
    except DragomanError as error:
        return error.type
    raise AssertionError("the engine answered")


# ---- the same answer in one piece --------------------------------------------------------------------------


def both(engine: str, name: str) -> tuple[Things, Things]:
    """A scene of one round as a stream, and as a whole answer: the things that both can have."""
    return asyncio.run(_both(engine, scenes(engine)[name]))


async def _both(engine: str, scene: Scene) -> tuple[Things, Things]:
    (chunks,) = scene.rounds
    async with _served(engine) as (fake, client):
        streamed = await _played(fake, client, scene)
        fake.routes[CHAT] = lambda seen: (
            events(*chunks, DONE) if seen.json["stream"] else reply(whole(chunks))
        )
        answer = await client.chat_completion(_request(scene.stop))
    message = msgspec.json.decode(msgspec.json.encode(to_message(answer, OPTIONS, seal)[0]))
    things = {f"block:{block['type']}": None for block in message["content"]}
    things |= _end(message, message["usage"])
    blocks: Things = {thing: None for thing in streamed if thing.startswith("block:")}
    return blocks | {
        thing: said for thing, said in streamed.items() if thing.startswith(_OF_MESSAGES)
    }, things


# ---- an answer without a member ----------------------------------------------------------------------------


Member = tuple[str, str]
"""Where a member stands (chunk, choice, delta or usage), and its name."""


def _objects(chunk: Chunk) -> Iterator[tuple[str, frozenset[str], Chunk]]:
    """The objects of a chunk, each with its members that only frame."""
    yield "chunk", _FRAME, chunk
    for choice in chunk.get("choices", ()):
        yield "choice", _CHOICE_FRAME, choice
        yield "delta", frozenset(), choice["delta"]
    if chunk.get("usage"):
        yield "usage", frozenset(), chunk["usage"]


def _members(scene: Scene) -> list[Member]:
    """The members of all chunks that say something, in the order of their first appearance."""
    names = {
        (place, name): None
        for chunks in scene.rounds
        for chunk in chunks
        for place, frame, members in _objects(chunk)
        for name, value in members.items()
        if name not in frame and value is not None
    }
    return list(names)


def _without(scene: Scene, member: Member) -> Scene:
    """The same scene, where the engine never says that member."""
    rounds = deepcopy(scene.rounds)
    for chunks in rounds:
        for chunk in chunks:
            for place, _, members in list(_objects(chunk)):
                if place == member[0]:
                    members.pop(member[1], None)
    return scene._replace(rounds=rounds)
