"""Field cases, part E: tools, their schemas, and which of them may be called."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.llamacpp.schema import shape_of
from dragoman.engines.scripted import answer
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, error_of, events_of
from tests.support.translation import (
    SCHEMA,
    able_but,
    assistant,
    call,
    result,
    system,
    text,
    tool,
    translated,
    user,
)


def refused(serve: Serve, **fields: Any) -> str:
    """The message of a 400 for a request with these fields."""
    reply = ask(serve().url, REQUEST | fields)
    assert (reply.status_code, error_of(reply)["type"]) == (400, "invalid_request_error")
    message: str = error_of(reply)["message"]
    return message


def choice(kind: str, **more: Any) -> Any:
    """What the engine is told for a tool_choice, with one tool there."""
    asked = translated(tools=[tool()], tool_choice={"type": kind, **more}).chat
    assert [one.function.name for one in asked.tools] == ["f"]
    assert asked.tool_choice is not None
    return asked.tool_choice.mode, asked.tool_choice.name


def answered(serve: Serve, script: Any, **fields: Any) -> tuple[int, dict[str, Any], list[str | None]]:
    """Status and body of a whole answer with one tool there, and the types of the stream's events."""
    served = serve(lambda _: script)
    request = REQUEST | {"tools": [tool()]} | fields
    whole = ask(served.url, request)
    stream = ask(served.url, request | {"stream": True})
    return whole.status_code, whole.json(), [event.event for event in events_of(stream.content)]


F = {"type": "tool", "name": "f"}
FORM = {"format": {"type": "json_schema", "schema": {"type": "object", "required": ["n"]}}}


def test_case_e75_a_call_that_is_forbidden_is_no_answer(serve: Serve) -> None:
    script = answer(calls=[("f", "{}")])
    status, _, events = answered(serve, script, tool_choice={"type": "none"})
    assert (status, events[-1]) == (500, "error")


def test_case_e76_any_without_a_call_is_no_answer(serve: Serve) -> None:
    status, body, events = answered(serve, answer("Hello."), tool_choice={"type": "any"})
    assert (status, body["error"]["type"], events[-1]) == (500, "api_error", "error")
    assert "message_delta" not in events


@pytest.mark.parametrize("script", [answer("Hello."), answer(calls=[("g", "{}")])], ids=["text", "other"])
def test_case_e77_another_tool_or_text_is_no_answer(serve: Serve, script: Any) -> None:
    status, body, events = answered(serve, script, tool_choice=F)
    assert (status, body["error"]["type"], events[-1]) == (500, "api_error", "error")
    assert "message_delta" not in events


@pytest.mark.parametrize("names", [("f", "g"), ("g", "f")], ids="-".join)
def test_case_e77_an_extra_call_does_not_fail_the_right_one(serve: Serve, names: tuple[str, str]) -> None:
    script = answer(calls=[(name, "{}") for name in names])
    status, body, events = answered(serve, script, tool_choice=F)
    assert (status, [block["name"] for block in body["content"]]) == (200, ["f"])
    assert body["stop_reason"] == "tool_use"
    assert (events.count("content_block_start"), events[-1]) == (1, "message_stop")


def test_case_e_a_call_of_a_tool_that_was_never_declared_is_delivered(serve: Serve) -> None:
    status, body, events = answered(serve, answer(calls=[("absent", "{}")]))
    assert (status, body["content"][0]["name"], events[-1]) == (200, "absent", "message_stop")


@pytest.mark.parametrize("arguments", ["[1]", "7", '"text"', "no JSON"])
def test_case_b43_arguments_that_are_no_object_are_no_answer(serve: Serve, arguments: str) -> None:
    status, body, events = answered(serve, answer(calls=[("f", arguments)]), tool_choice=F)
    assert (status, body["error"]["type"], events[-1]) == (500, "api_error", "error")


def test_case_e86_a_schema_that_cannot_be_is_refused_by_its_path(serve: Serve) -> None:
    odd = {"type": "object", "properties": {"q": {"type": "objekt"}}}
    words = refused(serve, tools=[tool(strict=True, input_schema=odd)])
    assert words.startswith("tools.0.input_schema.properties.q.type: ")
    form = {"format": {"type": "json_schema", "schema": odd}}
    assert refused(serve, output_config=form).startswith("output_config.format.schema.properties.q.type: ")
    # a plain tool's schema is only shown to the model
    assert ask(serve().url, REQUEST | {"tools": [tool(input_schema=odd)]}).status_code == 200


def test_case_e86_text_that_is_not_of_its_form_is_no_answer(serve: Serve) -> None:
    status, body, events = answered(serve, answer('{"m": 1}'), output_config=FORM)
    assert (status, body["error"]["type"], events[-1]) == (500, "api_error", "error")
    assert answered(serve, answer('{"n": 1}'), output_config=FORM)[0] == 200


def test_case_e75_none_is_accepted_and_keeps_the_tools_in_the_prompt() -> None:
    assert choice("none") == ("none", None)


def test_case_e76_any_forces_a_call() -> None:
    assert choice("any") == ("required", None)


def test_case_e77_e78_a_named_tool_stays_named() -> None:
    assert choice("tool", name="f") == ("function", "f")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [tool()], "tool_choice": {"type": "sometimes"}},
        {"tool_choice": {"type": "any"}},
        {"tools": [], "tool_choice": {"type": "any"}},
        {"tools": [tool()], "tool_choice": {"type": "tool"}},
        {"tools": [tool()], "tool_choice": {"type": "tool", "name": "absent"}},
    ],
)
def test_case_e79_an_impossible_choice_is_refused(serve: Serve, fields: dict[str, Any]) -> None:
    assert refused(serve, **fields).startswith("tool_choice")


