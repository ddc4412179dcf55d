"""An answer that goes on from its token ids: thinking and calls too, in the same blocks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dragoman.engines.base import ChatStream, TokenStream
from dragoman.engines.stops import StopFilter
from dragoman.routing.said import Said
from dragoman.translate.parsers import OutputParser
from dragoman.wire.openai import (
    ChatChunk,
    ChatDelta,
    ChatRequest,
    ChunkChoice,
    FunctionDelta,
    ToolCallDelta,
)
from dragoman.wire.tokens import SamplingParams, TokenChunk, TokenRequest

# Ids at a prompt's end that tell whether it opens the answer's thinking.
TAIL = 16
_OPENERS = ("<think>", "<seed:think>", "[THINK]", "<|START_THINKING|>", "<|channel|>analysis<|message|>")


def begins_in_thinking(tail: str) -> bool:
    """Whether a prompt that ends so has opened the answer's thinking."""
    return tail.rstrip().endswith(_OPENERS)


def token_request(request: ChatRequest, said: Said) -> TokenRequest:
    """The request that goes on from the ids of prompt and answer; stops are matched on this side."""
    assert said.prompt_ids is not None
    ids = said.ids.tolist()
    limit = None if request.max_tokens is None else max(1, request.max_tokens - len(ids))
    return TokenRequest(
        model=request.model,
        prompt_token_ids=said.prompt_ids + ids,
        sampling=SamplingParams(
            max_tokens=limit, temperature=request.temperature, top_p=request.top_p, top_k=request.top_k
        ),
        placement_key=request.placement_key,
        request_id=request.request_id,
    )


def undelivered(read: Sequence[ChatDelta], said: Said) -> list[ChatDelta] | None:
    """What our reading of an answer's text adds to what was delivered of it.

    None where it does not begin with that: the engine read the text in another way, and what follows would
    not fit. White space around thinking and text is each parser's own affair.
    """
    ours = Said()
    ours.take([_chunk(delta) for delta in read])
    reasoning, content = _rest(ours.reasoning, said.reasoning), _rest(ours.text, said.text)
    calls = _rest_of_calls(ours.calls, said.calls)
    if reasoning is None or content is None or calls is None:
        return None
    rest = [ChatDelta(reasoning=reasoning)] if reasoning else []
    rest += [ChatDelta(content=content)] if content else []
    return rest + [ChatDelta(tool_calls=[call]) for call in calls]


def _rest(ours: str, theirs: str) -> str | None:
    if ours.startswith(theirs):
        return ours[len(theirs) :]
    ours, theirs = ours.lstrip(), theirs.strip()
    return ours[len(theirs) :] if ours.startswith(theirs) else None


def _rest_of_calls(
    ours: Sequence[ToolCallDelta], theirs: Sequence[ToolCallDelta]
) -> list[ToolCallDelta] | None:
    # an engine may tell a call's name before its arguments begin, which is when it is one to us
    if any(call.function is None or call.function.arguments for call in theirs[len(ours) :]):
        return None
    rest: list[ToolCallDelta] = []
    for place, call in enumerate(ours):
        assert call.function is not None
        name, arguments = call.function.name, call.function.arguments or ""
        known = theirs[place].function if place < len(theirs) else None
        if known is not None:
            if known.name != name or not arguments.startswith(known.arguments or ""):
                return None
            name, arguments = None, arguments[len(known.arguments or "") :]
        function = FunctionDelta(name=name, arguments=arguments or None)
        if name or arguments:
            rest.append(ToolCallDelta(index=place, id=call.id, function=function))
    return rest


class ParsedStream(ChatStream):
    """A token stream as a chat answer: its text goes through the parser, which has read what came before.

    first: what that has read and nobody delivered. calls: how many calls were delivered, if only by name.
    """

    def __init__(
        self,
        stream: TokenStream,
        parser: OutputParser,
        *,
        first: list[ChatDelta],
        stops: list[str],
        calls: int,
    ) -> None:
        self.engine = stream.engine
        self._stream = stream
        self._parser = parser
        self._stops = StopFilter(stops) if stops else None
        self._first: list[ChatChunk] | None = [_chunk(delta) for delta in first]
        self._calls = calls
        self._has_called = calls > 0 or any(delta.tool_calls for delta in first)
        self._is_over = False

    async def __anext__(self) -> list[ChatChunk]:
        """The next batch."""
        if self._first is not None:
            first, self._first = self._first, None
            return self._stopped(first)
        if self._is_over:
            raise StopAsyncIteration
        chunk = await self._stream.__anext__()
        self.weight_version = self._stream.weight_version
        return self._stopped(self._batch(chunk))

    async def aclose(self) -> None:
        """Stops the engine's work."""
        self._is_over = True
        await self._stream.aclose()

    def _batch(self, chunk: TokenChunk) -> list[ChatChunk]:
        deltas, finish = self._parser.feed(chunk.text), chunk.finish_reason
        if finish is not None:
            deltas += self._parser.close()
        for delta in deltas:
            self._without_names(delta.tool_calls or [])
        batch = [_chunk(delta) for delta in deltas]
        self._has_called = self._has_called or any(delta.tool_calls for delta in deltas)
        finish = "tool_calls" if finish == "stop" and self._has_called else finish
        choice = ChunkChoice(token_ids=chunk.token_ids, finish_reason=finish, matched_stop=chunk.matched_stop)
        return [*batch, ChatChunk(choices=[choice], usage=chunk.usage)]

    def _without_names(self, calls: list[ToolCallDelta]) -> None:
        """Takes out the names and ids of calls that the client has them of."""
        for call in calls:
            if call.index is not None and call.index < self._calls and call.function is not None:
                call.id = call.function.name = None

    def _stopped(self, batch: list[ChatChunk]) -> list[ChatChunk]:
        if self._stops is None:
            return batch
        batch = self._stops.feed(batch)
        if self._stops.ended:
            self._is_over = True
        return batch


def _chunk(delta: ChatDelta) -> ChatChunk:
    return ChatChunk(choices=[ChunkChoice(delta=msgspec.structs.replace(delta))])
