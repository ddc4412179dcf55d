"""Dialects: what each finds out by asking a server, and how it counts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.dialects import DIALECTS, detect
from dragoman.engines.dialects.base import Dialect, Reply
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    EngineFaultError,
    EngineTimeoutError,
    NotSupportedError,
    OverloadedError,
)
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import (
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionSpec,
    ImagePart,
    ImageURL,
    Reasoning,
    ToolChoice,
)

ALL = EngineCapabilities(
    reasoning=True, reasoning_switch=True, matched_stop=True, counting=True, continuation=True
)
NOT_FOUND = Reply(404, b'{"detail":"Not Found"}')
TOOLS = [
    ChatTool(
        function=FunctionSpec(name=name, description="D", parameters=msgspec.Raw(b'{"type": "object" }'))
    )
    for name in ("f", "g")
]


class Server:
    """Answers questions from a table of values, functions of the body, or replies; records the questions."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table
        self.asked: list[tuple[str, Any]] = []

    async def ask(self, path: str, body: object) -> Reply:
        written = None if body is None else msgspec.json.decode(msgspec.json.encode(body))
        self.asked.append((path, written))
        answer = self.table.get(path, NOT_FOUND)
        if callable(answer):
            answer = answer(written)
        return answer if isinstance(answer, Reply) else Reply(200, msgspec.json.encode(answer))


def request(**changes: Any) -> ChatRequest:
    messages = changes.pop("messages", [ChatMessage(role="user", content="Hi")])
    return ChatRequest(model="m", messages=messages, **changes)


def listed(owner: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": owner}]}


PROPS: dict[str, Any] = {
    "default_generation_settings": {"params": {"seed": 1}, "n_ctx": 2048},
    "total_slots": 2,
    "modalities": {"vision": True, "audio": False},
    "chat_template": "{{ '<think>' }}",
}


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ({"/v1/models": listed("vllm")}, "vllm"),
        ({"/v1/models": listed("sglang")}, "sglang"),
        ({"/v1/models": listed("llamacpp")}, "llamacpp"),
        ({"/v1/models": listed("library")}, "ollama"),
        ({"/v1/models": listed("me"), "/version": {"version": "0.32.0"}}, "vllm"),
        ({"/v1/models": listed("me"), "/server_info": {"tp_size": 1, "model_path": "x"}}, "sglang"),
        ({"/get_server_info": {"tp_size": 1}, "/api/version": {"version": "0.1"}}, "sglang"),
        ({"/props": PROPS}, "llamacpp"),
        ({"/api/version": {"version": "0.14.0"}}, "ollama"),
        ({"/v1/models": listed("openai")}, "generic"),
        ({"/version": {"version": "1", "commit": "x"}, "/server_info": {"vllm_config": "x"}}, "generic"),
        ({"/props": Reply(200, b"<html>"), "/version": Reply(200, b"<html>")}, "generic"),
        ({}, "generic"),
    ],
)
async def test_a_server_is_known_by_what_it_says(table: dict[str, Any], name: str) -> None:
    assert (await detect(Server(table).ask)).name == name


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, EngineConfigurationError),
        (403, EngineConfigurationError),
        (500, EngineFaultError),
        (502, EngineFaultError),
        (503, OverloadedError),
        (504, EngineTimeoutError),
    ],
)
@pytest.mark.parametrize("body", [b"{}", b"<html>Bad gateway</html>"])
async def test_a_server_that_does_not_let_us_in_is_not_guessed(
    status: int, kind: type[DragomanError], body: bytes
) -> None:
    with pytest.raises(kind):
        await detect(Server({"/v1/models": Reply(status, body)}).ask)


async def test_every_dialect_goes_by_its_name() -> None:
    assert {name: kind().name for name, kind in DIALECTS.items()} == {name: name for name in DIALECTS}
    base = Dialect()
    with pytest.raises(NotImplementedError):
        await base.recognise(Server({}).ask)
    with pytest.raises(NotImplementedError):
        await base.capabilities(Server({}).ask, "m")
    base.prepare_stream({}, counted=True)
    base.prepare({}, request(), ALL)


def template(body: dict[str, Any]) -> str:
    """A template as Qwen3's: a thinking switch, system turns in place."""
    turns = "".join(f"<{turn['role']}>{turn['content']}" for turn in body["messages"])
    off = body.get("chat_template_kwargs", {}).get("enable_thinking") is False
    return turns + ("<think></think>" if off else "")


def strict_template(body: dict[str, Any]) -> str | None:
    """A template that takes one system turn, at the start, and knows no thinking."""
    systems = [n for n, turn in enumerate(body["messages"]) if turn["role"] == "system"]
    return None if any(systems) else "".join(str(turn["content"]) for turn in body["messages"])


def hoisting_template(body: dict[str, Any]) -> str:
    """A template that puts all system turns first."""
    turns = sorted(body["messages"], key=lambda turn: turn["role"] != "system")
    return "".join(str(turn["content"]) for turn in turns)


