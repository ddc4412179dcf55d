"""The parrot's dialogues for engines of every kind: requests, what must come back, fakes that play them."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import msgspec

from dragoman.engines.scripted import Hang, Script, answer, text_chunk
from dragoman.wire.openai import ChatChunk, ChatMessage, ChatRequest, ChatTool, Reasoning, ToolCall
from tests.support.fake_openai import Answer, FakeOpenAI, Seen, events, reply
from tests.support.fake_openai import Hang as FakeHang

PARROT = Path(__file__).resolve().parent.parent / "models" / "parrot"
MODEL = "parrot"
CONTEXT = 2048
ENDLESS = "Sing for ever."
_WORD = re.compile(r"\w+|[^\w\s]")


class Dialogue(msgspec.Struct, frozen=True):
    """One dialogue: the request's members in the wire's form, and the reply's parts."""

    name: str
    messages: list[dict[str, Any]]
    tools: list[msgspec.Raw] | None
    enable_thinking: bool
    thinking: str
    text: str
    calls: list[tuple[str, dict[str, Any]]]
    malformed: bool

    @property
    def request(self) -> ChatRequest:
        """The neutral request."""
        return ChatRequest(
            model=MODEL,
            messages=[_message(message) for message in self.messages],
            tools=[msgspec.json.decode(tool, type=ChatTool) for tool in self.tools or ()],
            reasoning=Reasoning(enabled=self.enable_thinking),
            temperature=0.0,
            max_tokens=400,
        )


@functools.cache
def dialogues() -> dict[str, Dialogue]:
    """All dialogues that every engine answers alike, by name; the broken call is each engine's own affair."""
    listed = msgspec.json.decode((PARROT / "dialogues.json").read_bytes(), type=list[Dialogue])
    return {dialogue.name: dialogue for dialogue in listed if not dialogue.malformed}


def _message(message: dict[str, Any]) -> ChatMessage:
    calls = message.get("tool_calls")
    return ChatMessage(
        role=message["role"],
        content=message.get("content"),
        reasoning=message.get("reasoning_content"),
        tool_calls=msgspec.convert(calls, list[ToolCall]) if calls else None,
        tool_call_id=message.get("tool_call_id"),
    )


def _key(messages: list[tuple[str, str]], *, has_tools: bool, thinks: bool) -> object:
    return tuple(messages), has_tools, thinks


@functools.cache
def _by_request() -> dict[object, Dialogue]:
    return {
        _key(
            [(message["role"], message.get("content") or "") for message in dialogue.messages],
            has_tools=bool(dialogue.tools),
            thinks=dialogue.enable_thinking,
        ): dialogue
        for dialogue in dialogues().values()
    }


def script_for(request: ChatRequest) -> Script:
    """The script that answers a neutral request as the parrot would."""
    turns: list[tuple[str, str]] = [
        (message.role, str(message.content or "")) for message in request.messages
    ]
    if turns[-1][1] == ENDLESS:
        return Script(steps=[text_chunk("la "), text_chunk("la "), Hang()])
    thinks = request.reasoning.enabled is not False
    found = _by_request()[_key(turns, has_tools=bool(request.tools), thinks=thinks)]
    calls = [(name, msgspec.json.encode(arguments).decode()) for name, arguments in found.calls]
    return answer(found.text, thinking=found.thinking, calls=calls)


