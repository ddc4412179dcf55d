"""Probes of the prompt: its count, its cache, pictures, and what the template makes of a history."""

from __future__ import annotations

from dragoman.engines.doctor.basics import refused
from dragoman.engines.doctor.questions import (
    COUNT,
    HELLO,
    LONG,
    MARK,
    ODD_ARGUMENTS,
    PICTURE,
    PLAIN_ARGUMENTS,
    TOOLS,
    WEATHER,
    called,
    result,
    system,
    user,
)
from dragoman.engines.doctor.said import mapping
from dragoman.engines.doctor.subject import Shown, Subject
from dragoman.errors import NotSupportedError
from dragoman.wire.openai import ChatMessage, ChatRequest, ImagePart, ImageURL, Part, TextPart

_PLACES = ("alpha-1", "bravo-2", "charlie-3", "delta-4", "echo-5", "foxtrot-6", "golf-7")


async def counting(subject: Subject) -> Shown:
    """Whether the engine's count of a prompt is what the same request is billed."""
    requests = {"a question": subject.request(*_opened(subject, "Be brief.", COUNT), answer=1)}
    if subject.takes_tools:
        requests["with tools"] = subject.request(user(WEATHER), called(), result("21"), tools=TOOLS, answer=1)
    seen = []
    for name, request in requests.items():
        try:
            counted = await subject.count(request)
        except NotSupportedError as error:
            return Shown("no", error.message)
        billed = await _billed(subject, request)
        if billed is None:
            return Shown("partly", f"{name}: {counted} counted; no usage to compare with", "unchecked")
        if counted != billed:
            return Shown("partly", f"{name}: {counted} counted, {billed} billed", "differs")
        seen.append(f"{name} {counted}")
    return Shown("yes", f"as billed: {', '.join(seen)}", "exact")


def _opened(subject: Subject, opening: str, question: str) -> list[ChatMessage]:
    """A question under a system prompt, or behind it where the template takes none."""
    if subject.capabilities.system_at_head:
        return [system(opening), user(question)]
    return [user(f"{opening}\n\n{question}")]


async def _billed(subject: Subject, request: ChatRequest) -> int | None:
    usage = (await subject.through(request)).usage
    return usage.prompt_tokens if usage is not None and usage.prompt_tokens else None


async def cached(subject: Subject) -> Shown:
    """Whether the usage tells how much of a prompt came out of a cache: the same long prompt, twice."""
    request = subject.request(*_opened(subject, LONG, HELLO), answer=1)
    said = await subject.own(request)
    if said.error is None:
        said = await subject.own(request)
    if said.error is not None:
        return refused(said)
    told = mapping(said.usage.get("prompt_tokens_details")).get("cached_tokens")
    if not isinstance(told, int):
        return Shown("no", "no prompt_tokens_details.cached_tokens in the usage", "not told")
    if told == 0:
        return Shown("not shown", f"0 of {said.prompt_tokens} tokens at the second time")
    return Shown("yes", f"{told} of {said.prompt_tokens} tokens at the second time", "told")


async def images(subject: Subject) -> Shown:
    """A picture of 64 by 64 dots."""
    parts: list[Part] = [TextPart("What color is this?"), ImagePart(ImageURL(PICTURE))]
    said = await subject.plain(subject.request(ChatMessage(role="user", content=parts), answer=16))
    if said.error is not None:
        return refused(said)
    without = await subject.plain(subject.request(user("What color is this?"), answer=1))
    if said.prompt_tokens is None or without.prompt_tokens is None:
        return Shown("not shown", "taken; without usage nobody knows whether it was seen")
    weight = said.prompt_tokens - without.prompt_tokens
    if weight < 4:
        return Shown("ignored", f"the prompt is {weight} tokens longer with it")
    return Shown("yes", f"a picture is {weight} tokens of prompt")


def _answered(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


async def system_prompt(subject: Subject) -> Shown:
    """A system turn as the first one."""
    prompt = await subject.prompt(system(_PLACES[0]), user(_PLACES[1]))
    if prompt.refusal:
        return Shown("no", prompt.refusal, "refused")
    if prompt.text is None:
        return Shown("yes", "taken; where it stands cannot be seen", "taken")
    if _PLACES[0] not in prompt.text:
        return Shown("ignored", "it is not in the rendered prompt", "dropped")
    return Shown("yes", "seen in the rendered prompt")


async def system_turns(subject: Subject) -> Shown:
    """System turns in the middle of a conversation."""
    roles = (system, user, system, _answered, user, system, user)
    prompt = await subject.prompt(*[turn(mark) for turn, mark in zip(roles, _PLACES, strict=True)])
    if prompt.refusal:
        return Shown("no", prompt.refusal, "refused")
    if prompt.text is None:
        return Shown("yes", "taken; where it stands cannot be seen", "taken")
    places = [prompt.text.find(mark) for mark in _PLACES]
    if min(places) < 0:
        return Shown("ignored", "it is not in the rendered prompt", "dropped")
    if places != sorted(places):
        return Shown("no", "seen in the rendered prompt: it stands elsewhere", "moved")
    return Shown("yes", "seen in the rendered prompt", "in place")


async def arguments(subject: Subject) -> Shown:
    """How the arguments of earlier calls are spelled in the prompt: as the model wrote them, or anew."""
    turns = [(user(WEATHER), called(spelling), result(MARK)) for spelling in (ODD_ARGUMENTS, PLAIN_ARGUMENTS)]
    odd = await subject.prompt(*turns[0], tools=TOOLS)
    if odd.refusal:
        return Shown("not shown", odd.refusal)
    if odd.text is not None:
        if ODD_ARGUMENTS in odd.text:
            return Shown("yes", "seen in the rendered prompt", "as given")
        return Shown("no", "seen in the rendered prompt: written anew", "written anew")
    plain = await subject.prompt(*turns[1], tools=TOOLS)
    if odd.tokens is None or plain.tokens is None:
        return Shown("not shown", "the server tells neither prompts nor their length")
    weight = odd.tokens - plain.tokens
    if weight > 0:
        return Shown("yes", f"weighed: white space in them is {weight} tokens", "as given")
    return Shown("no", "weighed: white space in them is no token", "written anew")
