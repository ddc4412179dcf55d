"""What is recorded of a request's engine calls, and prompts that extend recorded ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import Script, answer, finish_chunk, text_chunk
from dragoman.engines.scripted_tokens import (
    TOKEN_CAPABILITIES,
    ScriptedTokenEngine,
    chatml,
    logprob_of,
)
from dragoman.engines.whole import fold
from dragoman.ledger.values import Sample, Sampling, Segment
from dragoman.routing.client import InferenceEngineClient
from dragoman.service.capture import Before, Capture, may_use_ids
from dragoman.wire.openai import (
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    ChunkChoice,
    FunctionCall,
    JsonFormat,
    Logprobs,
    Reasoning,
    TokenLogprob,
    ToolCall,
    ToolChoice,
)

USER = ChatMessage(role="user", content="List the files.")
CALL = ToolCall(id="1", function=FunctionCall(name="ls", arguments='{"path": "/tmp"}'))
SPELLED = '{ "path":"/tmp"}'


def asked(*messages: ChatMessage, **more: Any) -> ChatRequest:
    return ChatRequest(model="scripted", messages=[USER, *messages], request_id=f"r{len(messages)}", **more)


async def captured(
    engine: ScriptedTokenEngine, request: ChatRequest, before: Before | None = None, **sampling: Any
) -> tuple[ChatCompletion, tuple[Sample, ...]]:
    client = InferenceEngineClient([engine])
    await client.start()
    try:
        capture = Capture(client, Sampling(**sampling), before)
        completion = await capture.chat_completion(request)
        return completion, await capture.closed()
    finally:
        await client.aclose()


async def test_each_token_of_an_answer_is_recorded() -> None:
    engine = ScriptedTokenEngine([answer("Hello there.", thinking="They greet.")])
    completion, (sample,) = await captured(engine, asked(), seed=5)
    assert (completion.choices[0].message.content or "").strip() == "Hello there."
    assert engine.prompts == [list(sample.prompt_ids)]
    assert engine.vocabulary.decode(sample.prompt_ids) == chatml(asked())
    said = engine.vocabulary.decode(sample.sampled_ids)
    assert said == "<think>\nThey greet.\n</think>\n\nHello there.<|im_end|>"
    assert list(sample.logprobs) == [logprob_of(each) for each in sample.sampled_ids]
    assert sample.segments == (Segment("scripted", "", len(sample.sampled_ids)),)
    assert (sample.door, sample.finish_reason, sample.why_untrainable()) == ("tokens", "stop", "")


async def two_turns(
    first: Script, echoed: ChatMessage, *new: ChatMessage, **before: Any
) -> tuple[ScriptedTokenEngine, Sample, Sample]:
    engine = ScriptedTokenEngine([first, answer("Done.")])
    _, (one,) = await captured(engine, asked())
    goes_on = Before("turn one", one, **before)
    _, (two,) = await captured(engine, asked(echoed, *new), goes_on)
    assert engine.prompts[1] == list(two.prompt_ids)
    return engine, one, two


RESULT = ChatMessage(role="tool", tool_call_id="1", content="a.txt")


async def test_the_next_prompt_is_the_recorded_ids_and_what_is_new() -> None:
    echoed = ChatMessage(role="assistant", content="", tool_calls=[CALL])
    engine, one, two = await two_turns(answer(calls=[("ls", SPELLED)]), echoed, RESULT)
    recorded = [*one.prompt_ids, *one.sampled_ids]
    assert list(two.prompt_ids[: len(recorded)]) == recorded
    assert (two.base, two.carried) == ("turn one", len(recorded))
    rest = engine.vocabulary.decode(two.prompt_ids[len(recorded) :])
    assert rest == "\n<|im_start|>tool\na.txt<|im_end|>\n<|im_start|>assistant\n"
    assert two.drift is not None
    assert (two.drift.cause, two.drift.used) == ("tool-argument spelling", "recorded")
    assert SPELLED in two.drift.before
    assert '{"path": "/tmp"}' in two.drift.after


async def test_where_the_template_writes_the_same_there_is_no_drift() -> None:
    echoed = ChatMessage(role="assistant", content="Hello.")
    _, one, two = await two_turns(answer("Hello."), echoed, ChatMessage(role="user", content="And?"))
    assert (two.drift, two.base) == (None, "turn one")
    assert two.carried == len(one.prompt_ids) + len(one.sampled_ids)


async def test_thinking_that_the_template_cuts_stays_in_the_recorded_prompt() -> None:
    echoed = ChatMessage(role="assistant", content="Hello.", reasoning="They greet.")
    new = ChatMessage(role="user", content="And?")
    engine, _, two = await two_turns(answer("Hello.", thinking="They greet."), echoed, new)
    assert "They greet." in engine.vocabulary.decode(two.prompt_ids)
    assert two.drift is not None
    assert (two.drift.cause, two.drift.used) == ("cut thinking", "recorded")


async def test_an_edited_history_is_rendered_anew_and_told() -> None:
    echoed = ChatMessage(role="assistant", content="Goodbye.")
    engine, _, two = await two_turns(
        answer("Hello."), echoed, ChatMessage(role="user", content="And?"), is_edited=True
    )
    assert engine.vocabulary.decode(two.prompt_ids).count("Goodbye.") == 1
    assert (two.base, two.carried) == ("", 0)
    assert two.drift is not None
    assert (two.drift.cause, two.drift.used) == ("edited text", "template")


async def test_stops_are_matched_in_the_text_and_recorded_as_sampled() -> None:
    engine = ScriptedTokenEngine(
        [Script(steps=[text_chunk("one "), text_chunk("two "), text_chunk("three")])]
    )
    completion, (sample,) = await captured(engine, asked(stop=["two"]))
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason, choice.matched_stop) == ("one ", "stop", "two")
    assert engine.vocabulary.decode(sample.sampled_ids) == "one two "


CHAT = msgspec.structs.replace(TOKEN_CAPABILITIES, token_door=False)


def told(ids: Sequence[int], logprobs: Sequence[float | None]) -> ChatChunk:
    content = [TokenLogprob(each) for each in logprobs]
    choice = ChunkChoice(
        delta=text_chunk("x").choices[0].delta, token_ids=list(ids), logprobs=Logprobs(content)
    )
    return ChatChunk(choices=[choice])


async def test_through_the_chat_door_the_ids_are_those_that_the_engine_tells() -> None:
    head = ChatChunk(prompt_token_ids=[1, 2, 3])
    steps = [head, told([7], [-0.5]), told([8, 9], [float("-inf"), None]), finish_chunk("stop")]
    engine = ScriptedTokenEngine([Script(steps=steps)], capabilities=CHAT)
    request = asked(tool_choice=ToolChoice("required"))
    _, (sample,) = await captured(engine, request)
    assert (request.return_token_ids, request.return_logprobs) == (True, True)
    assert (sample.door, sample.prompt_ids, sample.sampled_ids) == ("chat", (1, 2, 3), (7, 8, 9))
    assert (sample.logprobs, sample.why_untrainable()) == ((-0.5, None, None), "")


async def test_what_tells_no_ids_is_text_only() -> None:
    bare = msgspec.structs.replace(CHAT, token_ids=False)
    _, (sample,) = await captured(ScriptedTokenEngine([answer("Hi")], capabilities=bare), asked())
    assert (sample.sampled_ids, sample.why_untrainable()) == ((), "text only")


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": JsonFormat(schema=msgspec.Raw(b"{}"))},
        {"tool_choice": ToolChoice("required")},
        {"tool_choice": ToolChoice("function", "ls")},
        {"reasoning": Reasoning(enabled=True, budget_tokens=5)},
    ],
)
def test_what_only_the_chat_door_can_hold_goes_there(more: dict[str, Any]) -> None:
    assert may_use_ids(asked(), TOKEN_CAPABILITIES)
    assert may_use_ids(asked(tool_choice=ToolChoice("auto")), TOKEN_CAPABILITIES)
    assert not may_use_ids(asked(**more), TOKEN_CAPABILITIES)


async def test_streamed_and_whole_are_one() -> None:
    engine = ScriptedTokenEngine(lambda _request: answer("Hello.", calls=[("ls", "{}")]))
    completion, _ = await captured(engine, asked())
    client = InferenceEngineClient([engine])
    await client.start()
    stream = await Capture(client, Sampling()).stream_chat_completion(asked())
    chunks = [chunk async for batch in stream for chunk in batch]
    await stream.aclose()
    await client.aclose()
    assert fold(chunks).choices == completion.choices
