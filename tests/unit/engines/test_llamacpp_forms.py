"""Schemas that llama.cpp cannot follow: only these are loosened, and no more than they must be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.llamacpp import LlamaCppInferenceEngine, forms
from dragoman.errors import InvalidRequestError
from dragoman.models import PromptAids
from dragoman.wire.openai import ChatTool, ToolChoice
from tests.support.fake_openai import CHAT, Answer, FakeOpenAI, Hang, Seen, reply
from tests.unit.engines.aided import CALL, aided, asking, calls_of, said, tool
from tests.unit.engines.remotes import read
from tests.unit.engines.test_llamacpp_engine import LOCAL, MODEL_FILE

SOUND = tool("f", b'{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}')
ODD = tool("g", b'{"type":"object","properties":{"p":{"description":"none"},"q":{}},"required":["p"]}')
SHAPE = {"type": "object", "properties": {"p": {}, "q": {}}, "required": ["p"]}
FORCED = ToolChoice("required")


def schema_of(seen: Seen) -> dict[str, Any]:
    """The schema that a request asked for."""
    found: dict[str, Any] = seen.json["response_format"]["json_schema"]["schema"]
    return found


def refusing(fake: FakeOpenAI, *words: str) -> None:
    """Makes the fake refuse a form that holds one of the words, as llama.cpp does."""

    def answered(seen: Seen) -> Answer:
        text = msgspec.json.encode(schema_of(seen)).decode()
        if any(word in text for word in words):
            return reply({"error": {"code": 400, "message": "JSON schema error at #", "type": "x"}}, 400)
        return said(CALL)

    fake.routes[CHAT] = answered


def arguments(seen: Seen) -> list[Any]:
    """The schemas of the arguments that a request asked for, in the order of the tools."""
    return [*schema_of(seen)["$defs"].values()]


def own(one: ChatTool) -> Any:
    """The schema of a tool."""
    return msgspec.json.decode(one.function.parameters)


async def test_only_the_schema_that_cannot_be_followed_is_loosened() -> None:
    request = asking(tools=[SOUND, ODD], tool_choice=FORCED)
    async with FakeOpenAI() as fake, aided(fake) as engine:
        refusing(fake, "none")
        chunks = await read(await engine.stream_chat_completion(request))
        first, *trials, last = fake.chats
        assert calls_of(chunks) == [("f", ""), (None, '{"a": 1}')]
        assert arguments(last) == [own(SOUND), SHAPE]
        assert last.json["messages"] == first.json["messages"]
        # each was tried alone, with next to no prompt
        assert [len(arguments(seen)) for seen in trials] == [1, 1, 1]
        assert {seen.json["max_tokens"] for seen in trials} == {1}
        # what was found out is remembered
        await read(await engine.stream_chat_completion(request))
        assert arguments(fake.chats[-1]) == arguments(last)
        assert len(fake.chats) == 6


async def test_where_the_names_are_refused_too_any_object_is_taken() -> None:
    async with FakeOpenAI() as fake, aided(fake) as engine:
        refusing(fake, '"p"')
        await read(await engine.stream_chat_completion(asking(tools=[SOUND, ODD], tool_choice=FORCED)))
        assert arguments(fake.chats[-1]) == [own(SOUND), {"type": "object"}]


async def test_schemas_that_are_only_refused_together_all_give_way() -> None:
    request = asking(tools=[SOUND, tool("g", b'{"type":"object","maxProperties":1}')], tool_choice=FORCED)
    async with FakeOpenAI() as fake, aided(fake) as engine:
        refusing(fake, '"integer"}},"required":["n"]},"arguments1"')
        await read(await engine.stream_chat_completion(request))
        assert arguments(fake.chats[-1]) == [{"type": "object"}, {"type": "object"}]


async def test_a_request_that_is_refused_for_another_reason_stays_refused() -> None:
    async with FakeOpenAI() as fake, aided(fake) as engine:
        refusing(fake, "arguments")
        with pytest.raises(InvalidRequestError, match="cannot hold its answer"):
            await engine.stream_chat_completion(asking(tool_choice=FORCED))


async def test_a_call_that_the_model_began_is_loosened_in_the_same_way() -> None:
    async with FakeOpenAI() as fake, aided(fake) as engine:
        refusing(fake, "none")
        fake.chat(said('{"name": "g"', finish="", ends=(Hang(),)))
        await read(await engine.stream_chat_completion(asking(tools=[SOUND, ODD])))
        assert arguments(fake.chats[-1]) == [SHAPE]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MOST_KNOWN", 1)
    async with FakeOpenAI() as fake, aided(fake) as engine:
        refusing(fake, "none")
        await read(await engine.stream_chat_completion(asking(tools=[SOUND, ODD], tool_choice=FORCED)))
        assert len(engine._forms._known) == 1
        assert arguments(fake.chats[-1]) == [own(SOUND), SHAPE]


@pytest.mark.engine
async def test_the_real_llama_cpp_keeps_the_names_of_a_schema_that_it_refuses() -> None:
    engine = LlamaCppInferenceEngine(MODEL_FILE, local=LOCAL, aids=PromptAids(marks=("<tool_call>",)))
    try:
        await engine.start()
        found = []
        for name in ("f", "g"):
            choice = ToolChoice("function", name)
            request = asking(tools=[SOUND, ODD], tool_choice=choice, max_tokens=40)
            stream = await engine.stream_chat_completion(request)
            pieces = calls_of(await read(stream))
            found.append("".join("".join((text or "").split()) for _, text in pieces))
        # the parrot knows neither tool: what it writes is what the grammar leaves it
        assert [text[:4] for text in found] == ['{"n"', '{"p"']
    finally:
        await engine.aclose()
