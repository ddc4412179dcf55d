"""History of tools that ran elsewhere: text in its place, without what is encrypted."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from tests.support.translation import (
    able_but,
    assistant,
    call,
    chat,
    document,
    result,
    text,
    thinking,
    translated,
    user,
)

SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": 'a "b"'},
    "caller": {"type": "direct"},
}
SEARCH_LINES = (
    '<server_tool_use id="srvtoolu_1" name="web_search">\n{"query":"a \\"b\\""}\n</server_tool_use>'
)


def outcome(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    """The result of a tool that ran elsewhere."""
    return {"type": kind, "tool_use_id": "srvtoolu_1", "content": content, **more}


def lines(block: dict[str, Any], role: str = "assistant") -> list[str]:
    """The lines between the tags of a block, in either role."""
    turns = [user("x"), {"role": role, "content": [block]}, user("y")]
    found = str(chat(*turns)[1 if role == "assistant" else 0].content)
    if role == "user":
        found = found.removeprefix("x\n").removesuffix("\ny")
    head, *inner, tail = found.split("\n")
    assert head.startswith(f"<{block['type']}")
    assert tail == f"</{block['type']}>"
    return inner


HITS = [
    {"type": "web_search_result", "url": "https://a", "title": "A", "encrypted_content": "SECRET"},
    {
        "type": "web_search_result",
        "title": "B",
        "url": "https://b",
        "page_age": "2 days",
        "encrypted_content": "SECRET",
    },
]
CASES: list[tuple[dict[str, Any], list[str]]] = [
    (SEARCH, ['{"query":"a \\"b\\""}']),
    (
        outcome("web_search_tool_result", HITS, caller={"type": "direct"}),
        ["- title: A", "url: https://a", "- title: B", "url: https://b", "page_age: 2 days"],
    ),
    (
        outcome(
            "web_search_tool_result", {"type": "web_search_tool_result_error", "error_code": "unavailable"}
        ),
        ["[error]", "error_code: unavailable"],
    ),
    (
        outcome(
            "web_fetch_tool_result",
            {
                "type": "web_fetch_result",
                "url": "https://a",
                "retrieved_at": None,
                "content": document("one\ntwo", title="T", citations={"enabled": True}),
            },
        ),
        ["url: https://a", "title: T", "one", "two"],
    ),
    (
        outcome(
            "web_fetch_tool_result",
            {
                "type": "web_fetch_result",
                "url": "https://a",
                "content": document({"type": "base64", "media_type": "application/pdf", "data": "AA=="}),
            },
        ),
        ["url: https://a", "[application/pdf left out]"],
    ),
    (
        outcome(
            "code_execution_tool_result",
            {
                "type": "code_execution_result",
                "content": [{"type": "code_execution_output", "file_id": "file_1"}],
                "return_code": 0,
                "stderr": "",
                "stdout": "1\n2",
            },
        ),
        ["return_code: 0", "stdout:", "1", "2", "- file_id: file_1"],
    ),
    (
        outcome(
            "code_execution_tool_result",
            {
                "type": "encrypted_code_execution_result",
                "content": [],
                "return_code": 1,
                "stderr": "no",
                "encrypted_stdout": "SECRET",
            },
        ),
        ["return_code: 1", "stderr: no"],
    ),
    (
        outcome(
            "bash_code_execution_tool_result",
            {
                "type": "bash_code_execution_result",
                "content": [],
                "return_code": 0,
                "stderr": "",
                "stdout": "ok",
            },
        ),
        ["return_code: 0", "stdout: ok"],
    ),
    (
        outcome(
            "text_editor_code_execution_tool_result",
            {
                "type": "text_editor_code_execution_view_result",
                "content": "a = 1",
                "file_type": "text",
                "num_lines": 1,
            },
        ),
        ["a = 1", "file_type: text", "num_lines: 1"],
    ),
    (
        outcome(
            "text_editor_code_execution_tool_result",
            {"type": "text_editor_code_execution_create_result", "is_file_update": False},
        ),
        ["is_file_update: false"],
    ),
    (
        outcome(
            "text_editor_code_execution_tool_result",
            {"type": "text_editor_code_execution_str_replace_result", "lines": ["-a", "+b"], "new_start": 1},
        ),
        ["lines:", "-a", "+b", "new_start: 1"],
    ),
    (
        outcome(
            "text_editor_code_execution_tool_result",
            {
                "type": "text_editor_code_execution_tool_result_error",
                "error_message": "not there",
                "error_code": "file_not_found",
            },
        ),
        ["[error]", "error_code: file_not_found", "error_message: not there"],
    ),
    (
        outcome(
            "tool_search_tool_result",
            {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": name} for name in "fg"],
            },
        ),
        ["- tool_name: f", "- tool_name: g"],
    ),
    (outcome("advisor_tool_result", {"type": "advisor_result", "text": "Do it."}), ["Do it."]),
    (
        outcome("advisor_tool_result", {"type": "advisor_redacted_result", "encrypted_content": "SECRET"}),
        [],
    ),
    (
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "f", "server_name": "s", "input": {}},
        ["{}"],
    ),
    (outcome("mcp_tool_result", "words"), ["words"]),
    (outcome("mcp_tool_result", [text("a"), text("b\nc")], is_error=False), ["a", "b", "c"]),
    (outcome("mcp_tool_result", "no", is_error=True), ["[error]", "no"]),
    ({"type": "mcp_tool_result", "tool_use_id": "a"}, []),
    (
        {
            "type": "mcp_tool_listing",
            "mcp_server_name": "s",
            "tools": [
                {
                    "name": "f",
                    "description": "does f",
                    "input_schema": {"type": "object", "properties": {"b": {"type": "string"}}},
                }
            ],
        },
        [
            "- name: f",
            "description: does f",
            'input_schema: {"properties":{"b":{"type":"string"}},"type":"object"}',
        ],
    ),
]


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize(("block", "expected"), CASES)
def test_a_block_of_history_is_lines_between_tags(
    block: dict[str, Any], expected: list[str], role: str
) -> None:
    assert lines(block, role) == expected


def test_the_tags_name_tool_call_and_server() -> None:
    turn = assistant(
        SEARCH,
        outcome("web_search_tool_result", []),
        {"type": "mcp_tool_use", "id": "m", "name": "f", "server_name": "<s>", "input": {}},
        {"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []},
    )
    found = str(chat(user("x"), turn, user("y"))[1].content).split("\n")
    assert [line for line in found if line.startswith("<") and line[1] != "/"] == [
        '<server_tool_use id="srvtoolu_1" name="web_search">',
        '<web_search_tool_result id="srvtoolu_1">',
        '<mcp_tool_use id="m" name="f" server="&lt;s&gt;">',
        '<mcp_tool_listing server="s">',
    ]


def reversed_keys(value: Any) -> Any:
    """The same value, the keys of its objects the other way round."""
    if isinstance(value, list):
        return [reversed_keys(item) for item in value]
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return value


@pytest.mark.parametrize(("block", "expected"), CASES[1:])
def test_the_order_of_keys_makes_no_difference(block: dict[str, Any], expected: list[str]) -> None:
    assert lines(reversed_keys(block)) == expected


def test_what_lies_deeper_than_any_history_is_json() -> None:
    deep: Any = {"b": 1, "a": None}
    for _ in range(400):
        deep = [deep]
    (line,) = lines(outcome("advisor_tool_result", deep))
    assert line == "[" * 393 + '{"a":null,"b":1}' + "]" * 393


def test_history_has_lines_of_its_own_and_texts_still_join_with_nothing() -> None:
    hits = outcome("web_search_tool_result", "none")
    turn = assistant(text("I "), text("look."), SEARCH, hits, text(""), text("No"), text("thing.\n"), SEARCH)
    assert chat(user("x"), turn, user("y"))[1].content == (
        f"I look.\n{SEARCH_LINES}\n"
        '<web_search_tool_result id="srvtoolu_1">\nnone\n</web_search_tool_result>\n'
        f"Nothing.\n{SEARCH_LINES}"
    )


def test_history_beside_calls_and_thoughts() -> None:
    turn = assistant(thinking("hm"), SEARCH, call("toolu_a"))
    message = chat(user("x"), turn, user(result("toolu_a")))[1]
    assert (message.reasoning, message.content) == ("hm", SEARCH_LINES)
    assert [one.function.name for one in message.tool_calls or ()] == ["f"]


def test_an_answer_may_go_on_behind_history() -> None:
    translation = translated(messages=[user("x"), assistant(text("Look: "), SEARCH)])
    assert translation.chat.continue_final
    assert translation.chat.messages[-1].content == f"Look: \n{SEARCH_LINES}"
    with pytest.raises(InvalidRequestError, match=r"^messages\.1: the engine of the model"):
        chat(user("x"), assistant(SEARCH), capabilities=able_but(continuation=False))


def test_an_input_that_is_no_object_is_refused_by_path() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages\.1\.content\.0\.input: "):
        chat(user("x"), assistant(SEARCH | {"input": []}))


# --- browsers ---

TABS: list[dict[str, Any]] = [
    {"tab_id": "1", "title": "A", "url": "https://a", "active": True},
    {"tab_id": "2", "title": "", "url": ""},
]


def browser(**more: Any) -> str:
    """The content of a result with the state of a browser."""
    block = {"type": "browser_state", "tabs": TABS, **more}
    return str(chat(user("go"), assistant(call()), user(result(content=[block])))[2].content)


def test_the_state_of_a_browser_is_its_tabs_and_changes() -> None:
    changes = [
        {"type": "tab_opened", "tab_id": "2"},
        {"type": "download_completed", "url": "https://b", "download_id": "d", "size_bytes": 3},
    ]
    assert browser(state_changes=changes).split("\n") == [
        "<browser_state>",
        "- title: A",
        "url: https://a",
        "tab_id: 1",
        "active: true",
        "- tab_id: 2",
        "- name: tab_opened",
        "tab_id: 2",
        "- name: download_completed",
        "url: https://b",
        "download_id: d",
        "size_bytes: 3",
        "</browser_state>",
    ]


def test_a_tab_that_says_it_is_not_active_equals_one_that_says_nothing() -> None:
    stated = [TABS[0], TABS[1] | {"active": False}]
    assert browser(tabs=stated) == browser() == browser(state_changes=None)
