"""A fake engine for the doctor: a model that counts, calls and thinks; the server's abilities are switches.

`python -m tests.support.fake_able nothing` serves one until it is killed (or `everything`, or `ignoring`).
`Able()` does everything that a server of Chat Completions can; each field takes one ability away, or makes
the server take the question and not obey it. Its tokens are words; what it renders is what it bills.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import msgspec

from tests.support.fake_openai import Answer, FakeOpenAI, Route, Seen, events, reply

COUNTED = "one two three four five six seven eight nine ten"
THOUGHT = "Let me count."
_MARKUP = '<tool_call>{"name": "get_weather"}</tool_call>'
CONTEXT = 600
_WORD = re.compile(r"\S+|\n+|  +")


class Able(msgspec.Struct, frozen=True, kw_only=True):
    """What the server does. "refuse" answers 400, "ignore" goes on as if nothing had been asked."""

    dialect: str = "vllm"
    streams: str = "yes"
    stream_usage: bool = True
    usage: bool = True
    tools: str = "yes"
    calls: bool = True
    forced: str = "yes"
    one_call: str = "yes"
    reasoning: str = "yes"
    switch: str = "yes"
    structured: str = "yes"
    stops: str = "yes"
    prefill: str = "yes"
    images: str = "yes"
    logprobs: str = "yes"
    token_ids: str = "yes"
    renders: bool = True
    cached: bool = True
    system: str = "in place"
    earlier: str = "kept"
    arguments: str = "as given"
    overflow: str = "refuse"
    counts_off: int = 0


NOTHING = Able(
    dialect="generic",
    streams="ignore",
    stream_usage=False,
    usage=False,
    tools="refuse",
    calls=False,
    forced="refuse",
    reasoning="never",
    switch="refuse",
    structured="refuse",
    stops="refuse",
    prefill="refuse",
    images="refuse",
    logprobs="refuse",
    token_ids="refuse",
    renders=False,
    cached=False,
    system="never",
    overflow="unread",
)
IGNORING = Able(
    dialect="generic",
    tools="ignore",
    calls=False,
    forced="ignore",
    reasoning="never",
    switch="ignore",
    structured="ignore",
    stops="ignore",
    prefill="ignore",
    images="ignore",
    logprobs="ignore",
    token_ids="ignore",
    renders=False,
    cached=False,
    earlier="dropped",
    arguments="anew",
    overflow="cut",
)


def able(can: Able) -> FakeOpenAI:
    """The server."""
    server = _Server(can)
    card = {"id": "m", "owned_by": "someone" if can.dialect == "generic" else can.dialect}
    routes: dict[str, Route | Answer] = {
        "/v1/chat/completions": server.chat,
        "/v1/models": reply({"data": [{**card, "max_model_len": CONTEXT}]}),
    }
    if can.renders:
        routes |= {"/tokenize": server.tokenize, "/detokenize": server.detokenize}
    return FakeOpenAI(routes)


_MOST_TOKENS = 1_000_000


class _RefusedError(Exception):
    """The server takes no such request, or fails at it."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


