"""For each row of the tables a request that uses it, and the same request without."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from tests.support.pdfs import pdf
from tests.support.translation import (
    SCHEMA,
    assistant,
    call,
    image,
    result,
    system,
    text,
    thinking,
    tool,
    user,
)


class Example(NamedTuple):
    """A request's fields, and those of the same request without what the example is about."""

    fields: dict[str, Any]
    without: dict[str, Any]


def _field(name: str, value: Any) -> Example:
    return Example({name: value}, {})


def _turns(*turns: dict[str, Any], without: tuple[dict[str, Any], ...] = ()) -> Example:
    return Example({"messages": list(turns)}, {"messages": list(without or (user("hi"),))})


def _of_user(block: dict[str, Any]) -> Example:
    return _turns(user(text("hi"), block))


def _of_assistant(block: dict[str, Any]) -> Example:
    before, after = user("hi"), user("go on")
    return _turns(before, assistant(text("a"), block), after, without=(before, assistant(text("a")), after))


def _of_result(block: dict[str, Any]) -> Example:
    turns = (user("hi"), assistant(call()))
    return _turns(
        *turns, user(result(content=[text("r"), block])), without=(*turns, user(result(content=[text("r")])))
    )


def _of_tool(**more: Any) -> Example:
    return Example({"tools": [tool(**more)]}, {"tools": [tool()]})


def _of_call(**more: Any) -> Example:
    turns = (user("hi"), user(result()))
    return _turns(
        turns[0], assistant(call(**more)), turns[1], without=(turns[0], assistant(call()), turns[1])
    )


def _edit(**edit: Any) -> Example:
    """An edit of a conversation with two thoughts and two results."""
    turns = []
    for number in ("1", "2"):
        turns += [assistant(thinking(number), call(f"toolu_{number}")), user(result(f"toolu_{number}"))]
        turns += [assistant("so"), user("go on")]
    fields = {"messages": [user("hi"), *turns]}
    return Example(fields | {"context_management": {"edits": [edit]}}, fields)


def _with(more: dict[str, Any], example: Example) -> Example:
    return Example(example.fields | more, example.without | more)


def _changed(block: dict[str, Any], *, turn: Any = user, **more: Any) -> Example:
    """A block with something changed, between two texts of a turn, and as it was."""
    texts, after = (text("a"), text("b")), [] if turn is user else [user("c")]
    one, other = (
        {"messages": [user("hi"), turn(texts[0], each, texts[1]), *after]} for each in (block | more, block)
    )
    return Example(one, other)


def _computer(**more: Any) -> Example:
    tools = {"type": "computer_20251124", "name": "computer", "display_width_px": 8, "display_height_px": 6}
    return Example({"tools": [tools | more]}, {"tools": [tools]})


def _of_type(kind: str, name: str, **more: Any) -> Example:
    return Example({"tools": [{"type": kind, "name": name, **more}]}, {})


def _web_fetch(**more: Any) -> Example:
    tools = {"type": "web_fetch_20260318", "name": "web_fetch"}
    return Example({"tools": [tools | more]}, {"tools": [tools]})


def _image(source: dict[str, Any]) -> Example:
    return _of_user({"type": "image", "source": source})


def _document(source: dict[str, Any]) -> Example:
    return _of_user({"type": "document", "source": source})


CACHE = {"type": "ephemeral"}
SCREEN = {"display_width_px": 8, "display_height_px": 6}
EDITOR = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
PAGES = base64.b64encode(pdf("One", "Two")).decode("ascii")
DEFERRED = {"system": "s", "tools": [tool(), tool("g", defer_loading=True)]}
FORMAT = {"type": "json_schema", "schema": SCHEMA}

DONE_HERE = "done here"
# What happens before the engine is chosen, or after it answered: no engine sees a difference.
ELSEWHERE: dict[str, str] = {
    "request.model": "every engine that serves it",
    "request.thread": DONE_HERE,
    "tool.max_uses": DONE_HERE,
    "tool.allowed_domains": DONE_HERE,
    "tool.blocked_domains": DONE_HERE,
    "tool.user_location": DONE_HERE,
    "tool.max_content_tokens": DONE_HERE,
    "tool.citations": DONE_HERE,
    "request.metadata": "choice of the engine",
    "request.session_id": "choice of the engine",
    "request.stream": "events or a message",
}