def alternating_template(body: dict[str, Any]) -> str | None:
    """A template as some of Mistral's: behind the first system turn, every other one is a user's."""
    _, *rest = body["messages"]
    users = [turn["role"] == "user" for turn in rest]
    in_turn = users == [number % 2 == 0 for number in range(len(rest))]
    return "".join(str(turn["content"]) for turn in body["messages"]) if in_turn else None


def applied(render: Any) -> Any:
    return lambda body: Reply(500, b"{}") if (text := render(body)) is None else {"prompt": text}


def tokenized(render: Any) -> dict[str, Any]:
    """VLLM's two endpoints over a template: every character is a token."""

    def tokenize(body: dict[str, Any]) -> Any:
        text = render(body)
        if text is None:
            return Reply(400, b"{}")
        return {"count": len(text), "max_model_len": 64, "tokens": [ord(letter) for letter in text]}

    return {
        "/tokenize": tokenize,
        "/detokenize": lambda body: {"text": "".join(map(chr, body["tokens"]))},
    }


@pytest.mark.parametrize(
    ("render", "switch", "in_place"),
    [
        (template, True, True),
        (strict_template, False, False),
        (hoisting_template, False, False),
        (alternating_template, False, False),
    ],
)
async def test_template_habits_are_seen_on_rendered_prompts(
    render: Any, switch: bool, in_place: bool
) -> None:
    llama = Server({"/props": PROPS, "/apply-template": applied(render)})
    vllm = Server({"/v1/models": listed("vllm"), **tokenized(render)})
    for name, server in (("llamacpp", llama), ("vllm", vllm)):
        found = await DIALECTS[name]().capabilities(server.ask, "m")
        assert (found.reasoning_switch, found.system_in_place) == (switch, in_place)


def calling_template(body: dict[str, Any]) -> str | None:
    """A template as Mistral's: users and answers by turns, calls and their results aside."""
    kept = [turn for turn in body["messages"] if turn["role"] != "tool" and "tool_calls" not in turn]
    users = [turn["role"] == "user" for turn in kept if turn["role"] != "system"]
    in_turn = users == [number % 2 == 0 for number in range(len(users))]
    return "".join(str(turn["content"]) for turn in body["messages"]) if in_turn else None


def silent_template(body: dict[str, Any]) -> str:
    """A template that leaves out a user turn behind a result."""
    turns = body["messages"]
    pairs = zip([None, *turns], turns, strict=False)
    return "".join(
        str(turn["content"]) for before, turn in pairs if before is None or before["role"] != "tool"
    )


def toolless_template(body: dict[str, Any]) -> str | None:
    """A template that knows no calls."""
    return None if "tools" in body else template(body)


@pytest.mark.parametrize(
    ("render", "takes"),
    [(template, True), (calling_template, False), (silent_template, False), (toolless_template, True)],
)
async def test_a_template_shows_whether_a_user_turn_may_follow_a_result(render: Any, takes: bool) -> None:
    llama = Server({"/props": PROPS, "/apply-template": applied(render)})
    others = {"/v1/models": listed("vllm"), **tokenized(render)}
    for name, server in (("llamacpp", llama), ("vllm", Server(others)), ("sglang", Server(others))):
        assert (await DIALECTS[name]().capabilities(server.ask, "m")).user_after_result is takes


async def test_llamacpp_describes_itself() -> None:
    server = Server({"/props": PROPS, "/apply-template": applied(strict_template)})
    found = await DIALECTS["llamacpp"]().capabilities(server.ask, "m")
    assert (found.context_length, found.images, found.reasoning) == (2048, True, True)
    assert found.fills_context
    assert found.early_usage
    with pytest.raises(EngineFaultError):
        await DIALECTS["llamacpp"]().capabilities(Server({}).ask, "m")


async def test_vllm_without_a_renderer_cannot_count() -> None:
    models = {"data": [{"id": "m", "max_model_len": 8192}]}
    server = Server({"/v1/models": models, "/tokenize": {"count": 1, "tokens": [1]}})
    found = await DIALECTS["vllm"]().capabilities(server.ask, "m")
    assert (found.context_length, found.counting, found.system_in_place) == (8192, False, True)
    with pytest.raises(NotSupportedError):
        await DIALECTS["vllm"]().count(server.ask, request(), found)


@pytest.mark.parametrize(
    ("refusal", "sees"),
    [("m is not a multimodal model", False), ("cannot read the image", True), ("no such route", True)],
)
async def test_vllm_is_asked_whether_its_model_sees(refusal: str, sees: bool) -> None:
    def tokenize(body: dict[str, Any]) -> Any:
        with_image = isinstance(body["messages"][0]["content"], list)
        refused = Reply(400, msgspec.json.encode({"error": {"message": refusal}}))
        return refused if with_image else {"count": 1, "tokens": [1]}

    server = Server({"/tokenize": tokenize, "/detokenize": {"prompt": "x"}})
    assert (await DIALECTS["vllm"]().capabilities(server.ask, "m")).images is sees


