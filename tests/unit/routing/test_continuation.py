"""An answer that goes on elsewhere: nothing said twice, nothing left out, every token counted once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    Cut,
    Fail,
    Hang,
    Script,
    ScriptedInferenceEngine,
    Step,
    answer,
    call_chunk,
    count_words,
    finish_chunk,
    refuse,
    text_chunk,
    thinking_chunk,
    usage_chunk,
)
from dragoman.errors import DragomanError, EngineFaultError, EngineLostError, InvalidRequestError
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import Routing, Settings
from dragoman.wire.openai import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    ImagePart,
    ImageURL,
    JsonFormat,
    TextPart,
    ToolChoice,
)
from tests.unit.routing.clients import ask, engine, started

END = 12


def numbered(
    stop_after: int | None = None, how: Sequence[Step] = (Cut(),)
) -> Callable[[ChatRequest], Script]:
    """Counts from 1 to END, one token a number, going on from a final assistant turn; it may break off."""

    def script(request: ChatRequest) -> Script:
        last = request.messages[-1]
        begun = str(last.content) if request.continue_final else ""
        first = len(re.findall(r"\d+", begun)) + 1
        steps: list[Step] = [
            text_chunk(f" {number}" if number > 1 else "1") for number in range(first, END + 1)
        ]
        if stop_after is not None and first + stop_after <= END:
            return Script(steps=[*steps[:stop_after], *how])
        return Script(steps=[*steps, finish_chunk("stop")], obeys=True)

    return script


def breaking_once(after: int, end: Sequence[Step]) -> ScriptedInferenceEngine:
    """The engine "one", which breaks off the first time that it is asked."""
    left = [numbered(after, end)]

    def script(request: ChatRequest) -> Script:
        return left.pop()(request) if left else numbered()(request)

    return engine("one", scripts=script)


ALL = " ".join(str(number) for number in range(1, END + 1))


async def play(client: InferenceEngineClient, request: ChatRequest | None = None) -> list[ChatChunk]:
    stream = await client.stream_chat_completion(request or ask())
    try:
        return [chunk async for batch in stream for chunk in batch]
    finally:
        await stream.aclose()


def text(chunks: list[ChatChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def finishes(chunks: list[ChatChunk]) -> list[str]:
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


ENDS: dict[str, Sequence[Step]] = {
    "cut": (Cut(),),
    "error": (Fail(EngineFaultError("garbage")),),
    "unreachable": (Fail(EngineUnreachableError("gone")),),
    "no finish reason": (),
    "given up": (finish_chunk("abort"),),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("after", range(END))
async def test_it_goes_on_where_it_was(end: str, after: int) -> None:
    one, two = breaking_once(after, ENDS[end]), engine("two", scripts=numbered())
    async with started([one, two]) as client:
        chunks = await play(client)
        metrics = client.metrics.render().decode()
    assert text(chunks) == ALL
    assert finishes(chunks) == ["stop"]
    how = "text" if after else "anew"
    assert f'streams_continued_total{{engine="one",how="{how}"}} 1.0' in metrics
    # an engine that gave an answer up is well: its session stays there
    assert len(one.calls) == (2 if end == "given up" else 1)


async def test_every_token_is_counted_once() -> None:
    one, two = engine("one", scripts=numbered(5)), engine("two", scripts=numbered())
    request = ask()
    async with started([one, two]) as client:
        chunks = await play(client, request)
    usage = [chunk.usage for chunk in chunks if chunk.usage is not None][-1]
    assert usage.prompt_tokens == count_words(request)
    assert usage.completion_tokens == END


async def test_the_count_that_an_engine_told_is_taken() -> None:
    steps: list[Step] = [
        text_chunk("1"),
        usage_chunk(70, 1),
        text_chunk(" 2"),
        usage_chunk(70, 2),
        Cut(),
    ]
    one, two = engine("one", scripts=[Script(steps=steps)]), engine("two", scripts=numbered())
    async with started([one, two]) as client:
        chunks = await play(client)
    usage = [chunk.usage for chunk in chunks if chunk.usage is not None][-1]
    assert (usage.prompt_tokens, usage.completion_tokens) == (70, END)
    assert not two.counted, "nobody had to count"


async def test_without_any_count_it_is_about_right() -> None:
    blind = msgspec.structs.replace(SCRIPTED_CAPABILITIES, counting=False)
    one = engine("one", scripts=numbered(5), capabilities=blind)
    two = engine("two", scripts=numbered(), capabilities=blind)
    async with started([one, two]) as client:
        chunks = await play(client)
    usage = [chunk.usage for chunk in chunks if chunk.usage is not None][-1]
    assert abs(usage.completion_tokens - END) <= 3


async def test_what_is_left_of_max_tokens_is_asked_for() -> None:
    one, two = engine("one", scripts=numbered(5)), engine("two", scripts=numbered())
    request = ask()
    request.max_tokens = 8
    async with started([one, two]) as client:
        chunks = await play(client, request)
    assert two.calls[0].request.max_tokens == 3
    assert (text(chunks), finishes(chunks)) == ("1 2 3 4 5 6 7 8", ["length"])
    assert request.max_tokens == 8


async def test_an_answer_that_used_all_it_may_has_ended() -> None:
    request = ask()
    request.max_tokens = 5
    five = Script(steps=numbered(5)(request).steps, obeys=False)
    one, two = engine("one", scripts=[five]), engine("two", scripts=numbered())
    async with started([one, two]) as client:
        chunks = await play(client, request)
    assert (text(chunks), finishes(chunks), two.calls) == ("1 2 3 4 5", ["length"], [])


async def test_a_prefilled_turn_grows() -> None:
    one, two = engine("one", scripts=numbered(2)), engine("two", scripts=numbered())
    request = ask()
    request.messages.append(ChatMessage(role="assistant", content="1 2 3"))
    request.continue_final = True
    async with started([one, two]) as client:
        chunks = await play(client, request)
    assert "1 2 3" + text(chunks) == ALL
    assert two.calls[0].request.messages[-1].content == "1 2 3 4 5"
    assert request.messages[-1].content == "1 2 3"


@pytest.mark.parametrize("content", [None, [TextPart(text="1 "), ImagePart(image_url=ImageURL(url="u"))]])
async def test_a_prefilled_turn_in_parts_grows(content: list[TextPart | ImagePart] | None) -> None:
    one, two = (
        engine("one", scripts=[Script(steps=[text_chunk("2"), Cut()])]),
        engine("two", scripts=numbered()),
    )
    request = ask()
    request.messages.append(ChatMessage(role="assistant", content=content))
    request.continue_final = True
    async with started([one, two]) as client:
        await play(client, request)
    assert two.calls[0].request.messages[-1].content == ("1 2" if content else "2")


async def test_white_space_at_the_break_comes_once() -> None:
    """Templates cut a turn's end off, so that the next engine says it again."""
    one = engine("one", scripts=[Script(steps=[text_chunk("A line"), text_chunk(".\n\n"), Cut()])])
    two = engine(
        "two", scripts=[Script(steps=[text_chunk("\n"), text_chunk("\n  Next"), finish_chunk("stop")])]
    )
    async with started([one, two]) as client:
        chunks = await play(client)
    assert two.calls[0].request.messages[-1].content == "A line."
    assert text(chunks) == "A line.\n\n  Next"


