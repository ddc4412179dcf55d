"""Schemas and patterns in the form that llama.cpp's grammars follow; tests/contract runs them."""

from __future__ import annotations

import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # the package holds no types
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dragoman.engines.dialects.errors import SchemaRefusedError, error_of_reply
from dragoman.engines.gbnf.held import held_format, held_tools
from dragoman.engines.gbnf.keywords import NotFollowedError
from dragoman.engines.gbnf.patterns import followed_pattern
from dragoman.engines.gbnf.schema import followed_schema
from dragoman.engines.llamacpp.schema import call_format
from dragoman.errors import InvalidRequestError
from dragoman.wire.openai import ChatMessage, ChatRequest, ChatTool, FunctionSpec, JsonFormat, ToolChoice


def refused(schema: dict[str, Any]) -> tuple[str, str]:
    """Where a schema cannot be followed, and for which keyword."""
    with pytest.raises(NotFollowedError) as caught:
        followed_schema(schema)
    return ".".join(map(str, caught.value.path)), caught.value.keyword


def asking(*tools: tuple[dict[str, Any], bool], **fields: Any) -> ChatRequest:
    """A request with tools `t0`, `t1`, each with a schema; those that are strict have a place."""
    written = [
        ChatTool(function=FunctionSpec(name=f"t{number}", parameters=raw(schema), strict=strict))
        for number, (schema, strict) in enumerate(tools)
    ]
    places = {
        f"t{number}": f"tools.{number}.input_schema" for number, (_, strict) in enumerate(tools) if strict
    }
    turn = ChatMessage(role="user", content="-")
    return ChatRequest(model="m", messages=[turn], tools=written, schema_places=places, **fields)


def raw(value: Any) -> msgspec.Raw:
    """A value as JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


def plain(schema: dict[str, Any]) -> Any:
    """What becomes of a plain tool's schema."""
    (tool,) = held_tools(asking((schema, False)))
    return msgspec.json.decode(tool.function.parameters)


# ---- patterns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        (r"^\d{2}-\w$", ["12-a", "00-_"], ["1-a", "12-é", "12-"]),
        (r"^a.c$", ["abc", "a☃c"], ['a"c', "a\\c", "ac"]),
        (r"^[^a-c]$", ["d", "é"], ["a", '"', "\\", "\n"]),
        (r"^(?:a|bc)+?$", ["abc", "a"], ["", "b"]),
        (r"^x$|^y", ["x", "y", "yes"], ["xx", "no"]),
        (r"b\.$", ["b.", "ab."], ["bx", "b.c"]),
        (r"^[\d\-x]{1,2}$", ["1-", "x"], ["a", ""]),
        (r"^\S\D\W$", ["aa-", "!!!"], [" a-", "a1-", "aaa"]),
        (r"^\(\u0041\x42\$\)$", ["(AB$)"], ["AB"]),
        (r"^[\]a]$", ["]", "a"], ["b"]),
        (r"^ü{2,}$", ["üü", "üüü"], ["ü"]),
        ("^$", [""], ["a"]),
    ],
)
def test_a_pattern_is_written_so_that_it_matches_no_more(
    pattern: str, matches: list[str], others: list[str]
) -> None:
    written = followed_pattern(pattern)
    assert written is not None
    assert all(re.fullmatch(written, text) for text in matches)
    assert not any(re.fullmatch(written, text) for text in others)


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^(?=a)b$", r"^(?<n>a)$", r"^\\$", '^"$', r"^\bfoo$", r"^\p{L}$", r"^(a)\1$", "^a{3,1}$"),
        *("^a{2000}$", "^(a$", "^a**$", "^[]$", "^a\\", "^a{,2}$", "^x^y$", '^["]$'),
    ],
)
def test_a_pattern_that_no_grammar_says_is_none(pattern: str) -> None:
    assert followed_pattern(pattern) is None


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """A pattern as Python reads it, where it does."""
    try:
        return re.compile(pattern or "(?!)")
    except (re.error, FutureWarning):
        return None


