"""More than a hundred schemas on a real llama.cpp: an answer keeps to them, or the 400 names what it cannot.

The answers come from the parrot, which knows nothing of them: it is the grammar that makes them valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]  # the package holds no types
import msgspec
import pytest

from dragoman.models.catalogue import catalogue
from tests.server.http import error_of
from tests.support.dialogues import PARROT
from tests.support.serving import running_server

pytestmark = pytest.mark.engine

SCHEMAS = msgspec.json.decode(Path(__file__).with_name("schemas.json").read_bytes(), type=dict[str, Any])
# What llama.cpp's grammars cannot say: where it stands in the schema, and the keyword.
REFUSED = {
    "all_of_enums": (".properties.v.allOf.1", "enum"),
    "all_of_two_patterns": (".properties.v.allOf.1", "pattern"),
    "closed_beside_all_of": (".allOf.0", "additionalProperties"),
    "contains": (".properties.l", "contains"),
    "dependent_required": ("", "dependentRequired"),
    "if_then_else": ("", "if"),
    "length_impossible": (".properties.s", "minLength"),
    "map_of_integers": (".properties.m", "maxProperties"),
    "min_properties": ("", "minProperties"),
    "multiple_of": (".properties.x", "multipleOf"),
    "not": (".properties.v", "not"),
    "number_in_a_range": (".properties.x", "minimum"),
    "number_without_a_type": (".properties.x", "minimum"),
    "one_of_objects_that_may_overlap": (".properties.v", "oneOf"),
    "one_of_that_overlaps": (".properties.v", "oneOf"),
    "pattern_and_length": (".properties.code", "maxLength"),
    "pattern_properties": (".properties.o", "patternProperties"),
    "pattern_that_looks_ahead": (".properties.code", "pattern"),
    "pattern_with_a_backslash": (".properties.code", "pattern"),
    "property_names": (".properties.o", "propertyNames"),
    "property_of_any_kind": ("", "maxProperties"),
    "recursive_by_any_of": (".properties.v.anyOf.0", "$ref"),
    "recursive_without_end": (".properties.v", "$ref"),
    "reference_by_anchor": (".properties.a", "$ref"),
    "required_and_forbidden": ("", "required"),
    "tuple_too_short": (".properties.t", "minItems"),
    "unevaluated_properties": ("", "unevaluatedProperties"),
    "unique_items": (".properties.l", "uniqueItems"),
    "very_long_array": (".properties.l", "minItems"),
    "very_long_array_at_the_most": (".properties.l", "maxItems"),
    "very_long_string": (".properties.s", "minLength"),
    "string_without_end_at_the_most": (".properties.s", "maxLength"),
}
FOLLOWED = sorted(SCHEMAS.keys() - REFUSED.keys())
WAYS = ["format", "tool"]
# The parrot calls this tool at these words.
TOOL, WORDS = "get_weather", "What is the weather in Paris?"


# What llama.cpp refuses also of a plain tool.
REFUSED_OF_PLAIN = {"recursive_by_any_of", "recursive_without_end"}


@contextmanager
def served(**options: Any) -> Iterator[httpx.Client]:
    """A client of a server in front of llama.cpp in this process."""
    llamacpp = pytest.importorskip("dragoman.engines.llamacpp", reason="the extra `local` is not installed")
    engine = llamacpp.LlamaCppInferenceEngine(str(PARROT / "parrot.gguf"), **options)
    with running_server(engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of llama.cpp that reads calls by itself."""
    with served() as client:
        yield client


@pytest.fixture(scope="module")
def aided() -> Iterator[httpx.Client]:
    """A client of llama.cpp whose model is helped to call."""
    with served(aids=next(model.aids for model in catalogue() if model.aids is not None)) as client:
        yield client


