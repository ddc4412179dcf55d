"""Prompt aids in a request: pure, and the same for every turn, so that a prompt extends the one before it."""

from __future__ import annotations

import re
from enum import Enum, auto

import msgspec

from dragoman.engines.llamacpp.schema import call_format
from dragoman.errors import InvalidRequestError
from dragoman.models.aids import PromptAids
from dragoman.wire.openai import ChatMessage, ChatRequest, ChatTool, TextPart, ToolChoice

PREFILLED_CALL = (
    "tool_choice: a forced call cannot continue an assistant turn; end the messages with a user turn, "
    "or use tool_choice auto or none"
)

# Atomic, as any text may come here: it is read once.
_tagged = re.compile(r"(?>\s*<(?P<tag>[\w-]+)>.*?</(?P=tag)>)++\s*", re.DOTALL).fullmatch


class Way(Enum):
    """How calls come about in the answer to a request."""

    ENGINE = auto()  # the engine's own way: no tools, or an answer whose form or beginning is given
    LISTEN = (
        auto()
    )  # free text; one that begins like a call is asked for again as one, or without leave in words
    FORCE = auto()  # the answer must be a call, so it is asked for as one at once


def way_of(chat: ChatRequest) -> Way:
    """The way for a request."""
    mode = chat.tool_choice.mode if chat.tool_choice is not None else "auto"
    if not chat.tools and not chat.loaded_tools:
        return Way.ENGINE
    if mode in {"required", "function"}:
        return Way.FORCE
    return Way.ENGINE if chat.response_format is not None or chat.continue_final else Way.LISTEN


def aided(chat: ChatRequest, aids: PromptAids) -> ChatRequest:
    """The request with the aids in its messages; every other member is as it was."""
    messages = _with_results(chat.messages, aids.result) if aids.result else [*chat.messages]
    if chat.tools:
        _add_policy(messages, aids)
    return msgspec.structs.replace(chat, messages=messages)


def first_request(chat: ChatRequest, aids: PromptAids) -> ChatRequest:
    """What the engine is asked first: its prompt is the one that is counted and billed.

    Raises `InvalidRequestError` where a call is forced in the middle of an assistant's turn.
    """
    asked = aided(chat, aids)
    way = way_of(chat)
    if way is Way.FORCE:
        if chat.continue_final:
            raise InvalidRequestError(PREFILLED_CALL)
        return call_request(asked, chosen(chat))
    if way is Way.LISTEN:
        # The tools stay in the prompt; the engine's own reading of calls is off. Stop strings are matched on
        # our side, as one may stand where a call begins, which must be seen whole.
        return msgspec.structs.replace(
            asked, tool_choice=ToolChoice("none"), parallel_tool_calls=None, stop=[]
        )
    return asked


def call_request(asked: ChatRequest, tools: list[ChatTool]) -> ChatRequest:
    """The same prompt, answered by one call of one of `tools`; nothing but the call's end stops it."""
    return msgspec.structs.replace(
        asked,
        tool_choice=ToolChoice("none"),
        parallel_tool_calls=None,
        response_format=call_format(tools),
        stop=[],
    )


def chosen(chat: ChatRequest, name: str | None = None) -> list[ChatTool]:
    """The tools of which one is to be called: the one of that name, or that the request names, else all."""
    if name is None and chat.tool_choice is not None:
        name = chat.tool_choice.name
    return [tool for tool in chat.callable_tools if name is None or tool.function.name == name]


def _add_policy(messages: list[ChatMessage], aids: PromptAids) -> None:
    if messages and messages[0].role == "system":
        messages[0] = _extended(messages[0], aids.policy, "\n\n")
    elif aids.system or aids.policy:
        text = " ".join(filter(None, (aids.system, aids.policy)))
        messages.insert(0, ChatMessage(role="system", content=text))


def _with_results(messages: list[ChatMessage], sentence: str) -> list[ChatMessage]:
    """The messages with the sentence behind every result, and an agent's reminders before it.

    A reminder that stands behind a result as a turn of its own is what a small model would answer.
    """
    found: list[ChatMessage] = []
    for message in messages:
        if found and found[-1].role == "tool" and (text := _reminder(message)):
            found[-1] = _extended(found[-1], text, "\n\n")
        else:
            found.append(message)
    return [_extended(one, sentence, "\n") if one.role == "tool" else one for one in found]


def _reminder(message: ChatMessage) -> str:
    """The text of a user's turn that is all in tags, which marks an agent's own words; else nothing."""
    content = message.content if message.role == "user" else None
    if isinstance(content, list) and all(isinstance(part, TextPart) for part in content):
        content = "\n".join(part.text for part in content if isinstance(part, TextPart))
    return content if isinstance(content, str) and _tagged(content) else ""


def _extended(message: ChatMessage, text: str, between: str) -> ChatMessage:
    """The message with more text at its end."""
    if not text:
        return message
    if isinstance(message.content, list):
        return msgspec.structs.replace(message, content=[*message.content, TextPart(between + text)])
    content = f"{message.content}{between}{text}" if message.content else text
    return msgspec.structs.replace(message, content=content)
