"""llama.cpp's server.

Checked on its server as of October 2026: `verbose` tells the stop string that matched; `return_progress`
gives the prompt's count before the first token; a whole answer that continues an assistant turn repeats that
turn, a stream does not; `tool_choice` that names a function is not obeyed, "required" is; `max_tokens` is
cut to the context; of a schema it ignores in silence what its grammars cannot say, hence `engines.gbnf`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask, Dialect, WireChunk, WireCompletion
from dragoman.engines.dialects.doors import LlamaCppTokenDoor
from dragoman.engines.dialects.probes import (
    Render,
    switches_thinking,
    thinking_switch,
    with_template_habits,
)
from dragoman.engines.dialects.unlisted import hides_unlisted, tell_apart
from dragoman.engines.gbnf.held import held_format, held_tool, held_tools
from dragoman.errors import EngineFaultError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest, ChatTool, ChatUsage, PromptTokensDetails
from dragoman.wire.openai_write import plain_format


class Timings(msgspec.Struct, gc=False):
    """Counts so far: prompt tokens from the cache and computed, tokens sampled."""

    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class Progress(msgspec.Struct, gc=False):
    """How far the prompt has come: all of its tokens, and those from the cache."""

    total: int
    cache: int = 0


class Verbose(msgspec.Struct, gc=False):
    """What `verbose` adds that we read."""

    stopping_word: str = ""


class LlamaChunk(WireChunk, gc=False, rename={"verbose": "__verbose"}):
    """A chunk with llama.cpp's own members."""

    timings: Timings | None = None
    prompt_progress: Progress | None = None
    verbose: Verbose | None = None


class LlamaCompletion(WireCompletion, rename={"verbose": "__verbose"}):
    """A whole answer with llama.cpp's own members."""

    verbose: Verbose | None = None


class _Slot(msgspec.Struct):
    n_ctx: int | None = None


class _BusySlot(msgspec.Struct):
    is_processing: bool


class _Modalities(msgspec.Struct):
    vision: bool = False


class Props(msgspec.Struct):
    """What `/props` says that we read; `default_generation_settings` tells a slot's context."""

    default_generation_settings: _Slot
    modalities: _Modalities = msgspec.field(default_factory=_Modalities)
    chat_template: str = ""


class _Prompt(msgspec.Struct):
    prompt: str


class _Count(msgspec.Struct):
    input_tokens: int


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Text(msgspec.Struct):
    content: str


