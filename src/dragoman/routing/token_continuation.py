"""A token stream that outlives its engine: it goes on elsewhere from the ids that it had."""

from __future__ import annotations

from array import array

import msgspec

from dragoman.engines.base import TokenStream
from dragoman.errors import DragomanError, EngineLostError, NotSupportedError
from dragoman.observe.metrics import Metrics
from dragoman.routing.causes import is_engines
from dragoman.routing.continuation import Engines
from dragoman.routing.said import ABORTED
from dragoman.wire.openai import ChatUsage
from dragoman.wire.tokens import TokenChunk, TokenRequest

# What a decoder writes for bytes that are not yet a character.
_INCOMPLETE = "\ufffd"


class ContinuedTokens(TokenStream):
    """An answer in token ids that begins anew, or goes on, when its engine fails or gives it up.

    It does so as often as `retries` without a new token in between; then the failure is raised. Its counts
    are those of the whole answer.
    """

    def __init__(
        self, request: TokenRequest, stream: TokenStream, engines: Engines, *, retries: int, metrics: Metrics
    ) -> None:
        self.engine = stream.engine
        self._request = request
        self._stream = stream
        self._engines = engines
        self._retries = retries
        self._metrics = metrics
        self._left = retries
        self._ids = array("I")
        self._text: list[str] = []
        self._before = 0
        self._due: list[TokenChunk] = []
        self._is_finished = False

    async def __anext__(self) -> TokenChunk:
        """What the next read adds, be it of another engine."""
        while not self._due:
            try:
                chunk = await self._stream.__anext__()
            except StopAsyncIteration:
                if self._is_finished or not await self._goes_on(but=self.engine):
                    raise
            except DragomanError as error:
                if self._is_finished:
                    # nothing is missing that another engine could say
                    raise StopAsyncIteration from error
                if not is_engines(error) or not await self._goes_on(but=self.engine):
                    raise
            else:
                self.weight_version = self._stream.weight_version
                self._due.append(chunk)
                await self._take(chunk)
        return self._due.pop(0)

    async def aclose(self) -> None:
        """Stops the engine's work."""
        self._is_finished = True
        await self._stream.aclose()

    async def _take(self, chunk: TokenChunk) -> None:
        """Makes the chunk a part of the whole answer; where the engine gave that up, it goes on."""
        self._ids.extend(chunk.token_ids)
        self._text.append(chunk.text)
        if chunk.usage is not None:
            chunk.usage = self._whole(chunk.usage)
        if chunk.finish_reason == ABORTED:
            chunk.finish_reason = None
            await self._stream.aclose()
            # it is well: its session may stay there
            if not await self._goes_on(but=None):
                detail = "it ended its answer with the finish reason abort"
                raise EngineLostError("the engine gave up its answer", log_detail=detail)
        elif chunk.finish_reason is not None:
            self._is_finished = True
        elif chunk.token_ids:
            self._left = self._retries

    def _whole(self, usage: ChatUsage) -> ChatUsage:
        if not self._before:
            return usage
        return msgspec.structs.replace(
            usage,
            prompt_tokens=len(self._request.prompt_token_ids),
            completion_tokens=self._before + usage.completion_tokens,
        )

    async def _goes_on(self, but: str | None) -> bool:
        """Puts another stream in the place of the one that failed; whether there is one."""
        left_by = self.engine
        self._left -= 1
        is_on = self._left >= 0 and await self._reopened(but)
        self._metrics.continued(left_by, ("tokens" if self._ids else "anew") if is_on else "no")
        return is_on

    async def _reopened(self, but: str | None) -> bool:
        asked, sampled = self._request, len(self._ids)
        limit = asked.sampling.max_tokens
        if limit is not None and sampled >= limit:
            self._is_finished = True
            self._due.append(TokenChunk(finish_reason="length"))
            return True
        if sampled:
            sampling = msgspec.structs.replace(
                asked.sampling, max_tokens=None if limit is None else limit - sampled
            )
            ids = asked.prompt_token_ids + self._ids.tolist()
            asked = msgspec.structs.replace(asked, prompt_token_ids=ids, sampling=sampling)
        stream = await self._engines.reopen_tokens(asked, but)
        if stream is None:
            return False
        if sampled:
            await self._tell_late_text()
        self._stream, self.engine, self._before = stream, stream.engine, sampled
        return True

    async def _tell_late_text(self) -> None:
        """Text may lag behind its ids: what was not told yet of those that are there."""
        try:
            text = await self._engines.detokenize(self._request.model, self._ids.tolist())
        except NotSupportedError:
            return
        told = "".join(self._text)
        late = text.rstrip(_INCOMPLETE)[len(told) :] if text.startswith(told) else ""
        if late:
            self._text.append(late)
            self._due.append(TokenChunk(text=late))
