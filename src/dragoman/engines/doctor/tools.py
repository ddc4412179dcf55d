"""Probes of tool calls: free, forced, several, streamed, and their results."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.doctor.basics import quoted, refused
from dragoman.engines.doctor.measure import carries
from dragoman.engines.doctor.questions import (
    COMPARE,
    HELLO,
    MARK,
    PICK_COLOR,
    REQUIRED,
    STRICT_TOOLS,
    TOOLS,
    WEATHER,
    called,
    result,
    user,
)
from dragoman.engines.doctor.said import Called, Said, mapping, sequence, string
from dragoman.engines.doctor.subject import Shown, Subject
from dragoman.errors import DragomanError
from dragoman.wire.openai import ChatRequest, ToolChoice

# What calls look like that nobody has read out of the text.
_MARKUP = ("<tool_call", "<function", "[TOOL_CALLS]", "<|tool", '"arguments"', *REQUIRED)
_BY_US = "yes, by Dragoman"
_NO_TOOLS = Shown("not asked", "requests with tools are refused")


def _call_words(calls: list[Called]) -> str:
    return ", ".join(f"{call.name}({' '.join(call.arguments.split())})" for call in calls)


def _right(call: Called) -> bool:
    """Whether a call names a tool of ours with all that it needs."""
    values = call.values
    return values is not None and values.keys() >= REQUIRED.get(call.name, {"a tool that is ours"})


def _judged(said: Said, only: str | None = None) -> Shown:
    """What an answer shows in which a call was to be."""
    if said.error is not None:
        return refused(said)
    if not said.calls:
        return _without_call(said)
    words = _call_words(said.calls)
    if only is not None and any(call.name != only for call in said.calls):
        return Shown("ignored", f"asked for {only}, called {words}")
    if not all(map(_right, said.calls)):
        return Shown("partly", f"a call that breaks its schema: {words}", "broken calls")
    return Shown("yes", f"called {words}")


def _without_call(said: Said) -> Shown:
    """What an answer shows that has no call where one was to be."""
    is_cut = said.finish == "length"
    if is_cut and not said.text.strip():
        return Shown("partly", "a call that finds no end: nothing came of it", "endless")
    if not _looks_like_call(said.text):
        return Shown("ignored", f"text instead: {quoted(said.text)}")
    if is_cut:
        return Shown("partly", f"a call that finds no end, as text: {quoted(said.text)}", "endless")
    return Shown("no", f"the call came as text: {quoted(said.text)}", "as text")


def _looks_like_call(text: str) -> bool:
    return any(mark in text for mark in _MARKUP)


async def _or_through(subject: Subject, request: ChatRequest, alone: Shown, only: str | None = None) -> Shown:
    """The same request by Dragoman's own way, where the engine alone does not do it: a dialect may help."""
    if alone.outcome == "yes":
        return alone
    try:
        completion = await subject.through(request)
    except DragomanError as error:
        return _also(alone, error.message)
    calls = [
        Called(call.function.name or "", call.function.arguments or "")
        for call in completion.choices[0].message.tool_calls or ()
        if call.function is not None
    ]
    if calls and all(map(_right, calls)) and all(only in {None, call.name} for call in calls):
        return Shown("yes", f"alone: {alone.evidence}; through Dragoman: {_call_words(calls)}", _BY_US)
    return _also(alone, _call_words(calls)) if calls else alone


def _also(alone: Shown, through: str) -> Shown:
    """What the engine alone shows, with what came of the request by Dragoman's own way in its evidence.

    Where the engine refuses the request, so it does by any way.
    """
    if alone.outcome not in {"ignored", "partly"}:
        return alone
    return msgspec.structs.replace(alone, evidence=f"{alone.evidence}; through Dragoman: {through}")


async def _forced(subject: Subject, request: ChatRequest, only: str | None = None) -> Shown:
    """What a request shows that forces a call; where it is not right, the same with strict tools."""
    said = await subject.plain(request)
    subject.takes_tools = subject.takes_tools or said.error is None
    shown = await _or_through(subject, request, _judged(said, only), only)
    if shown.outcome == "yes" or said.error is not None:
        return shown
    strict = _judged(await subject.plain(msgspec.structs.replace(request, tools=STRICT_TOOLS)), only)
    if strict.outcome == "yes":
        return Shown("partly", f"{shown.evidence}; with strict tools: {strict.evidence}", "if strict")
    return shown


async def tools(subject: Subject) -> Shown:
    """A question that a tool answers."""
    request = subject.request(user(WEATHER), tools=TOOLS)
    said = await subject.plain(request)
    subject.takes_tools = said.error is None
    alone = await _free(subject, said)
    return await _or_through(subject, request, alone)


async def _free(subject: Subject, said: Said) -> Shown:
    shown = _judged(said)
    if said.error is not None or said.calls:
        return shown
    if _looks_like_call(said.text):
        return shown
    with_tools = await subject.prompt(user(WEATHER), tools=TOOLS)
    without = await subject.prompt(user(WEATHER))
    if with_tools.text is not None:
        reached = "get_weather" in with_tools.text
    else:
        reached = with_tools.tokens != without.tokens or with_tools.tokens is None
    if not reached:
        return Shown("ignored", "the tools did not reach the prompt")
    return Shown("not shown", f"the model saw the tools and said {quoted(said.text, 30)}")


async def forced_any(subject: Subject) -> Shown:
    """A call by force where nobody would call: `tool_choice` "required" (the Messages API's `any`)."""
    request = subject.request(user(HELLO), tools=TOOLS, tool_choice=ToolChoice("required"))
    return await _forced(subject, request)


async def forced_named(subject: Subject) -> Shown:
    """A call of one tool where another is called for."""
    name = PICK_COLOR.function.name
    request = subject.request(user(WEATHER), tools=TOOLS, tool_choice=ToolChoice("function", name))
    return await _forced(subject, request, name)