async def test_thinking_before_the_text_goes_along() -> None:
    one = engine("one", scripts=[Script(steps=[thinking_chunk("Hm."), text_chunk("A"), Cut()])])
    two = engine("two", scripts=[Script(steps=[text_chunk("B"), finish_chunk("stop")])])
    async with started([one, two]) as client:
        assert text(await play(client)) == "AB"
    last = two.calls[0].request.messages[-1]
    assert (last.role, last.content, last.reasoning) == ("assistant", "A", "Hm.")


def formed() -> dict[str, ChatRequest]:
    schema = JsonFormat(schema=msgspec.Raw(b'{"type":"object"}'))
    changes: dict[str, dict[str, object]] = {
        "response_format": {"response_format": schema},
        "required": {"tool_choice": ToolChoice("required")},
        "function": {"tool_choice": ToolChoice("function", "f")},
    }
    return {name: msgspec.structs.replace(ask(), **change) for name, change in changes.items()}


@pytest.mark.parametrize(
    ("steps", "request_"),
    [
        ([thinking_chunk("Hm."), Cut()], ask()),
        ([text_chunk("A"), call_chunk(index=0, call_id="c", name="f", arguments="{"), Cut()], ask()),
        ([text_chunk("  "), Cut()], ask()),
        *(([text_chunk("A"), Cut()], request) for request in formed().values()),
    ],
    ids=["thinking", "call", "white space", *formed()],
)
async def test_what_no_assistant_turn_can_say_is_an_error(steps: list[Step], request_: ChatRequest) -> None:
    one, two = engine("one", scripts=[Script(steps=steps)]), engine("two")
    async with started([one, two]) as client:
        with pytest.raises(EngineLostError):
            await play(client, request_)
        assert b'streams_continued_total{engine="one",how="no"} 1.0' in client.metrics.render()
    assert not two.calls


