"""The token doors of servers: token ids in, token ids out, each in the server's own spelling.

Checked on vLLM 0.32 (`/v1/completions` takes ids as a prompt and tells ids), SGLang 0.5.23 (`/generate`,
whose chunks repeat all that was sampled so far, and which dies of an id that is not in its vocabulary) and
llama.cpp's server as of October 2026 (`/completion`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import msgspec

from dragoman.errors import NotSupportedError
from dragoman.wire.openai import ChatUsage, PromptTokensDetails
from dragoman.wire.tokens import TokenChunk, TokenRequest


class TokenReader(ABC):
    """Reads one stream of a token door, event by event. May raise `msgspec.DecodeError`."""

    @abstractmethod
    def read(self, data: bytes) -> TokenChunk:
        """What an event adds."""


class TokenDoor(ABC):
    """How a server is asked to go on from token ids. `ends_with_done`: its stream ends with `[DONE]`."""

    path: str
    ends_with_done = True

    @abstractmethod
    def write(self, request: TokenRequest) -> dict[str, Any]:
        """The body of the request, for a stream."""

    @abstractmethod
    def reader(self) -> TokenReader:
        """A reader for the answer."""


def said(pairs: dict[str, Any]) -> dict[str, Any]:
    """The members that were said."""
    return {name: value for name, value in pairs.items() if value is not None and value != ()}


def finite(value: float | None) -> float | None:
    """A log-probability that can be trained on; engines tell minus infinity, and sometimes none."""
    return value if value is not None and math.isfinite(value) else None


# ---- vLLM --------------------------------------------------------------------------------------------------


class _Logprobs(msgspec.Struct, gc=False):
    token_logprobs: list[float | None] = []


class _Choice(msgspec.Struct, gc=False):
    text: str = ""
    token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: ChatUsage | None = None


class VLLMTokenDoor(TokenDoor):
    """vLLM's completions: without their special tokens' text no call could be read."""

    path = "/v1/completions"

    def write(self, request: TokenRequest) -> dict[str, Any]:
        """Usage comes with every chunk, as the stream may be cut."""
        sampling = request.sampling
        return {
            "model": request.model,
            "prompt": request.prompt_token_ids,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_token_ids": True,
            "skip_special_tokens": False,
            **said(
                {
                    "max_tokens": sampling.max_tokens,
                    "min_tokens": sampling.min_tokens,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "top_k": sampling.top_k,
                    "seed": sampling.seed,
                    "stop": sampling.stop,
                    "stop_token_ids": sampling.stop_token_ids,
                    "logprobs": 0 if sampling.logprobs else None,
                }
            ),
        }

    def reader(self) -> TokenReader:
        """A reader without memory."""
        return _VLLMReader()


class _VLLMReader(TokenReader):
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Completion)

    def read(self, data: bytes) -> TokenChunk:
        chunk = self._decoder.decode(data)
        if not chunk.choices:
            return TokenChunk(usage=chunk.usage)
        choice = chunk.choices[0]
        stop = choice.stop_reason
        return TokenChunk(
            token_ids=choice.token_ids or [],
            logprobs=None if choice.logprobs is None else [*map(finite, choice.logprobs.token_logprobs)],
            text=choice.text,
            finish_reason=choice.finish_reason,
            matched_stop=stop if isinstance(stop, str) else None,
            usage=chunk.usage,
        )


# ---- SGLang ------------------------------------------------------------------------------------------------


class _Finish(msgspec.Struct, gc=False):
    type: str
    matched: str | int | None = None


class _Meta(msgspec.Struct, gc=False):
    finish_reason: _Finish | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    output_token_logprobs: list[tuple[float | None, int, str | None]] | None = None


class _Generated(msgspec.Struct, gc=False):
    text: str = ""
    output_ids: list[int] = []
    meta_info: _Meta = msgspec.field(default_factory=_Meta)


class SGLangTokenDoor(TokenDoor):
    """SGLang's `/generate`."""

    path = "/generate"

    def write(self, request: TokenRequest) -> dict[str, Any]:
        """Sampling parameters have a member of their own."""
        sampling = request.sampling
        return {
            "input_ids": request.prompt_token_ids,
            "stream": True,
            "return_logprob": sampling.logprobs,
            "sampling_params": {
                "skip_special_tokens": False,
                **said(
                    {
                        "max_new_tokens": sampling.max_tokens,
                        "min_new_tokens": sampling.min_tokens,
                        "temperature": sampling.temperature,
                        "top_p": sampling.top_p,
                        "top_k": sampling.top_k,
                        "sampling_seed": sampling.seed,
                        "stop": sampling.stop,
                        "stop_token_ids": sampling.stop_token_ids,
                    }
                ),
            },
        }

    def reader(self) -> TokenReader:
        """A reader that takes what is new out of chunks that repeat everything."""
        return _SGLangReader()


