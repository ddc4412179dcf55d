"""AidedInferenceEngine: a llama.cpp server whose model is helped to call tools."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.engines.base import ChatStream
from dragoman.engines.dialects.base import Ask, Dialect
from dragoman.engines.gbnf.held import held_tool
from dragoman.engines.llamacpp.aided_stream import AidedStream, Asker, CallStream
from dragoman.engines.llamacpp.aids import Way, call_request, chosen, first_request, way_of
from dragoman.engines.llamacpp.forms import CallForms, Send
from dragoman.engines.llamacpp.recogniser import CallRecogniser
from dragoman.engines.llamacpp.repeats import RepeatGuard, answered_calls
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.stops import StopFilter
from dragoman.errors import DragomanError, SettingsError
from dragoman.models.aids import PromptAids
from dragoman.models.catalogue import find
from dragoman.settings import EngineEntry, Limits, Timeouts
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest, ChatTool

# In llama.cpp's notation: any text but one that begins like a call, or with white space before one. A model
# that still wants to call then writes an equals sign before the brace.
WORDS = r"root ::= [^{<>(,=\x60\x20\x09\x0A\x0D] [^\x00]*"
# The same, but open to a model that is sure of its call: kept from the brace, it begins with `({` or `,{`.
RATHER_WORDS = r"root ::= [^{<>\x60\x20\x09\x0A\x0D] [^\x00]*"


class _SlotParams(msgspec.Struct):
    seed: int = -1


class _Slot(msgspec.Struct):
    id: int
    is_processing: bool
    params: _SlotParams = msgspec.field(default_factory=_SlotParams)


class AidedInferenceEngine(RemoteInferenceEngine):
    """A llama.cpp server with prompt aids: `aids`, or those of the model that the entry names.

    Without any it is a remote engine like others. With them llama.cpp's own reading of calls is off: the
    model answers in free text, and one that begins like a call is asked for again, held by a grammar to the
    form of a call. So there is one call in an answer, valid by its tool's schema.
    """

    def __init__(
        self,
        entry: EngineEntry,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        aids: PromptAids | None = None,
    ) -> None:
        if entry.aids and entry.dialect != "llamacpp":
            raise SettingsError(f'engines: aids need dialect = "llamacpp", not "{entry.dialect}"')
        super().__init__(entry, timeouts, limits)
        self._aids = find(entry.aids).aids if aids is None and entry.aids else aids
        self._forms = CallForms(self._raw)

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What the server can do with a model; with aids it calls one tool at a time."""
        found = await super().capabilities(model)
        return found if self._aids is None else msgspec.structs.replace(found, parallel_tools=False)

    async def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of the prompt, aids included."""
        if self._aids is not None:
            # the form of a call is no part of the prompt
            form = request.response_format
            request = msgspec.structs.replace(first_request(request, self._aids), response_format=form)
        return await super().count_tokens(request)

    async def _stream(
        self, request: ChatRequest, dialect: Dialect, capabilities: EngineCapabilities
    ) -> ChatStream:
        aids = self._aids
        if aids is None:
            return await super()._stream(request, dialect, capabilities)
        first, way = first_request(request, aids), way_of(request)
        if way is Way.ENGINE:
            return await super()._stream(first, dialect, capabilities)
        if way is Way.FORCE:
            more = {"repeat_penalty": aids.forced_penalty}
            return CallStream(await self._forms.called(first, _callable(request), more))
        names = {tool.function.name for tool in request.callable_tools}
        recogniser = CallRecogniser(names, aids.fences, aids.marks)
        asker = _Asker(self._raw, self._forms, self._transport.ask, first, request)
        answered = answered_calls(request)
        words = {} if aids.chains or not answered else {"grammar": RATHER_WORDS}
        stream = await self._raw(first, {"seed": asker.seed, **words})
        guard = RepeatGuard(answered)
        return AidedStream(stream, recogniser, guard, StopFilter(request.stop), asker)

    async def _raw(self, asked: ChatRequest, more: Mapping[str, Any]) -> ChatStream:
        """The stream of a request as it stands, with some members that only llama.cpp knows."""
        dialect, capabilities = await self.dialect(), await self.capabilities(asked.model)
        data = dialect.write(asked, capabilities, stream=True, counted=True, more=more)
        return await self._opened(data, dialect, [])


class _Asker(Asker):
    """Asks again in the slot that has the prompt in its cache. It is found by the seed that this makes up."""

    def __init__(
        self, send: Send, forms: CallForms, ask: Ask, first: ChatRequest, request: ChatRequest
    ) -> None:
        self.seed = secrets.randbits(31)
        self._send = send
        self._forms = forms
        self._ask = ask
        self._first = first
        self._request = request
        self.may_call = request.tool_choice is None or request.tool_choice.mode != "none"

    async def call(self, tool: str | None, spent: int, running: ChatStream) -> ChatStream:
        """A call of that tool, or of any; the text that led to it is no part of its prompt."""
        tools = _callable(self._request, tool)
        asked = call_request(self._first, tools)
        if asked.max_tokens is not None:
            asked.max_tokens = max(1, asked.max_tokens - spent)
        return await self._forms.called(asked, tools, await self._freed(running))

    async def words(self, running: ChatStream) -> ChatStream:
        """An answer that begins with none of the characters that a call begins with."""
        return await self._send(self._first, {**await self._freed(running), "grammar": WORDS})

    async def _freed(self, running: ChatStream) -> dict[str, Any]:
        """Hangs up, and names the slot: it may need a moment to notice, and the next request waits for it."""
        try:
            slots = (await self._ask("/slots", None)).read(list[_Slot]) or []
        except DragomanError:
            # only the cache of the prompt is at stake
            slots = []
        await running.aclose()
        ours = [slot.id for slot in slots if slot.is_processing and slot.params.seed == self.seed]
        return {"seed": self.seed, **({"id_slot": ours[0]} if ours else {})}


def _callable(request: ChatRequest, name: str | None = None) -> list[ChatTool]:
    """The tools of which one is to be called, with schemas that llama.cpp can take."""
    return [held_tool(tool, request) for tool in chosen(request, name)]