async def no_calls(subject: Subject) -> Shown:
    """No call where the question wants one: `tool_choice` "none"."""
    if not subject.takes_tools:
        return _NO_TOOLS
    request = subject.request(user(WEATHER), tools=TOOLS, tool_choice=ToolChoice("none"))
    said = await subject.plain(request)
    if said.error is not None:
        return refused(said)
    if said.calls:
        return Shown("ignored", f"called {_call_words(said.calls)}")
    if _looks_like_call(said.text):
        return Shown("partly", f"the call came as text: {quoted(said.text)}", "as text")
    if not subject.saw("tools"):
        return Shown("not shown", "the model calls nothing unasked either")
    return Shown("yes", f"says {quoted(said.text)}")


async def parallel(subject: Subject) -> Shown:
    """Two calls in one answer: free, else by force."""
    if not subject.takes_tools:
        return _NO_TOOLS
    most = 0
    for choice, how in ((None, ""), (ToolChoice("required"), " by force")):
        request = subject.request(user(COMPARE), tools=TOOLS, tool_choice=choice, answer=160)
        said = await subject.plain(request)
        if said.error is not None:
            return refused(said)
        most = max(most, len(said.calls))
        if most > 1:
            return Shown("yes", f"{most} calls{how} in one answer")
    return Shown("not shown", f"asked about two cities, {most} calls came")


async def one_call(subject: Subject) -> Shown:
    """One call where the question wants two: `parallel_tool_calls` false."""
    if not subject.saw("parallel"):
        return Shown("not asked", "parallel calls were not shown")
    request = subject.request(user(COMPARE), tools=TOOLS, parallel_tool_calls=False, answer=160)
    said = await subject.plain(request)
    if said.error is not None:
        return refused(said)
    if len(said.calls) > 1:
        return Shown("ignored", f"{len(said.calls)} calls; Dragoman passes on the first alone")
    return Shown("yes", f"{len(said.calls)} call in the answer")


async def tool_stream(subject: Subject) -> Shown:
    """How the arguments of a call arrive."""
    if not subject.takes_tools:
        return _NO_TOOLS
    choice = None if subject.saw("tools") else ToolChoice("required")
    request = subject.request(user(WEATHER), tools=TOOLS, tool_choice=choice)
    said = await subject.plain_stream(request)
    pieces = sum(map(_argument_pieces, said.chunks))
    if said.error is None and pieces:
        return _in_pieces(pieces, len(said.calls))
    alone = Shown("not shown", "no call in the stream") if said.error is None else refused(said)
    return await _stream_or_through(subject, request, alone)


def _in_pieces(pieces: int, calls: int) -> Shown:
    if pieces <= calls:
        return Shown("partly", "each call in one piece", "whole calls")
    return Shown("yes", f"arguments in {pieces} pieces")


async def _stream_or_through(subject: Subject, request: ChatRequest, alone: Shown) -> Shown:
    """The same stream by Dragoman's own way, where the engine's own has no call."""
    try:
        chunks = await subject.through_stream(request)
    except DragomanError as error:
        return _also(alone, error.message)
    parts = [part for chunk in chunks for choice in chunk.choices for part in choice.delta.tool_calls or ()]
    pieces = sum(1 for part in parts if part.function is not None and part.function.arguments)
    if not pieces:
        return alone
    calls = sum(1 for part in parts if part.function is not None and part.function.name)
    shown = _in_pieces(pieces, calls)
    evidence = f"alone: {alone.evidence}; through Dragoman: {shown.evidence}"
    return Shown(shown.outcome, evidence, shown.result or _BY_US)


def _argument_pieces(chunk: dict[str, Any]) -> int:
    deltas = [mapping(mapping(choice).get("delta")) for choice in sequence(chunk.get("choices"))]
    parts = [mapping(part) for delta in deltas for part in sequence(delta.get("tool_calls"))]
    return sum(1 for part in parts if string(mapping(part.get("function")).get("arguments")))


async def tool_results(subject: Subject) -> Shown:
    """A call and its result in the history."""
    turns = (user(WEATHER), called())
    seen = await carries(subject, [*turns, result(MARK)], [*turns, result("x")], tools=TOOLS)
    if seen.reached is False:
        return Shown("ignored", f"the result is not in the prompt ({seen.how})")
    request = subject.request(*turns, result("21 degrees"), tools=TOOLS)
    if seen.refusal:
        return await _said_through(subject, request, Shown("no", seen.refusal))
    said = await subject.plain(request)
    if said.error is not None:
        return await _said_through(subject, request, refused(said))
    if said.calls or _is_words(said.text):
        return Shown("yes", f"says {quoted(said.text or _call_words(said.calls))}")
    if said.text.strip():
        alone = Shown("no", f"a call again, as text: {quoted(said.text)}", "as text")
    else:
        alone = Shown("not shown", "an empty answer")
    return await _said_through(subject, request, alone)


async def _said_through(subject: Subject, request: ChatRequest, alone: Shown) -> Shown:
    """The answer to a result by Dragoman's own way, where the engine alone gives no words."""
    try:
        completion = await subject.through(request)
    except DragomanError as error:
        return _also(alone, error.message)
    text = completion.choices[0].message.content or ""
    if not _is_words(text):
        return alone
    return Shown("yes", f"alone: {alone.evidence}; through Dragoman: says {quoted(text)}", _BY_US)


def _is_words(text: str) -> bool:
    """Whether a text speaks to people: a call in JSON, or in a model's own markup, does not."""
    bare = text.strip().removeprefix("```json").strip("`").strip()
    return bool(bare) and not _looks_like_call(bare) and not bare.startswith(("{", "[{"))