PARAMETERS: dict[str, Example] = {
    "messages": _turns(user("hi"), assistant("a"), user("b")),
    "system": _field("system", "s"),
    "tools": _field("tools", [tool()]),
    "tool_choice": Example({"tools": [tool()], "tool_choice": {"type": "any"}}, {"tools": [tool()]}),
    "thinking": Example(
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096}, {"max_tokens": 4096}
    ),
    "output_config": _field("output_config", {"effort": "high", "format": FORMAT}),
    "cache_control": _field("cache_control", CACHE),
    "speed": _field("speed", "fast"),
    "context_management": _edit(type="clear_thinking_20251015", keep={"type": "thinking_turns", "value": 1}),
    "mcp_servers": _field("mcp_servers", [{"type": "url", "name": "a", "url": "https://example.com"}]),
    "container": _field("container", "c"),
    "compaction": _field("compaction", {"type": "summarize"}),
    "max_tokens": _field("max_tokens", 7),
    "stop_sequences": _field("stop_sequences", ["x"]),
    "temperature": _field("temperature", 0.5),
    "top_p": _field("top_p", 0.5),
    "top_k": _field("top_k", 5),
    "service_tier": _field("service_tier", "auto"),
    "inference_geo": _field("inference_geo", "eu"),
    "diagnostics": _field("diagnostics", {"previous_message_id": None}),
    "fallbacks": _field("fallbacks", "default"),
    "fallback_credit_token": _field("fallback_credit_token", "t"),
    "billing_policy": _field("billing_policy", {"type": "billing_policy", "bill_to": "self"}),
    "safeguards": _field("safeguards", []),
    "tags": _field("tags", ["t"]),
    "user_profile_id": _field("user_profile_id", "u"),
    "workspace_id": _field("workspace_id", "w"),
}

TURNS: dict[str, Example] = {
    "role": _turns(
        user("hi"), assistant("a"), user("b"), system("s"), without=(user("hi"), assistant("a"), user("b"))
    ),
    "content": _turns(user(text("hi"), text("there"))),
    "clear_at": _turns(
        user("hi"),
        system("s") | {"clear_at": "next_user_message"},
        assistant("a"),
        user("b"),
        without=(user("hi"), system("s"), assistant("a"), user("b")),
    ),
    "output_config": _turns(
        user("hi"), system("s") | {"output_config": {"effort": "low"}}, without=(user("hi"), system("s"))
    ),
}

TOOL_FIELDS: dict[str, Example] = {
    "name": Example({"tools": [tool("g")]}, {"tools": [tool()]}),
    "type": Example({"tools": [{"type": "bash_20250124", "name": "bash"}]}, {"tools": [tool()]}),
    "description": _of_tool(description="does g"),
    "input_schema": _of_tool(input_schema={"type": "object"}),
    "cache_control": _of_tool(cache_control=CACHE),
    "strict": _of_tool(strict=True),
    "eager_input_streaming": _of_tool(eager_input_streaming=True),
    "defer_loading": _of_tool(defer_loading=True),
    "input_examples": _of_tool(input_examples=[{"q": "x"}]),
    "allowed_callers": _of_tool(allowed_callers=["direct"]),
    "display_width_px": _computer(display_width_px=9),
    "display_height_px": _computer(display_height_px=9),
    "display_number": _computer(display_number=1),
    "enable_zoom": _computer(enable_zoom=True),
    "max_characters": Example(
        {"tools": [EDITOR | {"max_characters": 99}]},
        {"tools": [EDITOR]},
    ),
    "url_sources": _web_fetch(url_sources={"type": "none"}),
    "response_inclusion": _web_fetch(response_inclusion="full"),
    "use_cache": _web_fetch(use_cache=True),
}

