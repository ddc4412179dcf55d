"""The dialect of `transformers serve`: how it is known, what is found on answers, what it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dragoman.engines.dialects import DIALECTS, detect
from dragoman.engines.dialects.base import Reply
from dragoman.engines.dialects.errors import error_of_reply
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import DragomanError, EngineConfigurationError, EngineFaultError, OverloadedError
from dragoman.settings import EngineEntry
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage, ChatRequest, Reasoning, ToolChoice
from tests.support.dialogues import MODEL, FakeEngine, dialogues
from tests.support.fake_openai import Answer, FakeOpenAI, Seen, chunk, events, reply
from tests.unit.engines.test_dialects_asking import TOOLS, Server, listed, request

CHAT = "/v1/chat/completions"
MISSES_A_MODEL = Reply(422, b'{"detail":"Missing `model` field in the request body."}')
REFUSES = Reply(500, b"Internal Server Error")
CAN = EngineCapabilities(forced_tools=False, structured_output=False, reasoning=True)


def pinned(to: str, asked: str = "") -> Reply:
    said = {"detail": f"Server is pinned to '{to}'; requested '{asked}'."}
    return Reply(400, msgspec.json.encode(said))


# ---- what it is ----


@pytest.mark.parametrize("models", [listed("qwen"), {"object": "list", "data": []}, REFUSES])
async def test_it_is_known_by_the_model_that_it_misses(models: Any) -> None:
    server = Server({"/v1/models": models, "/load_model": MISSES_A_MODEL})
    assert (await detect(server.ask)).name == "transformers"
    assert [body for path, body in server.asked if path == "/load_model"] == [{}]


@pytest.mark.parametrize(
    "answer", [Reply(200, MISSES_A_MODEL.body), Reply(422, b'{"detail":"Field required"}'), REFUSES]
)
async def test_what_answers_otherwise_is_none(answer: Reply) -> None:
    assert (await detect(Server({"/load_model": answer}).ask)).name == "generic"


@pytest.mark.parametrize(
    ("answer", "model"),
    [
        (pinned("org/model@main:it's.gguf"), "org/model@main:it's.gguf"),
        (REFUSES, None),
        (Reply(200, pinned("m").body), None),
        (Reply(400, b'{"detail":"no"}'), None),
        (Reply(400, b"no"), None),
    ],
)
async def test_the_one_model_is_read_from_its_refusal(answer: Reply, model: str | None) -> None:
    assert await DIALECTS["transformers"]().only_model(Server({CHAT: answer}).ask) == model


async def test_a_pinned_server_lists_its_model_and_is_asked_once() -> None:
    async with FakeEngine("transformers").server as server:
        engine = RemoteInferenceEngine(EngineEntry(url=server.url))
        for _ in range(2):
            assert [card.id for card in await engine.models()] == [MODEL]
        await engine.aclose()
    assert [seen.json["model"] for seen in server.seen if seen.path == CHAT] == [""]
    assert "/v1/models" in {seen.path for seen in server.seen}


async def test_one_that_takes_any_model_lists_what_is_in_its_cache() -> None:
    routes: dict[str, Any] = {
        CHAT: reply({}, 500),
        "/load_model": reply({"detail": "Missing `model` field in the request body."}, 422),
        "/v1/models": reply(listed("qwen")),
    }
    async with FakeOpenAI(routes) as server:
        engine = RemoteInferenceEngine(EngineEntry(url=server.url))
        assert [card.id for card in await engine.models()] == ["m"]
        await engine.aclose()


# ---- what it can ----


def told(count: int) -> Reply:
    usage = {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": count + 1}
    chunks = [{"choices": [{"index": 0, "delta": {"role": "assistant"}}]}, {"choices": [], "usage": usage}]
    return Reply(200, b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks))


def counted(body: Any, *, sees: bool = True, prints: bool = True, switches: bool = True) -> Reply:
    """The length of what a model is shown: words, and what else this one takes."""
    parts = [part for turn in body["messages"] for part in _parts(turn)]
    shown = [part for part in parts if part["type"] == "text" or sees]
    thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True) or not switches
    return told(len(shown) + 9 * len(body.get("tools", ()) if prints else ()) + (0 if thinks else 4))


def _parts(turn: Any) -> list[Any]:
    content = turn["content"] or []
    return [{"type": "text"}] if isinstance(content, str) else content


def refusing(pattern: str) -> Callable[[Any], Reply]:
    """A template that refuses some rows of roles."""

    def answer(body: Any) -> Reply:
        roles = " ".join(
            turn["role"] + "+call" * len(turn.get("tool_calls", ())) for turn in body["messages"]
        )
        return REFUSES if re.search(pattern, roles) else counted(body)

    return answer


async def found(answer: Callable[[Any], Reply]) -> EngineCapabilities:
    server = Server({CHAT: answer})
    capabilities = await DIALECTS["transformers"]().capabilities(server.ask, "m")
    bodies = [body for _, body in server.asked]
    assert {(body["model"], body["max_tokens"], body["stream"]) for body in bodies} == {("m", 1, True)}
    # the first request's sampling may be that of all
    assert all({"temperature", "top_p", "generation_config"}.isdisjoint(body) for body in bodies)
    return capabilities


async def test_a_model_that_sees_thinks_and_calls() -> None:
    able = msgspec.structs.replace(CAN, images=True, reasoning_switch=True)
    assert await found(counted) == able


async def test_what_makes_no_prompt_longer_is_dropped() -> None:
    plain = await found(lambda body: counted(body, sees=False, prints=False, switches=False))
    assert plain == msgspec.structs.replace(CAN, tools=False)


@pytest.mark.parametrize(
    ("refused", "lacking"),
    [
        ("system", {"system_at_head", "system_in_place"}),
        ("user system", {"system_in_place"}),
        ("tool user", {"user_after_result"}),
        (r"\+call\+call", {"calls_together"}),
    ],
)
async def test_what_fails_is_what_the_template_refuses(refused: str, lacking: set[str]) -> None:
    capabilities = await found(refusing(refused))
    habits = ("system_at_head", "system_in_place", "user_after_result", "calls_together")
    assert {name for name in habits if not getattr(capabilities, name)} == lacking


async def test_a_template_that_takes_no_prompt_without_tools_prints_them() -> None:
    capabilities = await found(lambda body: counted(body) if body.get("tools") else REFUSES)
    assert (capabilities.tools, capabilities.images) == (True, True)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (REFUSES, EngineFaultError),
        (pinned("a", "m"), EngineConfigurationError),
        (Reply(503, b'{"error":"CB worker is dead and cannot accept request 1: no"}'), OverloadedError),
    ],
)
async def test_a_server_that_cannot_answer_is_not_described(answer: Reply, kind: type[DragomanError]) -> None:
    with pytest.raises(kind):
        await DIALECTS["transformers"]().capabilities(Server({CHAT: answer}).ask, "m")


# ---- what it is sent ----


def written(asked: ChatRequest) -> Any:
    return msgspec.json.decode(DIALECTS["transformers"]().write(asked, CAN, stream=True))


def test_what_it_would_ignore_is_not_sent() -> None:
    asked = request(tools=TOOLS, tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    body = written(asked)
    assert {"tool_choice", "parallel_tool_calls"}.isdisjoint(body)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", "g"]


def test_it_sees_no_tools_where_none_may_be_called() -> None:
    assert "tools" not in written(request(tools=TOOLS, tool_choice=ToolChoice("none")))


@pytest.mark.parametrize(
    ("reasoning", "arguments"),
    [
        (Reasoning(), None),
        (Reasoning(enabled=False), {"enable_thinking": False, "thinking": False}),
        (Reasoning(effort="low"), {"reasoning_effort": "low"}),
        (
            Reasoning(enabled=True, effort="max"),
            {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
        ),
    ],
)
def test_thinking_and_its_effort_are_arguments_of_the_template(
    reasoning: Reasoning, arguments: dict[str, Any] | None
) -> None:
    body = written(request(reasoning=reasoning))
    assert (body.get("chat_template_kwargs"), "reasoning_effort" in body) == (arguments, False)


@pytest.mark.parametrize(
    ("members", "config"),
    [
        ({}, None),
        ({"temperature": 0.0, "top_k": 5}, None),
        ({"temperature": 0.7}, {"do_sample": True, "max_new_tokens": 1024}),
        ({"top_p": 0.9}, {"do_sample": True, "max_new_tokens": 1024}),
        ({"top_k": 5}, {"do_sample": True, "max_new_tokens": 1024, "top_k": 5}),
    ],
)
def test_a_model_samples_where_a_request_says_how(
    members: dict[str, Any], config: dict[str, Any] | None
) -> None:
    body = written(request(**members))
    told = body.get("generation_config")
    assert (told and msgspec.json.decode(told), "top_k" in body) == (config, False)


# ---- what it says ----


def test_a_wrong_name_is_the_operators_mistake() -> None:
    error = error_of_reply(400, pinned("a", "b").body)
    assert isinstance(error, EngineConfigurationError)
    assert "Server is pinned to" in error.log_detail


@pytest.mark.parametrize("words", ["no", "json parser could not parse region as JSON.\nContent: '\n{\"a\"'"])
async def test_an_error_inside_a_stream_ends_it_whatever_its_quotes(words: str) -> None:
    count = b'data: {"usage": {"prompt_tokens": 1}}'

    def answer(seen: Seen) -> Answer:
        if seen.json["max_tokens"] == 1:
            return Answer(content_type="text/event-stream", pieces=[count])
        # its words are not escaped
        return events(chunk({"content": "Hi"}), f'{{"error": "{words}"}}')

    async with FakeOpenAI({CHAT: answer}) as server:
        engine = RemoteInferenceEngine(EngineEntry(url=server.url, dialect="transformers"))
        stream = await engine.stream_chat_completion(request(max_tokens=9))
        with pytest.raises(EngineFaultError):
            _ = [chunk async for batch in stream for chunk in batch]
        await stream.aclose()
        await engine.aclose()


async def test_a_whole_answer_is_put_together_from_a_stream() -> None:
    async with FakeEngine("transformers").server as server:
        engine = RemoteInferenceEngine(EngineEntry(url=server.url))
        answer = await engine.chat_completion(dialogues()["call-Paris"].request)
        await engine.aclose()
    assert answer.choices[0].finish_reason == "tool_calls"
    asked = [seen.json for seen in server.seen if seen.path == CHAT]
    assert {body["stream"] for body in asked} == {True}
    assert asked[-1]["messages"] == [{"role": "user", "content": "What is the weather in Paris?"}]


def test_a_history_is_written_as_for_all() -> None:
    turn = ChatMessage(role="assistant", content="Yes.", reasoning="Hm")
    assert written(request(messages=[turn]))["messages"][0]["content"] == "Yes."


def test_it_renders_for_nobody() -> None:
    """What was sent is no prompt: the doctor would see in it what the server leaves out."""
    assert DIALECTS["transformers"]().renderer(Server({}).ask, "m") is None