def test_case_e80_a_server_tool_is_refused_by_its_name_not_for_its_schema(serve: Serve) -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    words = refused(serve, tools=[search], tool_choice={"type": "auto"})
    assert words == "tools.0: server tool web_search_20250305 is not available"


CLIENT_TOOLS: list[dict[str, Any]] = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9000},
    {"type": "memory_20250818", "name": "memory"},
    {"type": "computer_20251124", "name": "computer", "display_width_px": 1024, "display_height_px": 768},
]


def test_case_e81_the_apis_own_client_tools_are_functions_with_known_schemas(serve: Serve) -> None:
    asked = translated(tools=CLIENT_TOOLS).chat
    assert [one.function.name for one in asked.tools] == [one["name"] for one in CLIENT_TOOLS]
    served = serve([answer(calls=[("memory", '{"command":"view","path":"/memories"}')])])
    block = ask(served.url, REQUEST | {"tools": CLIENT_TOOLS}).json()["content"][0]
    assert (block["type"], block["name"]) == ("tool_use", "memory")
    assert block["input"] == {"command": "view", "path": "/memories"}


def test_case_e81_a_client_tool_under_another_name_is_refused(serve: Serve) -> None:
    words = refused(serve, tools=[{"type": "bash_20250124", "name": "shell"}])
    assert words == "tools.0.name: Input should be 'bash'"


LATE = [tool("a"), tool("late", defer_loading=True)]


def load(name: str) -> list[dict[str, Any]]:
    """A conversation in which a result names a deferred tool."""
    loaded = result("toolu_a", [{"type": "tool_reference", "tool_name": name}])
    return [user("go"), assistant(call("toolu_a", "a")), user(loaded)]


def test_case_e82_e87_a_deferred_tool_is_shown_where_a_reference_loads_it(serve: Serve) -> None:
    before = translated(tools=LATE).chat
    assert ([t.function.name for t in before.tools], len(before.hidden_tools)) == (["a"], 1)
    after = translated(tools=LATE, messages=load("late")).chat
    assert [t.function.name for t in after.tools] == ["a"]
    assert [t.function.name for t in after.loaded_tools] == ["late"]
    assert '"name":"late"' in str(after.messages[-1].content)
    served = serve([answer(calls=[("late", "{}")])])
    reply = ask(served.url, REQUEST | {"tools": LATE, "messages": load("late")}).json()
    assert (reply["content"][0]["name"], reply["stop_reason"]) == ("late", "tool_use")


def test_case_e82_a_reference_to_no_tool_is_refused_with_its_code(serve: Serve) -> None:
    reply = ask(serve().url, REQUEST | {"tools": LATE, "messages": load("absent")})
    error = error_of(reply)
    assert (reply.status_code, error["details"]["error_code"]) == (400, "tool_reference_unresolved")
    assert error["message"].startswith("messages.2.content.0.content.0.tool_name: ")


@pytest.mark.parametrize("kind", ["tool_addition", "tool_removal"])
def test_case_e83_changes_of_the_tools_stand_in_system_turns_only(serve: Serve, kind: str) -> None:
    block = {"type": kind, "tool": {"type": "tool_reference", "name": "f"}}
    fields: dict[str, Any] = {"tools": [tool("f")]}
    reply = ask(serve().url, REQUEST | fields | {"messages": [user("a"), system(block)]})
    assert reply.status_code == 200
    words = refused(serve, messages=[user(text("a"), block)], **fields)
    assert words == f"messages.0.content.1: {kind} blocks are not allowed in user turns, only in system turns"


def test_case_e84_one_call_at_a_time_is_honoured(serve: Serve) -> None:
    served = serve([answer(calls=[("f", "{}"), ("f", "{}")])])
    body = {"tools": [tool()], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    assert len(ask(served.url, REQUEST | body).json()["content"]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"strict": True},
        {"input_examples": [{"q": "x"}]},
        {"eager_input_streaming": True},
        {"allowed_callers": ["direct"]},
        {"cache_control": {"type": "ephemeral"}},
        {"x_unknown": 1},
        {"type": "custom"},
        {"type": None},
        {"input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}},
    ],
    ids="-".join,
)
def test_case_e85_the_fields_of_a_tool_are_accepted(serve: Serve, fields: dict[str, Any]) -> None:
    assert ask(serve().url, REQUEST | {"tools": [tool(**fields)]}).status_code == 200


def test_case_e85_names_have_a_pattern_and_are_unique(serve: Serve) -> None:
    assert refused(serve, tools=[tool("a b")]).startswith("tools.0.name: ")
    assert refused(serve, tools=[tool("a"), tool("a")]).startswith("tools.1.name: ")


def test_case_e86_a_schema_that_is_too_much_for_a_grammar_keeps_its_names() -> None:
    complex_one = SCHEMA | {"required": ["q"], "not": {"properties": {"q": {"pattern": "(?=x)"}}}}
    (asked,) = translated(tools=[tool("f", input_schema=complex_one)]).chat.tools
    loosened = shape_of(asked)
    assert loosened is not None
    shape = msgspec.json.decode(loosened.function.parameters)
    assert shape == {"type": "object", "properties": {"q": {}}, "required": ["q"]}


def test_case_e_an_engine_that_cannot_force_a_call_says_so(serve: Serve) -> None:
    served = serve(capabilities=able_but(forced_tools=False))
    reply = ask(served.url, REQUEST | {"tools": [tool()], "tool_choice": {"type": "any"}})
    assert (reply.status_code, error_of(reply)["message"].partition(":")[0]) == (400, "tool_choice")
