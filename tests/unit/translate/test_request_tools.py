"""Tools and tool_choice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.translate.raw import object_text
from tests.support.translation import SCHEMA, able_but, counted, tool, translated

RAW = b'{"type": "object",  "z": 1, "properties": {"b": {}, "a": {}}, "$schema": "x", "required": ["b"]}'


def names(tools: Any) -> list[str]:
    return [one.function.name for one in tools]


def refusal(**fields: Any) -> str:
    """The message of the refusal of a request with these fields."""
    with pytest.raises(InvalidRequestError) as refused:
        translated(**fields)
    return refused.value.message


@pytest.mark.parametrize("kind", [{}, {"type": "custom"}, {"type": None}])
def test_a_custom_tool_is_a_function(kind: dict[str, Any]) -> None:
    written = translated(tools=[tool(strict=True, **kind)]).chat.tools
    assert msgspec.to_builtins(written[0].function.name) == "f"
    assert (written[0].function.description, written[0].function.strict) == ("does f", True)
    assert msgspec.json.decode(written[0].function.parameters) == SCHEMA


def test_a_schema_keeps_its_bytes() -> None:
    written = translated(tools=[tool(input_schema=msgspec.Raw(RAW))]).chat.tools
    assert bytes(written[0].function.parameters) == RAW


def test_tools_keep_their_order() -> None:
    written = translated(tools=[tool("b"), tool("a"), tool("c", defer_loading=False)]).chat
    assert names(written.tools) == ["b", "a", "c"]


def test_fields_without_effect_change_nothing() -> None:
    bare = translated(tools=[tool()]).chat
    dressed = tool(
        cache_control={"type": "ephemeral"},
        eager_input_streaming=True,
        allowed_callers=["direct"],
        input_examples=None,
        x_unknown=1,
    )
    assert names(translated(tools=[dressed]).chat.tools) == names(bare.tools)
    same = [bytes(chat.tools[0].function.parameters) for chat in (translated(tools=[dressed]).chat, bare)]
    assert same[0] == same[1]


def test_examples_of_input_join_the_schema() -> None:
    written = translated(tools=[tool(input_examples=[{"q": "x"}])]).chat.tools[0].function.parameters
    assert msgspec.json.decode(written) == SCHEMA | {"examples": [{"q": "x"}]}


def test_examples_of_input_follow_those_that_the_schema_has() -> None:
    own = {"examples": [{"q": "own"}]} | SCHEMA
    written = translated(tools=[tool(input_schema=own, input_examples=[{"q": "x"}])]).chat.tools
    found = msgspec.json.decode(written[0].function.parameters)
    assert found == SCHEMA | {"examples": [{"q": "own"}, {"q": "x"}]}
    assert list(found) == list(own)


def test_examples_cannot_join_what_is_no_list() -> None:
    declared = tool(input_schema=SCHEMA | {"examples": {}}, input_examples=[1])
    assert refusal(tools=[declared]) == "tools.0.input_schema.examples: Input should be an array"


def test_the_type_of_a_schema_may_be_escaped() -> None:
    schema = msgspec.Raw(b'{"type":"\\u006fbject"}')
    assert bytes(translated(tools=[tool(input_schema=schema)]).chat.tools[0].function.parameters) == bytes(
        schema
    )


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (tool(name=...), "tools.0.name: Field required"),
        (tool(name=None), "tools.0.name: Field required"),
        (tool(name=""), "tools.0.name: String should match pattern"),
        (tool(name="a b"), "tools.0.name: String should match pattern"),
        (tool(name="é"), "tools.0.name: String should match pattern"),
        (tool(name="a\n"), "tools.0.name: String should match pattern"),
        (tool(name="a" * 129), "tools.0.name: String should match pattern"),
        (tool(input_schema=...), "tools.0.input_schema: Field required"),
        (tool(input_schema=None), "tools.0.input_schema: Input should be an object"),
        (tool(input_schema="x"), "tools.0.input_schema: Input should be an object"),
        (tool(input_schema={}), "tools.0.input_schema.type: Field required"),
        (tool(input_schema={"type": "string"}), "tools.0.input_schema.type: Input should be 'object'"),
        (
            tool(input_schema=SCHEMA | {"properties": []}),
            "tools.0.input_schema.properties: Input should be an",
        ),
        (tool(input_schema=SCHEMA | {"required": "q"}), "tools.0.input_schema.required: Input should be an"),
        (tool(input_examples={}), "tools.0.input_examples: Input should be an array"),
    ],
)
def test_a_broken_tool_is_refused_by_path(declared: dict[str, Any], words: str) -> None:
    assert refusal(tools=[declared]).startswith(words)


def test_null_members_of_a_schema_are_the_same_as_none() -> None:
    schema = {"type": "object", "properties": None, "required": None}
    assert len(translated(tools=[tool(input_schema=schema)]).chat.tools) == 1


def test_names_are_unique_deferred_tools_included() -> None:
    assert refusal(tools=[tool("a"), tool("b"), tool("a", defer_loading=True)]).startswith("tools.2.name: ")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("web_search_20250305", "tools.1: server tool web_search_20250305 is not available"),
        ("web_fetch_20260318", "tools.1: server tool web_fetch_20260318 is not available"),
        ("code_execution_20260521", "tools.1: server tool code_execution_20260521 is not available"),
        ("advisor_20260301", "tools.1: server tool advisor_20260301 is not available"),
        ("mcp_toolset", "tools.1: server tool mcp_toolset is not available"),
        (
            "tool_search_tool_bm25_20251119",
            "tools.1: server tool tool_search_tool_bm25_20251119 is not available",
        ),
        ("bash_20990101", "tools.1: tool type bash_20990101 is not available"),
        ("computer_toolset_20260801", "tools.1: tool type computer_toolset_20260801 is not available"),
        ("browser_toolset_20260801", "tools.1: tool type browser_toolset_20260801 is not available"),
        ("teapot", "tools.1.type: unknown tool type 'teapot' is not available"),
        ("", "tools.1.type: unknown tool type '' is not available"),
    ],
)
def test_a_tool_type_that_is_not_built_is_refused_by_name(kind: str, words: str) -> None:
    assert refusal(tools=[tool(), {"type": kind, "name": "x"}]).startswith(words)


def test_tools_need_a_model_that_takes_them() -> None:
    with pytest.raises(InvalidRequestError, match=r"^tools: the model 'served' does not take tools"):
        translated({"capabilities": able_but(tools=False)}, tools=[tool()])
    assert translated({"capabilities": able_but(tools=False)}, tools=[]).chat.tools == []


# --- deferred tools ---


def test_deferred_tools_stay_out_of_the_prompt() -> None:
    chat = translated(tools=[tool("a"), tool("b", defer_loading=True), tool("c")]).chat
    assert (names(chat.tools), names(chat.hidden_tools)) == (["a", "c"], ["b"])


def test_the_placeholder_of_a_client_is_no_tool() -> None:
    stands_for_nothing = tool("DeferredToolPlaceholder", defer_loading=True)
    chat = translated(tools=[tool("a"), stands_for_nothing]).chat
    assert (names(chat.tools), chat.hidden_tools) == (["a"], [])
    real = translated(tools=[tool("DeferredToolPlaceholder")]).chat
    assert names(real.tools) == ["DeferredToolPlaceholder"]


def test_deferred_tools_that_come_later_do_not_move_the_prompt() -> None:
    before = translated(tools=[tool("a"), tool("c")]).chat
    after = translated(tools=[tool("a"), tool("b", defer_loading=True), tool("c")]).chat
    assert names(before.tools) == names(after.tools)


def test_a_deferred_tool_cannot_be_forced() -> None:
    fields = {
        "tools": [tool("a"), tool("b", defer_loading=True)],
        "tool_choice": {"type": "tool", "name": "b"},
    }
    assert refusal(**fields).startswith("tool_choice.name: Tool 'b' cannot be called here: it is deferred")


# --- tool_choice ---


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, (None, None, None)),
        ({"type": "auto"}, ("auto", None, None)),
        ({"type": "auto", "disable_parallel_tool_use": False}, ("auto", None, None)),
        ({"type": "auto", "disable_parallel_tool_use": True}, ("auto", None, False)),
        ({"type": "any"}, ("required", None, None)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", None, False)),
        ({"type": "tool", "name": "f"}, ("function", "f", None)),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": True}, ("function", "f", False)),
        ({"type": "none"}, ("none", None, None)),
    ],
)
def test_every_form_of_tool_choice(asked: Any, expected: tuple[str | None, str | None, bool | None]) -> None:
    chat = translated(tools=[tool()], tool_choice=asked).chat
    choice = chat.tool_choice
    found = (choice and choice.mode, choice and choice.name, chat.parallel_tool_calls)
    assert found == expected
    assert names(chat.tools) == ["f"]


@pytest.mark.parametrize("kind", ["auto", "none"])
@pytest.mark.parametrize("tools", [None, [], [tool(defer_loading=True)]])
def test_without_tools_a_choice_that_forces_nothing_says_nothing(kind: str, tools: Any) -> None:
    chat = translated(tools=tools, tool_choice={"type": kind}).chat
    assert (chat.tool_choice, chat.parallel_tool_calls) == (None, None)


@pytest.mark.parametrize("tools", [None, [], [tool(defer_loading=True)]])
def test_any_needs_a_tool(tools: Any) -> None:
    assert refusal(tools=tools, tool_choice={"type": "any"}).startswith("tool_choice: `any` needs")


@pytest.mark.parametrize("tools", [None, [], [tool("g")]])
def test_a_named_tool_must_be_there(tools: Any) -> None:
    words = refusal(tools=tools, tool_choice={"type": "tool", "name": "f"})
    assert words == "tool_choice.name: Tool 'f' not found in provided tools"


@pytest.mark.parametrize("asked", [{"type": "any"}, {"type": "tool", "name": "f"}])
def test_an_engine_that_cannot_force_a_call_is_named(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"^tool_choice: the engine .* cannot force a call"):
        translated({"capabilities": able_but(forced_tools=False)}, tools=[tool()], tool_choice=asked)


def test_a_count_has_the_same_tools() -> None:
    fields: dict[str, Any] = {"tools": [tool()], "tool_choice": {"type": "any"}}
    assert names(counted(**fields).chat.tools) == names(translated(**fields).chat.tools)
    assert counted(**fields).chat.tool_choice == translated(**fields).chat.tool_choice


def test_an_object_is_told_by_its_first_byte() -> None:
    assert object_text(msgspec.Raw(b"{}"), "x") == "{}"