async def test_an_engine_that_continues_nothing_is_not_asked_to() -> None:
    unable = msgspec.structs.replace(SCRIPTED_CAPABILITIES, continuation=False)
    one = engine("one", scripts=numbered(5), capabilities=unable)
    async with started([one, engine("two", capabilities=unable)]) as client:
        with pytest.raises(EngineLostError):
            await play(client)


async def test_a_single_engine_that_fails_ends_the_answer() -> None:
    one = engine("one", scripts=numbered(5))
    async with started([one]) as client:
        with pytest.raises(EngineLostError):
            await play(client)
    assert len(one.calls) == 1


async def test_it_may_be_switched_off() -> None:
    engines = [engine("one", scripts=numbered(5)), engine("two", scripts=numbered())]
    async with started(engines, Settings(routing=Routing(continuation=False))) as client:
        with pytest.raises(EngineLostError):
            await play(client)


async def test_an_error_of_the_client_ends_the_answer() -> None:
    steps: list[Step] = [text_chunk("A"), Fail(InvalidRequestError("no"))]
    async with started([engine("one", scripts=[Script(steps=steps)]), engine("two")]) as client:
        with pytest.raises(InvalidRequestError):
            await play(client)


async def test_an_answer_that_breaks_after_its_end_is_whole() -> None:
    steps: list[Step] = [*answer("Hi").steps, Cut()]
    two = engine("two")
    async with started([engine("one", scripts=[Script(steps=steps)]), two]) as client:
        chunks = await play(client)
    assert (text(chunks), finishes(chunks), two.calls) == ("Hi", ["stop"], [])


async def test_where_none_gets_on_it_ends() -> None:
    """Engines that all fail without a new word are asked as often as there are retries."""
    engines = [engine(name, scripts=numbered(0)) for name in ("one", "two", "three", "four")]
    async with started(engines, Settings(routing=Routing(retries=2))) as client:
        with pytest.raises(DragomanError):
            await play(client)
    assert sum(len(member.calls) for member in engines) == 3


async def test_where_each_says_something_it_goes_on() -> None:
    engines = [engine(name, scripts=numbered(2)) for name in ("one", "two")]
    async with started(engines, Settings(routing=Routing(retries=1))) as client:
        chunks = await play(client, ask(key="a"))
    assert (text(chunks), finishes(chunks)) == (ALL, ["stop"])


async def test_an_engine_that_hangs_is_left_when_the_answer_is_closed() -> None:
    one = engine("one", scripts=numbered(3, (Hang(),)))
    async with started([one]) as client:
        stream = await client.stream_chat_completion(ask())
        await anext(stream)
        await stream.aclose()
        assert client.engines["one"].in_flight == 0
    assert one.calls[0].outcome == "cancelled"


async def test_a_whole_answer_that_was_given_up_goes_on() -> None:
    async with started([breaking_once(4, ENDS["given up"])]) as client:
        completion = await client.chat_completion(ask())
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason) == (ALL, "stop")
    assert completion.engine == "one"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == END


async def test_a_refusal_of_the_next_engine_is_the_answers_error() -> None:
    engines = [engine("one", scripts=numbered(3)), engine("two", scripts=[refuse(InvalidRequestError("no"))])]
    async with started(engines) as client:
        with pytest.raises(InvalidRequestError):
            await play(client)


@given(st.lists(st.integers(0, 6), max_size=8), st.sampled_from(sorted(ENDS.keys() - {"unreachable"})))
def test_however_often_it_breaks_the_text_is_the_same(breaks: list[int], end: str) -> None:
    """Each engine breaks off where the list says; when it is used up, the rest comes.

    One that cannot be reached is not asked again so soon.
    """
    left = list(breaks)

    def script(request: ChatRequest) -> Script:
        return numbered(left.pop(0), ENDS[end])(request) if left else numbered()(request)

    async def run() -> list[ChatChunk]:
        engines = [engine(name, scripts=script) for name in ("one", "two", "three")]
        routing = Routing(retries=99, retry_share=1, breaker_failures=99)
        async with started(engines, Settings(routing=routing)) as client:
            return await play(client)

    chunks = asyncio.run(run())
    assert (text(chunks), finishes(chunks)) == (ALL, ["stop"])
