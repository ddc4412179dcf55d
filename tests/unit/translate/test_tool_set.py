"""Tools that change along a conversation: references, additions, removals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.translate.tool_set import ToolSet
from dragoman.translate.tools import DeclaredTool
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.openai import ChatRequest, ToolChoice
from tests.support.translation import (
    able_but,
    assistant,
    body,
    call,
    counted,
    result,
    system,
    text,
    tool,
    translated,
    user,
)

TOOLS = [tool("a"), tool("b"), tool("late", description="comes late", defer_loading=True)]
LATE = (
    '{"type":"function","function":{"name":"late","description":"comes late","parameters":'
    '{"type":"object","properties":{"q":{"type":"string"}}}}}'
)
WRITTEN = f"The tool late is available from here on:\n{LATE}"


def reference(name: str) -> dict[str, Any]:
    """A reference inside a result."""
    return {"type": "tool_reference", "tool_name": name}


def added(name: str) -> dict[str, Any]:
    """An addition by name."""
    return {"type": "tool_addition", "tool": {"type": "tool_reference", "name": name}}


def defined(definition: Any) -> dict[str, Any]:
    """An addition by value."""
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}


def removed(name: str) -> dict[str, Any]:
    """A removal."""
    return {"type": "tool_removal", "tool": {"type": "tool_reference", "name": name}}


def changed(*blocks: Any, tools: Any = TOOLS, **fields: Any) -> ChatRequest:
    """The request of a conversation with one system turn of these blocks."""
    return translated(messages=[user("go"), system(*blocks)], tools=tools, **fields).chat


def loading(*content: Any, tools: Any = TOOLS, **fields: Any) -> ChatRequest:
    """The request of a conversation with one result of this content."""
    turns = [user("go"), assistant(call(name="a")), user(result(content=list(content)))]
    return translated(messages=turns, tools=tools, **fields).chat


def refusal(*blocks: Any, tools: Any = TOOLS, **fields: Any) -> InvalidRequestError:
    """The refusal of a conversation with one system turn of these blocks."""
    with pytest.raises(InvalidRequestError) as refused:
        changed(*blocks, tools=tools, **fields)
    return refused.value


def names(tools: Any) -> list[str]:
    return [one.function.name for one in tools]


def told(chat: ChatRequest) -> Any:
    """The text of the last message."""
    return chat.messages[-1].content


# --- references ---


def test_a_reference_is_the_tools_schema_as_text_where_it_stands() -> None:
    chat = loading(reference("late"), text("Tool loaded."))
    assert told(chat) == f"{WRITTEN}\nTool loaded."
    assert (names(chat.tools), names(chat.loaded_tools)) == (["a", "b"], ["late"])
    assert names(chat.callable_tools) == ["a", "b", "late"]


def test_a_schema_is_spelled_as_the_request_has_it() -> None:
    late = {
        "name": "late",
        "defer_loading": True,
        "input_schema": msgspec.Raw(b'{"type": "object",  "z": 1}'),
    }
    chat = loading(reference("late"), tools=[tool("a"), late])
    assert '"parameters":{"type": "object",  "z": 1}' in told(chat)


def test_a_tool_that_can_be_called_already_is_only_named() -> None:
    assert told(loading(reference("a"))) == "The tool a is available."
    assert told(loading(reference("late"), reference("late"))) == f"{WRITTEN}\nThe tool late is available."


def test_a_loaded_tool_can_be_forced_and_any_counts_it() -> None:
    named = loading(reference("late"), tool_choice={"type": "tool", "name": "late"})
    assert named.tool_choice == ToolChoice("function", "late")
    only_late = loading(reference("late"), tools=[TOOLS[2]], tool_choice={"type": "any"})
    assert only_late.tool_choice == ToolChoice("required")


def test_a_count_loads_the_same_tools() -> None:
    turns = [user("go"), assistant(call(name="a")), user(result(content=[reference("late")]))]
    fields: dict[str, Any] = {"messages": turns, "tools": TOOLS}
    assert counted(**fields).chat.messages == translated(**fields).chat.messages


def test_a_reference_to_nothing_is_refused_with_its_code() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        loading(text("x"), reference("absent"))
    assert refused.value.error_code == "tool_reference_unresolved"
    path = "messages.2.content.0.content.1.tool_name"
    assert refused.value.message == f"{path}: Tool reference 'absent' not found in available tools"


def test_the_placeholder_cannot_be_loaded() -> None:
    tools = [tool("a"), tool("DeferredToolPlaceholder", defer_loading=True)]
    with pytest.raises(InvalidRequestError) as refused:
        loading(reference("DeferredToolPlaceholder"), tools=tools)
    assert refused.value.error_code == "tool_reference_unresolved"


def test_a_reference_outside_of_a_result_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        translated(messages=[user(reference("late"))], tools=TOOLS)
    assert refused.value.message == (
        "messages.0.content.0: tool_reference blocks are not allowed in user turns, only inside a tool_result"
    )


# --- additions and removals ---


def test_an_addition_by_name_is_text_in_its_system_turn() -> None:
    chat = changed(text("Note."), added("late"))
    assert (chat.messages[-1].role, told(chat)) == ("system", f"Note.\n{WRITTEN}")
    assert names(chat.callable_tools) == ["a", "b", "late"]


def test_an_addition_may_spell_the_name_as_results_do() -> None:
    block = {"type": "tool_addition", "tool": {"type": "tool_reference", "tool_name": "late"}}
    assert told(changed(block)) == WRITTEN


def test_an_addition_by_value_can_be_called() -> None:
    chat = changed(defined(tool("new")), tool_choice={"type": "tool", "name": "new"})
    assert '"name":"new"' in told(chat)
    assert (names(chat.tools), names(chat.loaded_tools)) == (["a", "b"], ["new"])


def test_an_inline_tool_can_be_named_later() -> None:
    chat = changed(defined(tool("new")), removed("new"), added("new"))
    assert names(chat.loaded_tools) == ["new"]
    assert told(chat).count('"name":"new"') == 2


def test_an_inline_client_tool_has_its_known_schema() -> None:
    chat = changed(defined({"type": "bash_20250124", "name": "bash"}))
    assert '"name":"bash"' in told(chat)


def test_a_removal_is_a_line_and_the_head_stays() -> None:
    chat = changed(removed("b"))
    assert told(chat) == "The tool b is no longer available: do not call it."
    assert (names(chat.tools), chat.removed_tools) == (["a", "b"], ["b"])
    assert names(chat.callable_tools) == ["a"]


def test_a_removed_tool_cannot_be_forced() -> None:
    words = refusal(removed("b"), tool_choice={"type": "tool", "name": "b"}).message
    assert words.startswith("tool_choice.name: Tool 'b' cannot be called here")


@pytest.mark.parametrize("asked", [None, {"type": "auto"}, {"type": "none"}])
def test_where_all_were_removed_none_is_called(asked: Any) -> None:
    chat = changed(removed("a"), removed("b"), tool_choice=asked)
    assert (chat.tool_choice, names(chat.tools)) == (ToolChoice("none"), ["a", "b"])


def test_where_all_were_removed_any_is_refused() -> None:
    words = refusal(removed("a"), removed("b"), tool_choice={"type": "any"}).message
    assert words == "tool_choice: `any` needs at least one tool that can be called"


def test_a_tool_of_the_head_comes_back_without_its_schema() -> None:
    chat = changed(removed("b"), added("b"))
    assert told(chat).endswith("\nThe tool b is available.")
    assert (chat.removed_tools, chat.loaded_tools) == ([], [])


def test_the_same_definition_of_a_tool_of_the_head_is_that_tool() -> None:
    chat = changed(removed("b"), defined(tool("b")))
    assert (chat.removed_tools, chat.loaded_tools) == ([], [])


def test_a_new_definition_takes_the_place_of_the_old() -> None:
    chat = changed(defined(tool("b", description="another")))
    assert (names(chat.tools), chat.removed_tools, names(chat.loaded_tools)) == (["a", "b"], ["b"], ["b"])
    assert [one.function.description for one in chat.callable_tools] == ["does f", "another"]


def test_a_loaded_tool_that_was_removed_is_written_out_when_it_comes_again() -> None:
    chat = changed(added("late"), removed("late"), added("late"))
    assert told(chat).count(LATE) == 2


def test_an_addition_takes_no_name_of_another_kind() -> None:
    tools = [tool("bash"), *TOOLS]
    error = refusal(defined({"type": "bash_20250124", "name": "bash"}), tools=tools)
    assert error.error_code == "tool_name_conflict"
    path = "messages.1.content.0.tool.definition.name"
    assert error.message == f"{path}: 'bash' is the name of an available tool of the type custom"
    freed = changed(removed("bash"), defined({"type": "bash_20250124", "name": "bash"}), tools=tools)
    assert names(freed.loaded_tools) == ["bash"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (added("x"), "tool.name: Tool reference 'x' not found in available tools"),
        (removed("x"), "tool.name: Tool reference 'x' not found in available tools"),
        (added(""), "tool.name: Field required"),
        (defined(tool("a b")), "tool.definition.name: String should match pattern"),
        (defined(tool(name=3)), "tool.definition.name: Input should be a string"),
        (defined({"type": "web_search_20250305", "name": "x"}), "tool.definition: server tool web_search"),
        ({"type": "tool_addition", "tool": 3}, "tool: Input should be an object"),
        ({"type": "tool_addition", "tool": {"type": "x"}}, "tool.type: Input should be '"),
        ({"type": "tool_addition", "tool": {"type": "tool_definition"}}, "tool.definition: Field required"),
        (
            {"type": "tool_removal", "tool": {"type": "tool_definition", "definition": tool("a")}},
            "tool.type: Input should be '",
        ),
        (
            {"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "s"}},
            "tool: mcp_toolset_reference: MCP servers are not available",
        ),
        (
            {"type": "tool_removal", "tool": {"type": "mcp_tool_reference", "name": "t", "server_name": "s"}},
            "tool: mcp_tool_reference: MCP servers are not available",
        ),
    ],
)
def test_a_broken_change_is_refused_by_path(block: dict[str, Any], words: str) -> None:
    assert refusal(text("x"), block).message.startswith(f"messages.1.content.1.{words}")


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("block", [added("late"), removed("a")], ids=["addition", "removal"])
def test_a_change_stands_in_system_turns_only(role: str, block: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        translated(messages=[user("go"), {"role": role, "content": [text("x"), block]}], tools=TOOLS)
    assert refused.value.message == (
        f"messages.1.content.1: {block['type']} blocks are not allowed in {role} turns, only in system turns"
    )


def test_a_template_without_system_turns_reads_a_change_as_a_reminder() -> None:
    able = {"capabilities": able_but(system_in_place=False)}
    chat = translated(able, messages=[user("go"), system(removed("b"))], tools=TOOLS).chat
    assert told(chat) == (
        "go\n<system-reminder>\nThe tool b is no longer available: do not call it.\n</system-reminder>"
    )


def test_what_clears_a_system_turn_leaves_its_changes() -> None:
    turn = system(text("Only now."), added("late")) | {"clear_at": "next_user_message"}
    chat = translated(messages=[user("go"), turn, user("on")], tools=TOOLS).chat
    assert [message.content for message in chat.messages] == ["go", WRITTEN, "on"]
    assert names(chat.loaded_tools) == ["late"]


# --- compactions ---


def compacted(changes: Any, content: Any = "So far.") -> tuple[ToolSet, Any]:
    """The tools and the block after a compaction with these changes; some tool was removed before it."""
    block = {"type": "compaction", "content": content, "tool_changes": changes}
    raw = body(messages=[system(removed("a")), assistant(block), user("on")], tools=TOOLS)
    request = decode_messages(raw)
    declared = translated(tools=TOOLS).chat
    tools = ToolSet(_declared(declared))
    messages = tools.walk(request.messages)
    assert not isinstance(messages[1].content, str)
    return tools, messages[1].content[0]


def _declared(chat: ChatRequest) -> Any:
    shown = [DeclaredTool("custom", one, deferred=False, path="tools") for one in chat.tools]
    return [*shown, *(DeclaredTool("custom", one, deferred=True, path="tools") for one in chat.hidden_tools)]


def test_a_compactions_changes_lead_from_the_declared_tools_to_its_end() -> None:
    tools, block = compacted([added("late"), removed("b")])
    assert list(tools.active) == ["a", "late"]
    assert block.content == f"So far.\n\n{WRITTEN}\n\nThe tool b is no longer available: do not call it."


def test_a_compaction_without_changes_starts_over() -> None:
    tools, block = compacted(None)
    assert (list(tools.active), block.content) == (["a", "b"], "So far.")


def test_a_failed_compaction_changes_nothing() -> None:
    tools, block = compacted([removed("b")], content=None)
    assert (list(tools.active), block.content) == (["b"], None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([removed("x")], "tool_changes.0.tool.name: Tool reference 'x' not found"),
        ([added("late"), {"type": "text", "text": "x"}], "tool_changes.1.type: Input should be '"),
        ({}, "tool_changes: Input should be an array"),
    ],
)
def test_a_broken_change_of_a_compaction_is_refused_by_path(changes: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        compacted(changes)
    assert refused.value.message.startswith(f"messages.1.content.0.{words}")