@given(st.from_regex(r"\^[ab.\[\](|)*+?\\dw{}1,-]{0,12}\$", fullmatch=True), st.text("ab1-_ ", max_size=6))
def test_what_a_written_pattern_matches_the_original_matches(pattern: str, text: str) -> None:
    original, written = compiled(pattern), compiled(followed_pattern(pattern))
    assume(original is not None and written is not None)
    assert original is not None
    assert written is not None
    assert not written.fullmatch(text) or original.search(text)


# ---- schemas ----------------------------------------------------------------------------------------------


def test_a_schema_that_says_nothing_stays_open() -> None:
    assert followed_schema({}) == {}
    assert followed_schema({"description": "any", "x-own": 1}) == {"description": "any"}


@pytest.mark.parametrize(
    ("schema", "place", "keyword"),
    [
        ({"type": "boolean", "properties": {}, "not": {}}, "", "not"),
        ({"properties": {"a": {"type": "number", "maximum": 1}}}, "properties.a", "maximum"),
        ({"properties": {"a": False}, "required": ["a"]}, "", "required"),
        ({"items": {"anyOf": [{"type": "string", "pattern": "\\"}]}}, "items.anyOf.0", "pattern"),
        ({"oneOf": [True, {"const": 1}]}, "", "oneOf"),
        ({"oneOf": [{"const": 1}], "anyOf": [{"const": 1}]}, "", "oneOf"),
        ({"anyOf": [False]}, "", "anyOf"),
        ({"allOf": [False, {}]}, "allOf.0", "false"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "allOf.1", "type"),
        ({"allOf": [{"prefixItems": [{}]}, {"items": False}]}, "allOf.1", "items"),
        ({"const": 1, "type": "string"}, "", "const"),
        ({"anyOf": [True, {"const": 1}], "type": "null"}, "anyOf.1", "const"),
        ({"enum": [1], "properties": {"a": {"$ref": "#/properties/b"}}}, "", "$ref"),
        ({"$ref": "#/$defs/no", "$defs": {}}, "", "$ref"),
        ({"$ref": "#/$defs/no", "$defs": {"no": False}}, "", "$ref"),
        ({"$ref": "#/prefixItems/x", "prefixItems": [{}]}, "", "$ref"),
        (
            {"allOf": [{"$ref": "#/$defs/a"}], "type": "object", "$defs": {"a": {"$ref": "#/$defs/a"}}},
            "allOf.0",
            "$ref",
        ),
        ({"type": "integer", "minimum": 4, "maximum": 3}, "", "minimum"),
        ({"type": "integer", "maximum": -(10**30)}, "", "maximum"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "", "minItems"),
        ({"type": "array", "prefixItems": [{}, {}], "uniqueItems": True}, "", "uniqueItems"),
        ({"type": "array", "minItems": 2001}, "", "minItems"),
        ({"type": "array", "minItems": 10**18, "maxItems": 10**18}, "", "minItems"),
        ({"type": "array", "maxItems": 1999}, "", "maxItems"),
        ({"type": "array", "minItems": 1, "maxItems": 2001}, "", "maxItems"),
        ({"items": {"maxItems": 10**18, "type": "array"}}, "items", "maxItems"),
        ({"type": "string", "minLength": 2001}, "", "minLength"),
        ({"type": "string", "maxLength": 10**18}, "", "maxLength"),
    ],
)
def test_what_cannot_be_followed_is_named(schema: dict[str, Any], place: str, keyword: str) -> None:
    assert refused(schema) == (place, keyword)


