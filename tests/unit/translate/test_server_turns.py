"""Earlier turns with calls that ran on the server: the same calls and results for the engine."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from tests.support.server_tools import BY_WORDS, WEB_FETCH, WEB_SEARCH
from tests.support.translation import (
    NONCE,
    SIGNER,
    able_but,
    assistant,
    call,
    plain,
    result,
    system,
    text,
    thinking,
    tool,
    translated,
    user,
)

HERE = {"server_tools": frozenset({"web_search", "web_fetch", "tool_search"})}
TOOLS = [WEB_SEARCH, WEB_FETCH, BY_WORDS, tool("f"), tool("late", defer_loading=True)]
Block = dict[str, Any]


def ran(call_id: str = "srvtoolu_a", name: str = "web_search", **arguments: Any) -> Block:
    return {"type": "server_tool_use", "id": call_id, "name": name, "input": arguments or {"query": "q"}}


def hits(call_id: str = "srvtoolu_a", *found: Block) -> Block:
    return {"type": "web_search_tool_result", "tool_use_id": call_id, "content": list(found)}


def hit(said: str = "It says so.", sealed: str | None = None, **more: Any) -> Block:
    sealed = SIGNER.seal(said, visible=False, nonce=NONCE) if sealed is None else sealed
    url = "https://a.example/"
    return {"type": "web_search_result", "title": "A", "url": url, "encrypted_content": sealed, **more}


def fetched(call_id: str = "srvtoolu_a", **content: Any) -> Block:
    return {"type": "web_fetch_tool_result", "tool_use_id": call_id, "content": content}


def found(call_id: str = "srvtoolu_a", **content: Any) -> Block:
    return {"type": "tool_search_tool_result", "tool_use_id": call_id, "content": content}


def messages(*turns: Block, **changes: Any) -> list[dict[str, Any]]:
    return plain(translated(HERE | changes, messages=list(turns), tools=TOOLS).chat.messages)


def read(*blocks: Block) -> str:
    """What the model reads of a result."""
    made = messages(user("hi"), assistant(*blocks), user("go on"))
    assert [turn["role"] for turn in made] == ["user", "assistant", "tool", "user"]
    return str(made[2]["content"])


def refusal(*turns: Block) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        messages(*turns)
    return refused.value.message


def test_a_turn_becomes_its_rounds() -> None:
    turn = assistant(
        thinking("hm"), text("Look: "), ran(), hits("srvtoolu_a", hit()), text("And "), ran("srvtoolu_b"),
        hits("srvtoolu_b"), text("so."),
    )  # fmt: skip
    made = messages(user("hi"), turn, user("ok"))
    assert [turn["role"] for turn in made] == [
        "user", "assistant", "tool", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert (made[1]["content"], made[1]["reasoning"]) == ("Look: ", "hm")
    assert [one["id"] for one in made[1]["tool_calls"]] == ["srvtoolu_a"]
    assert made[2] == {
        "role": "tool",
        "content": "1. A\nhttps://a.example/\nIt says so.",
        "tool_call_id": "srvtoolu_a",
    }
    assert (made[3]["content"], made[4]["content"], made[5]["content"]) == ("And ", "No results.", "so.")


def test_calls_of_one_round_stay_together() -> None:
    turn = assistant(ran(), text("both"), ran("srvtoolu_b"), hits("srvtoolu_b"), hits("srvtoolu_a", hit()))
    made = messages(user("hi"), turn, user("ok"))
    assert [turn["role"] for turn in made] == ["user", "assistant", "tool", "tool", "user"]
    assert [one["tool_call_id"] for one in made[2:4]] == ["srvtoolu_a", "srvtoolu_b"]


def test_results_of_the_client_join_in_the_order_of_the_calls() -> None:
    turn = assistant(call("toolu_a"), ran(), hits(), text("after"))
    made = messages(user("hi"), turn, user(result("toolu_a", "mine"), text("more")))
    assert [one["role"] for one in made] == ["user", "assistant", "tool", "tool", "user"]
    assert [one.get("content") for one in made[1:]] == ["after", "mine", "No results.", "more"]
    missing = refusal(user("hi"), turn, user("no result"))
    assert missing.startswith("messages.1: `tool_use` ids were found without `tool_result` blocks")
    assert "srvtoolu_a" not in missing
    wrong = refusal(user("hi"), turn, user(result("toolu_a"), result("srvtoolu_a")))
    assert wrong.startswith("messages.2.content.1: unexpected `tool_use_id`")


def test_a_turn_that_ends_with_results_is_gone_on_with() -> None:
    able = able_but(continuation=False)
    made = translated(
        HERE | {"capabilities": able}, messages=[user("hi"), assistant(ran(), hits())], tools=TOOLS
    ).chat
    assert not made.continue_final
    assert made.messages[-1].role == "tool"
    waiting = refusal(user("hi"), assistant(ran(), call("toolu_a"), hits()))
    assert "toolu_a" in waiting


def test_text_behind_results_at_the_end_is_a_prefill() -> None:
    made = translated(HERE, messages=[user("hi"), assistant(ran(), hits(), text("So"))], tools=TOOLS).chat
    assert made.continue_final
    assert (made.messages[-1].role, made.messages[-1].content) == ("assistant", "So")


def test_a_call_without_result_did_not_run() -> None:
    assert read(ran()) == "[error] the call did not run"
    made = messages(
        user("hi"), assistant(ran(), ran("srvtoolu_b"), hits("srvtoolu_b"), text("x")), user("ok")
    )
    assert [one.get("content") for one in made] == [
        "hi",
        "x",
        "[error] the call did not run",
        "No results.",
        "ok",
    ]


def test_two_results_of_one_call_are_refused() -> None:
    wrong = refusal(user("hi"), assistant(ran(), hits(), hits()), user("ok"))
    assert wrong.startswith("messages.1.content.2: each server_tool_use must have a single result")


def test_what_pages_say_is_read_where_the_seal_is_ours() -> None:
    aged = hit(page_age="2 days ago")
    foreign = hit(sealed="Zm9yZWlnbg==")
    assert read(ran(), hits("srvtoolu_a", aged, foreign)) == (
        "1. A\nhttps://a.example/\n2 days ago\nIt says so.\n\n2. A\nhttps://a.example/"
    )


def test_a_page_is_read_with_its_title_and_address() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "All of it."}
    page = {"type": "document", "source": source, "title": "T", "citations": {"enabled": True}}
    given = fetched(type="web_fetch_result", url="https://a.example/x", content=page, retrieved_at="now")
    assert read(ran(name="web_fetch", url="x"), given) == "T\nhttps://a.example/x\nAll of it."


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (
            hits() | {"content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}},
            "[error] max_uses_exceeded",
        ),
        (fetched(type="web_fetch_tool_result_error", error_code="new_code"), "[error] new_code"),
        (
            found(type="tool_search_tool_result_error", error_code="unavailable", error_message="no"),
            "[error] unavailable: no",
        ),
        (found(type="tool_search_tool_search_result", tool_references=[]), "No tools found."),
    ],
)
def test_errors_and_nothing_are_said(block: Block, said: str) -> None:
    assert read(ran(), block) == said


def test_found_tools_are_shown_with_their_schema() -> None:
    given = found(
        type="tool_search_tool_search_result",
        tool_references=[{"type": "tool_reference", "tool_name": "late"}],
    )
    shown = read(ran(name="tool_search_tool_bm25"), given)
    assert shown.startswith(
        'The tool late is available from here on:\n{"type":"function","function":{"name":"late"'
    )


def test_a_found_tool_that_is_gone_is_refused_by_its_code() -> None:
    reference = {"type": "tool_reference", "tool_name": "gone"}
    given = found(type="tool_search_tool_search_result", tool_references=[reference])
    with pytest.raises(InvalidRequestError) as refused:
        read(ran(), given)
    assert refused.value.error_code == "tool_reference_unresolved"
    where = "messages.1.content.1.content.tool_references.0.tool_name"
    assert refused.value.message.startswith(f"{where}: Tool reference 'gone'")


@pytest.mark.parametrize("content", ["text", 1, {"type": "other"}, [{"type": "web_search_result"}]])
def test_a_result_of_no_known_shape_is_what_there_is_to_read(content: Any) -> None:
    said = read(ran(), hits() | {"content": content})
    assert said.startswith("<web_search_tool_result")


def test_a_page_that_is_no_text_is_named() -> None:
    page = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}
    given = fetched(type="web_fetch_result", url="https://a.example/x", content=page)
    assert read(ran(), given) == "https://a.example/x\n[application/pdf left out]"


def test_a_tool_of_the_client_that_takes_the_name_is_the_clients() -> None:
    named = {"type": "tool_reference", "name": "web_search"}
    definition = {"type": "tool_definition", "definition": tool("web_search")}
    changes = [{"type": "tool_removal", "tool": named}, {"type": "tool_addition", "tool": definition}]
    turns = [user("hi"), assistant(ran(), hits("srvtoolu_a", hit())), user("go on"), system(*changes)]
    given = translated(HERE, messages=turns, tools=TOOLS)
    assert set(given.server_tools) == {"web_fetch", "tool_search_tool_bm25"}
    # what ran here before is read as it was
    assert [turn.role for turn in given.chat.messages][:4] == ["user", "assistant", "tool", "user"]