class _Server:
    def __init__(self, can: Able) -> None:
        self._can = can
        self._prompts: set[str] = set()
        self._rendered: list[str] = []

    # ---- the template --------------------------------------------------------------------------------------

    def _render(self, body: dict[str, Any]) -> str:
        kwargs = body.get("chat_template_kwargs") or {}
        turns = [
            self._turn(turn, kwargs, body["messages"][index:]) for index, turn in enumerate(body["messages"])
        ]
        if self._can.system == "never" and "system" in [turn["role"] for turn in body["messages"]]:
            raise _RefusedError("System role not supported")
        if self._can.system == "unread":
            turns = [text for text in turns if not text.startswith("<system>")]
        elif "system" in [turn["role"] for turn in body["messages"][1:]]:
            turns = self._placed(body["messages"], turns)
        if body.get("tools") and self._can.tools != "ignore":
            turns.insert(0, msgspec.json.encode(body["tools"]).decode())
        thinks = f"thinking {kwargs.get('enable_thinking', True)}" if self._can.switch == "yes" else ""
        return "\n".join([*turns, thinks])

    def _placed(self, messages: list[dict[str, Any]], turns: list[str]) -> list[str]:
        if self._can.system == "refuse":
            raise _RefusedError("system turns stand at the beginning")
        late = [turn["role"] == "system" and number > 0 for number, turn in enumerate(messages)]
        rest = [turn for turn, is_late in zip(turns, late, strict=True) if not is_late]
        moved = [turn for turn, is_late in zip(turns, late, strict=True) if is_late]
        return {"in place": turns, "moved": moved + rest, "dropped": rest}[self._can.system]

    def _turn(self, turn: dict[str, Any], kwargs: dict[str, Any], rest: list[dict[str, Any]]) -> str:
        content = turn.get("content") or ""
        if isinstance(content, list):
            content = " ".join(self._part(part) for part in content)
        said = [f"<{turn['role']}>", content]
        in_loop = all(later["role"] != "user" for later in rest)
        keeps = self._can.earlier == "kept" or kwargs.get("clear_thinking") is False
        if keeps or (self._can.earlier == "in loops" and in_loop):
            said.append(turn.get("reasoning") or "")
        if turn["role"] == "tool" and self._can.tools == "no results":
            said = []
        for call in turn.get("tool_calls") or ():
            text = call["function"]["arguments"]
            said.append(text if self._can.arguments == "as given" else " ".join(text.split()))
        return " ".join(said)

    def _part(self, part: dict[str, Any]) -> str:
        if part["type"] == "text":
            return str(part["text"])
        if self._can.images == "refuse":
            raise _RefusedError("m is not a multimodal model")
        return " ".join(["dot"] * 16) if self._can.images == "yes" else ""

    def tokenize(self, seen: Seen) -> Answer:
        """Tokens of a chat: each prompt's have numbers of their own, by which `detokenize` finds it."""
        try:
            rendered = self._render(seen.json)
        except _RefusedError as refusal:
            return _refused(refusal)
        count = len(_WORD.findall(rendered))
        first = len(self._rendered) * _MOST_TOKENS
        self._rendered.append(rendered)
        tokens = list(range(first, first + count))
        return reply({"count": count + self._can.counts_off, "tokens": tokens})

    def detokenize(self, seen: Seen) -> Answer:
        """The prompt."""
        return reply({"prompt": self._rendered[seen.json["tokens"][0] // _MOST_TOKENS]})

    # ---- chat ----------------------------------------------------------------------------------------------

    def chat(self, seen: Seen) -> Answer:
        """An answer, or why there is none."""
        body = seen.json
        try:
            message, extras = self._answer(body)
            usage = self._usage(body, message)
        except _RefusedError as refusal:
            return _refused(refusal)
        calls = message.get("tool_calls")
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if calls else "stop",
            **extras,
        }
        if not body["stream"] or self._can.streams == "ignore":
            has_ids = "token_ids" in extras and self._can.token_ids == "yes"
            top: dict[str, Any] = {"prompt_token_ids": [1, 2]} if has_ids else {}
            return reply(
                {"id": "x", "choices": [choice], **top, **({"usage": usage} if self._can.usage else {})}
            )
        if self._can.streams == "refuse":
            return _refused(_RefusedError("stream is not supported"))
        return events(*self._chunks(message, choice["finish_reason"], usage), "[DONE]")

    def _usage(self, body: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
        prompt = self._render(body)
        count = len(_WORD.findall(prompt))
        if count > CONTEXT:
            if self._can.overflow == "refuse":
                raise _RefusedError(
                    f"This model's maximum context length is {CONTEXT} tokens. However, your prompt contains "
                    f"{count} input tokens."
                )
            if self._can.overflow == "unread":
                raise _RefusedError("no")
            if self._can.overflow == "fail":
                raise _RefusedError("out of memory", 500)
            count = CONTEXT
        usage: dict[str, Any] = {"prompt_tokens": count, "completion_tokens": 9}
        if self._can.cached:
            usage["prompt_tokens_details"] = {"cached_tokens": count if prompt in self._prompts else 0}
        self._prompts.add(prompt)
        return usage

    def _answer(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self._check(body)
        calls = self._calls(body)
        text, extras = self._text(body)
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
        if calls:
            message["tool_calls"] = calls
        if self._thinks(body):
            message |= {"reasoning": THOUGHT} if self._can.reasoning != "text" else {}
            if self._can.reasoning == "text":
                message["content"] = f"<think>{THOUGHT}</think>{message['content'] or ''}"
        if body.get("logprobs") and self._can.logprobs == "yes":
            extras["logprobs"] = {"content": [{"token": "one", "logprob": -0.5}]}
        if body.get("return_token_ids"):
            extras |= self._ids(extras)
        return message, extras

    def _ids(self, extras: dict[str, Any]) -> dict[str, Any]:
        if self._can.token_ids == "named":
            return {"logprobs": {"content": [{**extras["logprobs"]["content"][0], "id": 7}]}}
        return {"token_ids": [7, 8]} if self._can.token_ids in {"yes", "sampled"} else {}

    def _check(self, body: dict[str, Any]) -> None:
        """Refuses what the server does not take."""
        asked = {
            "tools": bool(body.get("tools")),
            "forced": body.get("tool_choice") not in {None, "auto", "none"}
            if not isinstance(body.get("tool_choice"), dict)
            else True,
            "switch": "chat_template_kwargs" in body or "reasoning_effort" in body,
            "one_call": "parallel_tool_calls" in body,
            "structured": "response_format" in body,
            "stops": bool(body.get("stop")),
            "prefill": body["messages"][-1]["role"] == "assistant",
            "logprobs": bool(body.get("logprobs")),
            "token_ids": "return_token_ids" in body,
        }
        for name, is_asked in asked.items():
            if is_asked and getattr(self._can, name) == "refuse":
                raise _RefusedError(f"{name} is not supported")

    def _thinks(self, body: dict[str, Any]) -> bool:
        kwargs = body.get("chat_template_kwargs") or {}
        off = kwargs.get("enable_thinking") is False or body.get("reasoning_effort") == "none"
        on = kwargs.get("enable_thinking") is True
        if self._can.reasoning == "never" or (self._can.reasoning == "asked" and not on):
            return False
        return not (off and self._can.switch != "ignore") and not (on and self._can.switch == "off only")

    def _calls(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        can, choice, question = self._can, body.get("tool_choice"), str(body["messages"][-1]["content"])
        if not body.get("tools") or can.tools in {"ignore", "text", "endless", "mute"}:
            return []
        if choice == "none" and can.tools != "always":
            return []
        only_color = [tool["function"]["name"] for tool in body["tools"]] == ["pick_color"]
        if only_color or (isinstance(choice, dict) and can.forced == "yes"):
            return [_call(0, "pick_color", '{"color": "red"}')]
        wants = "weather" in question and (can.calls or isinstance(choice, dict))
        if not wants and not (choice == "required" and can.forced != "ignore"):
            return []
        single = body.get("parallel_tool_calls") is False and can.one_call == "yes"
        loose = can.tools == "loose" and not body["tools"][0]["function"].get("strict")
        arguments = '{"city": 7}' if loose or can.tools == "broken" else '{"city": "Paris", "unit": "c"}'
        return [
            _call(n, "get_weather", arguments)
            for n in range(2 if "Compare" in question and not single else 1)
        ]

    def _text(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        can, last = self._can, body["messages"][-1]
        if body.get("tools") and can.tools in {"text", "endless", "mute"}:
            text = "" if can.tools == "mute" else _MARKUP
            return text, {"finish_reason": "stop" if can.tools == "text" else "length"}
        if "response_format" in body and can.structured in {"yes", "endless"}:
            whole = '{"word": "dragoman"}'
            return (whole, {}) if can.structured == "yes" else (whole[:9], {"finish_reason": "length"})
        text = COUNTED
        if last["role"] == "assistant":
            text = {"yes": text.removeprefix(last["content"]), "empty": "", "other": "la la"}.get(
                can.prefill, text
            )
        found = [(text.find(stop), stop) for stop in body.get("stop") or () if stop in text]
        if found and can.stops in {"yes", "unnamed"}:
            place, stop = min(found)
            return text[:place], {"stop_reason": stop} if can.stops == "yes" else {}
        return text, {}

    def _chunks(self, message: dict[str, Any], finish: str, usage: dict[str, Any]) -> list[Any]:
        deltas: list[dict[str, Any]] = []
        if message.get("reasoning"):
            deltas.append({"reasoning": message["reasoning"]})
        for call in message.get("tool_calls") or ():
            function, arguments = call["function"], call["function"]["arguments"]
            head = {
                "index": call["index"],
                "id": call["id"],
                "function": {"name": function["name"], "arguments": ""},
            }
            deltas.append({"tool_calls": [head]})
            deltas += [
                {"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]}
                for piece in ([arguments] if self._can.tools == "whole" else [arguments[:4], arguments[4:]])
            ]
        deltas += [{"content": word} for word in re.findall(r"\s*\S+", message.get("content") or "")]
        chunks: list[Any] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if self._can.stream_usage:
            chunks.append({"choices": [], "usage": usage})
        return chunks


def _call(index: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": function}


def _refused(refusal: _RefusedError) -> Answer:
    return reply(
        {"error": {"message": str(refusal), "type": "BadRequestError", "code": refusal.status}},
        refusal.status,
    )


async def _serve(can: Able) -> None:
    async with able(can) as fake:
        print(fake.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve({"nothing": NOTHING, "ignoring": IGNORING}.get(sys.argv[1], Able())))
