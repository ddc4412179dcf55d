"""An answer that outlives its engine: it goes on elsewhere, in the same blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dragoman.engines.base import ChatStream, InferenceEngine
from dragoman.errors import DragomanError, EngineLostError
from dragoman.observe.metrics import Metrics
from dragoman.routing.causes import is_engines
from dragoman.routing.said import Overlap, Said, Sum, can_continue_text, continued, used_up
from dragoman.wire.openai import ChatChunk, ChatRequest

# Characters of a token, where nothing counts them.
_CHARACTERS = 4

Reopen = Callable[[ChatRequest, str | None], Awaitable[ChatStream | None]]
"""Opens a request's stream on another engine than the named one; None where there is no other."""


class ContinuedStream(ChatStream):
    """A chat answer that begins anew, or goes on, when its engine fails or gives it up.

    It does so as often as `retries` without a new word in between; then the failure is raised.
    """

    def __init__(
        self,
        request: ChatRequest,
        stream: ChatStream,
        *,
        counter: InferenceEngine,
        reopen: Reopen,
        retries: int,
        metrics: Metrics,
    ) -> None:
        self.engine = stream.engine
        self._request = request
        self._stream = stream
        self._counter = counter
        self._reopen = reopen
        self._retries = retries
        self._metrics = metrics
        self._said = Said()
        self._left = retries
        self._overlap: Overlap | None = None
        self._sum: Sum | None = None

    async def __anext__(self) -> list[ChatChunk]:
        """The next batch, be it of another engine."""
        while True:
            try:
                batch = await self._stream.__anext__()
            except StopAsyncIteration:
                # an answer without its finish reason has no end
                if self._said.is_finished or not await self._goes_on(but=self.engine):
                    raise
                continue
            except DragomanError as error:
                # what comes after the finish reason adds nothing that another engine could say
                is_over = not is_engines(error) or self._said.is_finished
                if is_over or not await self._goes_on(but=self.engine):
                    raise
                continue
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
        how = "anew" if self._said.is_empty else "text"
        if how == "anew":
            stream = await self._reopen(self._request, but)
        else:
            stream = await self._continued(but) if await self._can_continue() else None
        return stream, how if stream is not None else "no"

    async def _can_continue(self) -> bool:
        if not can_continue_text(self._request, self._said):
            return False
        return (await self._counter.capabilities(self._request.model)).continuation

    async def _continued(self, but: str | None) -> ChatStream | None:
        said, request = self._said, self._request
        prompt = None if said.usage is None else said.usage.prompt_tokens or None
        following, space = continued(request, said, sampled=0)
        sampled = await self._sampled(following)
        if request.max_tokens is not None and sampled >= request.max_tokens:
            return _Ended(self.engine)
        following, space = continued(request, said, sampled=sampled)
        stream = await self._reopen(following, but)
        self._overlap, self._sum = Overlap(space), Sum(sampled, prompt)
        return stream

    async def _sampled(self, following: ChatRequest) -> int:
        """Tokens of what was said: as the engine told, else by what they add to the prompt, else about."""
        said = self._said
        if said.ids:
            return len(said.ids)
        if said.usage is not None and said.usage.completion_tokens:
            return said.usage.completion_tokens
        if (await self._counter.capabilities(following.model)).counting:
            begun = await self._counter.count_tokens(self._request)
            return max(1, await self._counter.count_tokens(following) - begun)
        return 1 + sum(map(len, said.text + said.reasoning)) // _CHARACTERS


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
