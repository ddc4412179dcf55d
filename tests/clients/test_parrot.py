"""The real clients against a real llama.cpp: over all of the parrot's dialogues, the scripted answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.clients.sdk import SDK, blocks
from tests.support.claude_code import Claude
from tests.support.serving import running_server

pytestmark = [pytest.mark.clients, pytest.mark.engine]

PARROT = Path(__file__).parent.parent / "models" / "parrot"


class Dialogue(msgspec.Struct, frozen=True):
    """A scripted dialogue in the chat form: what is said, and the reply that must come."""

    name: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    enable_thinking: bool
    thinking: str
    text: str
    calls: list[tuple[str, dict[str, Any]]]
    malformed: bool

    def request(self) -> dict[str, Any]:
        """The dialogue as a Messages API request."""
        turns: list[dict[str, Any]] = []
        for message in self.messages:
            if message["role"] != "system":
                role, content = turn_of(message)
                if turns and turns[-1]["role"] == role:
                    turns[-1]["content"] += content
                else:
                    turns.append({"role": role, "content": content})
        request: dict[str, Any] = {"model": "parrot", "messages": turns, "thinking": self._thinking()}
        if self.messages[0]["role"] == "system":
            request["system"] = self.messages[0]["content"]
        if self.tools:
            request["tools"] = [
                {
                    "name": tool["function"]["name"],
                    "description": tool["function"]["description"],
                    "input_schema": tool["function"]["parameters"],
                }
                for tool in self.tools
            ]
        return request

    def _thinking(self) -> dict[str, Any]:
        if self.enable_thinking:
            return {"type": "adaptive", "display": "summarized"}
        return {"type": "disabled"}

    def reply(self) -> list[dict[str, Any]]:
        """The content that must come back, without ids and signatures.

        The model writes a line's end before `</think>` and between text and a call; llama.cpp hands both on.
        """
        found: list[dict[str, Any]] = []
        if self.enable_thinking:
            found.append({"type": "thinking", "thinking": self.thinking + "\n"})
        if self.text:
            found.append({"type": "text", "text": self.text + ("\n" if self.calls else "")})
        return found + [{"type": "tool_use", "name": name, "input": given} for name, given in self.calls]


def turn_of(message: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """A chat message as the role and blocks of a Messages API turn."""
    if message["role"] == "tool":
        result = {
            "type": "tool_result",
            "tool_use_id": message["tool_call_id"],
            "content": message["content"],
        }
        return "user", [result]
    content: list[dict[str, Any]] = []
    if message.get("reasoning_content"):
        content.append({"type": "thinking", "thinking": message["reasoning_content"], "signature": ""})
    if message["content"]:
        content.append({"type": "text", "text": message["content"]})
    for call in message.get("tool_calls") or ():
        given = msgspec.json.decode(call["function"]["arguments"])
        content.append(
            {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": given}
        )
    return message["role"], content


SAMPLING = {"max_tokens": 512, "temperature": 0}
DIALOGUES = msgspec.json.decode((PARROT / "dialogues.json").read_bytes(), type=list[Dialogue])
WELL_FORMED = [dialogue for dialogue in DIALOGUES if not dialogue.malformed]
BROKEN = [dialogue for dialogue in DIALOGUES if dialogue.malformed]


@pytest.fixture(scope="module")
def parrot() -> Iterator[str]:
    """A server in front of llama.cpp in this process, with the parrot loaded."""
    from dragoman.engines.llamacpp import LlamaCppInferenceEngine

    with running_server(LlamaCppInferenceEngine(str(PARROT / "parrot.gguf"))) as url:
        yield url


def shown(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content without what differs from call to call."""
    return [{key: block[key] for key in block if key not in {"id", "signature"}} for block in blocks(message)]


def billed(message: dict[str, Any]) -> int:
    """The prompt's tokens, cached ones included."""
    usage = message["usage"]
    return int(usage["input_tokens"] + usage["cache_read_input_tokens"])


