"""What a chat template takes, found by rendering it, and how the dialects write for one that takes less."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.dialects import DIALECTS
from dragoman.engines.dialects.base import Reply
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage, ChatRequest, FunctionCall, ToolCall

HABITS = (
    "system_at_head",
    "system_in_place",
    "user_after_result",
    "calls_together",
    "calls_without_text",
    "argument_objects",
    "tools",
)
PROPS = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 1}


def printed(turn: dict[str, Any]) -> str:
    """One turn in a prompt."""
    calls = "".join(str(call["function"]["arguments"]) for call in turn.get("tool_calls", ()))
    return f"<{turn['role']}>{turn['content'] or ''}{calls}"


def taking_all(turns: list[dict[str, Any]]) -> str:
    """Takes anything."""
    return "".join(map(printed, turns))


def no_system(turns: list[dict[str, Any]]) -> str | None:
    """As Gemma 2's: no system turn anywhere."""
    return None if any(turn["role"] == "system" for turn in turns) else taking_all(turns)


def silent_system(turns: list[dict[str, Any]]) -> str:
    """Leaves system turns out without a word."""
    return taking_all([turn for turn in turns if turn["role"] != "system"])


def one_system(turns: list[dict[str, Any]]) -> str | None:
    """Takes a system turn as the first one only."""
    return None if any(turn["role"] == "system" for turn in turns[1:]) else taking_all(turns)


def one_call(turns: list[dict[str, Any]]) -> str | None:
    """As Llama 3's: one call in a turn."""
    return None if any(len(turn.get("tool_calls", "1")) > 1 for turn in turns) else taking_all(turns)


def first_call_only(turns: list[dict[str, Any]]) -> str | None:
    """Takes one call in a whole conversation."""
    calls = [call for turn in turns for call in turn.get("tool_calls", ())]
    return None if len(calls) > 1 else taking_all(turns)


def wanting_text(turns: list[dict[str, Any]]) -> str | None:
    """As Devstral's: reads the text of every turn."""
    return None if any(turn["content"] is None for turn in turns) else taking_all(turns)


def wanting_argument_text(turns: list[dict[str, Any]]) -> str | None:
    """As Functionary's: joins a call's arguments to a text."""
    arguments = [call["function"]["arguments"] for turn in turns for call in turn.get("tool_calls", ())]
    return taking_all(turns) if all(isinstance(one, str) for one in arguments) else None


def wanting_both(turns: list[dict[str, Any]]) -> str | None:
    """The last two in one."""
    return wanting_argument_text(turns) and wanting_text(turns)


def no_tools(turns: list[dict[str, Any]]) -> str | None:
    """Takes neither calls nor results."""
    return None if any(turn["role"] == "tool" for turn in turns) else taking_all(turns)


def hiding_tools(turns: list[dict[str, Any]]) -> str:
    """As Gemma's: takes whatever comes, and prints no tools."""
    return taking_all(turns)


def nothing(turns: list[dict[str, Any]]) -> None:
    """Refuses whatever comes: nothing is known of it."""


TEMPLATES: list[tuple[Any, set[str]]] = [
    (taking_all, set()),
    (no_system, {"system_at_head", "system_in_place"}),
    (silent_system, {"system_at_head", "system_in_place"}),
    (one_system, {"system_in_place"}),
    (one_call, {"calls_together"}),
    (first_call_only, set()),
    (wanting_text, {"calls_without_text"}),
    (wanting_argument_text, {"argument_objects"}),
    (wanting_both, {"calls_without_text", "argument_objects"}),
    (no_tools, set()),
    (hiding_tools, {"tools"}),
    (nothing, {"system_in_place"}),
]


class Server:
    """A server with a template: it reads the JSON of arguments, as vLLM and SGLang do."""

    def __init__(self, template: Any) -> None:
        self._template = template

    async def ask(self, path: str, question: Any) -> Reply:
        """The server's answer; a character is a token."""
        if path == "/props":
            return Reply(200, msgspec.json.encode(PROPS))
        if path == "/detokenize":
            return self._reply({"text": "".join(map(chr, question["tokens"]))})
        if path not in {"/tokenize", "/apply-template"}:
            return Reply(404, b"{}")
        prompt = self._template([self._read(turn) for turn in question["messages"]])
        if prompt is None:
            return Reply(400, b"{}")
        if self._template is not hiding_tools:
            prompt = f"{question.get('tools', '')}{prompt}"
        return self._reply({"prompt": prompt, "count": len(prompt), "tokens": list(map(ord, prompt))})

    def _reply(self, value: Any) -> Reply:
        return Reply(200, msgspec.json.encode(value))

    def _read(self, turn: dict[str, Any]) -> dict[str, Any]:
        calls = [
            {**call, "function": {**call["function"], "arguments": self._arguments(call)}}
            for call in turn.get("tool_calls", ())
        ]
        return {**turn, "tool_calls": calls} if calls else turn

    def _arguments(self, call: dict[str, Any]) -> Any:
        return msgspec.json.decode(call["function"]["arguments"])


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp"])
@pytest.mark.parametrize(("template", "lacking"), TEMPLATES, ids=lambda value: getattr(value, "__name__", ""))
async def test_what_a_template_takes_is_seen_on_its_prompts(
    template: Any, lacking: set[str], dialect: str
) -> None:
    found = await DIALECTS[dialect]().capabilities(Server(template).ask, "m")
    if template is nothing and dialect != "llamacpp":
        # a server that renders no chats at all tells nothing
        lacking = set()
    assert {name for name in HABITS if not getattr(found, name)} == lacking


@pytest.mark.parametrize(
    ("can", "arguments"),
    [
        (EngineCapabilities(), '{"a":  1}'),
        (EngineCapabilities(argument_objects=False), '"{\\"a\\":  1}"'),
    ],
)
@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_arguments_go_as_a_text_in_json_where_the_template_wants_their_text(
    dialect: str, can: EngineCapabilities, arguments: str
) -> None:
    calls = [ToolCall("c", FunctionCall("f", '{"a":  1}'))]
    messages = [
        ChatMessage(role="user", content="go"),
        ChatMessage(role="assistant", content="Let me.", tool_calls=calls),
        ChatMessage(role="tool", content="1", tool_call_id="c"),
        ChatMessage(role="assistant", content="One."),
    ]
    written = DIALECTS[dialect]().write(ChatRequest(model="m", messages=messages), can, stream=False)
    turns = msgspec.json.decode(written)["messages"]
    assert [turn.get("content") for turn in turns] == ["go", "Let me.", "1", "One."]
    assert turns[1]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    ]
    # what is written is not what the conversation holds
    assert messages[1].tool_calls == [ToolCall("c", FunctionCall("f", '{"a":  1}'))]
