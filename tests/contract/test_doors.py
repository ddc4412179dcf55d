"""The doors beside chat: token ids in and out, an engine's own API passed on; or a named error."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.engines.base import InferenceEngine, RelayedAnswer
from dragoman.engines.whole import fold
from dragoman.errors import InvalidRequestError, NotSupportedError
from dragoman.translate.parsers import output_parser
from dragoman.wire.openai import ChatChunk, ChatDelta, ChatMessage, ChunkChoice
from dragoman.wire.tokens import RelayRequest, SamplingParams, TokenChunk, TokenRequest
from tests.contract.conftest import EMBEDDED_IN_RAY, MORE_ENGINES, PLAIN
from tests.contract.test_engines import asked, expected, parts, streamed
from tests.support.dialogues import CONTEXT, ENDLESS, MODEL, dialogues

# The fakes of servers play chats only: of these doors a fake would only repeat how we read them.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.engine]
HAVING = pytest.mark.parametrize(
    "engine", ["embedded", EMBEDDED_IN_RAY, "llamacpp", *MORE_ENGINES], indirect=True, scope="module"
)
LACKING = pytest.mark.parametrize(
    "engine", ["scripted", "generic", "ollama", *PLAIN], indirect=True, scope="module"
)
NAMES = ["hello", "hello/nothink", "call-Paris", "parallel/sys", "quotes", "result-Paris"]
GREEDY = SamplingParams(temperature=0.0, logprobs=True)


async def sampled(engine: InferenceEngine, ids: list[int], sampling: SamplingParams = GREEDY) -> TokenChunk:
    """A whole answer to token ids, in one chunk; its logprobs are as many as its ids."""
    stream = await engine.stream_tokens(TokenRequest(model=MODEL, prompt_token_ids=ids, sampling=sampling))
    whole = TokenChunk(logprobs=[])
    try:
        async for chunk in stream:
            assert whole.finish_reason is None or not chunk.token_ids
            whole.token_ids += chunk.token_ids
            whole.text += chunk.text
            assert whole.logprobs is not None
            whole.logprobs += chunk.logprobs or []
            whole.finish_reason = chunk.finish_reason or whole.finish_reason
            whole.matched_stop = chunk.matched_stop or whole.matched_stop
            whole.usage = chunk.usage or whole.usage
    finally:
        await stream.aclose()
    return whole


@HAVING
@pytest.mark.parametrize("name", NAMES)
async def test_a_rendered_prompt_is_the_one_that_is_counted(engine: InferenceEngine, name: str) -> None:
    request = asked(name)
    ids = await engine.render(request)
    assert len(ids) == await engine.count_tokens(request)
    completion = await streamed(engine, request)
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == len(ids)


@HAVING
@pytest.mark.parametrize("name", NAMES)
async def test_the_ids_say_what_the_chat_answer_says(engine: InferenceEngine, name: str) -> None:
    ids = await engine.render(asked(name))
    answer = await sampled(engine, ids)
    dialogue = dialogues()[name]
    assert (dialogue.thinking in answer.text, dialogue.text in answer.text) == (True, True)
    assert all(f'"name": "{called}"' in answer.text for called, _ in dialogue.calls)
    assert (answer.finish_reason, len(answer.logprobs or [])) == ("stop", len(answer.token_ids))
    assert all(logprob is not None and logprob <= 0 for logprob in answer.logprobs or [])
    # the id that ends the turn has no text
    said = await engine.detokenize(MODEL, answer.token_ids)
    assert said.startswith(answer.text)
    assert said.removeprefix(answer.text) in {"", "<|im_end|>"}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        len(ids),
        len(answer.token_ids),
    )


@HAVING
@pytest.mark.parametrize("name", [*NAMES, "scripts/sys", "count"])
async def test_our_parser_reads_raw_text_as_the_engine_does(engine: InferenceEngine, name: str) -> None:
    request = asked(name)
    raw_format = (await engine.capabilities(MODEL)).raw_format
    answer = await sampled(engine, await engine.render(request))
    parser = output_parser(raw_format, request.tools)
    said = parser.feed(answer.text) + parser.close()
    ended = ChatDelta(), "tool_calls" if dialogues()[name].calls else "stop"
    choices = [(delta, None) for delta in said] + [ended]
    ours = fold(ChatChunk(choices=[ChunkChoice(delta=delta, finish_reason=end)]) for delta, end in choices)
    assert parts(ours) == parts(await streamed(engine, request)) == expected(name)


@HAVING
async def test_an_answer_goes_on_from_its_ids(engine: InferenceEngine) -> None:
    ids = await engine.render(asked("count"))
    whole = await sampled(engine, ids)
    for cut in (1, len(whole.token_ids) // 2):
        rest = await sampled(engine, ids + whole.token_ids[:cut])
        assert whole.token_ids[:cut] + rest.token_ids == whole.token_ids
        begun = await sampled(engine, ids, msgspec.structs.replace(GREEDY, max_tokens=cut))
        assert (begun.token_ids, begun.finish_reason) == (whole.token_ids[:cut], "length")
        assert begun.text + rest.text == whole.text


@HAVING
async def test_a_stop_string_is_named(engine: InferenceEngine) -> None:
    ids = await engine.render(asked("count/nothink"))
    answer = await sampled(engine, ids, msgspec.structs.replace(GREEDY, stop=("zzz", "7, 8")))
    assert (answer.finish_reason, answer.matched_stop) == ("stop", "7, 8")
    assert answer.text.strip() == "1, 2, 3, 4, 5, 6,"


@HAVING
async def test_without_a_limit_an_answer_fills_the_context(engine: InferenceEngine) -> None:
    ids = await engine.render(asked("hello", messages=[ChatMessage(role="user", content=ENDLESS)]))
    answer = await sampled(engine, ids)
    assert answer.finish_reason == "length"
    assert CONTEXT - 2 <= len(ids) + len(answer.token_ids) <= CONTEXT


@HAVING
async def test_a_prompt_that_is_too_long_is_the_clients_mistake(engine: InferenceEngine) -> None:
    ids = await engine.render(asked("hello"))
    with pytest.raises(InvalidRequestError, match="prompt is too long"):
        await sampled(engine, ids * (CONTEXT // len(ids) + 1))
    assert (await sampled(engine, ids)).finish_reason == "stop"


# ---- relay ---------------------------------------------------------------------------------------------


async def whole(answer: RelayedAnswer) -> bytes:
    try:
        return b"".join([piece async for piece in answer])
    finally:
        await answer.aclose()


def chat(**members: object) -> RelayRequest:
    body = {"model": MODEL, "messages": dialogues()["hello/nothink"].messages, "max_tokens": 40} | members
    return RelayRequest(path="/v1/chat/completions", body=msgspec.json.encode(body), model=MODEL)


@HAVING
async def test_the_engines_own_api_is_passed_on(engine: InferenceEngine) -> None:
    answer = await engine.relay(chat(temperature=0))
    body = await whole(answer)
    assert (answer.status, answer.content_type.partition(";")[0]) == (200, "application/json")
    assert msgspec.json.decode(body)["choices"][0]["message"]["content"]
    streamed = await engine.relay(chat(temperature=0, stream=True))
    assert streamed.content_type.startswith("text/event-stream")
    assert (await whole(streamed)).strip().endswith(b"data: [DONE]")


@HAVING
async def test_a_mistake_is_told_in_the_engines_words(engine: InferenceEngine) -> None:
    answer = await engine.relay(chat(messages="no list"))
    body = msgspec.json.decode(await whole(answer))
    # llama.cpp takes a string for a turn
    assert (answer.status in {400, 422}, "choices" in body) in {(True, False), (False, True)}


@LACKING
async def test_an_engine_without_the_door_says_so_at_each_of_its_calls(engine: InferenceEngine) -> None:
    assert not (await engine.capabilities(MODEL)).token_door
    with pytest.raises(NotSupportedError):
        await engine.render(asked("hello"))
    with pytest.raises(NotSupportedError):
        await engine.stream_tokens(TokenRequest(model=MODEL, prompt_token_ids=[1]))
    with pytest.raises(NotSupportedError):
        await engine.detokenize(MODEL, [1])