EDITS: dict[str, Example] = {
    "clear_thinking_20251015": _edit(
        type="clear_thinking_20251015", keep={"type": "thinking_turns", "value": 1}
    ),
    "clear_tool_uses_20250919": _edit(
        type="clear_tool_uses_20250919",
        trigger={"type": "tool_uses", "value": 1},
        keep={"type": "tool_uses", "value": 1},
    ),
    "compact_20260112": _edit(type="compact_20260112"),
    "unknown": _edit(type="unknown_20300101"),
}

TOOL_TYPES: dict[str, Example] = {
    "custom": Example({"tools": [tool(type="custom")]}, {}),
    "bash_20241022": _of_type("bash_20241022", "bash"),
    "bash_20250124": _of_type("bash_20250124", "bash"),
    "text_editor_20241022": _of_type("text_editor_20241022", "str_replace_editor"),
    "text_editor_20250124": _of_type("text_editor_20250124", "str_replace_editor"),
    "text_editor_20250429": _of_type("text_editor_20250429", "str_replace_based_edit_tool"),
    "text_editor_20250728": _of_type("text_editor_20250728", "str_replace_based_edit_tool"),
    "memory_20250818": _of_type("memory_20250818", "memory"),
    "computer_20241022": _of_type("computer_20241022", "computer", **SCREEN),
    "computer_20250124": _of_type("computer_20250124", "computer", **SCREEN),
    "computer_20251124": _of_type("computer_20251124", "computer", **SCREEN),
    "computer_toolset_*": _of_type("computer_toolset_20260801", "computer", **SCREEN),
    "browser_toolset_*": _of_type("browser_toolset_20260801", "browser"),
    "web_search_*": _of_type("web_search_20250305", "web_search"),
    "web_fetch_*": _of_type("web_fetch_20260318", "web_fetch"),
    "code_execution_*": _of_type("code_execution_20250825", "code_execution"),
    "advisor_*": _of_type("advisor_20260301", "advisor"),
    "tool_search_tool_*": _of_type("tool_search_tool_bm25_20251119", "tool_search_tool_bm25"),
    "mcp_toolset": _of_type("mcp_toolset", "mcp", mcp_server_name="s"),
}

BLOCKS: dict[str, Example] = {
    "text": _of_user(text("more")),
    "image": _of_user(image()),
    "thinking": _of_assistant(thinking("so")),
    "redacted_thinking": _of_assistant(
        {"type": "redacted_thinking", "data": thinking("so", visible=False)["signature"]}
    ),
    "tool_use": _turns(
        user("hi"),
        assistant(text("a"), call()),
        user(result()),
        without=(user("hi"), assistant("a"), user("b")),
    ),
    "tool_result": _turns(
        user("hi"),
        assistant(call()),
        user(result(content="more")),
        without=(user("hi"), assistant(call()), user(result())),
    ),
    "tool_reference": _with(DEFERRED, _of_result({"type": "tool_reference", "tool_name": "g"})),
    "search_result": _of_user(
        {"type": "search_result", "source": "s", "title": "t", "content": [text("found")]}
    ),
    "document": _of_user(
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
    ),
    "browser_state": _of_result({"type": "browser_state", "tabs": [], "state_changes": []}),
    "server_tool_use": _of_assistant(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
    ),
    "container_upload": _of_user({"type": "container_upload", "file_id": "file_1"}),
    "fallback": _of_assistant({"type": "fallback", "from": {}, "to": {}}),
    "compaction": _of_user({"type": "compaction", "content": "so far"}),
    "tool_addition": _with(
        DEFERRED,
        _turns(
            user("hi"), system({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "g"}})
        ),
    ),
    "tool_removal": _with(
        DEFERRED,
        _turns(user("hi"), system({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}})),
    ),
    "mcp_tool_use": _of_assistant(
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {}}
    ),
    "mcp_tool_listing": _of_assistant({"type": "mcp_tool_listing", "mcp_server_name": "s", "tools": []}),
} | {
    name: _of_assistant({"type": name, "tool_use_id": "srvtoolu_1", "content": content})
    for name, content in {
        "web_search_tool_result": [],
        "web_fetch_tool_result": {"type": "web_fetch_tool_result_error", "error_code": "unavailable"},
        "code_execution_tool_result": {
            "type": "code_execution_result",
            "stdout": "out",
            "stderr": "",
            "return_code": 0,
            "content": [],
        },
        "bash_code_execution_tool_result": {
            "type": "bash_code_execution_result",
            "stdout": "out",
            "stderr": "",
            "return_code": 0,
            "content": [],
        },
        "text_editor_code_execution_tool_result": {
            "type": "text_editor_code_execution_view_result",
            "file_type": "text",
            "content": "c",
        },
        "tool_search_tool_result": {"type": "tool_search_tool_search_result", "tool_references": []},
        "advisor_tool_result": {"type": "advisor_result", "text": "t"},
        "mcp_tool_result": [text("r")],
    }.items()
}

