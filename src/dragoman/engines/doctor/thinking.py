"""Probes of thinking: where it comes back, what turns it on and off, and what becomes of it afterwards."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.probes import thinking_switch
from dragoman.engines.doctor.basics import quoted
from dragoman.engines.doctor.measure import carries
from dragoman.engines.doctor.questions import COUNT, MARK, assistant, called, result, user
from dragoman.engines.doctor.said import Said
from dragoman.engines.doctor.subject import PLAIN, THINKING_ROOM, Shown, Subject
from dragoman.wire.openai import ChatRequest, Reasoning

_MARKUP = ("<think>", "</think>", "<|channel|>", "[THINK]")
# Members that some template or server takes for a switch: off, and on.
_KWARGS = "chat_template_kwargs"
_GUESSES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    (
        "chat_template_kwargs.enable_thinking",
        {_KWARGS: thinking_switch(False)},
        {_KWARGS: thinking_switch(True)},
    ),
    ("reasoning_effort", {"reasoning_effort": "none"}, {"reasoning_effort": "medium"}),
)
# Template arguments that keep earlier thinking, each known to some family of models.
_KEEPERS: tuple[tuple[str, bool], ...] = (
    ("preserve_thinking", True),
    ("clear_thinking", False),
    ("drop_thinking", False),
    ("truncate_history_thinking", False),
    ("keep_all_reasoning", True),
)


async def reasoning(subject: Subject) -> Shown:
    """Whether thinking comes in a member of its own: unasked, else with the switch on."""
    said = subject.counted
    if said is not None and (said.reasoning or _in_text(said)):
        subject.thinks = True
        return _placed(said, "unasked")
    for name, _off, on in _switches(subject):
        said = await subject.plain(_request(subject), **on)
        if said.error is None and (said.reasoning or _in_text(said)):
            subject.thinks = True
            return _placed(said, f"with {name}")
    return Shown("not shown", "the model did not think")


def _in_text(said: Said) -> bool:
    return any(mark in said.text for mark in _MARKUP)


def _placed(said: Said, when: str) -> Shown:
    if said.reasoning:
        return Shown("yes", f"{when}, in `{said.reasoning_member}`: {quoted(said.reasoning, 30)}")
    return Shown("no", f"{when}, inside the text: {quoted(said.text, 30)}", "in the text")


def _request(subject: Subject) -> ChatRequest:
    return subject.request(user(COUNT), answer=96 + (0 if subject.thinks else THINKING_ROOM))


def _switches(subject: Subject) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What may turn thinking off and on: what the dialect sends, then what others take."""
    able = msgspec.structs.replace(subject.capabilities, reasoning=True, reasoning_switch=True)
    request = subject.request(user(COUNT))
    plain = PLAIN.body(request, able)
    sent = []
    for enabled in (False, True):
        asked = msgspec.structs.replace(request, reasoning=Reasoning(enabled=enabled))
        body = subject.dialect.body(asked, able)
        sent.append({name: body[name] for name in (_KWARGS, "reasoning_effort") if name in body})
    off, on = ({name: value for name, value in body.items() if name not in plain} for body in sent)
    if off == on:
        return list(_GUESSES)
    name = next(iter(off))
    return [("chat_template_kwargs.enable_thinking" if name == _KWARGS else name, off, on)]


async def switch(subject: Subject) -> Shown:
    """Whether thinking can be turned off and on, and by what."""
    if not subject.thinks:
        return Shown("not asked", "the model did not think")
    heard = ""
    for name, off, on in _switches(subject):
        without = await subject.plain(_request(subject), **off)
        if without.error is not None:
            heard = heard or without.words
            continue
        if without.reasoning or _in_text(without):
            continue
        subject.quiet = off
        again = await subject.plain(_request(subject), **on)
        if again.error is None and (again.reasoning or _in_text(again)):
            return Shown("yes", f"by {name}", "on and off")
        return Shown("partly", f"by {name}; it thinks unasked only", "off only")
    if heard:
        return Shown("no", heard)
    return Shown("ignored", "it thinks though it was turned off")


async def earlier(subject: Subject) -> Shown:
    """Whether earlier thinking reaches the prompt of the next turn, and of a tool's result."""
    kept = await _kept_after_answer(subject)
    in_loop = await carries(
        subject,
        [user(COUNT), called(reasoning=MARK), result("21 degrees")],
        [user(COUNT), called(), result("21 degrees")],
    )
    if kept.reached is None or in_loop.reached is None:
        return Shown("not shown", kept.refusal or in_loop.refusal or kept.how)
    if kept.reached:
        return Shown("yes", kept.how, "kept")
    if not subject.thinks and not in_loop.reached:
        return Shown("not asked", "the model did not think, and its template knows no thinking")
    keeper = await _keeper(subject)
    more = f"; kept with chat_template_kwargs.{keeper}" if keeper else ""
    if in_loop.reached:
        return Shown("partly", f"{kept.how}{more}", "in tool loops")
    return Shown("no", f"{kept.how}{more}", "dropped")


async def _kept_after_answer(subject: Subject, **more: Any) -> Any:
    return await carries(
        subject,
        [user(COUNT), assistant("1, 2, 3.", MARK), user(COUNT)],
        [user(COUNT), assistant("1, 2, 3."), user(COUNT)],
        **more,
    )


async def _keeper(subject: Subject) -> str:
    """The template argument that keeps earlier thinking; empty where none of the known ones does."""
    if not await subject.renders():
        return ""
    for name, value in _KEEPERS:
        if (await _kept_after_answer(subject, chat_template_kwargs={name: value})).reached:
            return f"{name}={str(value).lower()}"
    return ""