class _SGLangReader(TokenReader):
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Generated)
        self._text = 0
        self._ids = 0

    def read(self, data: bytes) -> TokenChunk:
        chunk = self._decoder.decode(data)
        meta, finish = chunk.meta_info, chunk.meta_info.finish_reason
        logprobs = meta.output_token_logprobs
        new = TokenChunk(
            token_ids=chunk.output_ids[self._ids :],
            logprobs=None if logprobs is None else [finite(one[0]) for one in logprobs[self._ids :]],
            text=chunk.text[self._text :],
            finish_reason=None if finish is None else finish.type,
            matched_stop=finish.matched if finish is not None and isinstance(finish.matched, str) else None,
            usage=ChatUsage(
                prompt_tokens=meta.prompt_tokens,
                completion_tokens=meta.completion_tokens,
                prompt_tokens_details=PromptTokensDetails(cached_tokens=meta.cached_tokens),
            ),
        )
        self._text, self._ids = len(chunk.text), len(chunk.output_ids)
        return new


# ---- llama.cpp ---------------------------------------------------------------------------------------------


class _Probability(msgspec.Struct, gc=False):
    id: int
    logprob: float | None = None


class _Timings(msgspec.Struct, gc=False):
    cache_n: int = 0


class _Piece(msgspec.Struct, gc=False):
    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    completion_probabilities: list[_Probability] = []
    timings: _Timings = msgspec.field(default_factory=_Timings)


_LLAMA_REASONS = {"eos": "stop", "word": "stop", "limit": "length", "none": "stop"}


class LlamaCppTokenDoor(TokenDoor):
    """llama.cpp's `/completion`; it ends with its last piece."""

    path = "/completion"
    ends_with_done = False

    def write(self, request: TokenRequest) -> dict[str, Any]:
        """Ids that end an answer, and a least number of tokens, it does not know."""
        sampling = request.sampling
        for name in ("stop_token_ids", "min_tokens"):
            if getattr(sampling, name):
                raise NotSupportedError(f"{name}: the engine (llamacpp) does not know it")
        return {
            "prompt": request.prompt_token_ids,
            "stream": True,
            "return_tokens": True,
            "cache_prompt": True,
            **said(
                {
                    "n_predict": sampling.max_tokens,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "top_k": sampling.top_k,
                    "seed": sampling.seed,
                    "stop": sampling.stop,
                    "n_probs": 1 if sampling.logprobs else None,
                }
            ),
        }

    def reader(self) -> TokenReader:
        """A reader without memory."""
        return _LlamaReader()


class _LlamaReader(TokenReader):
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Piece)

    def read(self, data: bytes) -> TokenChunk:
        piece = self._decoder.decode(data)
        probabilities = piece.completion_probabilities if not piece.stop else []
        return TokenChunk(
            token_ids=piece.tokens if not piece.stop else [],
            logprobs=[finite(one.logprob) for one in probabilities] or None,
            text=piece.content if not piece.stop else "",
            finish_reason=_LLAMA_REASONS.get(piece.stop_type, "stop") if piece.stop else None,
            matched_stop=piece.stopping_word or None,
            usage=ChatUsage(
                prompt_tokens=piece.tokens_evaluated,
                completion_tokens=piece.tokens_predicted,
                prompt_tokens_details=PromptTokensDetails(cached_tokens=piece.timings.cache_n),
            ),
        )
