"""How often edits ask for a count, and what they report."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from dragoman.errors import NotSupportedError, OverloadedError
from dragoman.service.editing import edited
from dragoman.translate.editing import estimated_tokens
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.anthropic.response import AppliedEdits, ClearedThinking, ClearedToolUses
from tests.support.histories import prompt, request, said, thinking, tool_uses, uses


class Counter:
    """Counts a request's tokens as the characters of its messages, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def __call__(self, given: CountTokensRequest) -> int:
        self.asked.append(len(msgspec.json.encode(given.messages)))
        return self.asked[-1]


def above(value: int, **more: Any) -> dict[str, Any]:
    return tool_uses(trigger={"type": "input_tokens", "value": value}, **more)


THOUGHTS = [prompt(), said("Yes.", "a long thought " * 20), prompt(), said("No.", "short"), prompt()]


async def test_a_request_that_does_not_ask_is_left_alone() -> None:
    count = Counter()
    given = msgspec.structs.replace(request([prompt()]), context_management=None)
    found = await edited(given, count)
    assert (found.request, found.applied, found.original_tokens, count.asked) == (given, UNSET, None, [])


@pytest.mark.parametrize(
    "edits",
    [
        [],
        [thinking("all")],
        [thinking(2)],
        [{"type": "compact_20260112"}],
        [tool_uses(trigger=9)],
        [tool_uses()],
        [above(5_000)],
        [above(0, clear_at_least=9_999)],
    ],
)
async def test_where_nothing_is_cleared_nothing_is_counted_or_copied(edits: list[dict[str, Any]]) -> None:
    count = Counter()
    given = request([*THOUGHTS, *uses(5)], *edits)
    found = await edited(given, count)
    assert found.request is given
    assert (found.applied, found.original_tokens, count.asked) == (AppliedEdits([]), None, [])


async def test_a_trigger_in_tokens_is_counted_once_where_it_may_have_been_passed() -> None:
    given = request(uses(5), above(2_200), system="s" * 900)
    count = Counter()
    found = await edited(given, count)
    assert found.request is given
    assert (found.applied, len(count.asked)) == (AppliedEdits([]), 1)
    assert count.asked[0] < 2_200


async def test_what_was_cleared_is_reported() -> None:
    count = Counter()
    found = await edited(request(uses(5, result="x" * 500), above(1_000, keep=1)), count)
    before, after = count.asked
    assert found.applied == AppliedEdits(
        [ClearedToolUses(cleared_tool_uses=4, cleared_input_tokens=before - after)]
    )
    assert (found.original_tokens, after) == (before, len(msgspec.json.encode(found.request.messages)))
    assert before - after > 1_500


async def test_each_edit_works_on_what_the_one_before_it_left() -> None:
    count = Counter()
    given = request([*THOUGHTS, *uses(5)], thinking(1), tool_uses(trigger=2, keep=1))
    found = await edited(given, count)
    first, second, third = count.asked
    assert found.applied == AppliedEdits(
        [
            ClearedThinking(cleared_thinking_turns=1, cleared_input_tokens=first - second),
            # the note in the place of a short result is longer than it
            ClearedToolUses(cleared_tool_uses=4, cleared_input_tokens=max(0, second - third)),
        ]
    )
    assert found.original_tokens == first


async def test_an_engine_that_cannot_count_is_guessed_for() -> None:
    async def no_count(_: CountTokensRequest) -> int:
        raise NotSupportedError("no")

    given = request(uses(5, result="x" * 5_000), above(1_000))
    found = await edited(given, no_count)
    saved = estimated_tokens(given) - estimated_tokens(found.request)
    assert found.applied == AppliedEdits([ClearedToolUses(cleared_tool_uses=2, cleared_input_tokens=saved)])
    assert 2_000 < saved < 2_600


async def test_an_engine_that_fails_fails_the_request() -> None:
    async def full(_: CountTokensRequest) -> int:
        raise OverloadedError("full")

    with pytest.raises(OverloadedError):
        await edited(request(uses(5), tool_uses(trigger=1)), full)