def test_nested_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    assert refused(deep) == (".".join(["items"] * 60), "")
    endless = {"properties": {"a": {"$ref": "#", "description": "x", "minProperties": 0}}}
    assert refused(endless)[1] == "$ref"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"$ref": "#/$defs/a", "$defs": {"a": True}}, {"$ref": "#/$defs/d0", "$defs": {"d0": {}}}),
        ({"prefixItems": [False, {}]}, {"enum": [[]]}),
        ({"prefixItems": [{"const": 1}, False]}, {"type": "array", "prefixItems": [{"enum": [1]}]}),
        ({"allOf": [{"format": "a"}, {"format": "b", "title": "T"}]}, {"type": "string", "format": "a"}),
        ({"allOf": [True, {"const": 1}]}, {"enum": [1]}),
        (
            {"allOf": [{"allOf": [{"minLength": 1}]}, {"allOf": [{"minLength": 2}]}]},
            {"type": "string", "minLength": 2},
        ),
        ({"allOf": [{"type": "number"}, {"type": ["integer", "null"]}]}, {"type": "integer"}),
        (
            {"allOf": [{"required": ["a"]}, {"required": ["a"], "title": "x"}]},
            {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
        ),
        ({"oneOf": [{"const": None}, {"type": "string"}]}, {"anyOf": [{"enum": [None]}, {"type": "string"}]}),
        (
            {"type": "object", "additionalProperties": {"const": 1}},
            {"type": "object", "additionalProperties": {"enum": [1]}},
        ),
    ],
)
def test_a_schema_is_written_so_that_it_is_followed(schema: dict[str, Any], written: Any) -> None:
    assert followed_schema(schema) == written


# ---- in a request -----------------------------------------------------------------------------------------


def test_a_format_of_a_client_is_held_one_of_ours_is_not() -> None:
    schema = raw({"type": "number", "minimum": 1})
    ours = JsonFormat(schema=schema)
    assert held_format(ours) is ours
    with pytest.raises(InvalidRequestError) as caught:
        held_format(JsonFormat(schema=schema, path="output_config.format.schema"))
    expected = "output_config.format.schema: the engine cannot hold its answer to `minimum` here"
    assert caught.value.message == expected


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        ({"maxItems": 1998}, {"maxItems": 1998}),
        ({"maxItems": 1999}, {}),
        ({"maxItems": 2002}, {"maxItems": 2002}),
        ({"maxItems": 10**18, "minItems": 1}, {"minItems": 1}),
        ({"maxLength": 10**18}, {}),
        ({"maxLength": 5000}, {"maxLength": 5000}),
        ({"maxLength": "5"}, {"maxLength": "5"}),
    ],
)
def test_a_plain_tool_loses_the_upper_bounds_that_are_not_read(bounds: Any, kept: Any) -> None:
    (tool,) = held_tools(asking(({"type": "object", "properties": {"v": bounds}}, False)))
    assert msgspec.json.decode(tool.function.parameters)["properties"]["v"] == kept


def test_a_schema_that_is_nested_deeper_than_it_is_followed_is_refused_where_it_is() -> None:
    deep: dict[str, Any] = {"type": "boolean"}
    for _ in range(60):
        deep = {"items": deep}
    with pytest.raises(InvalidRequestError) as caught:
        held_format(JsonFormat(schema=raw(deep), path="p"))
    place = ".".join(["items"] * 12)
    assert caught.value.message == (
        f"p.{place}...: the engine cannot hold its answer to a schema that is nested deeper than 60 schemas"
    )
    held_format(JsonFormat(schema=raw(deep["items"]), path="p"))


def test_strict_tools_are_held_plain_ones_stay_as_they_are() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}}
    strict, kept = held_tools(asking((schema, True), (schema, False)))
    assert b'"minimum":1' in bytes(strict.function.parameters)
    assert bytes(kept.function.parameters) == bytes(raw(schema))
    with pytest.raises(InvalidRequestError, match=r"tools.1.input_schema: .*`not` here"):
        held_tools(asking((schema, True), ({"not": {}}, True)))


