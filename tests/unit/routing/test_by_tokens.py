"""An answer that goes on from its token ids: what was delivered, what is missing, and who reads on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from dragoman.engines.base import TokenStream
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    Cut,
    Script,
    ScriptedInferenceEngine,
    finish_chunk,
    text_chunk,
)
from dragoman.engines.whole import fold
from dragoman.errors import EngineLostError, NotSupportedError
from dragoman.routing.by_tokens import begins_in_thinking, undelivered
from dragoman.routing.said import Said
from dragoman.translate.parsers import output_parser
from dragoman.wire.openai import (
    ChatAnswer,
    ChatChunk,
    ChatDelta,
    ChatRequest,
    ChatUsage,
    ChunkChoice,
    FunctionDelta,
    ToolCallDelta,
)
from dragoman.wire.tokens import TokenChunk, TokenRequest
from tests.unit.routing.clients import ask, started

PIECES = ["<think>", "\n", "Hm", ".\n", "</think>", "\n\n", "Let", " me", " look", ".\n", "<tool_call>", "\n",
          '{"name": "find",', ' "arguments": ', '{"q": ', '"a"}', "}\n", "</tool_call>"]  # fmt: skip
PROMPT = [1, 2, 3]
ABLE = msgspec.structs.replace(
    SCRIPTED_CAPABILITIES, token_ids=True, token_door=True, raw_format="hermes", continuation=False
)


def ids_of(count: int) -> list[int]:
    """The ids of the first pieces: a piece's id is its place, from 100 on."""
    return list(range(100, 100 + count))


class Tokens(TokenStream):
    """The pieces from one on, one a read."""

    def __init__(self, engine: str, request: TokenRequest) -> None:
        self.engine = engine
        self.closed = False
        self._prompt = len(request.prompt_token_ids)
        self._at = self._prompt - len(PROMPT)
        self._sampled = 0
        self._left = request.sampling.max_tokens

    async def __anext__(self) -> TokenChunk:
        if self.closed or self._at > len(PIECES):
            raise StopAsyncIteration
        self._sampled += 1
        usage = ChatUsage(prompt_tokens=self._prompt, completion_tokens=self._sampled)
        chunk = TokenChunk(token_ids=[100 + self._at], usage=usage)
        if self._at < len(PIECES):
            chunk.text = PIECES[self._at]
        else:
            chunk.finish_reason = "stop"
        if self._left is not None and self._sampled == self._left:
            chunk.finish_reason = chunk.finish_reason or "length"
            self._at = len(PIECES)
        self._at += 1
        return chunk

    async def aclose(self) -> None:
        self.closed = True


class Engine(ScriptedInferenceEngine):
    """An engine that speaks RAW: through the chat door as our parser reads it, and through the token door."""

    def __init__(self, name: str, breaks_after: int | None = None, **given: Any) -> None:
        given.setdefault("capabilities", ABLE)
        super().__init__(lambda _request: self._script(breaks_after), name=name, models=["m"], **given)
        self.asked: list[TokenRequest] = []
        self.streams: list[Tokens] = []

    @staticmethod
    def _script(breaks_after: int | None) -> Script:
        parser = output_parser("hermes")
        chunks = [ChatChunk(prompt_token_ids=PROMPT)]
        for place, piece in enumerate(PIECES[:breaks_after]):
            deltas = parser.feed(piece)
            chunks += [ChatChunk(choices=[ChunkChoice(delta=delta)]) for delta in deltas]
            chunks.append(ChatChunk(choices=[ChunkChoice(token_ids=[100 + place])]))
        return Script(steps=[*chunks, *([finish_chunk("stop")] if breaks_after is None else [Cut()])])

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        return "".join(PIECES[each - 100] for each in token_ids if each >= 100)

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        self.asked.append(request)
        self.streams.append(Tokens(self.name, request))
        return self.streams[-1]


