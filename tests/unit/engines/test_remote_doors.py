"""The doors of remote engines beside chat, on what real servers said, and on what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import (
    EngineFaultError,
    EngineLostError,
    EngineTimeoutError,
    NotSupportedError,
    OverloadedError,
    PromptTooLongError,
    RateLimitError,
)
from dragoman.settings import Dialect, EngineEntry, Timeouts
from dragoman.wire.openai import ChatMessage, ChatRequest, ImagePart, ImageURL
from dragoman.wire.tokens import RelayRequest, SamplingParams, TokenChunk, TokenRequest
from tests.support.fake_openai import DONE, Answer, Cut, FakeOpenAI, Hang, event, events, reply

PATHS = {"vllm": "/v1/completions", "sglang": "/generate", "llamacpp": "/completion"}


def vllm(text: str, ids: list[int], **more: Any) -> dict[str, Any]:
    """As vLLM 0.32 writes it."""
    logprobs = {"token_logprobs": [-0.5] * len(ids), "tokens": [text], "text_offset": [0]}
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None, "token_ids": ids} | more
    usage = {"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1}
    return {"id": "cmpl-1", "object": "text_completion", "choices": [choice], "usage": usage}


def sglang(text: str, ids: list[int], finish: dict[str, Any] | None = None) -> dict[str, Any]:
    """As SGLang 0.5.23 writes it: all that was sampled so far."""
    logprobs = [[-0.5, each, None] for each in ids]
    counts = {"prompt_tokens": 3, "completion_tokens": len(ids), "cached_tokens": 2}
    meta = {"id": "x", "finish_reason": finish, "output_token_logprobs": logprobs, **counts}
    return {"text": text, "output_ids": ids, "meta_info": meta}


def llama(text: str, ids: list[int], **more: Any) -> dict[str, Any]:
    """As llama.cpp writes it."""
    counts = {"tokens_predicted": len(ids), "tokens_evaluated": 3}
    probabilities = [{"id": each, "token": text, "logprob": -0.5} for each in ids]
    piece = {"index": 0, "content": text, "tokens": ids, "stop": False, **counts}
    return piece | {"completion_probabilities": probabilities} | more


STREAMS: dict[str, list[Any]] = {
    "vllm": [
        vllm("<think>", [903]),
        vllm("Hi", [40, 41]),
        vllm("", [902], finish_reason="stop", stop_reason=902),
        {"id": "cmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        DONE,
    ],
    "sglang": [
        sglang("<think>", [903]),
        sglang("<think>Hi", [903, 40, 41]),
        sglang("<think>Hi", [903, 40, 41, 902], {"type": "stop", "matched": 902}),
        DONE,
    ],
    "llamacpp": [
        llama("<think>", [903]),
        llama("Hi", [40, 41]),
        llama("", [902]),
        llama("", [], stop=True, stop_type="eos", tokens_predicted=4),
    ],
}
STOPPED: dict[str, list[Any]] = {
    "vllm": [vllm("Hi", [40], finish_reason="stop", stop_reason="END"), DONE],
    "sglang": [sglang("Hi", [40], {"type": "stop", "matched": "END"}), DONE],
    "llamacpp": [llama("Hi", [40]), llama("", [], stop=True, stop_type="word", stopping_word="END")],
}
CUT: dict[str, list[Any]] = {
    "vllm": [vllm("Hi", [40], finish_reason="length"), DONE],
    "sglang": [sglang("Hi", [40], {"type": "length", "length": 1}), DONE],
    "llamacpp": [llama("Hi", [40]), llama("", [], stop=True, stop_type="limit")],
}
DOORS = pytest.mark.parametrize("dialect", list(PATHS))


@asynccontextmanager
async def opened(dialect: str, answer: Answer, **timeouts: float) -> AsyncIterator[tuple[Any, FakeOpenAI]]:
    """An engine whose door gives this answer; its context has 100 tokens."""
    context: dict[str, Any] = {
        "vllm": {"/v1/models": reply({"data": [{"id": "m", "max_model_len": 100}]})},
        "sglang": {"/v1/models": reply({"data": [{"id": "m", "max_model_len": 100}]})},
        "llamacpp": {"/props": reply({"default_generation_settings": {"n_ctx": 100}})},
    }
    async with FakeOpenAI({PATHS[dialect]: answer, **context[dialect]}) as fake:
        kind: Dialect = dialect  # type: ignore[assignment]  # one of three
        engine = RemoteInferenceEngine(
            EngineEntry(url=fake.url, name="e", dialect=kind), Timeouts(**timeouts)
        )
        try:
            yield engine, fake
        finally:
            await engine.aclose()


def wanted(**sampling: Any) -> TokenRequest:
    sampling.setdefault("max_tokens", 20)
    return TokenRequest(model="m", prompt_token_ids=[1, 2, 3], sampling=SamplingParams(**sampling))


async def read(engine: RemoteInferenceEngine, request: TokenRequest | None = None) -> list[TokenChunk]:
    stream = await engine.stream_tokens(request or wanted())
    assert stream.engine == "e"
    return [chunk async for chunk in stream]


@DOORS
async def test_each_token_comes_once_with_its_logprob(dialect: str) -> None:
    async with opened(dialect, events(*STREAMS[dialect])) as (engine, _):
        chunks = await read(engine, wanted(logprobs=True))
    assert [each for chunk in chunks for each in chunk.token_ids] == [903, 40, 41, 902]
    assert [each for chunk in chunks for each in chunk.logprobs or []] == [-0.5] * 4
    assert "".join(chunk.text for chunk in chunks) == "<think>Hi"
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert {chunk.matched_stop for chunk in chunks} == {None}
    usage = [chunk.usage for chunk in chunks if chunk.usage is not None][-1]
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)


@DOORS
async def test_however_the_bytes_are_cut_the_tokens_are_the_same(dialect: str) -> None:
    data = b"".join(map(event, STREAMS[dialect]))
    answer = Answer(
        content_type="text/event-stream", pieces=[data[at : at + 7] for at in range(0, len(data), 7)]
    )
    async with opened(dialect, answer) as (engine, _):
        chunks = await read(engine)
    assert [each for chunk in chunks for each in chunk.token_ids] == [903, 40, 41, 902]


@DOORS
async def test_the_string_that_stopped_is_told(dialect: str) -> None:
    async with opened(dialect, events(*STOPPED[dialect])) as (engine, _):
        chunks = await read(engine)
    assert [(chunk.finish_reason, chunk.matched_stop) for chunk in chunks if chunk.finish_reason] == [
        ("stop", "END")
    ]


@DOORS
async def test_an_answer_of_full_length_says_so(dialect: str) -> None:
    async with opened(dialect, events(*CUT[dialect])) as (engine, _):
        chunks = await read(engine)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]


WRITTEN: dict[str, dict[str, Any]] = {
    "vllm": {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 7, "stop": ["a"]},
    "llamacpp": {"n_predict": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 7, "stop": ["a"]},
    "sglang": {
        "max_new_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "sampling_seed": 7,
        "stop": ["a"],
    },
}


@DOORS
async def test_sampling_goes_in_the_servers_own_names(dialect: str) -> None:
    async with opened(dialect, events(*STREAMS[dialect])) as (engine, fake):
        await read(engine, wanted(max_tokens=9, temperature=0.5, top_p=0.9, top_k=3, seed=7, stop=("a",)))
        (sent,) = [seen.json for seen in fake.seen if seen.path == PATHS[dialect]]
    sampling = sent.get("sampling_params", sent)
    assert {name: sampling[name] for name in WRITTEN[dialect]} == WRITTEN[dialect]
    assert [1, 2, 3] in sent.values()


@DOORS
async def test_what_was_not_said_is_not_sent_but_for_the_room_that_is_left(dialect: str) -> None:
    async with opened(dialect, events(*STREAMS[dialect])) as (engine, fake):
        await read(engine, wanted(max_tokens=None))
        (sent,) = [seen.json for seen in fake.seen if seen.path == PATHS[dialect]]
    sampling = sent.get("sampling_params", sent)
    # SGLang keeps one token of the context free
    room = {"vllm": ("max_tokens", 97), "sglang": ("max_new_tokens", 96), "llamacpp": ("n_predict", 97)}
    name, size = room[dialect]
    assert sampling[name] == size
    assert not {"temperature", "top_p", "top_k", "seed", "stop", "stop_token_ids"} & sampling.keys()


@pytest.mark.parametrize("sampling", [{"min_tokens": 2}, {"stop_token_ids": (5,)}])
async def test_what_llamacpp_does_not_know_is_refused_by_name(sampling: dict[str, Any]) -> None:
    async with opened("llamacpp", events()) as (engine, fake):
        with pytest.raises(NotSupportedError, match=next(iter(sampling))):
            await read(engine, wanted(**sampling))
        assert not [seen for seen in fake.seen if seen.path == PATHS["llamacpp"]]
    async with opened("vllm", events(*STREAMS["vllm"])) as (engine, fake):
        await read(engine, wanted(**sampling))
        (name, value) = next(iter(msgspec.to_builtins(sampling).items()))
        assert fake.seen[-1].json[name] == (list(value) if isinstance(value, tuple) else value)


@DOORS
async def test_a_logprob_that_is_no_number_is_none(dialect: str) -> None:
    data = msgspec.json.encode(STREAMS[dialect][0]).replace(b"-0.5", b"null")
    rest = STREAMS[dialect][1:]
    pieces = [b"data: %b\n\n" % data, *map(event, rest)]
    async with opened(dialect, Answer(content_type="text/event-stream", pieces=pieces)) as (engine, _):
        chunks = await read(engine, wanted(logprobs=True))
    assert next(each for chunk in chunks for each in chunk.logprobs or []) is None


# ---- what goes wrong -----------------------------------------------------------------------------------


@DOORS
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply({"error": {"message": "slow down"}}, 429, Retry_After="3"), RateLimitError),
        (reply({"error": {"message": "full"}}, 503), OverloadedError),
        (reply({"error": {"message": "broken"}}, 500), EngineFaultError),
        (events({"error": {"message": "broken", "code": 500}}, DONE), EngineFaultError),
        (events("no json"), EngineFaultError),
        (events({"error": 5}), EngineFaultError),
        (events(), EngineLostError),
        (Answer(silent=True, pieces=[Cut()]), EngineLostError),
    ],
    ids=["429", "503", "500", "error event", "no JSON", "strange error", "empty", "cut"],
)
async def test_a_failure_before_the_first_token_is_raised_at_once(
    dialect: str, answer: Answer, error: type[Exception]
) -> None:
    async with opened(dialect, answer) as (engine, _):
        with pytest.raises(error):
            await engine.stream_tokens(wanted())


@DOORS
@pytest.mark.parametrize("rest", [[Cut()], ["no json"], [{"error": {"message": "x", "code": 500}}], []])
async def test_a_failure_in_the_middle_is_raised_there(dialect: str, rest: list[Any]) -> None:
    first = STREAMS[dialect][0]
    async with opened(dialect, events(first, *rest)) as (engine, fake):
        stream = await engine.stream_tokens(wanted())
        assert (await anext(stream)).token_ids == [903]
        with pytest.raises(EngineFaultError):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        del fake


@DOORS
async def test_an_answer_of_silence_ends_in_time(dialect: str) -> None:
    async with opened(dialect, Answer(silent=True, pieces=[Hang()]), first_byte=0.05) as (engine, _):
        with pytest.raises(EngineTimeoutError):
            await engine.stream_tokens(wanted())
    answer = events(STREAMS[dialect][0], Hang())
    async with opened(dialect, answer, between_bytes=0.05) as (engine, _):
        stream = await engine.stream_tokens(wanted())
        await anext(stream)
        with pytest.raises(EngineTimeoutError):
            await anext(stream)


@DOORS
async def test_closing_hangs_up(dialect: str) -> None:
    async with opened(dialect, events(STREAMS[dialect][0], Hang())) as (engine, fake):
        stream = await engine.stream_tokens(wanted())
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(5):
            while not fake.seen[-1].hung_up:  # noqa: ASYNC110 - it is the server that finds out
                await asyncio.sleep(0.005)


async def test_a_prompt_that_is_too_long_says_how_long() -> None:
    words = "This model's maximum context length is 2 tokens. However, your request has 3 input tokens."
    refused = reply({"error": {"message": words, "type": "BadRequestError", "code": 400}}, 400)
    async with opened("vllm", refused) as (engine, _):
        with pytest.raises(PromptTooLongError, match="3 tokens > 2 maximum"):
            await engine.stream_tokens(wanted())


async def test_other_servers_take_no_ids() -> None:
    async with FakeOpenAI() as fake:
        engine = RemoteInferenceEngine(EngineEntry(url=fake.url, dialect="generic"))
        chat = ChatRequest(model="m", messages=[ChatMessage(role="user", content="Hi")])
        for call in (engine.stream_tokens(wanted()), engine.render(chat), engine.detokenize("m", [1])):
            with pytest.raises(NotSupportedError):
                await call
        await engine.aclose()


@pytest.mark.parametrize("dialect", ["vllm", "llamacpp"])
async def test_a_prompt_with_an_image_is_no_ids(dialect: str) -> None:
    async with opened(dialect, events()) as (engine, _):
        content: list[Any] = [ImagePart(image_url=ImageURL(url="data:image/png;base64,AA=="))]
        with pytest.raises(NotSupportedError):
            await engine.render(ChatRequest(model="m", messages=[ChatMessage(role="user", content=content)]))


# ---- relay ---------------------------------------------------------------------------------------------

PATH = "/v1/completions"


def passed(body: bytes = b'{"model":"m"}') -> RelayRequest:
    return RelayRequest(path=PATH, body=body, model="m")


@asynccontextmanager
async def relaying(
    answer: Answer, **timeouts: float
) -> AsyncIterator[tuple[RemoteInferenceEngine, FakeOpenAI]]:
    async with FakeOpenAI({PATH: answer}) as fake:
        engine = RemoteInferenceEngine(EngineEntry(url=fake.url, dialect="vllm"), Timeouts(**timeouts))
        try:
            yield engine, fake
        finally:
            await engine.aclose()


@pytest.mark.parametrize("status", [200, 400, 413, 422])
async def test_bytes_go_through_as_they_are(status: int) -> None:
    answer = Answer(status=status, content_type="text/odd", pieces=[b"one ", b"\xff two"])
    async with relaying(answer) as (engine, fake):
        relayed = await engine.relay(passed(b'{"model":"m","odd":  1}'))
        assert (relayed.status, relayed.content_type) == (status, "text/odd")
        assert b"".join([piece async for piece in relayed]) == b"one \xff two"
        assert fake.seen[-1].body == b'{"model":"m","odd":  1}'
        await relayed.aclose()


@pytest.mark.parametrize(("status", "error"), [(503, OverloadedError), (429, RateLimitError)])
async def test_a_failure_of_the_engine_is_raised(status: int, error: type[Exception]) -> None:
    async with relaying(reply({}, status)) as (engine, _):
        with pytest.raises(error):
            await engine.relay(passed())
    gone = RemoteInferenceEngine(EngineEntry(url="http://127.0.0.1:1"))
    with pytest.raises(EngineUnreachableError):
        await gone.relay(passed())
    await gone.aclose()


async def test_a_relayed_answer_that_breaks_off_is_told() -> None:
    async with relaying(Answer(pieces=[b"one", Cut()])) as (engine, _):
        relayed = await engine.relay(passed())
        assert await anext(relayed) == b"one"
        with pytest.raises(EngineLostError):
            await anext(relayed)
    async with relaying(Answer(pieces=[b"one", Hang()]), between_bytes=0.05) as (engine, _):
        relayed = await engine.relay(passed())
        await anext(relayed)
        with pytest.raises(EngineTimeoutError):
            await anext(relayed)