@pytest.mark.parametrize(
    ("member", "left"),
    [
        (True, {}),
        (False, {"not": {}}),
        ({"$ref": "#"}, {}),
        ({"$ref": "#/$defs/no"}, {}),
        ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}),
        ({"enum": []}, {}),
        ({"type": "objekt"}, {}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"pattern": "^.$"}, {"pattern": followed_pattern("^.$")}),
        ({"pattern": "(?=a)"}, {"pattern": "(?=a)"}),
        ({"pattern": "^(?=a)$"}, {"pattern": "^(?=a)$"}),
        ({"pattern": r"^\\$"}, {}),
        ({"pattern": 7}, {}),
        ({"minItems": 3000, "items": True}, {"items": {}}),
        ({"minLength": 5, "maxLength": 3}, {"maxLength": 3}),
        ({"minLength": 3, "maxLength": 5}, {"minLength": 3, "maxLength": 5}),
        ({"minimum": "x"}, {}),
        ({"additionalProperties": True}, {"additionalProperties": True}),
        ({"properties": {"ü": {}}, "additionalProperties": True}, {"properties": {"ü": {}}}),
        ({"anyOf": [{"enum": []}], "not": 7}, {"anyOf": [{}], "not": 7}),
    ],
)
def test_a_plain_tools_schema_loses_only_what_llamacpp_would_refuse(member: Any, left: Any) -> None:
    schema = {"type": "object", "properties": {"p": member}, "$defs": {"a": {}}}
    assert plain(schema)["properties"]["p"] == left


@pytest.mark.parametrize("way", [lambda ref: {"type": "object", **ref}, lambda ref: {"oneOf": [ref, ref]}])
def test_references_that_double_at_each_link_are_named(way: Any) -> None:
    links: dict[str, Any] = {"l0": {"type": "object", "properties": {"n": {}}, "required": ["n"]}}
    for number in range(1, 40):
        ref = {"$ref": f"#/$defs/l{number - 1}"}
        both = {"l": {**ref, "type": "object"}, "r": {**ref, "type": "object"}}
        links[f"l{number}"] = {"type": "object", "properties": both, "required": ["l", "r"]}
    schema = {"type": "object", "properties": {"q": way({"$ref": "#/$defs/l39"})}, "$defs": links}
    assert refused(schema)[1] == "$ref"


@pytest.mark.parametrize("written", [held_tools, lambda request: call_format(request.tools)])
def test_a_schema_that_is_nested_too_deep_is_refused(written: Any) -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(InvalidRequestError, match="tools: the schema of 't0' is nested too deep"):
        written(asking((schema, False)))


def test_a_strict_definition_whose_name_means_another_now_is_followed_still() -> None:
    request = asking(({"type": "object", "properties": {"a": {"minimum": 1, "type": "integer"}}}, True))
    before = held_tools(request)
    request.schema_places = {}
    assert held_tools(request) == before
    with pytest.raises(InvalidRequestError, match="tools: the engine cannot hold"):
        held_tools(msgspec.structs.replace(request, tools=asking(({"not": {}}, True)).tools))


# ---- what an engine says of a schema ----------------------------------------------------------------------


def said(message: str) -> Any:
    """The error of an engine's 400."""
    return error_of_reply(400, msgspec.json.encode({"error": {"code": 400, "message": message}}))


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (
            asking(response_format=JsonFormat(schema=raw({}), path="output_config.format.schema")),
            "output_config.format.schema: ",
        ),
        (asking(({}, True), ({}, True), tool_choice=ToolChoice("function", "t1")), "tools.1.input_schema: "),
        (asking(({}, False), ({}, True)), "tools.1.input_schema: "),
        (asking(({}, True), ({}, True)), "tools: "),
        (asking(), ""),
    ],
)
def test_an_engines_own_refusal_of_a_schema_gets_its_path(request_: ChatRequest, place: str) -> None:
    error = said("Failed to initialize samplers: failed to parse grammar")
    assert isinstance(error, SchemaRefusedError)
    assert error.by_path(request_).message == f"{place}the engine cannot hold its answer to this schema"
    assert "grammar" not in error.message


def test_what_is_followed_is_a_schema() -> None:
    written = followed_schema({"type": "object", "properties": {"a": {"type": ["integer", "null"]}}})
    jsonschema.Draft202012Validator.check_schema(written)
