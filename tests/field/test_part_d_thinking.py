"""Field cases, part D: thinking, on its way in and out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.engines.scripted import answer
from dragoman.wire.openai import Reasoning
from tests.field.test_part_i_transport import in_front_of
from tests.server.conftest import Serve
from tests.server.http import REQUEST, STREAMED, ask, data_of, error_of, events_of
from tests.support.answers import blocks, finished, joined, said, streamed, whole
from tests.support.answers import completion as answered
from tests.support.fake_openai import chunk, events, reply
from tests.support.fake_openai import whole as message_of
from tests.support.translation import able_but, assistant, call, chat, result, thinking, translated, user

ADAPTIVE = {"thinking": {"type": "adaptive"}}
OMITTED = {"thinking": {"type": "adaptive", "display": "omitted"}}
PLAIN = able_but(reasoning=False, reasoning_switch=False)


def test_case_d57_reasoning_is_a_thinking_block(serve: Serve) -> None:
    served = serve({"": answer("So.", thinking="I think.")})
    content = ask(served.url, REQUEST | ADAPTIVE).json()["content"]
    assert [(block["type"], block.get("thinking")) for block in content] == [
        ("thinking", "I think."),
        ("text", None),
    ]
    assert joined(ask(served.url, STREAMED | ADAPTIVE).content, "thinking") == "I think."


def test_case_d58_earlier_thinking_goes_back_to_the_engine() -> None:
    assert (
        chat(user("a"), assistant(thinking("hm"), {"type": "text", "text": "b"}), user("c"))[1].reasoning
        == "hm"
    )


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_case_d59_every_thinking_block_has_one_signature(serve: Serve, display: str) -> None:
    served = serve({"": answer("So.", thinking="I think.")})
    asked = {"thinking": {"type": "adaptive", "display": display}}
    events = [data_of(event) for event in events_of(ask(served.url, STREAMED | asked).content)]
    signed = [event for event in events if event.get("delta", {}).get("type") == "signature_delta"]
    assert len(signed) == 1
    assert signed[0]["delta"]["signature"]


@pytest.mark.parametrize("asked", [None, {"type": "disabled"}])
def test_case_d60_thinking_is_opt_in(asked: Any) -> None:
    assert translated(thinking=asked).chat.reasoning.enabled is False


def test_case_d61_a_model_that_always_thinks_takes_disabled() -> None:
    changes = {"capabilities": able_but(reasoning_switch=False)}
    assert translated(changes, thinking={"type": "disabled"}).chat.reasoning == Reasoning()


@pytest.mark.parametrize("asked", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}])
def test_case_d62_d69_a_model_that_does_not_think_answers_without(serve: Serve, asked: Any) -> None:
    served = serve(capabilities=PLAIN)
    reply = ask(served.url, REQUEST | {"thinking": asked, "max_tokens": 2048})
    assert reply.status_code == 200
    assert [block["type"] for block in reply.json()["content"]] == ["text"]
    assert served.engine.calls[0].request.reasoning == Reasoning()


@pytest.mark.parametrize(
    "block",
    [{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": "hm"}],
    ids=["d63", "d64"],
)
def test_case_d63_d64_replayed_thinking_is_never_a_400(serve: Serve, block: dict[str, Any]) -> None:
    turns = [user("a"), assistant(block, {"type": "text", "text": "b"}), user("c")]
    assert ask(serve().url, REQUEST | {"messages": turns}).status_code == 200


def test_case_d65_d67_thinking_that_ate_the_budget_is_one_block_and_not_repeated() -> None:
    chunks = [said(reasoning="I th"), finished("length")]
    found = blocks(streamed(chunks))
    assert [(block["type"], block["thinking"]) for block in found] == [("thinking", "I th")]
    assert [block["type"] for block in whole(answered(reasoning="I th", reason="length"))["content"]] == [
        "thinking"
    ]


def test_case_d66_thinking_cut_at_its_first_token_shows_no_marks() -> None:
    chunks = [said(reasoning="I"), finished("length")]
    assert [block.get("thinking") for block in blocks(streamed(chunks))] == ["I"]
    assert b"<think" not in streamed(chunks)
    # Marks are the engine's business: what it calls text is text, here as there.
    assert [block.get("text") for block in blocks(streamed([said("<think>"), finished("length")]))] == [
        "<think>"
    ]


# What engines say of thinking where there is none.
NO_THINKING: list[dict[str, Any]] = [
    {},
    {"reasoning": None, "reasoning_content": None},
    {"reasoning": "", "reasoning_content": ""},
    {"reasoning_content": ""},
    {"reasoning": ""},
]
DIALECTS = pytest.mark.parametrize("dialect", ["generic", "vllm", "sglang", "ollama"])


def over_the_wire(
    dialect: str, asked: dict[str, Any], *answers: tuple[list[dict[str, Any]], dict[str, Any]]
) -> Iterator[list[tuple[str, str]]]:
    """The blocks that come of each answer of a remote engine, streamed (the deltas) and then whole."""
    chats = [
        chat
        for deltas, message in answers
        for chat in (
            events(*[chunk(one) for one in deltas], chunk({}, "stop"), "[DONE]"),
            reply(message_of(**message)),
        )
    ]
    with in_front_of(*chats, dialect=dialect) as url:
        for _ in answers:
            yield told(blocks(ask(url, STREAMED | {"model": "m"} | asked).content))
            yield told(ask(url, REQUEST | {"model": "m"} | asked).json()["content"])


def told(content: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(block["type"], block[block["type"]]) for block in content]


@DIALECTS
@pytest.mark.parametrize("asked", [{}, ADAPTIVE])
def test_case_d68_a_model_that_does_not_think_has_no_thinking_block(
    dialect: str, asked: dict[str, Any]
) -> None:
    answers = [
        (
            [{"role": "assistant", "content": "", **nothing}, {"content": "So.", **nothing}],
            {"text": "So.", **nothing},
        )
        for nothing in NO_THINKING
    ]
    found = list(over_the_wire(dialect, asked, *answers))
    assert found == [[("text", "So.")]] * (2 * len(NO_THINKING))


@DIALECTS
def test_case_d68_thinking_that_comes_under_two_names_is_one_block(dialect: str) -> None:
    deltas = [{"reasoning": one, "reasoning_content": one} for one in ("I th", "ink.")]
    message = {"text": "So.", "reasoning": "I think.", "reasoning_content": "I think."}
    found = list(over_the_wire(dialect, ADAPTIVE, ([*deltas, {"content": "So."}], message)))
    assert found == [[("thinking", "I think."), ("text", "So.")]] * 2


@DIALECTS
@pytest.mark.parametrize("full", ["reasoning", "reasoning_content"])
def test_case_d68_an_empty_name_beside_a_full_one_hides_no_thinking(dialect: str, full: str) -> None:
    names = {"reasoning": "", "reasoning_content": "", full: "I think."}
    found = list(over_the_wire(dialect, ADAPTIVE, ([names, {"content": "So."}], {"text": "So.", **names})))
    assert found == [[("thinking", "I think."), ("text", "So.")]] * 2


@pytest.mark.parametrize(("budget", "limit"), [(1023, 4096), (2048, 2048)])
def test_case_d70_a_budget_has_bounds(serve: Serve, budget: int, limit: int) -> None:
    served = serve()
    body = REQUEST | {"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": limit}
    assert error_of(ask(served.url, body))["message"].startswith("thinking.budget_tokens: ")


def test_case_d70_interleaved_thinking_lifts_the_upper_bound(serve: Serve) -> None:
    body = REQUEST | {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 2048}
    headers = {"anthropic-beta": "a, interleaved-thinking-2025-05-14"}
    assert ask(serve().url, body, headers=headers).status_code == 200


def test_case_d71_kept_thinking_stays_in_the_prompt(serve: Serve) -> None:
    served = serve()
    keep = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
    turns = [
        user("a"),
        assistant({"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}),
        user("c"),
    ]
    reply = ask(served.url, REQUEST | {"messages": turns} | keep).json()
    assert served.engine.calls[0].request.messages[1].reasoning == "hm"
    assert reply["context_management"] == {"applied_edits": []}


def test_case_d72_omitted_thinking_is_empty_and_comes_home(serve: Serve) -> None:
    served = serve({"": answer("So.", thinking="I think.")})
    content = ask(served.url, REQUEST | OMITTED).json()["content"]
    assert content[0]["thinking"] == ""
    turns = [user("a"), {"role": "assistant", "content": content}, user("c")]
    assert ask(served.url, REQUEST | OMITTED | {"messages": turns}).status_code == 200
    assert served.engine.calls[-1].request.messages[1].reasoning == "I think."


def test_case_d73_several_thinking_blocks_all_survive() -> None:
    turn = assistant(
        thinking("one "), {"type": "text", "text": "x"}, thinking("two"), {"type": "text", "text": "y"}
    )
    assert chat(user("a"), turn, user("b"))[1].reasoning == "one two"


def test_case_d74_a_turn_of_calls_has_no_content_and_one_of_nothing_no_calls() -> None:
    turns = chat(user("a"), assistant(thinking("hm"), call()), user(result()), assistant(""), user("b"))
    assert [(message.role, message.content) for message in turns[1::2]] == [
        ("assistant", None),
        ("assistant", ""),
    ]
    assert (turns[1].tool_calls is None, turns[3].tool_calls is None) == (False, True)
