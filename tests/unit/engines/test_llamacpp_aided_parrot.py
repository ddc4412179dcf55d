"""The aided engine on a real llama.cpp: the parrot's calls, read by us instead of by llama.cpp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from dragoman.engines.base import ChatStream
from dragoman.engines.llamacpp import LlamaCppInferenceEngine
from dragoman.engines.whole import fold
from dragoman.models import PromptAids
from dragoman.wire.openai import ChatCompletion, ChatRequest, ToolChoice
from tests.support.dialogues import Dialogue, dialogues
from tests.unit.engines.remotes import read
from tests.unit.engines.test_llamacpp_engine import LOCAL, MODEL_FILE, case, computed, until_idle

# Without texts: the parrot answers only the prompts that it knows.
AIDS = PromptAids(fences=("```json",), marks=("<tool_call>",))
ONE_CALL = [one for one in dialogues().values() if len(one.calls) <= 1]
CALLING = [one for one in ONE_CALL if one.calls]

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppInferenceEngine]:
    """The parrot with aids, loaded."""
    made = LlamaCppInferenceEngine(MODEL_FILE, local=LOCAL, aids=AIDS)
    await made.start()
    yield made
    await made.aclose()


Shown = tuple[str, str, list[tuple[str | None, Any]], str | None]


def shown(completion: ChatCompletion) -> Shown:
    """Thinking, text, calls and the finish reason."""
    choice = completion.choices[0]
    calls = [
        (call.function.name, msgspec.json.decode(call.function.arguments or "null"))
        for call in choice.message.tool_calls or ()
        if call.function is not None
    ]
    said = choice.message
    return (said.reasoning or "").strip(), (said.content or "").strip(), calls, choice.finish_reason


def outline(found: Shown) -> Shown:
    """The same with only the names of arguments: the parrot knows their values by heart."""
    return (*found[:2], [(name, sorted(arguments)) for name, arguments in found[2]], found[3])


def billed(completion: ChatCompletion) -> tuple[int, int]:
    """Tokens of prompt and answer."""
    assert completion.usage is not None
    return completion.usage.prompt_tokens, completion.usage.completion_tokens


async def streamed(engine: LlamaCppInferenceEngine, request: ChatRequest) -> ChatCompletion:
    """The stream of an answer, put together."""
    return fold(await read(await engine.stream_chat_completion(request)))


@pytest.mark.parametrize("dialogue", ONE_CALL, ids=lambda dialogue: dialogue.name)
async def test_the_parrot_plays_its_script(engine: LlamaCppInferenceEngine, dialogue: Dialogue) -> None:
    whole = await engine.chat_completion(dialogue.request)
    finish = "tool_calls" if dialogue.calls else "stop"
    expected: Shown = (dialogue.thinking.strip(), dialogue.text.strip(), [*dialogue.calls], finish)
    assert outline(shown(whole)) == outline(expected)
    again = await streamed(engine, dialogue.request)
    assert (shown(again), billed(again)) == (shown(whole), billed(whole))
    assert await engine.count_tokens(dialogue.request) == billed(whole)[0]


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("function", "get_weather")])
async def test_a_forced_call(engine: LlamaCppInferenceEngine, choice: ToolChoice) -> None:
    request = msgspec.structs.replace(case("call-Paris/nothink").request, tool_choice=choice)
    completion = await engine.chat_completion(request)
    [(name, arguments)], finish = shown(completion)[2:]
    assert (name, sorted(arguments), finish) == ("get_weather", ["city", "unit"], "tool_calls")
    assert await engine.count_tokens(request) == billed(completion)[0]


async def test_without_leave_nothing_is_called(engine: LlamaCppInferenceEngine) -> None:
    free = case("call-Paris/nothink").request
    request = msgspec.structs.replace(free, tool_choice=ToolChoice("none"))
    completion = await engine.chat_completion(request)
    assert shown(completion)[2:] == ([], "stop")
    assert await engine.count_tokens(request) == billed(completion)[0] == await engine.count_tokens(free)


async def test_arguments_come_in_more_than_one_piece(engine: LlamaCppInferenceEngine) -> None:
    chunks = await read(await engine.stream_chat_completion(CALLING[0].request))
    pieces = [
        delta.function.arguments
        for chunk in chunks
        for choice in chunk.choices
        for delta in choice.delta.tool_calls or ()
        if delta.function is not None and delta.function.arguments
    ]
    assert len(pieces) > 3


async def test_a_budget_cuts_a_call(engine: LlamaCppInferenceEngine) -> None:
    request = case("call-Paris/nothink").request
    full = await engine.chat_completion(request)
    cut = await engine.chat_completion(msgspec.structs.replace(request, max_tokens=billed(full)[1] - 4))
    function = (cut.choices[0].message.tool_calls or [])[0].function
    assert function is not None
    whole = (full.choices[0].message.tool_calls or [])[0].function
    assert whole is not None
    assert (whole.arguments or "").startswith(function.arguments or "")
    assert function.arguments != whole.arguments
    assert cut.choices[0].finish_reason == "length"
    assert billed(cut)[1] <= billed(full)[1] - 4


async def reached(stream: ChatStream, call: bool) -> None:
    """Reads until the stream is in its first answer, or in its call."""
    while True:
        batch = await stream.__anext__()
        found = [choice.delta for chunk in batch for choice in chunk.choices]
        if any(delta.tool_calls if call else delta.content for delta in found):
            return


@pytest.mark.parametrize("call", [False, True])
async def test_closing_ends_the_work_in_either_answer(engine: LlamaCppInferenceEngine, call: bool) -> None:
    request = case("call-Paris/nothink").request
    stream = await engine.stream_chat_completion(msgspec.structs.replace(request, max_tokens=None))
    await reached(stream, call)
    before = (await computed(engine))["tokens_predicted"]
    await stream.aclose()
    await until_idle(engine)
    assert (await computed(engine))["tokens_predicted"] - before < 60


async def test_the_call_takes_the_prompt_from_the_cache(engine: LlamaCppInferenceEngine) -> None:
    request = CALLING[-1].request
    await engine.count_tokens(request)
    before = (await computed(engine))["prompt"]
    completion = await engine.chat_completion(request)
    read_anew = (await computed(engine))["prompt"] - before
    # the prompt was read once at most, for both answers
    assert read_anew <= billed(completion)[0] + 2