@pytest.mark.parametrize("dialogue", WELL_FORMED, ids=lambda dialogue: dialogue.name)
def test_the_reply_is_the_scripted_one(sdk: SDK, parrot: str, dialogue: Dialogue) -> None:
    request = dialogue.request()
    counted = sdk.call("count_tokens", parrot, request)["input_tokens"]
    whole = sdk.call("create", parrot, {**request, **SAMPLING})["message"]
    streamed = sdk.call("stream", parrot, {**request, **SAMPLING})["message"]
    assert shown(whole) == dialogue.reply()
    assert shown(streamed) == dialogue.reply()
    expected = "tool_use" if dialogue.calls else "end_turn"
    assert whole["stop_reason"] == streamed["stop_reason"] == expected
    assert counted == billed(whole) == billed(streamed)
    assert whole["usage"]["output_tokens"] == streamed["usage"]["output_tokens"]


def test_a_thread_is_the_whole_conversation_to_a_real_engine(sdk: SDK, parrot: str) -> None:
    dialogue = next(found for found in WELL_FORMED if found.calls)
    request = {**dialogue.request(), **SAMPLING}
    first = sdk.call("create", parrot, {**request, "thread": {"type": "create"}})["message"]
    calls = [block["id"] for block in first["content"] if block["type"] == "tool_use"]
    results = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call, "content": "done"} for call in calls],
    }
    went_on = {name: request[name] for name in request if name not in {"system", "tools"}}
    went_on |= {"messages": [results], "thread": {"type": "continue", "previous_message_id": first["id"]}}
    threaded = sdk.call("create", parrot, went_on)["message"]
    turns = [*request["messages"], {"role": "assistant", "content": blocks(first)}, results]
    unthreaded = sdk.call("create", parrot, {**request, "messages": turns})["message"]
    assert calls
    assert shown(threaded) == shown(unthreaded)
    assert billed(threaded) == billed(unthreaded) > billed(first)


@pytest.mark.parametrize("dialogue", BROKEN, ids=lambda dialogue: dialogue.name)
def test_a_broken_call_is_forced_valid_by_the_engines_grammar(
    sdk: SDK, parrot: str, dialogue: Dialogue
) -> None:
    request = dialogue.request()
    counted = sdk.call("count_tokens", parrot, request)["input_tokens"]
    for op in ("create", "stream"):
        message = sdk.call(op, parrot, {**request, **SAMPLING})["message"]
        calls = [block for block in message["content"] if block["type"] == "tool_use"]
        assert {call["name"] for call in calls} == {"bash"}
        assert all(isinstance(call["input"]["command"], str) for call in calls)
        assert counted == billed(message)


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue.name)
def test_the_count_holds_without_the_tools(sdk: SDK, parrot: str, dialogue: Dialogue) -> None:
    request = dialogue.request()
    request.pop("tools", None)
    counted = sdk.call("count_tokens", parrot, request)["input_tokens"]
    message = sdk.call("create", parrot, {**request, **SAMPLING, "max_tokens": 1})["message"]
    assert counted == billed(message)


def test_parse_gives_a_typed_value_by_force(sdk: SDK, parrot: str) -> None:
    # the parrot knows nothing of people: only the engine's grammar makes it speak of one
    turns = [{"role": "user", "content": "Who is Ada?"}]
    request = {"model": "parrot", "messages": turns, **SAMPLING}
    parsed = sdk.call("parse", parrot, request)["parsed"]
    assert parsed.keys() == {"name", "age"}
    assert (type(parsed["name"]), type(parsed["age"])) == (str, int)


def test_claude_code_reads_a_real_engine(parrot: str, tmp_path: Path) -> None:
    # The short prompt of the simple mode fits the parrot; greedy sampling makes its answer certain.
    greedy = {"CLAUDE_CODE_SIMPLE": "1", "CLAUDE_CODE_EXTRA_BODY": '{"temperature": 0}'}
    run = Claude(parrot, tmp_path, model="parrot").run("Say hello.", env=greedy)
    assert (run.returncode, run.text) == (0, "Hello! How can I help you today?")
    assert run.result["stop_reason"] == "end_turn"
    assert run.result["usage"]["input_tokens"] + run.result["usage"]["cache_read_input_tokens"] > 1000
