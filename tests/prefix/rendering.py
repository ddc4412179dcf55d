"""Real chat templates, rendered as vLLM and SGLang render them: with Jinja, as Hugging Face sets it up."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2.ext
import jinja2.nodes
import msgspec
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from dragoman.engines.dialects.base import Reply
from dragoman.engines.dialects.vllm import VLLMDialect
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest
from tests.prefix.comparing import extends
from tests.prefix.recording import Habits
from tests.prefix.tokenizers import tokenizer_of

FOLDER = Path(sys.prefix) / "templates"
_TEXT = {"type": "text", "text": "alpha-1"}
_DAY = date(2026, 11, 26)
_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>"}


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`: marks the assistant's text for training, and prints what is inside."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares a plain set

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        """The block's own nodes."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    kept = {name: more[name] for name in ("separators", "sort_keys") if name in more}
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **kept)


def _lists_to_json(value: Any, **more: Any) -> str:
    return _to_json(list(value) if isinstance(value, Iterator) else value, **more)


def _environment() -> SandboxedEnvironment:
    """The set-up of Hugging Face, but that templates may append to lists, as llama.cpp lets them."""
    made = SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = _to_json
    made.globals.update(raise_exception=_refuse, strftime_now=_DAY.strftime)
    return made


_ENVIRONMENT = _environment()
# Templates that llama.cpp's authors wrote for its own renderer, where a filter like `map` gives a list.
_LLAMACPPS_OWN = "llama-cpp-"
_LISTS = _ENVIRONMENT.overlay()
_LISTS.filters = {**_ENVIRONMENT.filters, "tojson": _lists_to_json}


class Template:
    """One chat template, as a vLLM server that has it; `refusal` is why it last refused to render."""

    def __init__(self, file: Path) -> None:
        self.name = file.stem
        self.refusal = ""
        source = file.read_text(encoding="utf-8")
        self._harmony = "<|channel|>analysis<|message|>" in source
        environment = _LISTS if self.name.startswith(_LLAMACPPS_OWN) else _ENVIRONMENT
        self._compiled = environment.from_string(source)
        self.tokenizer = tokenizer_of(self.name, source)
        self._tokens = {**_TOKENS, "bos_token": self.tokenizer.bos, "eos_token": self.tokenizer.eos}

    def prompt(self, request: ChatRequest, *, generates: bool = False) -> str | None:
        """The prompt of a neutral request, as vLLM gets it; `generates`: with what asks for an answer."""
        body = VLLMDialect().body(request, self.capabilities)
        return self._of_body({**_as_read(body), "add_generation_prompt": generates})

    def extends(self, last: str, now: str) -> bool:
        """Whether the tokens of `last` are the first ones of `now`; borrowed ones: in any vocabulary."""
        before, after = self.tokenizer.tokens(last), self.tokenizer.tokens(now)
        grows = after[: len(before)] == before
        return grows and (not self.tokenizer.borrowed or extends(last, now))

    @cached_property
    def capabilities(self) -> EngineCapabilities:
        """What Dragoman finds out by asking."""
        return asyncio.run(VLLMDialect().capabilities(self._answer, "m"))

    @property
    def habits(self) -> Habits:
        """What the translation asks of it."""
        return Habits.of(self.capabilities)

    @cached_property
    def takes_parts(self) -> bool:
        """Whether the template reads content as a list of parts: else the server joins their texts."""
        prompt = self._of_parts(_TEXT)
        return _TEXT["text"] in prompt and "type" not in prompt.partition(_TEXT["text"])[0][-30:]

    @cached_property
    def _takes_images(self) -> bool:
        return self.takes_parts and self._of_parts({"type": "image"}, _TEXT) not in {
            "",
            self._of_parts(_TEXT),
        }

    async def _answer(self, path: str, question: object) -> Reply:
        """The server's answer to a question; a character is a token."""
        asked = _as_read(question)
        if path == "/detokenize":
            return _reply({"prompt": "".join(map(chr, asked["tokens"]))})
        if path != "/tokenize":
            return Reply(404, b"{}")
        if not self._takes_images and "image_url" in str(asked["messages"]):
            return Reply(400, b"not a multimodal model")
        prompt = self._of_body(asked)
        if prompt is None:
            return Reply(400, b"{}")
        return _reply({"count": len(prompt), "tokens": list(map(ord, prompt))})

    def _of_body(self, body: dict[str, Any]) -> str | None:
        # A request's template arguments come after the server's own, and may replace them.
        arguments = {
            "tools": [_tool(tool) for tool in body.get("tools", [])] or None,
            "add_generation_prompt": body.get("add_generation_prompt", True),
            **body.get("chat_template_kwargs", {}),
        }
        return self._render([self._message(message) for message in body["messages"]], **arguments)

    def _of_parts(self, *parts: dict[str, str]) -> str:
        """The prompt of one user turn with these parts, "" where the template refuses them."""
        return self._render([{"role": "user", "content": list(parts)}]) or ""

    def _render(self, messages: list[dict[str, Any]], **arguments: Any) -> str | None:
        own = {"tools": None, "documents": None, **self._tokens, **arguments}
        try:
            return self._compiled.render(messages=messages, **own)
        except (jinja2.TemplateError, TypeError, AttributeError) as error:
            self.refusal = str(error)
            return None

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message as the server hands it to the template."""
        given = dict(message)
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if self.takes_parts:
            given["content"] = [part if part["type"] == "text" else {"type": "image"} for part in parts]
        else:
            given["content"] = "\n".join(part["text"] for part in parts)
        if self._harmony and "reasoning" in message and "tool_calls" in message:
            # The format of gpt-oss has one place for both; its servers keep the thought.
            given.update(thinking=message["reasoning"], content="")
        if "tool_calls" in message:
            given["tool_calls"] = [_call(call) for call in message["tool_calls"]]
        return given


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as an object, which is what templates print."""
    function = call["function"]
    arguments = json.loads(function["arguments"])
    return {**call, "function": {**function, "arguments": arguments}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool with a description, if only a null."""
    function = dict(tool["function"])
    named = {"name": function.pop("name"), "description": function.pop("description", None)}
    return {"type": tool["type"], "function": {**named, **function}}


def _as_read(body: object) -> dict[str, Any]:
    read: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return read


def _reply(answer: dict[str, Any]) -> Reply:
    return Reply(200, msgspec.json.encode(answer))


def templates() -> list[Template]:
    """All templates, by name."""
    files = sorted(FOLDER.glob("*.jinja"))
    if not files:
        raise RuntimeError(f"no chat templates in {FOLDER}: `make install` fetches them")
    return [Template(file) for file in files]
