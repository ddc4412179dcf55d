"""Values of the doors beside chat: token ids, as the model reads and writes them; bodies passed on."""

from __future__ import annotations

import msgspec

from dragoman.wire.openai import ChatUsage


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn; None means the engine's default.

    max_tokens: of this answer; None lets the engine fill the context. stop: strings that end the answer and
    are not part of it. stop_token_ids: ids that end it besides the model's own. min_tokens: before any stop
    counts. logprobs: whether each sampled token comes with its log-probability (natural logarithm).
    """

    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    logprobs: bool = False


class TokenRequest(msgspec.Struct, kw_only=True):
    """Token ids to go on from. `placement_key`, `request_id` and `engine` are as in a `ChatRequest`."""

    model: str
    prompt_token_ids: list[int]
    sampling: SamplingParams = SamplingParams()
    placement_key: str | None = None
    request_id: str = ""
    engine: str = ""


class TokenChunk(msgspec.Struct, kw_only=True, gc=False):
    """What one read of a token stream adds.

    token_ids: the sampled ids, special ones too. logprobs: one for each id, where they were asked for; None
    stands for one that the engine did not tell or that is not finite. text: what the ids add to the text,
    markers of calls and thinking included; it may lag behind the ids while a character is incomplete.
    finish_reason: "stop", "length" or "abort" (the engine gave the answer up), once, with the last ids.
    """

    token_ids: list[int] = []
    logprobs: list[float | None] | None = None
    text: str = ""
    finish_reason: str | None = None
    matched_stop: str | None = None
    usage: ChatUsage | None = None


class RelayRequest(msgspec.Struct, kw_only=True):
    """A request in an engine's own OpenAI API: the `path` ("/v1/completions", say) and the JSON `body`.

    `model` is the one that the body names; the other fields are as in a `ChatRequest`.
    """

    path: str
    body: bytes
    model: str
    placement_key: str | None = None
    request_id: str = ""
    engine: str = ""