async def answer_of(engines: Sequence[ScriptedInferenceEngine], request: ChatRequest) -> tuple[Any, str]:
    async with started(engines) as client:
        stream = await client.stream_chat_completion(request)
        try:
            chunks = [chunk async for batch in stream for chunk in batch]
        finally:
            await stream.aclose()
        return fold(chunks), client.metrics.render().decode()


@pytest.mark.parametrize("after", range(1, len(PIECES) + 1))
async def test_it_goes_on_inside_of_thinking_text_and_calls(after: int) -> None:
    one, two = Engine("one", after), Engine("two")
    request = ask()
    completion, metrics = await answer_of([one, two], request)
    choice = completion.choices[0]
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert (choice.message.reasoning, choice.message.content.strip()) == ("\nHm.\n", "Let me look.")
    # the script's own finish reason says nothing of calls
    finish = "stop" if after == 1 else "tool_calls"
    assert (calls, choice.finish_reason) == ([("find", '{"q": "a"}')], finish)
    # nothing was said while only a marker had come
    how = "anew" if after == 1 else "tokens"
    assert f'streams_continued_total{{engine="one",how="{how}"}} 1.0' in metrics
    assert [asked.prompt_token_ids for asked in two.asked] == [[*PROMPT, *ids_of(after)]] * (after > 1)
    assert request.return_token_ids


async def test_each_token_is_counted_once() -> None:
    completion, _ = await answer_of([Engine("one", 7), Engine("two")], ask())
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, len(PIECES) + 1)


async def test_what_is_left_of_max_tokens_is_sampled() -> None:
    two, request = Engine("two"), ask()
    request.max_tokens = 9
    completion, _ = await answer_of([Engine("one", 7), two], request)
    assert two.asked[0].sampling.max_tokens == 2
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("\n\nLet me look", "length")
    request = ask()
    request.max_tokens = 7
    two = Engine("two")
    completion, _ = await answer_of([Engine("one", 7), two], request)
    assert (completion.choices[0].finish_reason, two.asked) == ("length", [])


async def test_stops_are_matched_in_text_only() -> None:
    two, request = Engine("two"), ask()
    request.stop = ["Hm", "loo"]
    completion, _ = await answer_of([Engine("one", 2), two], request)
    choice = completion.choices[0]
    assert (choice.message.reasoning, choice.message.content) == ("\nHm.\n", "\n\nLet me ")
    assert (choice.finish_reason, choice.matched_stop) == ("stop", "loo")
    assert two.asked[0].sampling.stop == ()
    assert two.streams[0].closed


@pytest.mark.parametrize("change", [{"token_door": False}, {"raw_format": "unknown"}, {"raw_format": ""}])
async def test_engines_without_the_door_are_not_asked_for_ids(change: dict[str, Any]) -> None:
    able = msgspec.structs.replace(ABLE, **change)
    request = ask()
    with pytest.raises(EngineLostError):
        await answer_of([Engine("one", 7, capabilities=able), Engine("two", capabilities=able)], request)
    assert not request.return_token_ids


async def test_a_single_engine_without_pauses_is_not_asked_for_ids() -> None:
    request = ask()
    await answer_of([Engine("one")], request)
    assert not request.return_token_ids


class Mute(Engine):
    """An engine that does not say what ids mean."""

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        raise NotSupportedError("no")


class Odd(Engine):
    """An engine whose ids mean something else than what it said."""

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        return "Something else."


@pytest.mark.parametrize("kind", [Mute, Odd])
async def test_ids_that_do_not_say_what_was_delivered_are_no_way_on(kind: type[Engine]) -> None:
    with pytest.raises(EngineLostError):
        await answer_of([kind("one", 7), kind("two", 7)], ask())


async def test_text_is_the_second_way() -> None:
    able = msgspec.structs.replace(ABLE, continuation=True)

    class Texting(Mute):
        """It continues texts."""

    two = ScriptedInferenceEngine(
        lambda request: Script(steps=[text_chunk(f"[{request.messages[-1].content}]"), finish_chunk("stop")]),
        name="two",
        models=["m"],
        capabilities=able,
    )
    completion, metrics = await answer_of([Texting("one", 8, capabilities=able), two], ask())
    assert completion.choices[0].message.content == "\n\nLet me[\n\nLet me]"
    assert 'engine="one",how="text"' in metrics