BLOCK_FIELDS: dict[str, Example] = {
    "cache_control": _turns(user(text("hi", cache_control=CACHE))),
    "text.citations": _of_assistant(text("", citations=[])),
    "image.transformations": Example(
        {"messages": [user(image() | {"transformations": {"oversized_image": "downsize"}})]},
        {"messages": [user(image())]},
    ),
    "tool_use.caller": _of_call(caller={"type": "direct"}),
    "tool_use.toolset_name": _of_call(toolset_name="t"),
    "tool_result.toolset_name": _turns(
        user("hi"),
        assistant(call()),
        user(result(toolset_name="t")),
        without=(user("hi"), assistant(call()), user(result())),
    ),
    "thinking.block_binding": Example(
        {"thinking": {"type": "adaptive", "block_binding": {}}}, {"thinking": {"type": "adaptive"}}
    ),
}

SEARCHED = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1"}
HIT = {"type": "web_search_result", "title": "t", "url": "https://example.com"}
MCP = {"type": "mcp_tool_reference", "server_name": "s", "name": "n"}
BLOCK_FIELDS |= {
    "document.citations": _changed(
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
        citations={"enabled": True},
    ),
    "search_result.citations": _changed(
        {"type": "search_result", "source": "s", "title": "t", "content": [text("found")]},
        citations={"enabled": True},
    ),
    "*_tool_use.caller": _changed(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        turn=assistant,
        caller={"type": "direct"},
    ),
    "*_tool_result.caller": _changed(SEARCHED | {"content": []}, turn=assistant, caller={"type": "direct"}),
    "*.encrypted_*": _changed(
        SEARCHED | {"content": [HIT | {"encrypted_content": "a"}]},
        turn=assistant,
        content=[HIT | {"encrypted_content": "b"}],
    ),
    "compaction.signature": _changed({"type": "compaction", "content": "so far"}, signature="s"),
    "tool_addition.tool:mcp_*": _turns(user("hi"), system({"type": "tool_addition", "tool": MCP})),
    "tool_removal.tool:mcp_*": _turns(user("hi"), system({"type": "tool_removal", "tool": MCP})),
}

SOURCES: dict[str, Example] = {
    "image.source:base64": _of_user(image()),
    "image.source:url": _image({"type": "url", "url": "https://example.com/a.png"}),
    "image.source:file": _image({"type": "file", "file_id": "file_dot"}),
    "document.source:text": _document({"type": "text", "media_type": "text/plain", "data": "d"}),
    "document.source:content": _document({"type": "content", "content": "d"}),
    "document.source:base64": _document({"type": "base64", "media_type": "application/pdf", "data": PAGES}),
    "document.source:url": _document({"type": "url", "url": "https://example.com/a.pdf"}),
    "document.source:file": _document({"type": "file", "file_id": "file_note"}),
}

EXAMPLES: dict[str, Example] = {
    f"{table}.{name}": example
    for table, examples in {
        "request": PARAMETERS,
        "turn": TURNS,
        "tool": TOOL_FIELDS,
        "block": BLOCKS,
        "block field": BLOCK_FIELDS,
        "edit": EDITS,
        "tool type": TOOL_TYPES,
        "source": SOURCES,
    }.items()
    for name, example in examples.items()
}