def ask(client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """The reply to a request; one that was cut by max_tokens is asked for again, less greedily."""
    replies = (
        client.post("/v1/messages", json={**body, "temperature": temperature})
        for temperature in (0, 0.5, 0.8, 1, 1, 1, 1, 1, 1, 1)
    )
    return next(reply for reply in replies if reply.json().get("stop_reason") != "max_tokens")


def asked(schema: Any, way: str, **more: Any) -> dict[str, Any]:
    """A request that is held to a schema, in one of the two ways."""
    request = {"model": "parrot", "max_tokens": 800, "messages": [{"role": "user", "content": WORDS}]}
    if way == "format":
        return {**request, "output_config": {"format": {"type": "json_schema", "schema": schema}}, **more}
    tool = {"name": TOOL, "description": "Get the weather.", "input_schema": schema, "strict": True}
    choice = {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}
    return {**request, "tools": [tool], "tool_choice": choice, **more}


def path_of(way: str) -> str:
    """Where the schema stands in the request."""
    return "output_config.format.schema" if way == "format" else "tools.0.input_schema"


def said(message: dict[str, Any], way: str) -> Any:
    """The value that came back."""
    blocks = {block["type"]: block for block in message["content"]}
    return msgspec.json.decode(blocks["text"]["text"]) if way == "format" else blocks["tool_use"]["input"]


def test_there_are_a_hundred_and_most_are_followed() -> None:
    assert len(SCHEMAS) >= 100
    assert len(FOLLOWED) >= 90


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FOLLOWED)
def test_an_answer_keeps_to_its_schema(client: httpx.Client, name: str, way: str) -> None:
    reply = ask(client, asked(SCHEMAS[name], way))
    assert reply.status_code == 200, reply.text
    message = reply.json()
    assert message["stop_reason"] == ("end_turn" if way == "format" else "tool_use"), message
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(said(message, way))


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_call_of_an_aided_model_keeps_to_its_schema(aided: httpx.Client, name: str) -> None:
    reply = ask(aided, asked(SCHEMAS[name], "tool"))
    assert reply.status_code == 200, reply.text
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(said(reply.json(), "tool"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_kept_is_named(client: httpx.Client, name: str, way: str) -> None:
    place, keyword = REFUSED[name]
    reply = ask(client, asked(SCHEMAS[name], way))
    assert (reply.status_code, error_of(reply)["type"]) == (400, "invalid_request_error")
    expected = f"{path_of(way)}{place}: the engine cannot hold its answer to `{keyword}` here"
    assert error_of(reply)["message"] == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bound", ["minItems", "maxItems", "minLength"])
def test_the_largest_bounds_are_taken(client: httpx.Client, bound: str, way: str) -> None:
    most = 1998 if bound == "maxItems" else 2000
    part = {"type": "string" if bound == "minLength" else "array", bound: most}
    reply = client.post("/v1/messages", json=asked({"type": "object", "properties": {"v": part}}, way))
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (70, ": the engine cannot hold its answer to a schema that is nested deeper than 60 schemas"),
        (130, ": the schema is nested deeper than 250 levels of arrays and objects"),
        (600, ": Input should not be nested deeper than 500 levels"),
    ],
)
def test_a_schema_that_is_nested_too_deep_is_refused_where_it_is(
    client: httpx.Client, levels: int, words: str, way: str
) -> None:
    schema = b'{"type":"object","properties":{"a":' * levels + b"{}" + b"}}" * levels
    body = msgspec.json.encode(asked({"HERE": 1}, way)).replace(b'{"HERE":1}', schema)
    reply = client.post("/v1/messages", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, error_of(reply)["type"]) == (400, "invalid_request_error")
    message = error_of(reply)["message"]
    assert message.startswith(f"{path_of(way)}.properties.a.properties.a.properties.a.")
    assert message.endswith(words)


@pytest.mark.parametrize("name", sorted(SCHEMAS.keys() - REFUSED_OF_PLAIN))
def test_a_plain_tool_is_called_whatever_its_schema(client: httpx.Client, name: str) -> None:
    tool = {"name": TOOL, "description": "Get the weather.", "input_schema": SCHEMAS[name]}
    # greedily: where any property may be added, llama.cpp's own grammar lets a name begin with a bare
    # newline, which is no JSON; sampled, the parrot finds it once in two hundred answers
    body = asked({}, "tool", tools=[tool], max_tokens=200, temperature=0)
    reply = client.post("/v1/messages", json=body)
    assert reply.status_code == 200, reply.text
    assert isinstance(said(reply.json(), "tool"), dict)
