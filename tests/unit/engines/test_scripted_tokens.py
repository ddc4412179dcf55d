"""The scripted engine's token door: ids that read back as their text, and parse as the script's answer."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.engines.scripted import Script, answer
from dragoman.engines.scripted_tokens import END, ScriptedTokenEngine, Vocabulary, chatml, logprob_of
from dragoman.engines.whole import fold
from dragoman.errors import InvalidRequestError, NotSupportedError
from dragoman.routing.by_tokens import ParsedStream
from dragoman.translate.parsers import output_parser
from dragoman.wire.openai import ChatCompletion, ChatMessage, ChatRequest, FunctionCall, Reasoning, ToolCall
from dragoman.wire.tokens import SamplingParams, TokenChunk, TokenRequest

ASKED = ChatRequest(
    model="scripted",
    request_id="r1",
    messages=[
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="What is  the weather?\nTell me."),
    ],
    reasoning=Reasoning(enabled=True),
)
SAID = answer("Let me look.", thinking="They ask\nabout it.", calls=[("find", '{"q": "a  b"}'), ("now", "")])


async def sampled(script: Script, **sampling: Any) -> tuple[ScriptedTokenEngine, list[TokenChunk]]:
    engine = ScriptedTokenEngine([script])
    ids = await engine.render(ASKED)
    request = TokenRequest(
        model="scripted",
        prompt_token_ids=ids,
        request_id="r1",
        sampling=SamplingParams(logprobs=True, **sampling),
    )
    return engine, [chunk async for chunk in await engine.stream_tokens(request)]


def ids_in(chunks: list[TokenChunk]) -> list[int]:
    return [each for chunk in chunks for each in chunk.token_ids]


async def test_a_prompt_reads_back() -> None:
    engine = ScriptedTokenEngine([SAID])
    ids = await engine.render(ASKED)
    assert await engine.detokenize("scripted", ids) == chatml(ASKED)
    assert ids == await engine.render(ASKED)
    assert Vocabulary().encode("a b a") == [100, 101, 100 + 2]


async def test_an_answer_reads_back_and_parses() -> None:
    engine, chunks = await sampled(SAID)
    text = "".join(chunk.text for chunk in chunks)
    assert await engine.detokenize("scripted", ids_in(chunks)) == text + END
    assert [each for chunk in chunks for each in chunk.logprobs or ()] == [
        logprob_of(each) for each in ids_in(chunks)
    ]
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(ids_in(chunks))
    assert engine.calls[0].outcome == "finished"
    completion = await parsed(SAID)
    choice = completion.choices[0]
    calls = [
        (call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or ()
        if call.function
    ]
    assert calls == [("find", '{"q": "a  b"}'), ("now", "{}")]
    assert (choice.message.reasoning or "").strip() == "They ask\nabout it."
    assert (choice.message.content or "").strip() == "Let me look."


async def parsed(script: Script) -> ChatCompletion:
    engine = ScriptedTokenEngine([script])
    ids = await engine.render(ASKED)
    stream = await engine.stream_tokens(TokenRequest(model="scripted", prompt_token_ids=ids, request_id="r1"))
    chat = ParsedStream(stream, output_parser("hermes"), first=[], stops=[], calls=0)
    return fold([chunk async for batch in chat for chunk in batch])


async def test_no_more_than_was_asked_for() -> None:
    _, all_of_it = await sampled(SAID)
    for most in range(1, len(ids_in(all_of_it))):
        _, chunks = await sampled(SAID, max_tokens=most)
        assert ids_in(chunks) == ids_in(all_of_it)[:most]
        assert chunks[-1].finish_reason == "length"


async def test_what_it_does_not_know_is_refused() -> None:
    engine = ScriptedTokenEngine([SAID])
    with pytest.raises(NotSupportedError, match="rendered no request"):
        await engine.stream_tokens(TokenRequest(model="scripted", prompt_token_ids=[1]))
    with pytest.raises(InvalidRequestError, match="no token"):
        await engine.detokenize("scripted", [1])


def test_earlier_thinking_is_cut() -> None:
    call = ToolCall(id="1", function=FunctionCall(name="find", arguments='{"q":1}'))
    turns = [
        ChatMessage(role="user", content="One"),
        ChatMessage(role="assistant", content="A", reasoning="Hm", tool_calls=[call]),
        ChatMessage(role="tool", content="B", tool_call_id="1"),
    ]
    assert "<think>\nHm\n</think>" in chatml(ChatRequest(model="m", messages=turns))
    later = [*turns, ChatMessage(role="user", content="Two")]
    assert "<think>" not in chatml(ChatRequest(model="m", messages=later))
