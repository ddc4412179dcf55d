"""Field cases, part G: a count is made of the very prompt that an answer would be made of."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dragoman.engines.scripted import Script, answer, finish_chunk, text_chunk
from dragoman.wire.openai import ChatRequest, ChatUsage, ImagePart, PromptTokensDetails
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, error_of
from tests.support.translation import (
    PNG,
    assistant,
    call,
    document,
    image,
    result,
    system,
    text,
    thinking,
    tool,
    user,
)

TURNS = [
    user(text("look"), image(), document("a page", title="T")),
    assistant(thinking("let me see"), call("toolu_a", "f")),
    user(result("toolu_a", [text("found"), image()])),
    system("be brief"),
]
WHOLE: dict[str, Any] = {"system": "top", "tools": [tool("f"), tool("g")], "messages": TURNS}


def counted(url: str, query: str = "", **fields: Any) -> httpx.Response:
    """The answer to a request for a count."""
    body = {"model": REQUEST["model"], "messages": REQUEST["messages"], **fields}
    return httpx.post(f"{url}/v1/messages/count_tokens{query}", json=body, timeout=20)


def tokens(url: str, **fields: Any) -> int:
    """The count for a request with these fields."""
    count: int = counted(url, **fields).json()["input_tokens"]
    return count


def read(usage: dict[str, int]) -> int:
    """The whole input of a usage, what came from the cache included."""
    return sum(value for name, value in usage.items() if name in INPUT)


INPUT = {"input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"}


@pytest.mark.parametrize("query", ["", "?beta=true"])
def test_case_g105_tokens_are_counted_with_and_without_a_query(serve: Serve, query: str) -> None:
    reply = counted(serve().url, query)
    assert reply.status_code == 200
    assert reply.json()["input_tokens"] > 0


@pytest.mark.parametrize("fields", [{}, WHOLE, {**WHOLE, "messages": TURNS[:1]}])
def test_case_g106_a_count_equals_the_usage(serve: Serve, fields: dict[str, Any]) -> None:
    url = serve().url
    assert tokens(url, **fields) == read(ask(url, REQUEST | fields).json()["usage"])


def test_case_g107_tools_are_counted(serve: Serve) -> None:
    url = serve().url
    assert tokens(url) < tokens(url, tools=[tool("f")]) < tokens(url, tools=[tool("f"), tool("g")])


def images_of(request: ChatRequest) -> list[ImagePart]:
    """The images of a request."""
    contents = [message.content for message in request.messages if isinstance(message.content, list)]
    return [part for content in contents for part in content if isinstance(part, ImagePart)]


def test_case_g108_images_are_counted_as_images(serve: Serve) -> None:
    served = serve()
    counted(served.url, messages=[user(image(), document([image()]))])
    assert len(images_of(served.engine.counted[0])) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "low"}},
        {"tools": [tool("f")], "tool_choice": {"type": "any"}},
        {"tools": [tool("f")], "tool_choice": {"type": "none"}},
        WHOLE,
    ],
    ids=["thinking", "effort", "any", "none", "whole"],
)
def test_case_g109_a_count_is_asked_of_the_request_that_would_be_answered(
    serve: Serve, fields: dict[str, Any]
) -> None:
    served = serve()
    counted(served.url, **fields)
    ask(served.url, REQUEST | fields)
    asked, answered = served.engine.counted[0], served.engine.calls[0].request
    for name in ("messages", "tools", "tool_choice", "reasoning"):
        assert getattr(asked, name) == getattr(answered, name)


def test_case_g110_a_count_has_no_limit_and_holds_earlier_thinking_and_no_base64(serve: Serve) -> None:
    served = serve()
    assert counted(served.url, **WHOLE).status_code == 200
    request = served.engine.counted[0]
    assert "let me see" in [message.reasoning for message in request.messages]
    assert not any(PNG in str(message.content) for message in request.messages if message.role == "tool")


def test_case_g111_usage_adds_up_to_the_count_that_clients_compact_by(serve: Serve) -> None:
    usage = ChatUsage(40, 2, PromptTokensDetails(cached_tokens=30))
    cached = Script(steps=[text_chunk("Hi."), finish_chunk("stop")], usage=usage)
    billed = ask(serve({"": cached}).url).json()["usage"]
    assert (billed["input_tokens"], billed["cache_read_input_tokens"], read(billed)) == (10, 30, 40)
    url = serve({"": answer("Hi.")}).url
    assert read(ask(url).json()["usage"]) == tokens(url)


def test_case_g112_no_messages_are_refused(serve: Serve) -> None:
    reply = counted(serve().url, messages=[])
    assert reply.status_code == 400
    assert error_of(reply)["message"].startswith("messages: ")