async def test_sglang_describes_itself() -> None:
    info = {"tp_size": 1, "context_length": None, "max_req_input_len": 8186, "reasoning_parser": "qwen3"}
    seeing = {"/server_info": info, "/model_info": {"has_image_understanding": True}, **tokenized(template)}
    found = await DIALECTS["sglang"]().capabilities(Server(seeing).ask, "m")
    assert (found.context_length, found.images, found.reasoning_switch) == (8186, True, True)
    assert found.counting
    older = {
        "/get_server_info": {"tp_size": 1, "context_length": 4096},
        "/get_model_info": {"model_path": "x"},
    }
    found = await DIALECTS["sglang"]().capabilities(Server(older).ask, "m")
    assert (found.context_length, found.images, found.reasoning) == (4096, True, False)
    assert (found.counting, found.system_in_place) == (False, True)
    found = await DIALECTS["sglang"]().capabilities(Server({}).ask, "m")
    assert (found.context_length, found.reasoning, found.reasoning_switch) == (None, True, False)


async def test_sglang_counts_what_it_renders_and_no_images() -> None:
    server = Server({"/tokenize": {"count": 3, "max_model_len": 9, "tokens": [1, 2, 3]}})
    asked = request(
        tools=TOOLS, tool_choice=ToolChoice("none"), reasoning=Reasoning(effort="low"), stop=["x"]
    )
    assert await DIALECTS["sglang"]().count(server.ask, asked, ALL) == 3
    ((_, body),) = server.asked
    assert set(body) == {"model", "messages", "tools", "tool_choice", "reasoning_effort"}
    seen = request(messages=[ChatMessage(role="user", content=[ImagePart(image_url=ImageURL(url="data:"))])])
    for asked, caps in ((seen, ALL), (request(), EngineCapabilities())):
        with pytest.raises(NotSupportedError):
            await DIALECTS["sglang"]().count(server.ask, asked, caps)


async def test_ollama_describes_its_models() -> None:
    show = {"capabilities": ["completion", "tools", "vision"], "model_info": {"llama.context_length": 131072}}
    server = Server({"/api/show": show})
    found = await DIALECTS["ollama"]().capabilities(server.ask, "m")
    assert server.asked == [("/api/show", {"model": "m"})]
    assert (found.context_length, found.tools, found.images, found.reasoning) == (131072, True, True, False)
    assert not found.forced_tools
    found = await DIALECTS["ollama"]().capabilities(Server({}).ask, "m")
    assert (found.context_length, found.tools) == (None, False)


async def test_an_unknown_server_has_the_context_of_its_list() -> None:
    models = {"data": [{"id": "n"}, {"id": "m", "meta": {"n_ctx": 9}}]}
    assert (
        await DIALECTS["generic"]().capabilities(Server({"/v1/models": models}).ask, "m")
    ).context_length == 9
    assert (await DIALECTS["generic"]().capabilities(Server({}).ask, "m")).context_length is None


async def test_llamacpp_counts_with_its_own_endpoint() -> None:
    server = Server({"/v1/chat/completions/input_tokens": {"input_tokens": 42}})
    asked = request(tools=TOOLS, reasoning=Reasoning(enabled=False))
    assert await DIALECTS["llamacpp"]().count(server.ask, asked, ALL) == 42
    ((_, body),) = server.asked
    assert len(body["tools"]) == 2
    assert body["chat_template_kwargs"]["enable_thinking"] is False


async def test_an_older_llamacpp_renders_and_tokenizes() -> None:
    table: dict[str, Any] = {"/apply-template": {"prompt": "abc"}, "/tokenize": {"tokens": [1, 2, 3]}}
    server = Server(table)
    assert await DIALECTS["llamacpp"]().count(server.ask, request(), ALL) == 3
    assert server.asked[-1][1] == {"content": "abc", "add_special": True, "parse_special": True}
    seen = request(messages=[ChatMessage(role="user", content=[ImagePart(image_url=ImageURL(url="data:"))])])
    for broken, asked in (
        ({}, request()),
        ({"/apply-template": {"prompt": "abc"}}, request()),
        (table, seen),
    ):
        with pytest.raises(EngineConfigurationError):
            await DIALECTS["llamacpp"]().count(Server(broken).ask, asked, ALL)


async def test_vllm_counts_what_shapes_the_prompt() -> None:
    server = Server({"/tokenize": {"count": 3, "max_model_len": 9, "tokens": [1, 2, 3]}})
    asked = request(
        tools=TOOLS, reasoning=Reasoning(enabled=True), continue_final=True, max_tokens=5, stop=["x"]
    )
    assert await DIALECTS["vllm"]().count(server.ask, asked, ALL) == 3
    ((_, body),) = server.asked
    shaping = {"model", "messages", "tools", "chat_template_kwargs", "add_generation_prompt"}
    assert set(body) == shaping | {"continue_final_message"}
    with pytest.raises(EngineConfigurationError):
        await DIALECTS["vllm"]().count(Server({}).ask, asked, ALL)
    with pytest.raises(EngineFaultError):
        await DIALECTS["vllm"]().count(Server({"/tokenize": {"x": 1}}).ask, asked, ALL)