class LlamaCppDialect(Dialect):
    """llama.cpp: counts with its own endpoint, tells its context per slot, renders templates on request."""

    name = "llamacpp"
    chunk = LlamaChunk
    completion = LlamaCompletion
    door = LlamaCppTokenDoor()

    async def recognise(self, ask: Ask) -> bool:
        """Only llama.cpp describes its slots in `/props`."""
        return (await ask("/props", None)).read(Props) is not None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """Context and images from `/props`; the template's habits by rendering probes."""
        render = self.renderer(ask, model)
        props = (await ask("/props", None)).read(Props)
        if props is None:
            raise EngineFaultError("the engine did not describe itself", log_detail="no /props")
        switch = await switches_thinking(render)
        found = EngineCapabilities(
            context_length=props.default_generation_settings.n_ctx,
            fills_context=True,
            images=props.modalities.vision,
            reasoning=switch
            or "<think>" in props.chat_template
            or "reasoning_content" in props.chat_template,
            reasoning_switch=switch,
            continuation=True,
            counting=True,
            matched_stop=True,
            unlisted_tools=await hides_unlisted(render, _shown),
            early_usage=True,
            logprobs=True,
            token_door=True,
        )
        return await with_template_habits(found, render)

    def renderer(self, ask: Ask, model: str) -> Render:
        """Renders members of a request to the prompt's text; None where the template refuses them."""

        async def render(members: dict[str, Any]) -> str | None:
            rendered = (await ask("/apply-template", {"model": model, **members})).read(_Prompt)
            return None if rendered is None else rendered.prompt

        return render

    async def count(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> int:
        """The server's own count; an older server renders and tokenizes in two questions (text only)."""
        body = self.body(request, capabilities)
        reply = await ask("/v1/chat/completions/input_tokens", body)
        counted = reply.read(_Count)
        if counted is not None:
            return counted.input_tokens
        if reply.status != 404 or request.has_images:
            raise self.refused(reply)
        return len(await self._tokens(ask, body))

    async def render(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> list[int]:
        """The rendered prompt's ids, in two questions (text only)."""
        if request.has_images:
            return await super().render(ask, request, capabilities)
        return await self._tokens(ask, self.body(request, capabilities))

    async def detokenize(self, ask: Ask, model: str, token_ids: list[int]) -> str:
        """The server's own text."""
        reply = await ask("/detokenize", {"tokens": token_ids})
        text = reply.read(_Text)
        if text is None:
            raise self.refused(reply)
        return text.content

    async def _tokens(self, ask: Ask, body: dict[str, Any]) -> list[int]:
        rendered = await ask("/apply-template", body)
        prompt = rendered.read(_Prompt)
        if prompt is None:
            raise self.refused(rendered)
        question = {"content": prompt.prompt, "add_special": True, "parse_special": True}
        tokenized = await ask("/tokenize", question)
        tokens = tokenized.read(_Tokens)
        if tokens is None:
            raise self.refused(tokenized)
        return tokens.tokens

    async def running(self, ask: Ask) -> int | None:
        """Its busy slots; of calls that wait it does not tell."""
        slots = (await ask("/slots", None)).read(list[_BusySlot])
        return None if slots is None else sum(slot.is_processing for slot in slots)

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Adds the thinking switch and budget, and the wish for the matched stop and the prompt cache."""
        body["cache_prompt"] = True
        if request.stop:
            body["verbose"] = True
        if capabilities.reasoning_switch and request.reasoning.enabled is not None:
            body["chat_template_kwargs"] = thinking_switch(request.reasoning.enabled)
        if "reasoning_effort" in body:
            # templates read it there
            body.setdefault("chat_template_kwargs", {})["reasoning_effort"] = body["reasoning_effort"]
        if request.reasoning.budget_tokens is not None and self.thinks(request, capabilities):
            body["thinking_budget_tokens"] = request.reasoning.budget_tokens
        if request.response_format is not None:
            body["response_format"] = plain_format(held_format(request.response_format))
        if "tools" in body:
            body["tools"] = [held_tool(tool, request) for tool in body["tools"]]
        known = [held_tool(tool, request) for tool in request.callable_tools]
        choice = request.tool_choice
        if choice is not None and choice.mode == "function":
            # a named function is not obeyed: with that one alone, "required" forces it
            known = [tool for tool in known if tool.function.name == choice.name]
            body["tools"] = known
            body["tool_choice"] = "required"
        if capabilities.unlisted_tools and request.tools and request.callable_tools is not request.tools:
            tell_apart(body, request, _shown, known, held_tools(request))

    def prepare_stream(self, body: dict[str, Any], *, counted: bool) -> None:
        """The prompt's count comes early; where asked, the tokens so far come with every chunk."""
        body["return_progress"] = True
        if counted:
            body["timings_per_token"] = True

    def needs_stream(self, request: ChatRequest) -> bool:
        """Always: a whole answer goes on computing its prompt when nobody waits any more, a stream ends."""
        return True

    def read_chunk(self, chunk: WireChunk) -> None:
        """Progress and timings become usage; the word that stopped becomes the matched stop."""
        super().read_chunk(chunk)
        assert isinstance(chunk, LlamaChunk)
        if chunk.usage is None:
            if chunk.prompt_progress is not None:
                chunk.usage = _usage(chunk.prompt_progress.total, chunk.prompt_progress.cache, 0)
            elif chunk.timings is not None:
                said = chunk.timings
                chunk.usage = _usage(said.cache_n + said.prompt_n, said.cache_n, said.predicted_n)
        if chunk.verbose is not None and chunk.choices:
            chunk.choices[0].matched_stop = chunk.verbose.stopping_word or None

    def read_completion(self, completion: WireCompletion) -> None:
        """The word that stopped becomes the matched stop."""
        super().read_completion(completion)
        assert isinstance(completion, LlamaCompletion)
        if completion.verbose is not None and completion.choices:
            completion.choices[0].matched_stop = completion.verbose.stopping_word or None


def _shown(tool: ChatTool) -> dict[str, Any]:
    """A tool as the server gives it to the template: never without a description, never with `strict`."""
    function = tool.function
    shown = {"name": function.name, "description": function.description or ""}
    return {"type": tool.type, "function": shown | {"parameters": function.parameters}}


def _usage(prompt: int, cached: int, sampled: int) -> ChatUsage:
    return ChatUsage(prompt, sampled, PromptTokensDetails(cached_tokens=cached))
