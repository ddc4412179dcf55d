"""Dialects: tools that an engine knows and the head of its prompt does not show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.dialects import DIALECTS
from dragoman.engines.dialects.base import Reply
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import (
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionSpec,
    Reasoning,
    TextPart,
    ToolChoice,
)
from dragoman.wire.openai_write import plain_tools
from tests.unit.engines.test_dialects_asking import PROPS, Server, listed

ABLE = EngineCapabilities(reasoning=True, reasoning_switch=True, unlisted_tools=True)
UNABLE = msgspec.structs.replace(ABLE, unlisted_tools=False)
SYSTEM = ChatMessage(role="system", content="top")
USER = ChatMessage(role="user", content="Hi")


def tool(name: str, **more: Any) -> ChatTool:
    return ChatTool(function=FunctionSpec(name=name, parameters=msgspec.Raw(b'{"type":"object"}'), **more))


HEAD = [tool("f", description="does f", strict=True), tool("g")]
LATE = tool("late")


def asking(*messages: ChatMessage, **more: Any) -> ChatRequest:
    return ChatRequest(**{"model": "m", "messages": list(messages or (SYSTEM, USER)), "tools": HEAD} | more)


def body_of(dialect: str, capabilities: EngineCapabilities, request: ChatRequest) -> Any:
    return msgspec.json.decode(DIALECTS[dialect]().write(request, capabilities, stream=False))


def names(tools: list[Any]) -> list[str]:
    return [one["function"]["name"] for one in tools]


def printed(body: Any) -> list[str] | None:
    """The tools that the template is given apart from those that the engine knows."""
    apart = body.get("chat_template_kwargs", {}).get("tools")
    return None if apart is None else names(apart)


# --- what is written ---


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
def test_the_template_prints_the_head_and_the_engine_knows_all(dialect: str) -> None:
    body = body_of(dialect, ABLE, asking(loaded_tools=[LATE], removed_tools=["g"]))
    assert (names(body["tools"]), printed(body)) == (["f", "late"], ["f", "g"])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("able", [ABLE, UNABLE], ids=["able", "unable"])
def test_without_changes_nothing_is_said_apart(dialect: str, able: EngineCapabilities) -> None:
    body = body_of(dialect, able, asking(hidden_tools=[LATE]))
    assert (names(body["tools"]), printed(body)) == (["f", "g"], None)
    assert "tools" not in body["messages"][0]


def test_each_server_is_given_a_tool_as_it_would_give_it_to_the_template() -> None:
    schema = {"type": "object"}
    request = asking(loaded_tools=[LATE])
    assert body_of("llamacpp", ABLE, request)["chat_template_kwargs"]["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "does f", "parameters": schema}},
        {"type": "function", "function": {"name": "g", "description": "", "parameters": schema}},
    ]
    f = {"name": "f", "description": "does f", "parameters": schema, "strict": True}
    assert body_of("vllm", ABLE, request)["chat_template_kwargs"]["tools"] == [
        {"type": "function", "function": f},
        {"type": "function", "function": {"name": "g", "description": None, "parameters": schema}},
    ]


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
def test_the_other_arguments_of_the_template_stay(dialect: str) -> None:
    body = body_of(dialect, ABLE, asking(loaded_tools=[LATE], reasoning=Reasoning(enabled=False)))
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert printed(body) == ["f", "g"]


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
def test_where_no_call_is_read_the_tools_are_only_printed(dialect: str) -> None:
    body = body_of(dialect, ABLE, asking(loaded_tools=[LATE], tool_choice=ToolChoice("none")))
    assert (names(body["tools"]), printed(body)) == (["f", "g"], None)


def test_a_named_tool_is_forced_alone_and_all_are_printed() -> None:
    request = asking(loaded_tools=[LATE], tool_choice=ToolChoice("function", "late"))
    body = body_of("llamacpp", ABLE, request)
    assert (names(body["tools"]), printed(body), body["tool_choice"]) == (["late"], ["f", "g"], "required")
    body = body_of("llamacpp", UNABLE, request)
    assert (names(body["tools"]), printed(body), body["tool_choice"]) == (["late"], None, "required")
    body = body_of("vllm", ABLE, request)
    assert (names(body["tools"]), printed(body)) == (["f", "g", "late"], ["f", "g"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_else_what_was_loaded_joins_the_end(dialect: str) -> None:
    body = body_of(dialect, UNABLE, asking(loaded_tools=[LATE], removed_tools=["g"]))
    assert (names(body["tools"]), printed(body)) == (["f", "g", "late"], None)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_whose_head_shows_no_tools_gets_them(dialect: str) -> None:
    body = body_of(dialect, ABLE, asking(tools=[], loaded_tools=[LATE], tool_choice=ToolChoice("auto")))
    # one server ignores a choice, and is not sent any
    choice = None if dialect == "transformers" else "auto"
    assert (names(body["tools"]), printed(body), body.get("tool_choice")) == (["late"], None, choice)


def test_the_plain_form_forces_no_removed_tool_and_knows_none_twice() -> None:
    again = asking(loaded_tools=[tool("g", description="new")], removed_tools=["g"])
    assert [one.function.description for one in plain_tools(again)] == ["does f", "new"]
    for mode in (ToolChoice("required"), ToolChoice("function", "f")):
        assert plain_tools(asking(removed_tools=["g"], tool_choice=mode)) == HEAD[:1]
    assert plain_tools(asking(removed_tools=["g"], tool_choice=ToolChoice("auto"))) == HEAD


# --- sglang: in the system turn at the head ---


@pytest.mark.parametrize("content", ["top", [TextPart("top")]])
def test_sglang_is_told_in_the_system_turn_at_the_head(content: Any) -> None:
    request = asking(ChatMessage(role="system", content=content), USER, loaded_tools=[LATE])
    body = body_of("sglang", ABLE, request)
    assert names(body["tools"]) == ["f", "g"]
    head, user = body["messages"]
    assert (head["role"], names(head["tools"])) == ("system", ["late"])
    assert head["content"] == msgspec.to_builtins(content)
    assert user == {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "request_",
    [
        asking(USER, loaded_tools=[LATE]),
        asking(ChatMessage(role="assistant", content="a"), loaded_tools=[LATE]),
        asking(tools=[], loaded_tools=[LATE]),
        asking(loaded_tools=[tool("g", description="new")], removed_tools=["g"]),
        asking(loaded_tools=[LATE], removed_tools=["g"], tool_choice=ToolChoice("required")),
        asking(loaded_tools=[LATE], tool_choice=ToolChoice("function", "late")),
    ],
    ids=["no system turn", "assistant first", "no head", "defined anew", "forced", "named"],
)
def test_sglang_is_told_plainly_where_the_system_turn_cannot_say_it(request_: ChatRequest) -> None:
    body = body_of("sglang", ABLE, request_)
    assert names(body["tools"]) == [one.function.name for one in plain_tools(request_)]
    assert "tools" not in body["messages"][0]


# --- what is asked ---


def rendered(body: dict[str, Any]) -> str:
    """A template that prints the tools that it is given, as they came."""
    given = body.get("chat_template_kwargs", {}).get("tools", body.get("tools", ()))
    return str(given) + str([(one["role"], one["content"]) for one in body["messages"]])


def ignoring(body: dict[str, Any]) -> str:
    """The same on a server that does not pass tools on to its template."""
    return rendered({**body, "chat_template_kwargs": {}})


async def llamacpp_can(render: Any) -> bool:
    server = Server({"/props": PROPS, "/apply-template": lambda body: {"prompt": render(body)}})
    return (await DIALECTS["llamacpp"]().capabilities(server.ask, "m")).unlisted_tools


async def test_llamacpp_is_able_where_both_prompts_are_the_same() -> None:
    def like_it(body: dict[str, Any]) -> str:
        given = body.get("chat_template_kwargs", {}).get("tools")
        if given is None:
            given = [_as_llamacpp(one) for one in body.get("tools", ())]
        return str(given) + str(body["messages"])

    assert await llamacpp_can(like_it)
    assert not await llamacpp_can(ignoring)
    assert not await llamacpp_can(rendered)


def _as_llamacpp(one: dict[str, Any]) -> dict[str, Any]:
    function = one["function"]
    shown = {"name": function["name"], "description": function.get("description", "")}
    return {"type": "function", "function": shown | {"parameters": function["parameters"]}}


async def test_a_template_that_refuses_the_probe_is_not_able() -> None:
    def refuses_tools(body: dict[str, Any]) -> Any:
        return Reply(500, b"{}") if "tools" in body else {"prompt": str(body["messages"])}

    server = Server({"/props": PROPS, "/apply-template": refuses_tools})
    assert not (await DIALECTS["llamacpp"]().capabilities(server.ask, "m")).unlisted_tools


class Rendering:
    """A server that tokenizes chats: its one token stands for the prompt."""

    def __init__(self, render: Any) -> None:
        self.render = render
        self.prompts: list[str] = []

    def table(self, owner: str, **more: Any) -> dict[str, Any]:
        return {
            "/v1/models": listed(owner),
            "/server_info": {"tp_size": 1},
            "/tokenize": self.tokenize,
            "/detokenize": lambda body: {"prompt": self.prompts[body["tokens"][0]]},
        } | more

    def tokenize(self, body: dict[str, Any]) -> Any:
        self.prompts.append(self.render(body))
        return {"tokens": [len(self.prompts) - 1], "count": 1}


def like_vllm(body: dict[str, Any]) -> str:
    given = body.get("chat_template_kwargs", {}).get("tools")
    if given is None:
        given = [_as_vllm(one) for one in body.get("tools", ())]
    return str(given) + str(body["messages"])


def _as_vllm(one: dict[str, Any]) -> dict[str, Any]:
    function = one["function"]
    shown = {"name": function["name"], "description": function.get("description")}
    shown["parameters"] = function["parameters"]
    return {"type": "function", "function": shown | ({"strict": True} if "strict" in function else {})}


@pytest.mark.parametrize(("render", "able"), [(like_vllm, True), (rendered, False)])
async def test_vllm_is_asked_by_rendering(render: Any, able: bool) -> None:
    server = Server(Rendering(render).table("vllm"))
    assert (await DIALECTS["vllm"]().capabilities(server.ask, "m")).unlisted_tools is able


REFUSES = Reply(400, b'{"message":"Tool names must be unique across request and message tools."}')


@pytest.mark.parametrize(
    ("render", "chat", "able"),
    [
        (rendered, REFUSES, True),
        (rendered, {"choices": []}, False),
        (rendered, Reply(400, b'{"message":"something else"}'), False),
        (str, REFUSES, False),
    ],
    ids=["reads them", "ignores them", "refuses all", "prints them"],
)
async def test_sglang_is_asked_for_what_only_a_newer_one_refuses(render: Any, chat: Any, able: bool) -> None:
    table = Rendering(render).table("sglang", **{"/v1/chat/completions": lambda _: chat})
    server = Server(table)
    assert (await DIALECTS["sglang"]().capabilities(server.ask, "m")).unlisted_tools is able
    trials = [body for path, body in server.asked if path == "/v1/chat/completions"]
    assert all(body["max_tokens"] == 1 for body in trials)
