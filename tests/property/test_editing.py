"""Context edits of any history: the same every time, small, and a prefix as long as they can be."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.service.editing import edited
from dragoman.translate.editing import CLEARED, estimated_tokens
from dragoman.translate.request import to_chat
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from tests.support.histories import prompt, request, said, thinking, tool_uses, used
from tests.support.translation import options

_STEP = st.one_of(
    st.builds(lambda n: [prompt("p" * n)], st.integers(1, 9)),
    st.builds(
        lambda text, thought: [prompt(), said(text, thought)], st.just("Yes."), st.sampled_from(["", "Hm."])
    ),
    st.builds(
        lambda tool, thought, size: ("use", tool, thought, size),
        st.sampled_from(["read", "write"]),
        st.sampled_from(["", "Hm."]),
        st.integers(0, 900),
    ),
)
_EDITS = st.tuples(
    st.sampled_from([[], [thinking("all")], [thinking(1)], [thinking(2)]]),
    st.lists(
        st.builds(
            tool_uses,
            trigger=st.one_of(
                st.integers(0, 4),
                st.builds(lambda n: {"type": "input_tokens", "value": n}, st.integers(0, 900)),
            ),
            keep=st.integers(0, 3),
            clear_at_least=st.one_of(st.none(), st.integers(1, 300)),
            clear_tool_inputs=st.sampled_from([None, True, ["write"]]),
            exclude_tools=st.sampled_from([None, ["read"]]),
        ),
        max_size=1,
    ),
).map(lambda parts: [*parts[0], *parts[1]])


def history(steps: list[Any]) -> list[dict[str, Any]]:
    """The messages of the steps, behind a first prompt."""
    found = [prompt("Begin.")]
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            _, tool, thought, size = step
            found += used(number, tool=tool, thought=thought, result="x" * size)
        else:
            found += step
    return found


async def _estimate(given: CountTokensRequest) -> int:
    return estimated_tokens(given)


def after(given: MessagesRequest) -> MessagesRequest:
    """The request after its edits."""
    found: MessagesRequest = asyncio.run(edited(given, _estimate)).request
    return found


@given(st.lists(_STEP, max_size=12), _EDITS)
def test_the_same_history_is_always_edited_in_the_same_way(steps: list[Any], edits: list[Any]) -> None:
    messages = history(steps)
    once = after(request(messages, *edits))
    again = after(request(messages, *edits))
    assert msgspec.json.encode(once) == msgspec.json.encode(again)


def _in_steps_of_12() -> list[Any]:
    """An edit whose first step ends at the first of two results."""
    return [tool_uses(trigger=0, keep=0, clear_at_least=12, clear_tool_inputs=None, exclude_tools=None)]


@given(st.lists(_STEP, max_size=12), _EDITS.filter(lambda edits: not _counts(edits)))
@example([("use", "read", "", 46), ("use", "read", "", 2)], _in_steps_of_12())
def test_what_was_edited_has_nothing_left_to_clear(steps: list[Any], edits: list[Any]) -> None:
    once = after(request(history(steps), *edits))
    assert msgspec.json.encode(after(once).messages) == msgspec.json.encode(once.messages)


def _counts(edits: list[Any]) -> bool:
    """Whether an edit waits for a number of tokens, of which an edited history has fewer."""
    return any(edit.get("trigger", {}).get("type") == "input_tokens" for edit in edits)


@given(st.lists(_STEP, max_size=12), _EDITS)
def test_only_results_arguments_and_thinking_change(steps: list[Any], edits: list[Any]) -> None:
    asked = request(history(steps), *edits)
    found = after(asked)
    assert len(found.messages) == len(asked.messages)
    for new, old in zip(found.messages, asked.messages, strict=True):
        assert new is old or _without(new) == _without(old)
    to_chat(found, options())


def _without(message: Any) -> Any:
    """A message without all that an edit may change."""
    value = msgspec.json.decode(msgspec.json.encode(message))
    blocks = [block for block in value["content"] if block["type"] != "thinking"]
    return value | {"content": [block | {"content": CLEARED, "input": {}} for block in blocks]}


@given(st.lists(_STEP, max_size=12), st.integers(1, 300))
def test_between_two_steps_of_clearing_the_prompt_only_grows(steps: list[Any], least: int) -> None:
    """Every turn's prompt begins with the last one's, but where the number of cleared results grew."""
    edit = tool_uses(trigger=0, keep=1, clear_at_least=least)
    breaks, cleared, prompt_before = 0, [0], list[bytes]()
    for end in range(len(steps) + 1):
        found = after(request(history(steps[:end]), edit))
        prompt_now = [msgspec.json.encode(message) for message in found.messages]
        breaks += prompt_now[: len(prompt_before)] != prompt_before
        cleared.append(sum(message.count(CLEARED.encode()) for message in prompt_now))
        prompt_before = prompt_now
    assert cleared == sorted(cleared)
    assert breaks == len(set(cleared)) - 1
