"""Earlier thinking on its way back to the engine."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from tests.support.translation import (
    NONCE,
    SIGNER,
    assistant,
    call,
    result,
    text,
    thinking,
    tool,
    translated,
    user,
)


def reasoning(*blocks: Any, **changes: Any) -> tuple[str | None, int]:
    """What the engine gets of an assistant turn's thinking, and the count of what was dropped."""
    turns = [user("a"), assistant(*blocks, text("b")), user("c")]
    translation = translated(changes, messages=turns)
    return translation.chat.messages[1].reasoning, translation.dropped_thinking


@pytest.mark.parametrize("policy", ["accept", "drop", "refuse"])
@pytest.mark.parametrize("visible", [True, False])
def test_our_own_thinking_goes_back_exactly(policy: str, visible: bool) -> None:
    words = " \nstep 1\u2028 é "
    assert reasoning(thinking(words, visible=visible), foreign_thinking=policy) == (words, 0)


def test_thoughts_join_in_order_with_nothing() -> None:
    assert reasoning(thinking("a "), text("x"), thinking("b", visible=False)) == ("a b", 0)


def test_interleaved_thinking_keeps_its_order() -> None:
    turn = assistant(thinking("1"), text("x"), thinking("2"), call())
    message = translated(messages=[user("a"), turn, user(result())], tools=[tool()]).chat.messages[1]
    assert (message.reasoning, message.content, len(message.tool_calls or [])) == ("12", "x", 1)


FOREIGN = thinking("hm", signature="c2lnbmVk")
UNSIGNED = thinking("hm", signature="")
MISSING = {"type": "thinking", "thinking": "hm"}
NULL = MISSING | {"signature": None}
ALTERED = thinking("hm") | {"thinking": "ha"}
FORGED = thinking("secret", visible=False) | {"thinking": "other"}


@pytest.mark.parametrize("block", [FOREIGN, UNSIGNED, MISSING, NULL, ALTERED, FORGED])
def test_foreign_thinking_follows_the_setting(block: dict[str, Any]) -> None:
    assert reasoning(block) == (block["thinking"], 0)
    assert reasoning(block, foreign_thinking="drop") == (None, 1)
    with pytest.raises(InvalidRequestError, match=r"^messages.1.content.0.signature: Invalid `signature`"):
        reasoning(block, foreign_thinking="refuse")


@pytest.mark.parametrize("policy", ["accept", "drop", "refuse"])
@pytest.mark.parametrize(
    "block",
    [
        thinking("", signature="c2lnbmVk"),
        thinking("", signature=""),
        {"type": "redacted_thinking", "data": "x"},
    ],
)
def test_thinking_that_nobody_here_can_read_is_dropped_with_a_count(block: Any, policy: str) -> None:
    assert reasoning(block, block, foreign_thinking=policy) == (None, 2)


def test_a_redacted_block_of_ours_is_read() -> None:
    sealed = SIGNER.seal("hm", visible=False, nonce=NONCE)
    assert reasoning({"type": "redacted_thinking", "data": sealed}) == ("hm", 0)


def test_an_empty_thought_of_ours_is_none() -> None:
    assert reasoning(thinking("")) == (None, 0)