class FakeEngine:
    """A fake server that plays the dialogues in one dialect's spelling."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.server = FakeOpenAI({"/v1/chat/completions": self._chat, **self._description()})

    def _description(self) -> dict[str, Any]:
        owner = {"ollama": "library", "generic": "someone"}.get(self.dialect, self.dialect)
        card: dict[str, Any] = {"id": MODEL, "owned_by": owner, "object": "model", "created": 1}
        if self.dialect != "ollama":
            card["max_model_len"] = CONTEXT
        shown = {
            "capabilities": ["completion", "tools", "thinking"],
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": CONTEXT},
        }
        routes: dict[str, Any] = {
            "/v1/models": reply({"object": "list", "data": [card]}),
            "/health": reply({}),
        }
        own: dict[str, dict[str, Any]] = {
            "vllm": {"/tokenize": self._tokenize, "/detokenize": self._detokenize},
            "sglang": {
                "/server_info": reply({"tp_size": 1, "reasoning_parser": "qwen3"}),
                "/tokenize": self._tokenize,
                "/detokenize": self._detokenize,
            },
            "ollama": {"/api/show": reply(shown), "/api/version": reply({"version": "0.14.0"})},
            "transformers": {
                "/load_model": reply({"detail": "Missing `model` field in the request body."}, 422),
                # what is in its cache, not what it serves
                "/v1/models": reply({"object": "list", "data": []}),
                "/v1/chat/completions": self._chat_of_transformers,
            },
        }
        return routes | own.get(self.dialect, {})

    # ---- the renderer of vLLM and SGLang: the words of a prompt are its tokens -----------------------------

    def _tokenize(self, seen: Seen) -> Answer:
        words = _prompt(seen.json)
        self._words = words
        return reply({"count": len(words), "tokens": list(range(len(words)))})

    def _detokenize(self, seen: Seen) -> Answer:
        return reply({"prompt": " ".join(self._words)})

    # ---- chat ----------------------------------------------------------------------------------------------

    def _chat(self, seen: Seen) -> Answer:
        body = seen.json
        counted = len(_prompt(body))
        if counted + (body.get("max_tokens") or 1) > CONTEXT:
            return reply(self._overflow(counted, body.get("max_tokens")), 400)
        chunks, sampled = self._chunks(body)
        usage = {"prompt_tokens": counted, "completion_tokens": sampled, "total_tokens": counted + sampled}
        if body["messages"][-1]["content"] == ENDLESS:
            return events(*chunks[:2], FakeHang())
        if not body["stream"]:
            return reply({"id": "x", "model": MODEL, "choices": [_folded(chunks)], "usage": usage})
        if (body.get("stream_options") or {}).get("continuous_usage_stats"):
            chunks = [{**one, "usage": {**usage, "completion_tokens": n}} for n, one in enumerate(chunks)]
        return events(*chunks, {"id": "x", "choices": [], "usage": usage}, "[DONE]")

    def _chat_of_transformers(self, seen: Seen) -> Answer:
        """The server with one model: it knows no limit, and its last chunk has the counts."""
        body = seen.json
        if body["model"] != MODEL:
            detail = f"Server is pinned to '{MODEL}'; requested '{body['model']}'."
            return reply({"detail": detail}, 400)
        off = body.get("chat_template_kwargs", {}).get("enable_thinking") is False
        counted = len(_prompt(_of_words(body))) + 4 * off
        if body.get("max_tokens") == 1:
            chunks, sampled = [{"id": "x", "choices": [{"index": 0, "delta": {}}]}], 1
        else:
            chunks, sampled = self._chunks(body)
        if body["messages"][-1]["content"] == ENDLESS:
            return events(*chunks[:2], FakeHang())
        usage = {"prompt_tokens": counted, "completion_tokens": sampled, "total_tokens": counted + sampled}
        return events(*chunks[:-1], {**chunks[-1], "usage": usage})

    def _overflow(self, counted: int, wanted: int | None) -> dict[str, Any]:
        message = (
            f"This model's maximum context length is {CONTEXT} tokens. However, you requested {wanted} "
            f"output tokens and your prompt contains {counted} input tokens."
        )
        return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}

    def _chunks(self, body: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        request = msgspec.convert({"model": MODEL, "messages": []}, ChatRequest)
        request.messages = [ChatMessage(role=m["role"], content=m.get("content")) for m in body["messages"]]
        request.tools = [
            msgspec.convert(tool, ChatTool) for tool in map(_raw_schema, body.get("tools") or ())
        ]
        switch = (body.get("chat_template_kwargs") or {}).get("enable_thinking", True)
        request.reasoning = Reasoning(enabled=switch and body.get("reasoning_effort") != "none")
        steps = [step for step in script_for(request).steps if isinstance(step, ChatChunk)]
        limit = body.get("max_tokens") or len(steps)
        reason = "length" if limit < len(steps) - 1 else None
        deltas = [self._delta(msgspec.to_builtins(step)) for step in steps[: min(limit, len(steps) - 1)]]
        end: dict[str, Any] = {"delta": {}, "index": 0, "finish_reason": reason}
        end["finish_reason"] = reason or steps[-1].choices[0].finish_reason
        chunks = [
            {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
        ]
        chunks, end = self._stopped(chunks, end, body.get("stop") or [])
        return [*chunks, {"id": "x", "choices": [end]}], len(chunks)

    def _delta(self, step: dict[str, Any]) -> dict[str, Any]:
        delta = {name: value for name, value in step["choices"][0]["delta"].items() if value is not None}
        if self.dialect != "vllm" and "reasoning" in delta:
            delta["reasoning_content"] = delta.pop("reasoning")
        return delta

    def _stopped(
        self, chunks: list[dict[str, Any]], end: dict[str, Any], stops: list[str]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What the server sends when it knows the stop strings: it ends itself, and says which matched."""
        text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
        found = min((text.find(stop), stop) for stop in stops if stop in text) if stops else None
        if found is None:
            return chunks, end
        told = {"vllm": "stop_reason", "sglang": "matched_stop"}[self.dialect]
        kept = {"id": "x", "choices": [{"index": 0, "delta": {"content": text[: found[0]]}}]}
        return [kept], {**end, "finish_reason": "stop", told: found[1]}


def _prompt(body: dict[str, Any]) -> list[str]:
    shaped = [body["messages"], body.get("tools") or [], body.get("chat_template_kwargs") or {}]
    return _WORD.findall(msgspec.json.encode(shaped).decode())


def _of_words(body: dict[str, Any]) -> dict[str, Any]:
    """What reaches a model that does not see, without the template's arguments."""
    return {
        "messages": [{**turn, "content": _words(turn.get("content"))} for turn in body["messages"]],
        "tools": body.get("tools"),
    }


def _words(content: Any) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    return " ".join(part["text"] for part in parts if part["type"] == "text")


def _raw_schema(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    return {
        **tool,
        "function": {**function, "parameters": msgspec.Raw(msgspec.json.encode(function["parameters"]))},
    }


def _folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    for one in chunks:
        delta = one["choices"][0]["delta"]
        for name in ("content", "reasoning", "reasoning_content"):
            if name in delta:
                message[name] = (message.get(name) or "") + delta[name]
        for piece in delta.get("tool_calls") or ():
            call = calls.setdefault(
                piece["index"],
                {"id": piece["id"], "type": "function", "function": {"name": "", "arguments": ""}},
            )
            call["function"]["name"] += piece["function"]["name"] or ""
            call["function"]["arguments"] += piece["function"]["arguments"] or ""
    if calls:
        message["tool_calls"] = list(calls.values())
    end = chunks[-1]["choices"][0]
    return {**{name: value for name, value in end.items() if name != "delta"}, "message": message}