# ---- what was delivered --------------------------------------------------------------------------------


def said(reasoning: str = "", text: str = "", *calls: tuple[str | None, str]) -> Said:
    """An answer of which this was delivered."""
    found = Said()
    found.take([ChatChunk(choices=[ChunkChoice(delta=each)]) for each in deltas(reasoning, text, *calls)])
    return found


def deltas(reasoning: str = "", text: str = "", *calls: tuple[str | None, str]) -> list[ChatDelta]:
    made = [ChatDelta(reasoning=reasoning or None, content=text or None)]
    for place, (name, arguments) in enumerate(calls):
        call = ToolCallDelta(index=place, function=FunctionDelta(name=name, arguments=arguments))
        made.append(ChatDelta(tool_calls=[call]))
    return made


def whole(found: list[ChatDelta] | None) -> ChatAnswer | None:
    if found is None:
        return None
    choices = fold(ChatChunk(choices=[ChunkChoice(delta=delta)]) for delta in found).choices
    return choices[0].message if choices else ChatAnswer()


READ: list[
    tuple[list[ChatDelta], Said, tuple[str | None, str | None, list[tuple[str | None, str | None]]] | None]
]
READ = [
    (deltas("Hm.", "Text"), said("Hm.", "Te"), (None, "xt", [])),
    (deltas("\nHm.\n", "\n\nText"), said("Hm.", "Te"), ("\n", "xt", [])),
    (deltas("Hm.", "Text"), said("Hm.", "Text"), (None, None, [])),
    (deltas("Hm."), said("Oh."), None),
    (deltas("", "Text"), said("", "Other"), None),
    (deltas("", "", ("f", '{"a": 1}')), said("", "", ("f", '{"a')), (None, None, [(None, '": 1}')])),
    (deltas("", "", ("f", "{}"), ("g", "{")), said("", "", ("f", "{}")), (None, None, [("g", "{")])),
    (deltas("", "", ("f", "{}")), said("", "", ("f", "")), (None, None, [(None, "{}")])),
    (deltas("", "", ("f", "{}")), said("", "", ("g", "")), None),
    (deltas("", "", ("f", "{}")), said("", "", ("f", "[")), None),
    (deltas("", "Text"), said("", "Text", ("f", "")), (None, None, [])),
    (deltas("", "Text"), said("", "Text", ("f", "{")), None),
]


@pytest.mark.parametrize(("read", "delivered", "rest"), READ)
def test_what_is_missing_is_what_comes_behind_what_was_delivered(
    read: list[ChatDelta], delivered: Said, rest: tuple[Any, Any, list[Any]] | None
) -> None:
    found = whole(undelivered(read, delivered))
    calls = [call.function for call in (found.tool_calls if found is not None else None) or ()]
    told = found and (found.reasoning, found.content, [(one.name, one.arguments) for one in calls if one])
    assert told == rest


@pytest.mark.parametrize(
    ("tail", "thinks"),
    [("<|im_start|>assistant\n<think>\n", True), ("<think>\n\n</think>\n\n", False), ("user", False)],
)
def test_a_prompt_tells_whether_it_opened_the_thinking(tail: str, thinks: bool) -> None:
    assert begins_in_thinking(tail) == thinks


def test_much_that_was_said_is_kept_small() -> None:
    found = Said()
    for _ in range(2000):
        found.take([ChatChunk(choices=[ChunkChoice(delta=each)]) for each in deltas("h", "t", (None, "x"))])
    assert (found.reasoning, found.text) == ("h" * 2000, "t" * 2000)
    (call,) = found.calls
    assert call.function is not None
    assert call.function.arguments == "x" * 2000
    assert max(len(pieces) for pieces in (found._text, found._reasoning, found._calls)) <= 257
