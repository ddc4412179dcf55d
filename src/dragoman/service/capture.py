"""The engine calls of one request, with every token recorded: what stands in the client's place meanwhile."""

from __future__ import annotations

import math

import msgspec

from dragoman.engines.base import ChatStream, TokenStream
from dragoman.engines.whole import folded
from dragoman.errors import NotSupportedError
from dragoman.ledger.samples import OpenSample
from dragoman.ledger.token_in import common, drift, extended, window
from dragoman.ledger.values import Drift, Sample, Sampling
from dragoman.routing.by_tokens import TAIL, ParsedStream, begins_in_thinking
from dragoman.routing.client import InferenceEngineClient
from dragoman.translate.parsers import FORMATS, output_parser
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatRequest, Logprobs
from dragoman.wire.tokens import SamplingParams, TokenChunk, TokenRequest


class Before(msgspec.Struct, frozen=True):
    """The turn that a request continues: its id and last sample; `is_edited`: its history is not this one's.

    end: the id that ends a turn, where one is known.
    """

    turn: str
    sample: Sample
    is_edited: bool = False
    end: int | None = None


class Capture:
    """Answers through the token door where that can be, so that prompts extend recorded ids by construction.

    Else through the chat door, with the ids that the engine tells. `samples` has one for each call, in
    order. before: the turn that the first call may go on from.
    """

    def __init__(
        self, client: InferenceEngineClient, sampling: Sampling, before: Before | None = None
    ) -> None:
        self.samples: list[OpenSample] = []
        self._client = client
        self._sampling = sampling
        self._before = before
        self._rendered: list[int] = []
        self._model = ""

    async def closed(self) -> tuple[Sample, ...]:
        """What was recorded, with the drift of the first call's prompt; call it when the answer is over."""
        return tuple([await self._closed(sample) for sample in self.samples])

    async def _closed(self, sample: OpenSample) -> Sample:
        if sample is self.samples[0] and self._before is not None and self._rendered:
            sample.drift = await self._drift(self._before, sample)
        return sample.closed()

    async def _drift(self, before: Before, sample: OpenSample) -> Drift | None:
        """Where the template writes otherwise what the turn before holds; None where it does not."""
        recorded = [*before.sample.prompt_ids, *before.sample.sampled_ids]
        at = common(recorded, self._rendered)
        if at == len(recorded):
            return None
        texts = [
            await self._client.detokenize(self._model, window(ids, at)) for ids in (recorded, self._rendered)
        ]
        return drift(at, *texts, is_edited=before.is_edited, is_recorded_used=bool(sample.base))

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer: what the stream says."""
        return await folded(await self.stream_chat_completion(request))

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The answer as a stream; each read is recorded."""
        can = await self._client.capabilities(request.model)
        stream = await self._by_tokens(request, can) if may_use_ids(request, can) else None
        return stream or await self._by_chat(request, can)

    # ---- the token door ----------------------------------------------------------------------------------

    async def _by_tokens(self, request: ChatRequest, can: EngineCapabilities) -> ChatStream | None:
        """None where the engine does not render this prompt."""
        try:
            rendered = await self._client.render(request)
        except NotSupportedError:
            return None
        sample = OpenSample("tokens")
        prompt = rendered
        if not self.samples:
            self._rendered, self._model = rendered, request.model
            prompt = self._first_prompt(rendered, sample)
        sample.prompt_ids = prompt
        asked = TokenRequest(
            model=request.model,
            prompt_token_ids=prompt,
            sampling=_params(request, self._sampling),
            placement_key=request.placement_key,
            request_id=request.request_id,
            engine=request.engine,
        )
        tail = await self._client.detokenize(request.model, prompt[-TAIL:])
        stream = await self._client.stream_tokens(asked)
        request.engine = asked.engine
        self.samples.append(sample)
        parser = output_parser(can.raw_format, request.callable_tools, in_thinking=begins_in_thinking(tail))
        recorded = _RecordedTokens(stream, sample)
        return ParsedStream(recorded, parser, first=[], stops=request.stop, calls=0)

    def _first_prompt(self, rendered: list[int], sample: OpenSample) -> list[int]:
        """The prompt's ids: the recorded ones with what is new, else those of the template."""
        before = self._before
        found = None
        if before is not None and not before.is_edited:
            found = extended(before.sample, rendered, before.end)
        if before is None or found is None:
            return rendered
        sample.base, sample.carried = before.turn, found.carried
        return found.ids

    # ---- the chat door -----------------------------------------------------------------------------------

    async def _by_chat(self, request: ChatRequest, can: EngineCapabilities) -> ChatStream:
        sample = OpenSample("chat")
        request.return_token_ids = can.token_ids
        request.return_logprobs = can.token_ids and can.logprobs
        stream = await self._client.stream_chat_completion(request)
        self.samples.append(sample)
        return _RecordedChat(stream, sample)


def may_use_ids(request: ChatRequest, can: EngineCapabilities) -> bool:
    """Whether ids can get what is asked for: the answer is held to no form, the prompt has no image."""
    choice = request.tool_choice
    is_formed = request.response_format is not None or (choice is not None and choice.mode != "auto")
    has_door = can.token_door and can.logprobs and can.raw_format in FORMATS
    budget = request.reasoning.budget_tokens
    return has_door and not is_formed and not request.has_images and budget is None


def _params(request: ChatRequest, sampling: Sampling) -> SamplingParams:
    """Stops are matched on this side, in the text alone."""
    return SamplingParams(
        max_tokens=request.max_tokens,
        min_tokens=sampling.min_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=sampling.seed,
        logprobs=True,
    )


class _RecordedTokens(TokenStream):
    """Records each chunk before it is read into words."""

    def __init__(self, stream: TokenStream, sample: OpenSample) -> None:
        self.engine = sample.engine = stream.engine
        self._stream = stream
        self._sample = sample

    async def __anext__(self) -> TokenChunk:
        chunk = await self._stream.__anext__()
        self.engine, self.weight_version = self._stream.engine, self._stream.weight_version
        self._sample.take(chunk.token_ids, chunk.logprobs, self.engine, self.weight_version)
        if chunk.finish_reason is not None:
            self._sample.finish_reason = chunk.finish_reason
        return chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _RecordedChat(ChatStream):
    """Records the ids that an engine tells beside its words."""

    def __init__(self, stream: ChatStream, sample: OpenSample) -> None:
        self.engine = sample.engine = stream.engine
        self._stream = stream
        self._sample = sample

    async def __anext__(self) -> list[ChatChunk]:
        batch = await self._stream.__anext__()
        self.engine, self.weight_version = self._stream.engine, self._stream.weight_version
        for chunk in batch:
            if chunk.prompt_token_ids is not None and not self._sample.prompt_ids:
                self._sample.prompt_ids = chunk.prompt_token_ids
            for choice in chunk.choices:
                if choice.token_ids:
                    told = _told(choice.logprobs)
                    self._sample.take(choice.token_ids, told, self.engine, self.weight_version)
                if choice.finish_reason is not None:
                    self._sample.finish_reason = choice.finish_reason
        return batch

    async def aclose(self) -> None:
        await self._stream.aclose()


def _told(logprobs: Logprobs | None) -> list[float | None] | None:
    if logprobs is None or logprobs.content is None:
        return None
    values = (one.logprob for one in logprobs.content)
    return [value if value is not None and math.isfinite(value) else None for value in values]
