"""Calls and results: an assistant's tool_use blocks, and the tool turns that answer them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.translate.history import ERROR_MARK
from dragoman.translate.ids import call_id_in
from dragoman.translate.options import Findings, Place, RequestOptions
from dragoman.translate.parts import parts_of
from dragoman.translate.raw import object_text
from dragoman.translate.turns import Turn
from dragoman.wire.anthropic.blocks import ToolResultBlock, ToolUseBlock
from dragoman.wire.openai import ChatMessage, FunctionCall, Part, TextPart, ToolCall

NOTHING_READY: Mapping[str, str] = MappingProxyType({})

Calls = dict[str, ToolCall]


def unanswered(path: str, ids: Iterable[str]) -> InvalidRequestError:
    """The error for calls of the turn at `path` that have no result, in the words of the public API."""
    return InvalidRequestError(
        f"{path}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
        "message."
    )


def add_call(calls: Calls, block: ToolUseBlock, path: object, options: RequestOptions) -> None:
    """Adds the call of a tool_use block to `calls`: one assistant turn's calls by our ids, in order."""
    if not options.capabilities.tools:
        raise InvalidRequestError(f"{path}: the model {options.model!r} does not take tool calls")
    if not (block.id and block.name):
        field = "name" if block.id else "id"
        raise InvalidRequestError(f"{path}.{field}: String should have at least 1 character")
    if block.id in calls:
        raise InvalidRequestError(f"{path}.id: `tool_use` ids must be unique, found {block.id!r} twice")
    calls[block.id] = ToolCall(
        call_id_in(block.id), FunctionCall(block.name, _arguments(block, path, options))
    )


def _arguments(block: ToolUseBlock, path: object, options: RequestOptions) -> str:
    """The model's own spelling while the client sends the same value back, else the bytes that it sent."""
    received = object_text(block.input, path, ".input")
    spelled = options.spelling(block.id)
    return spelled if spelled and _same_json(spelled, received) else received


def _same_json(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return _same(msgspec.json.decode(one), msgspec.json.decode(other))
    except (msgspec.DecodeError, RecursionError):
        return False


def _same(one: object, other: object) -> bool:
    """Equality of decoded JSON: 1 equals 1.0 (a client may rewrite that), but not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


class Results(NamedTuple):
    """The tool turns of one stretch, and the parts of the user turn that shows their images."""

    messages: list[ChatMessage]
    images: list[Part]


def results_of(
    stretch: list[Turn],
    calls: Calls,
    path: str,
    options: RequestOptions,
    findings: Findings,
    *,
    ready: Mapping[str, str] = NOTHING_READY,
) -> Results:
    """The results in a stretch of user and system turns, one tool turn per call, in the order of the calls.

    Templates without ids pair results with calls by order, so none may be missing: `path` is that of the
    calls' turn. Images go to the user turn that follows, behind a text that names the call, since a tool turn
    can carry text only; `[image 1]` marks where each one stood. `ready` are results that no turn holds.
    """
    found = _matched(stretch, calls, ready)
    results = Results([], [])
    if len(found) + len(ready) < len(calls):
        raise unanswered(path, (our_id for our_id in calls if our_id not in found and our_id not in ready))
    shown = 0
    for our_id, call in calls.items():
        if our_id in ready:
            results.messages.append(ChatMessage(role="tool", content=ready[our_id], tool_call_id=call.id))
            continue
        text, images = _result(*found[our_id], options, findings, shown)
        shown += len(images)
        results.messages.append(ChatMessage(role="tool", content=text, tool_call_id=call.id))
        for label, image in images:
            origin = f"{label} from the result of {call.function.name} (call {call.id}):"
            results.images.extend((TextPart(origin), image))
    return results


def _matched(
    stretch: list[Turn], calls: Calls, ready: Mapping[str, str]
) -> dict[str, tuple[Place, ToolResultBlock]]:
    found: dict[str, tuple[Place, ToolResultBlock]] = {}
    for place, block in chain.from_iterable(turn.items for turn in stretch):
        if isinstance(block, ToolResultBlock):
            if block.tool_use_id not in calls or block.tool_use_id in ready:
                raise InvalidRequestError(
                    f"{place}: unexpected `tool_use_id` found in `tool_result` blocks: {block.tool_use_id}. "
                    "Each `tool_result` block must have a corresponding `tool_use` block in the previous "
                    "assistant message."
                )
            if block.tool_use_id in found:
                raise InvalidRequestError(
                    f"{place}: each tool_use must have a single result. Found multiple `tool_result` blocks "
                    f"with id: {block.tool_use_id}"
                )
            found[block.tool_use_id] = (place, block)
    return found


def _result(
    place: Place, block: ToolResultBlock, options: RequestOptions, findings: Findings, shown: int
) -> tuple[str, list[tuple[str, Part]]]:
    """The text of one result, and its images with their labels; `shown` images were labelled before."""
    content = block.content or []
    if isinstance(content, str) and not block.is_error:
        return content, []
    texts: list[str] = [ERROR_MARK] if block.is_error else []
    images: list[tuple[str, Part]] = []
    if isinstance(content, str):
        return " ".join([*texts, content]), images
    body: list[str] = []
    for index, inner in enumerate(content):
        path = f"{place}.content.{index}"
        parts = parts_of(inner, path, options, findings)
        assert parts is not None  # references became text with the other changes of the tools
        for part in parts:
            if isinstance(part, TextPart):
                body.append(part.text)
            else:
                images.append((f"[image {shown + len(images) + 1}]", part))
                body.append(images[-1][0])
    texts.extend(filter(None, ["\n".join(body)]))
    return " ".join(texts), images
