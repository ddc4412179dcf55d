"""An answer that outlives its engine: it goes on elsewhere, in the same blocks."""

from __future__ import annotations

from typing import Protocol

from dragoman.engines.base import ChatStream, TokenStream
from dragoman.errors import DragomanError, EngineLostError, NotSupportedError
from dragoman.observe.metrics import Metrics
from dragoman.routing.by_tokens import TAIL, ParsedStream, begins_in_thinking, token_request, undelivered
from dragoman.routing.causes import is_engines
from dragoman.routing.said import Overlap, Said, Sum, can_continue_text, continued, used_up
from dragoman.translate.parsers import FORMATS, output_parser
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatRequest
from dragoman.wire.tokens import TokenRequest

# Characters of a token, where nothing counts them.
_CHARACTERS = 4


class Engines(Protocol):
    """What a continuation asks of the engines together."""

    async def reopen(self, request: ChatRequest, but: str | None) -> ChatStream | None:
        """The request's stream on another engine than the named one; None where there is no other."""
        ...

    async def reopen_tokens(self, request: TokenRequest, but: str | None) -> TokenStream | None:
        """The same through the token door."""
        ...

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What all of them can do."""
        ...

    async def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of a prompt."""
        ...

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        """The text of token ids."""
        ...


class ContinuedStream(ChatStream):
    """A chat answer that begins anew, or goes on, when its engine fails or gives it up.

    It does so as often as `retries` without a new word in between; then the failure is raised.
    """

    def __init__(
        self, request: ChatRequest, stream: ChatStream, engines: Engines, *, retries: int, metrics: Metrics
    ) -> None:
        self.engine = stream.engine
        self._request = request
        self._stream = stream
        self._engines = engines
        self._retries = retries
        self._metrics = metrics
        self._said = Said()
        self._left = retries
        self._overlap: Overlap | None = None
        self._sum: Sum | None = None
        self._is_closed = False

    async def __anext__(self) -> list[ChatChunk]:
        """The next batch, be it of another engine."""
        while True:
            try:
                batch = await self._stream.__anext__()
            except StopAsyncIteration:
                # an answer without its finish reason has no end
                is_over = self._is_closed or self._said.is_finished
                if is_over or not await self._goes_on(but=self.engine):
                    raise
                continue
            except DragomanError as error:
                if self._said.is_finished:
                    # nothing is missing that another engine could say
                    raise StopAsyncIteration from error
                if not is_engines(error) or not await self._goes_on(but=self.engine):
                    raise
                continue
            self.weight_version = self._stream.weight_version
            if self._overlap is not None:
                self._overlap.cut(batch)
            if self._sum is not None:
                self._sum.amend(batch)
            if self._said.take(batch):
                await self._given_up()
            else:
                self._left = self._retries
            return batch

    async def aclose(self) -> None:
        """Stops the engine's work."""
        self._is_closed = True
        await self._stream.aclose()

    async def _given_up(self) -> None:
        await self._stream.aclose()
        # it is well: its session may stay there
        if not await self._goes_on(but=None):
            detail = "it ended its answer with the finish reason abort"
            raise EngineLostError("the engine gave up its answer", log_detail=detail)

    async def _goes_on(self, but: str | None) -> bool:
        """Puts another stream in the place of the one that failed; whether there is one."""
        left_by = self.engine
        self._left -= 1
        following, how = None, "no"
        if self._left >= 0:
            following, how = await self._following(but)
        self._metrics.continued(left_by, how)
        if following is None:
            return False
        self._stream = following
        self.engine = following.engine
        return True

    async def _following(self, but: str | None) -> tuple[ChatStream | None, str]:
        """The stream that goes on, and how it does."""
        if self._said.is_empty:
            stream = await self._engines.reopen(self._request, but)
            return stream, "anew" if stream is not None else "no"
        can = await self._engines.capabilities(self._request.model)
        stream = await self._by_tokens(can, but)
        if stream is not None:
            return stream, "tokens"
        if can.continuation and can_continue_text(self._request, self._said):
            stream = await self._by_text(can, but)
        return stream, "text" if stream is not None else "no"

    # ---- by tokens ---------------------------------------------------------------------------------------

    async def _by_tokens(self, can: EngineCapabilities, but: str | None) -> ChatStream | None:
        """From the token ids, where they are known and their text reads as what was delivered."""
        said, request = self._said, self._request
        if said.prompt_ids is None or not said.ids or not can.token_door or can.raw_format not in FORMATS:
            return None
        if self._is_used_up(len(said.ids)):
            return _Ended(self.engine)
        try:
            text = await self._engines.detokenize(request.model, said.ids.tolist())
            tail = await self._engines.detokenize(request.model, said.prompt_ids[-TAIL:])
        except NotSupportedError:
            return None
        parser = output_parser(can.raw_format, request.callable_tools, in_thinking=begins_in_thinking(tail))
        first = undelivered(parser.feed(text), said)
        if first is None:
            return None
        stream = await self._engines.reopen_tokens(token_request(request, said), but)
        if stream is None:
            return None
        self._overlap, self._sum = None, Sum(len(said.ids), len(said.prompt_ids))
        return ParsedStream(stream, parser, first=first, stops=request.stop, calls=len(said.calls))

    # ---- by text -----------------------------------------------------------------------------------------

    async def _by_text(self, can: EngineCapabilities, but: str | None) -> ChatStream | None:
        said, request = self._said, self._request
        prompt = None if said.usage is None else said.usage.prompt_tokens or None
        following, _ = continued(request, said, sampled=0)
        sampled = await self._sampled(following, can)
        if self._is_used_up(sampled):
            return _Ended(self.engine)
        following, space = continued(request, said, sampled=sampled)
        stream = await self._engines.reopen(following, but)
        self._overlap, self._sum = Overlap(space), Sum(sampled, prompt)
        return stream

    def _is_used_up(self, sampled: int) -> bool:
        return self._request.max_tokens is not None and sampled >= self._request.max_tokens

    async def _sampled(self, following: ChatRequest, can: EngineCapabilities) -> int:
        """Tokens of what was said: as the engine told, else by what they add to the prompt, else about."""
        said = self._said
        if said.ids:
            return len(said.ids)
        if said.usage is not None and said.usage.completion_tokens:
            return said.usage.completion_tokens
        if can.counting:
            begun = await self._engines.count_tokens(self._request)
            return max(1, await self._engines.count_tokens(following) - begun)
        return 1 + len(said.text + said.reasoning) // _CHARACTERS


class _Ended(ChatStream):
    """The end of an answer that has used all its tokens: there is nothing to ask for."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._batches = [used_up()]

    async def __anext__(self) -> list[ChatChunk]:
        """The finish reason."""
        if not self._batches:
            raise StopAsyncIteration
        return self._batches.pop()

    async def aclose(self) -> None:
        """Nothing runs."""
