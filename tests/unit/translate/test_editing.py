"""What each context edit changes in a history."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.translate.editing import (
    CLEARED,
    Clearing,
    clearing_of,
    edits_of,
    estimated_tokens,
    may_pass,
)
from dragoman.wire.anthropic.blocks import ThinkingBlock, ToolResultBlock, ToolUseBlock
from dragoman.wire.anthropic.context import ContextManagement
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from tests.support.histories import prompt, request, said, thinking, tool_uses, used, uses

TOKENS = {"type": "input_tokens", "value": 7}


def clearing(given: MessagesRequest) -> Clearing | None:
    (edit,) = edits_of(given)
    return clearing_of(edit, given)


def cleared(given: MessagesRequest) -> list[str]:
    """The ids of the calls whose results were cleared."""
    found = clearing(given)
    return (
        [] if found is None else [block.tool_use_id for block in results(found) if block.content == CLEARED]
    )


def results(found: Clearing) -> list[ToolResultBlock]:
    return [b for m in found.request.messages for b in m.content if isinstance(b, ToolResultBlock)]


def inputs(found: Clearing | None) -> list[bytes]:
    assert found is not None
    blocks = [b for m in found.request.messages for b in m.content if isinstance(b, ToolUseBlock)]
    return [bytes(block.input) for block in blocks]


def thoughts(found: Clearing | None) -> list[str]:
    assert found is not None
    return [b.thinking for m in found.request.messages for b in m.content if isinstance(b, ThinkingBlock)]


# --- results ---


def test_all_but_the_newest_are_cleared_once_there_are_more_than_the_trigger() -> None:
    assert cleared(request(uses(4), tool_uses(trigger=4))) == []
    found = request(uses(5), tool_uses(trigger=4))
    assert cleared(found) == ["toolu_0", "toolu_1"]
    assert clearing(found) == Clearing(clearing(found).request, tool_uses=2)  # type: ignore[union-attr]  # it is there
    assert cleared(request(uses(5), tool_uses(trigger=4, keep=0))) == [f"toolu_{n}" for n in range(5)]
    assert cleared(request(uses(5), tool_uses(trigger=4, keep=9))) == []


def test_the_trigger_is_a_number_of_tokens_unless_said_otherwise() -> None:
    by_default = clearing(request(uses(4), tool_uses()))
    assert by_default is not None
    assert (by_default.above, by_default.tool_uses) == (100_000, 1)
    asked = clearing(request(uses(4), tool_uses(trigger=TOKENS)))
    assert asked is not None
    assert asked.above == 7


def test_excluded_tools_keep_their_results() -> None:
    history = [prompt(), *used(0), *used(1, tool="memory"), *used(2), *used(3)]
    edit = tool_uses(trigger=0, keep=1, exclude_tools=["memory"])
    assert cleared(request(history, edit)) == ["toolu_0", "toolu_2"]


def test_a_result_that_loads_a_tool_stays() -> None:
    loads = [{"type": "tool_reference", "tool_name": "late"}]
    messages = [prompt(), *used(0, tool="search", result=loads), *used(1), *used(2), *used(3)]
    assert cleared(request(messages, tool_uses(trigger=1, keep=1))) == ["toolu_1", "toolu_2"]


@pytest.mark.parametrize(
    ("which", "emptied"),
    [(None, []), (False, []), (True, [0, 1]), (["write"], [1]), ([], [])],
)
def test_arguments_are_cleared_where_asked(which: object, emptied: list[int]) -> None:
    history = [prompt(), *used(0), *used(1, tool="write"), *used(2)]
    found = clearing(request(history, tool_uses(trigger=0, keep=1, clear_tool_inputs=which)))
    assert [n for n, given in enumerate(inputs(found)) if given == b"{}"] == emptied


def test_nothing_but_the_content_of_a_result_changes() -> None:
    history = uses(3)
    history[2]["content"][0] |= {"is_error": True, "content": [{"type": "text", "text": "long"}]}
    history[2]["content"].append({"type": "text", "text": "And this."})
    given = request(history, tool_uses(trigger=0, keep=2))
    found = clearing(given)
    assert found is not None
    expected = msgspec.json.decode(msgspec.json.encode(given.messages))
    expected[2]["content"][0]["content"] = CLEARED
    assert msgspec.json.decode(msgspec.json.encode(found.request.messages)) == expected
    assert all(new is old for new, old in zip(found.request.messages[3:], given.messages[3:], strict=True))


def test_ids_that_come_again_are_told_apart_by_where_they_stand() -> None:
    history = [prompt(), *used(0, call_id="same"), *used(1, call_id="same")]
    found = clearing(request(history, tool_uses(trigger=0, keep=1)))
    assert found is not None
    assert [block.content for block in results(found)] == [CLEARED, "what file 1 says"]


def test_a_call_without_its_result_is_no_use_of_a_tool() -> None:
    assert cleared(request(uses(2)[:-1], tool_uses(trigger=0, keep=1))) == []
    assert cleared(request([prompt(), used(0)[1], *used(1)], tool_uses(trigger=0, keep=1))) == []


def test_clear_at_least_makes_steps_that_do_not_move() -> None:
    # each result is 400 characters: 100 tokens
    edit = tool_uses(trigger=0, keep=1, clear_at_least=250)
    boundaries = [len(cleared(request(uses(n, result="x" * 398), edit))) for n in range(12)]
    assert boundaries == [0, 0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9]


def test_a_step_counts_arguments_and_pictures() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    edit = tool_uses(trigger=0, keep=1, clear_at_least=900)
    assert cleared(request(uses(2), edit)) == []
    assert cleared(request(uses(2, result=[image]), edit)) == ["toolu_0"]
    few = tool_uses(trigger=0, keep=1, clear_at_least=8)
    assert cleared(request(uses(2), few)) == []
    assert cleared(request(uses(2), few | {"clear_tool_inputs": True})) == ["toolu_0"]


# --- thinking ---


def turns(*thought: str) -> list[dict[str, Any]]:
    return [message for text in thought for message in (prompt(), said("Yes.", text))]


def test_thinking_of_all_but_the_newest_turns_is_cleared() -> None:
    history = [*turns("one", "", "two", "three"), prompt()]
    for keep, left in ((None, ["three"]), (1, ["three"]), (2, ["two", "three"])):
        found = clearing(request(history, thinking(keep)))
        assert thoughts(found) == left
        assert found is not None
        assert (found.thinking_turns, found.tool_uses, found.above) == (3 - len(left), 0, None)
    assert clearing(request(history, thinking(3))) is None


@pytest.mark.parametrize("keep", ["all", {"type": "all"}])
def test_to_keep_all_thinking_is_no_edit(keep: object) -> None:
    given = request(turns("one", "two"), thinking(keep), {"type": "compact_20260112"}, {"type": "newer"})
    assert list(edits_of(given)) == []
    assert given.context_management is not None
    assert [clearing_of(edit, given) for edit in given.context_management.edits or ()] == [None] * 3


def test_a_loop_of_calls_is_one_turn() -> None:
    loop = [prompt(), *used(0, thought="a"), *used(1, thought="b"), said("Done.", "c")]
    assert clearing(request(loop, thinking(1))) is None
    assert thoughts(clearing(request([*loop, prompt(), said("More.", "d")], thinking(1)))) == ["d"]


def test_redacted_thinking_goes_too_and_system_turns_do_not_part_a_turn() -> None:
    redacted = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}
    aside = {"role": "system", "content": "Be brief."}
    history = [prompt(), redacted, aside, said("Yes.", "one"), prompt(), said("No.", "two")]
    found = clearing(request(history, thinking(1)))
    assert thoughts(found) == ["two"]
    assert found is not None
    assert (found.request.messages[1].content, found.thinking_turns) == ([], 1)


# --- around them ---


def test_a_request_without_edits_has_none() -> None:
    bare = request([prompt()])
    assert list(edits_of(bare)) == []
    for management in (None, ContextManagement(edits=None)):
        assert list(edits_of(msgspec.structs.replace(bare, context_management=management))) == []


def test_thinking_is_cleared_first_or_refused() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^context_management\.edits\.1: clear_thinking_20251015 must"
    ):
        edits_of(request([prompt()], tool_uses(), thinking("all")))
    assert len(edits_of(request([prompt()], thinking(1), tool_uses()))) == 2


def test_a_guess_of_tokens_and_when_none_is_needed() -> None:
    given = request([prompt("x" * 4_000)], system="y" * 400)
    assert estimated_tokens(given) == 1_100
    assert may_pass(given, 4_400)
    assert not may_pass(given, 5_000)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    assert may_pass(request([{"role": "user", "content": [image]}]), 5_000)


def test_a_guess_counts_what_follows_a_picture() -> None:
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "QUFB" * 9_000},
    }
    words = {"type": "text", "text": "word " * 4_000}
    first, last = (
        estimated_tokens(request([{"role": "user", "content": content}]))
        for content in ([picture, words], [words, picture])
    )
    assert first == last
    assert 6_000 < first < 6_100


# --- one history in several spellings ---


def spelled(given: CountTokensRequest, how: str) -> MessagesRequest:
    """The same history, with its results as a client may write them."""
    body = msgspec.json.decode(msgspec.json.encode(given))
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block["type"] == "tool_result" and how != "string":
                text = {"type": "text", "text": block["content"]}
                marked = {**text, "cache_control": {"type": "ephemeral"}} if how == "marked" else text
                block["content"] = [marked]
    return msgspec.json.decode(msgspec.json.encode(body), type=MessagesRequest)


@pytest.mark.parametrize("how", ["string", "block", "marked"])
@pytest.mark.parametrize("least", [9, 55, 60, 100, 150, 250])
def test_how_a_result_is_spelled_makes_no_difference(how: str, least: int) -> None:
    plain = request(uses(12), tool_uses(trigger=2, keep=1, clear_at_least=least))
    assert cleared(spelled(plain, how)) == cleared(plain)
    assert estimated_tokens(spelled(plain, how)) == estimated_tokens(plain)


@pytest.mark.parametrize("how", ["string", "block", "marked"])
def test_what_the_client_cleared_by_itself_is_not_cleared_again(how: str) -> None:
    done = clearing(request(uses(4), tool_uses(trigger=2, keep=3)))
    assert done is not None
    found = clearing(spelled(done.request, how))
    assert found is None
